"""What of the API's own words may be kept: in the log, in ``/status`` and in a dead letter (contract, section 9).

The words may quote the request. So besides what looks like personal data, each word is masked that is a text value of the
request's body, and the key; field names and the values of the API's own lists stay.
"""

from __future__ import annotations

import re

from stream_capi.model import ApiError
from stream_capi.observe.masking import HIDDEN, scrub, trace_id

_WORD = re.compile(r"[^\s\"'`,;()<>\[\]{}=]+")
_LISTED = frozenset({"web", "app", "ios", "android", "desktop_os", "generate_lead", "page_view"})


def masked(said: ApiError, body: bytes, key: str) -> ApiError:
    """The words without anything of the request that they answer."""

    def of_request(word: str) -> bool:
        return word not in _LISTED and (key in word or b':"%b"' % word.rstrip(".:!?").encode() in body)

    code, message = (
        _WORD.sub(lambda found: HIDDEN if of_request(found[0]) else found[0], text)
        for text in (said.code, said.message)
    )
    trace = said.trace_id and (HIDDEN if of_request(said.trace_id) else trace_id(said.trace_id))
    return ApiError(scrub(code), scrub(message), trace)


def fields_of(said: ApiError) -> dict[str, str]:
    """The words as fields of a log line."""
    fields = {"error_code": said.code, "error_message": said.message, "trace_id": said.trace_id}
    return {name: text for name, text in fields.items() if text}
