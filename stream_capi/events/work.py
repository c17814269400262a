"""The events of one lane in the making: what is known of them so far, and the pieces of their JSON."""

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

    ``pieces`` are columns of text that joined, index by index, are the events. A text ends without its quote: what comes
    behind it begins with that, whatever it is.
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
        self.aside: dict[str, Column] = {}  # what a step found besides, for ``explain`` and the counts
        self.faults: dict[int, Fault] = {}  # the first one of each event
        self.dropped: dict[tuple[str, str], int] = {}
        self.pieces: list[Iterable[str]] = []
        self.tidy = False  # no text of a field that is only trimmed has anything to be trimmed or escaped

    def reject(self, faults: Mapping[int, Fault]) -> None:
        """These events can't be sent."""
        for at, fault in faults.items():
            self.faults.setdefault(at, fault)

    def drop(self, name: str, wrong: Mapping[int, Wrong]) -> None:
        """These events are sent without a field, which is counted unless they can't be sent anyway."""
        for at, why in wrong.items():
            if at not in self.faults:
                key = name, why.reason
                self.dropped[key] = self.dropped.get(key, 0) + 1

    def payloads(self) -> list[Any]:
        """The JSON of each event, in bytes of its own size: what a serialiser returns would hold on to a larger buffer."""
        made: list[Any] = list(map(str.encode, map("".join, zip(*self.pieces, strict=False))))
        if len(made) != self.length:
            raise RuntimeError("a column is shorter than the others")
        for at, fault in self.faults.items():
            made[at] = fault
        return made


# What is done for one field or some of them: the columns are looked up, judged, and written as pieces. Each step is called
# once for a chunk, so that where chunks are small each call inside counts.
Step = Callable[[Work], None]


def in_json(judged: Judged, length: int) -> Sequence[str]:
    """Texts as they stand between quotes in JSON, empty ones where nothing is sent."""
    values, _, sent, plain = judged
    if sent < length:
        values = [value or "" for value in values]
    return values if plain else escaped(values)
