"""What a member says at its start: where its page is, where it delivers to, and what it reads."""

from __future__ import annotations

import ipaddress
from typing import Any

from stream_capi.config import Settings

_MOST_TOPICS = 20


def start_line(settings: Settings, port: int) -> dict[str, Any]:
    """The fields of the line; ``port`` is where the admin server listens. ``count`` is of all topics."""
    return {
        "page": page_url(settings.admin.host, port),
        "endpoint": settings.endpoint.url,
        "topics": list(settings.topics)[:_MOST_TOPICS],
        "count": len(settings.topics),
    }


def page_url(host: str, port: int) -> str:
    """The status page's address, as it can be opened on this machine."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}/"
    if address.is_unspecified:
        return f"http://127.0.0.1:{port}/"
    return f"http://{address if address.version == 4 else f'[{address}]'}:{port}/"
