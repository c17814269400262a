"""Realistic lead and page-view events of the shipped contract, for the demo, drills and ``produce-samples``.

The people in them don't exist: names are made up, domains are reserved for examples (RFC 2606), addresses come from blocks
set aside for documentation (RFC 5737), telephone numbers from the range reserved for fiction.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from stream_capi.model import EventName

_FIRST = ("ana", "ben", "chloe", "deniz", "emre", "fatma", "grace", "hugo", "ines", "jonas", "kira", "liam")
_LAST = ("alvarez", "brandt", "costa", "duman", "evans", "fischer", "garcia", "horvat", "ito", "jensen")
_PAGES = ("/", "/pricing", "/quote", "/calculator", "/contact", "/thanks", "/guides/first-home", "/guides/solar")
_AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
)
_SYSTEMS = ("Windows", "iOS", "Android", "macOS")
_BLOCKS = ("192.0.2", "198.51.100", "203.0.113")


class Samples:
    """A stream of events that is the same for the same seed. ``bad_share`` of them lack what the API requires."""

    def __init__(self, seed: int = 1, bad_share: float = 0.01) -> None:
        self._random = random.Random(seed)
        self._bad_share = bad_share
        self._count = 0

    def event(self, name: EventName, now_ms: int) -> dict[str, Any]:
        """One event as a record of ``schemas/lead.avsc`` or ``schemas/page_view.avsc``."""
        rnd = self._random
        self._count += 1
        system = rnd.randrange(4)
        visitor = f"{rnd.getrandbits(64):016x}"
        first, last = rnd.choice(_FIRST), rnd.choice(_LAST)
        lead = name is EventName.GENERATE_LEAD
        known = lead or rnd.random() < 0.2
        query = f"?aleid={rnd.getrandbits(80):020x}" if rnd.random() < 0.4 else ""
        event: dict[str, Any] = {
            "event_id": f"{name.value}-{self._count}-{visitor}",
            "event_time": now_ms - rnd.randrange(2_000),
            "event_source_url": f"https://www.example.com{rnd.choice(_PAGES)}{query}",
            "dedupe_id": None,
            "aleid": None,
            "axwrt": f"axwrt.{visitor}" if rnd.random() < 0.7 else None,
            "alart": None,
            "client_id": f"cid.{visitor}",
            "user_id": str(rnd.randrange(10**9)) if known else None,
            "email": f"{first}.{last}{rnd.randrange(1000)}@example.com" if known else None,
            "phone": f"+1 {rnd.randrange(200, 999)} 555 01{rnd.randrange(100):02d}" if lead else None,
            "client_ip_address": f"{rnd.choice(_BLOCKS)}.{rnd.randrange(1, 255)}",
            "client_user_agent": _AGENTS[system],
            "esi": "web",
            "country_code": rnd.choice(("US", "DE", "GB", "ES", None)),
            "zip": f"{rnd.randrange(10_000, 99_999)}" if lead else None,
            "os": _SYSTEMS[system],
            "sid": f"s{visitor[:8]}",
            "ifa": None,
            "idfv": None,
        }
        if lead:
            event |= {"currency": "USD", "value": float(rnd.choice((0, 10, 25, 40, 120)))}
        if rnd.random() < self._bad_share:
            self._spoil(event)
        return event

    def _spoil(self, event: dict[str, Any]) -> None:
        fault = self._random.randrange(3)
        if fault == 0:
            event["event_source_url"] = "/thanks"
        elif fault == 1:
            event["client_user_agent"] = "  "
        else:
            for field in ("aleid", "axwrt", "alart", "client_id", "user_id", "email", "phone"):
                event[field] = None
            event["event_source_url"] = "https://www.example.com/"

    def stream(self, count: int, now_ms: int, lead_share: float = 0.3) -> Iterator[tuple[EventName, dict[str, Any]]]:
        """``count`` events of both names, mixed."""
        for _ in range(count):
            name = EventName.GENERATE_LEAD if self._random.random() < lead_share else EventName.PAGE_VIEW
            yield name, self.event(name, now_ms)
