"""What the AppLovin (Axon) Conversion API alone decides: address, request, limits, status classes.

Another API would have other values here. ``tests/contract/test_applovin.py`` compares them with the API document.
"""

from __future__ import annotations

from collections.abc import Iterable

PATH = "/v1/event"
URL = f"https://b.applovin.com{PATH}"
PIXEL_PARAMETER = "pixel_id"  # of the query
KEY_HEADER = "Authorization"
# Answers explain themselves here, where they do at all: a code, a sentence, and what the vendor's support asks for.
ERROR_HEADERS = ("x-al-error-code", "x-al-error-message", "x-trace-id")
KEY_PREFIXES = {"bearer": "Bearer ", "raw": ""}  # by form of the key, the document's first

# The body is an object with a list of events. No limit of its size is published.
_HEAD, _TAIL = b'{"events":[', b"]}"
ENVELOPE_BYTES = len(_HEAD) + len(_TAIL)
MAX_EVENTS = 100  # of a batch
FRESH_SECONDS = 300  # within which the API merges an event with the pixel's own of the same dedupe_id

DELIVERED = 200  # the only success
UNAUTHORIZED = 401  # the key, or the form that it came in
REFUSED = frozenset({400, 413, 422})  # the whole batch is dropped because of one event or more
THROTTLED = frozenset({429, 503})
# Request Timeout, Misdirected Request, Too Early: about this connection or this moment, not about key, pixel or address.
_TRANSIENT = frozenset({408, 421, 425})
# Redirects and the other codes of 4xx: key, pixel or address is wrong. What is in no class here is transient.
SET_UP_FAULTS = frozenset(range(300, 500)) - REFUSED - THROTTLED - _TRANSIENT


def body(payloads: Iterable[bytes]) -> bytes:
    """The body of a request with these serialised events."""
    return _HEAD + b",".join(payloads) + _TAIL
