"""What of the API's own words may be kept: in the log, in ``/status`` and in a dead letter (contract, section 9).

The words may quote the request. So besides what looks like personal data, each word is masked that is in a text value of the
request's body or in the key, whole or, where it is the last one and may have been cut off, by its beginning; field names and
the values of the API's own lists stay.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import unquote

from stream_capi.model import ApiError
from stream_capi.observe.masking import HIDDEN, scrub, trace_id

_WORD = re.compile(r"[^\s\"'`,;()<>\[\]{}=]+")
_LISTED = frozenset(
    {"web", "app", "ios", "android", "desktop_os", "generate_lead", "page_view", "null", "true", "false"}
)
_LEAST = 3  # characters of a part of a value; of the key one more
_BODY_BYTES = 2_000  # that are looked at; fewer are shown
_RUN = re.compile(r"[^\W_]+")
_ESCAPED = re.compile(r"\\+u([0-9a-fA-F]{4})")
_UNREADABLE = "?"  # stands for signs beyond ASCII, so that a word with it can't be looked for


def masked(said: ApiError, body: bytes, key: str) -> ApiError:
    """The words without anything of the request that they answer."""
    code, message = (
        scrub(_without_request(text.replace(key, HIDDEN), body, key)) for text in (said.code, said.message)
    )
    of_request = said.trace_id and _is_of_request(said.trace_id, body, key, cut=True)
    return ApiError(code, message, HIDDEN if of_request else said.trace_id and trace_id(said.trace_id))


def masked_body(answer: bytes, body: bytes, key: str) -> str:
    """An answer's body on one line, without anything of the request; bounded.

    A body may quote the request in more ways than a header: as JSON inside a text, escaped, as part of a page. So each run of
    letters and digits is masked that is in a value of the request or has one in it, in whatever case, but for fields' names.
    """
    text = answer[:_BODY_BYTES].decode(errors="replace").replace(key, HIDDEN)
    text = unquote(unescape(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)))
    text = "".join(sign if " " <= sign <= "~" or sign == HIDDEN else _UNREADABLE for sign in " ".join(text.split()))
    request = json.loads(body)
    values, names = " ".join([*_values(request), key]).casefold(), set(_RUN.findall(" ".join(_names(request))))
    parts = {part for part in _RUN.findall(values) if len(part) > _LEAST}

    def shown(found: re.Match[str]) -> str:
        run = found[0].casefold()
        is_of_request = len(run) >= _LEAST and (run in values or any(part in run for part in parts))
        return HIDDEN if is_of_request and run not in names else found[0]

    return scrub(_RUN.sub(shown, text))


def _values(request: Any) -> Iterator[str]:
    """The texts in a request's body that may tell who the person is."""
    if isinstance(request, str):
        yield request if request not in _LISTED else ""
    elif isinstance(request, list | dict):
        for value in request.values() if isinstance(request, dict) else request:
            yield from _values(value)


def _names(request: Any) -> Iterator[str]:
    """The names of the fields in a request's body."""
    for value in request if isinstance(request, list) else request.values() if isinstance(request, dict) else ():
        yield from _names(value)
    yield from request if isinstance(request, dict) else ()


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
