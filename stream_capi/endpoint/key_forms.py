"""The form in which the API takes a key: ``Bearer KEY``, as its document says, or the key alone, as its help pages do.

With ``authorization = "auto"`` a key is first sent as a bearer. After a 401 the other form is tried once, and the form that
got a 200 is kept. If both got a 401 the key is refused, and probes alternate between the forms. The same holds if the other
form got another set-up fault: a gateway may answer a header that it can't read with a 403.
"""

from __future__ import annotations

from collections.abc import Callable

from stream_capi.applovin import DELIVERED, KEY_PREFIXES, SET_UP_FAULTS, UNAUTHORIZED

_OTHER = dict(zip(KEY_PREFIXES, reversed(KEY_PREFIXES), strict=True))


class _KeyForm:
    """What is known of one key of one pixel."""

    __slots__ = ("form", "refused", "taken")

    def __init__(self, form: str) -> None:
        self.form = form  # to be sent
        self.taken = ""  # the form that the last 200 was given to; empty after its 401
        self.refused: set[str] = set()  # the forms that were refused since the last 200


class KeyForms:
    """The forms of all pixels' keys. ``on_taken`` is called when a pixel's key is taken in a form that was not known yet.

    :param authorization: a form for all, or ``auto``.
    """

    def __init__(self, authorization: str) -> None:
        self._auto = authorization == "auto"
        self._first = next(iter(KEY_PREFIXES)) if self._auto else authorization
        self._of: dict[int, _KeyForm] = {}  # by the hash of pixel and key, so that no key is kept here
        self._taken: dict[str, str] = {}
        self.on_taken: Callable[[str, str], None] = lambda pixel_id, form: None

    def __repr__(self) -> str:
        return "KeyForms(…)"  # it holds pixel ids

    def form(self, pixel_id: str, key: str) -> str:
        """The form to send a key in now. A new key begins with the form that the pixel's last one was taken in."""
        return self._known(pixel_id, key).form

    def taken(self, pixel_id: str) -> str | None:
        """The form that the API takes the pixel's key in, None as long as that is not known."""
        return self._taken.get(pixel_id) or None

    def answered(self, pixel_id: str, key: str, form: str, status: int) -> bool:
        """Learn from an answer. True: the key got a 401 in this form alone, so the other is to be tried at once."""
        known = self._known(pixel_id, key)
        if status == DELIVERED and known.taken != form:
            known.form = known.taken = self._taken[pixel_id] = form
            known.refused.clear()
            self.on_taken(pixel_id, form)
        is_refused_too = status in SET_UP_FAULTS and known.taken != form and _OTHER[form] in known.refused
        if not self._auto or not (status == UNAUTHORIZED or is_refused_too):
            return False
        known.refused.add(form)
        if known.taken == form:
            known.taken = self._taken[pixel_id] = ""
        known.form = _OTHER[form]
        return known.form not in known.refused

    def _known(self, pixel_id: str, key: str) -> _KeyForm:
        at = hash((pixel_id, key))
        if at not in self._of:
            self._of[at] = _KeyForm(self._taken.get(pixel_id) or self._first)
        return self._of[at]
