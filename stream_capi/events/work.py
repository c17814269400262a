"""The events of one lane while they are made: what is known of them so far, and the pieces of their JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stream_capi.events.judging import Judged
from stream_capi.events.taking import Column, Columns
from stream_capi.events.value_rules import Wrong
from stream_capi.events.whole import escaped
from stream_capi.model import Paused, Rejection, Skipped

Fault = Rejection | Skipped | Paused


class Work:
    """A column of events.

    ``pieces`` are columns of text: joined index by index, they are the events' JSON. A value's closing quote is not in its
    own piece but begins the next one.
    """

    __slots__ = (
        "aside", "columns", "dropped", "faults", "judged", "length", "newest", "offsets", "oldest", "pieces", "place",
        "tidy",
    )  # fmt: skip

    def __init__(
        self, columns: Columns, length: int, place: str, offsets: Sequence[int], oldest: int, newest: int
    ) -> None:
        self.columns = columns
        self.length = length
        self.place = place  # topic and partition in one text
        self.offsets = offsets
        self.oldest = oldest
        self.newest = newest
        self.judged: dict[str, Judged] = {}  # by target
        self.aside: dict[str, Column] = {}  # other results of steps, for ``explain`` and the counts
        self.faults: dict[int, Fault] = {}  # the first one of each event
        self.dropped: dict[tuple[str, str], int] = {}
        self.pieces: list[Iterable[str]] = []
        self.tidy = False  # the texts of fields that are only trimmed need no trimming and no escaping

    def reject(self, faults: Mapping[int, Fault]) -> None:
        """Note that these events can't be sent; the first fault of an event is kept."""
        for at, fault in faults.items():
            self.faults.setdefault(at, fault)

    def drop(self, name: str, wrong: Mapping[int, Wrong]) -> None:
        """Count the events that are sent without a field, leaving out those that can't be sent anyway."""
        for at, why in wrong.items():
            if at not in self.faults:
                key = name, why.reason
                self.dropped[key] = self.dropped.get(key, 0) + 1

    def payloads(self) -> list[Any]:
        """The JSON of each event, in bytes of exactly its size; a serialiser's results would keep a larger buffer."""
        made: list[Any] = list(map(str.encode, map("".join, zip(*self.pieces, strict=False))))
        if len(made) != self.length:
            raise RuntimeError("a column is shorter than the others")
        for at, fault in self.faults.items():
            made[at] = fault
        return made


# A step handles one field or several: it takes their columns, validates them, and writes them as pieces. It is called once
# for each chunk, so with small chunks every function call inside it costs time.
Step = Callable[[Work], None]


def in_json(judged: Judged, length: int) -> Sequence[str]:
    """Texts as JSON writes them between quotes; empty if nothing is sent."""
    values, _, sent, plain = judged
    if sent < length:
        values = [value or "" for value in values]
    return values if plain else escaped(values)
