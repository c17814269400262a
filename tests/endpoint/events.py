"""Events as the API accepts them."""

from __future__ import annotations

import json
from typing import Any


def lead(dedupe_id: str = "lead-1", /, **user_data: Any) -> dict[str, Any]:
    """A lead; keywords change fields of its user_data, and None removes one."""
    return _event("generate_lead", dedupe_id, {"currency": "USD", "value": 30}, user_data)


def view(dedupe_id: str = "view-1", /, **user_data: Any) -> dict[str, Any]:
    """A page view, with the same keywords."""
    return _event("page_view", dedupe_id, None, user_data)


def batch(*events: Any) -> bytes:
    """The request body of some events."""
    return json.dumps({"events": events}).encode()


def _event(name: str, dedupe_id: str, data: Any, user_data: dict[str, Any]) -> dict[str, Any]:
    user = {"client_ip_address": "192.0.2.7", "client_user_agent": "agent", "esi": "web", "email": "0" * 64} | user_data
    return {
        "name": name,
        "event_time": 1_741_784_485_001,
        "event_source_url": "https://www.example.com/thanks?a=b",
        "data": data,
        "user_data": {key: value for key, value in user.items() if value is not None},
        "dedupe_id": dedupe_id,
    }
