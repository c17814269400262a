"""The mapping as an ordinary consumer would write it: straight from the API document, for valid events only.

It makes the same bytes as the program's compiled mapping, without its checks. It imports nothing but the standard library
and orjson, because it also runs in the stream library's environment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any

import orjson

from benchmarks.contenders.shapes import SHAPES

REQUIRED = ("client_ip_address", "client_user_agent", "esi")
OPTIONAL = (
    "aleid", "axwrt", "alart", "client_id", "user_id", "email", "phone", "country_code", "zip", "os", "sid", "ifa", "idfv",
)  # fmt: skip
_NOT_DIGITS = re.compile(r"[^0-9]+")
_SYSTEMS = {"windows": "desktop_os", "macos": "desktop_os", "ios": "ios", "android": "android"}


def server_event(name: str, record: dict[str, Any]) -> bytes:
    """One record of the shipped schemas, or one with the same fields, as the JSON of a ServerEvent."""
    user = {field: record[field] for field in REQUIRED}
    for field in OPTIONAL:
        value = record[field]
        if value is not None:
            user[field] = value.strip()
    if "aleid" not in user and (found := re.search(r"[?&]aleid=([^&#]*)", record["event_source_url"])):
        user["aleid"] = found[1]
        user = {field: user[field] for field in (*REQUIRED, *OPTIONAL) if field in user}
    if "email" in user:
        user["email"] = sha256(user["email"].lower().encode()).hexdigest()
    if "phone" in user:
        user["phone"] = sha256(_NOT_DIGITS.sub("", user["phone"]).encode()).hexdigest()
    if "country_code" in user:
        user["country_code"] = user["country_code"].upper()
        if "zip" in user and user["country_code"] == "US":
            user["zip"] = user["zip"][:5]
    if "os" in user:
        user["os"] = _SYSTEMS[user["os"].lower()]
    lead = name == "generate_lead"
    at = record["event_time"]
    return orjson.dumps(
        {
            "name": name,
            "event_time": round(at.timestamp() * 1000) if isinstance(at, datetime) else at,
            "event_source_url": record["event_source_url"],
            "data": {"currency": record["currency"].upper(), "value": record["value"]} if lead else None,
            "user_data": user,
            "dedupe_id": record["dedupe_id"] or record["event_id"],
        }
    )


_ABSENT = dict.fromkeys((*OPTIONAL, "dedupe_id"))


def mapping_of(shape: str, name: str) -> Callable[[dict[str, Any]], bytes]:
    """The mapping of an event's name for the records of a shape."""
    within, columns = SHAPES[shape].within, SHAPES[shape].columns[name]
    fields = [(target.rpartition(".")[2], column) for target, column in columns.items()]
    if not fields:
        return partial(server_event, name)

    def mapped(record: dict[str, Any]) -> bytes:
        if within:
            record = record[within]
        return server_event(name, _ABSENT | {field: record[column] for field, column in fields})

    return mapped


def body(events: list[bytes]) -> bytes:
    """The request that carries these events."""
    return b'{"events":[' + b",".join(events) + b"]}"
