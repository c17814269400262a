"""What is specific to the AppLovin (Axon) Conversion API: address, request, limits, status classes.

Another API would have other values. ``tests/contract/test_applovin.py`` compares these with the API document.
"""

from __future__ import annotations

from collections.abc import Iterable

PATH = "/v1/event"
URL = f"https://b.applovin.com{PATH}"
PIXEL_PARAMETER = "pixel_id"  # of the query
KEY_HEADER = "Authorization"
# The headers in which an answer may explain itself: a code, a sentence, and the id that the vendor's support asks for.
ERROR_HEADERS = ("x-al-error-code", "x-al-error-message", "x-trace-id")
KEY_PREFIXES = {"bearer": "Bearer ", "raw": ""}  # by form of the key, the document's first

# The body is an object with a list of events. No limit of its size is published.
_HEAD, _TAIL = b'{"events":[', b"]}"
ENVELOPE_BYTES = len(_HEAD) + len(_TAIL)
MAX_EVENTS = 100  # of a batch
FRESH_SECONDS = 300  # within which the API merges an event with the client-side pixel's event of the same dedupe_id

DELIVERED = 200  # the only success
UNAUTHORIZED = 401  # the key is wrong, or the form in which it was sent
REFUSED = frozenset({400, 413, 422})  # the whole batch is dropped because of one event or more
THROTTLED = frozenset({429, 503})
# Request Timeout, Misdirected Request, Too Early: caused by this connection or moment, not by key, pixel or address.
_TRANSIENT = frozenset({408, 421, 425})
# Redirects and all other 4xx: key, pixel or address is wrong. A status in none of these classes is transient.
SET_UP_FAULTS = frozenset(range(300, 500)) - REFUSED - THROTTLED - _TRANSIENT


def body(payloads: Iterable[bytes]) -> bytes:
    """The body of a request with these serialised events."""
    return _HEAD + b",".join(payloads) + _TAIL
