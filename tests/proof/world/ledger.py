"""The fate of every event, as endpoint, members and dead-letter topic saw it."""

from __future__ import annotations

from collections import Counter

from stream_capi.model import Code
from tests.proof.world.events import NOTHING_TO_DO, Event


class Ledger:
    """Counts by event id. ``handed``: how often the event was handed to a member that could not know its outcome."""

    def __init__(self) -> None:
        self.events: dict[str, Event] = {}
        self.handed: Counter[str] = Counter()
        self.processed: Counter[str] = Counter()  # accepted by the endpoint, whether or not the 200 arrived
        self.answered: Counter[str] = Counter()  # a member got the 200
        self.dead_letters: Counter[str] = Counter()
        self.refused_alone: set[str] = set()
        self.codes: Counter[str] = Counter()

    def has_outcome(self, event: Event) -> bool:
        return event.id in self.answered or event.id in self.dead_letters

    def took(self, events: list[Event]) -> None:
        """The endpoint processed a request."""
        for event in events:
            assert event.kind != "poison", f"{event.id} was accepted"
            self.processed[event.id] += 1

    def heard(self, events: list[Event]) -> None:
        """A member got the 200 of a request."""
        for event in events:
            self.answered[event.id] += 1
            self._no_outcome_too_many(event)

    def wrote(self, event: Event, code: Code) -> None:
        """The dead-letter topic has an event."""
        if code is Code.REFUSED:
            assert event.id in self.refused_alone, f"{event.id} is called refused, and never was alone"
        else:
            assert code is event.code, f"{event.id} is dead-lettered as {code}"
        self.dead_letters[event.id] += 1
        self.codes[code.value] += 1
        self._no_outcome_too_many(event)

    def _no_outcome_too_many(self, event: Event) -> None:
        outcomes = self.answered[event.id] + self.dead_letters[event.id]
        assert outcomes <= self.handed[event.id], f"{event.id}: outcome {outcomes}, handed over {self.handed[event.id]}"

    def explain(self, event: Event) -> str:
        return (
            f"{event.id}: handed over {self.handed[event.id]}, processed {self.processed[event.id]}, "
            f"answered {self.answered[event.id]}, letters {self.dead_letters[event.id]}"
        )

    def has_ended_well(self, event: Event) -> bool:
        """Whether it has exactly the outcome that it should have, once all is healed."""
        delivered, dead_lettered = event.id in self.answered, event.id in self.dead_letters
        if event.kind in NOTHING_TO_DO:
            return not delivered and not dead_lettered
        if event.code is None:  # while the API refused everything, a good event may have been refused alone
            return delivered or (dead_lettered and event.id in self.refused_alone)
        return dead_lettered and not delivered
