"""What of the API's own words may be kept: in the log, in ``/status`` and in a dead letter (contract, section 9).

The words may quote the request. So besides what looks like personal data, each word is masked that is in a text value of the
request's body or in the key, whole or, where it is the last one and may have been cut off, by its beginning; field names and
the values of the API's own lists stay.
"""

from __future__ import annotations

import re

from stream_capi.model import ApiError
from stream_capi.observe.masking import HIDDEN, scrub, trace_id

_WORD = re.compile(r"[^\s\"'`,;()<>\[\]{}=]+")
_LISTED = frozenset(
    {"web", "app", "ios", "android", "desktop_os", "generate_lead", "page_view", "null", "true", "false"}
)
_LEAST = 3  # characters of a part of a value; of the key one more
_UNREADABLE = "?"  # stands for signs beyond ASCII, so that a word with it can't be looked for


def masked(said: ApiError, body: bytes, key: str) -> ApiError:
    """The words without anything of the request that they answer."""
    code, message = (
        scrub(_without_request(text.replace(key, HIDDEN), body, key)) for text in (said.code, said.message)
    )
    of_request = said.trace_id and _is_of_request(said.trace_id, body, key, cut=True)
    return ApiError(code, message, HIDDEN if of_request else said.trace_id and trace_id(said.trace_id))


def _without_request(text: str, body: bytes, key: str) -> str:
    def shown(found: re.Match[str]) -> str:
        return HIDDEN if _is_of_request(found[0], body, key, cut=found.end() == len(text)) else found[0]

    return _WORD.sub(shown, text)


def _is_of_request(word: str, body: bytes, key: str, *, cut: bool) -> bool:
    bare = word.rstrip(".:!?")
    if bare in _LISTED:
        return False
    if key in word or _UNREADABLE in bare or (len(bare) > _LEAST and bare in key):
        return True
    signs = bare.encode()
    if signs not in body:  # as nearly always, and found at once
        return False
    if b':"%b"' % signs in body:
        return True
    end = rb'(?!\w*":)' if cut else rb'(?!\w|":)'  # a text before a colon is a field's name
    literal = re.escape(signs)
    return len(signs) >= _LEAST and re.search(b"%b%b(?<!\\w%b)" % (literal, end, literal), body) is not None


def fields_of(said: ApiError) -> dict[str, str]:
    """The words as fields of a log line."""
    fields = {"error_code": said.code, "error_message": said.message, "trace_id": said.trace_id}
    return {name: text for name, text in fields.items() if text}
