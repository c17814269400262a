"""The history of an episode as observed from outside, and the check of it against the promises (as Jepsen does).

Nothing here relies on the program: what was produced is known from the brokers' acknowledgements, and the outcomes from the
endpoint's answers, the dead-letter topic and the group's committed offsets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

Place = tuple[str, int, int]  # topic, partition, offset
_SHOWN = 3


class Acknowledged(NamedTuple):
    """A record that the brokers acknowledged, and its transaction too if it has one. ``code``: of its dead letter."""

    at: float
    place: Place
    event_id: str
    code: str | None = None


class Aborted(NamedTuple):
    """A record of an aborted transaction; without a place if the brokers did not acknowledge it."""

    at: float
    event_id: str
    place: Place | None = None


class Doubtful(NamedTuple):
    """A record of which it is unknown whether it was written, or its transaction committed: it may have an outcome."""

    at: float
    event_id: str


class Delivered(NamedTuple):
    """The endpoint answered 200 to a request with this event."""

    at: float
    event_id: str


class DeadLettered(NamedTuple):
    """A dead letter that names this place."""

    at: float
    place: Place
    code: str


class Committed(NamedTuple):
    """The group's committed offset of a partition."""

    at: float
    topic: str
    partition: int
    offset: int


class Struck(NamedTuple):
    """A fault that may lose an answer or a commit: what was delivered then may be delivered again."""

    at: float
    until: float
    kind: str


Entry = Acknowledged | Aborted | Doubtful | Delivered | DeadLettered | Committed | Struck

GAVE_UP = "member_gave_up"  # not from the plan: a member's client could not go on, and the member ended with 3

# By seriousness: if an episode breaks several, the first of these is used for shrinking.
PROPERTIES: Mapping[str, str] = {
    "lost": "an acknowledged record below the committed offset has no outcome",
    "aborted": "a record of an aborted transaction has an outcome",
    "back": "a committed offset went back",
    "wrong": "a record has an outcome that is not its own",
    "early": "an offset was committed before a record below it was answered",
    "open": "healed, and an acknowledged record has no outcome, or lies behind no committed offset",
    "repeated": "a record was delivered again without a fault that allows it",
}
# Seconds before and after a fault within which a delivery may be repeated later: an answer may be in flight or not committed
# yet when a process is killed, frozen or cut off, and commits succeed again only when members and coordinator have found
# each other. Other kinds of faults allow no repetition: a member that stops cleanly, or joins, causes none.
ALLOWS_REPEATS: Mapping[str, tuple[float, float]] = {
    GAVE_UP: (15.0, 1.0),  # its session may have ended so long before it learns of that
    **dict.fromkeys(("member_killed", "worker_killed"), (2.0, 1.0)),
    "member_frozen": (2.0, 5.0),
    **dict.fromkeys(
        ("node_killed", "node_ended", "node_frozen", "clients_cut", "clients_half_open", "clients_slow",
         "replication_cut", "replication_half_open", "controller_cut", "controller_half_open", "quorum_lost", "brokers_half_open"),
        (2.0, 20.0),
    ),
}  # fmt: skip


class Finding(NamedTuple):
    """A broken property, some of the places where it is broken, and their number."""

    broken: str
    text: str
    places: int = 1

    def __str__(self) -> str:
        return f"{self.broken}: {self.text}"


class Repeats(NamedTuple):
    """How many deliveries were repetitions. ``beyond`` names the events whose repetition no fault allows."""

    total: int
    beyond: tuple[str, ...]


def judge(history: Iterable[Entry], healed: bool = True) -> list[Finding]:
    """Every property that a history breaks, the most serious first. ``healed``: it had time to end after the last fault."""
    books = _Books(list(history))
    broken: defaultdict[str, list[str]] = defaultdict(list)
    for record in books.acknowledged.values():
        for name, text in books.faults_of(record, healed):
            broken[name].append(text)
    for aborted in books.aborted:
        if aborted.event_id in books.delivered:
            broken["aborted"].append(f"{aborted.event_id} was delivered")
        if aborted.place in books.dead:
            broken["aborted"].append(f"{aborted.place} was dead-lettered")
    for partition, commits in books.commits.items():
        for before, after in pairwise(commits):
            if after.offset < before.offset:
                broken["back"].append(f"{partition}: from {before.offset} to {after.offset}")
    broken["wrong"] += [f"{name} was delivered, and nobody sent it" for name in sorted(books.invented())]
    broken["repeated"] += [f"{name} was delivered again" for name in books.repeats().beyond]
    return [Finding(name, _in_short(broken[name]), len(broken[name])) for name in PROPERTIES if broken[name]]


def repeats(history: Iterable[Entry]) -> Repeats:
    """The repeated deliveries of a history."""
    return _Books(list(history)).repeats()


def _in_short(texts: Sequence[str]) -> str:
    more = f", and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


class _Books:
    """A history, indexed by event, place and partition. Entries are numbered in the order in which they were observed."""

    def __init__(self, history: list[Entry]) -> None:
        self.acknowledged: dict[Place, Acknowledged] = {}
        self.aborted: list[Aborted] = []
        self.delivered: defaultdict[str, list[Delivered]] = defaultdict(list)
        self.dead: dict[Place, str] = {}
        self.commits: defaultdict[tuple[str, int], list[Committed]] = defaultdict(list)
        self._answered_in: dict[str, int] = {}
        # By partition: rising committed offsets, each with the number of the entry in which it was first seen.
        self._passed: defaultdict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
        self._struck: list[Struck] = []
        self._sent: set[str] = set()
        for number, entry in enumerate(history):
            self._enter(number, entry)
        self._sent.update(record.event_id for record in self.acknowledged.values())

    def _enter(self, number: int, entry: Entry) -> None:
        match entry:
            case Acknowledged():
                self.acknowledged[entry.place] = entry
            case Aborted():
                self.aborted.append(entry)
                self._sent.add(entry.event_id)
            case Doubtful():
                self._sent.add(entry.event_id)
            case Delivered():
                self.delivered[entry.event_id].append(entry)
                self._answered_in.setdefault(entry.event_id, number)
            case DeadLettered():
                self.dead[entry.place] = entry.code
            case Committed():
                partition = entry.topic, entry.partition
                self.commits[partition].append(entry)
                passed = self._passed[partition]
                if not passed or entry.offset > passed[-1][0]:
                    passed.append((entry.offset, number))
            case Struck():
                self._struck.append(entry)

    def faults_of(self, record: Acknowledged, healed: bool) -> Iterable[tuple[str, str]]:
        """The properties that the fate of one record breaks, each with an explanation."""
        passed, answered, code = (
            self._passed_in(record.place),
            self._answered_in.get(record.event_id),
            self.dead.get(record.place),
        )
        if answered is None and code is None:
            if passed is not None:
                yield "lost", f"{record.place} ({record.event_id})"
            elif healed:
                yield "open", f"{record.place} has no outcome"
            return
        if code != record.code or (answered is not None) == (record.code is not None):
            fate = " and ".join(
                ["delivered"] * (answered is not None) + [f"dead-lettered as {code}"] * (code is not None)
            )
            yield "wrong", f"{record.place} was {fate}, should be {record.code or 'delivered'}"
        elif answered is not None and passed is not None and passed < answered:
            # Not checked for dead letters: each is observed later than it was written.
            yield "early", f"{record.place} ({record.event_id})"
        if passed is None and healed:
            yield "open", f"{record.place} lies behind no committed offset"

    def _passed_in(self, place: Place) -> int | None:
        """The number of the first entry with a committed offset beyond this place."""
        passed = self._passed[place[:2]]
        index = bisect_right(passed, place[2], key=lambda entry: entry[0])
        return passed[index][1] if index < len(passed) else None

    def invented(self) -> set[str]:
        return self.delivered.keys() - self._sent

    def repeats(self) -> Repeats:
        pairs = [(name, before.at) for name, times in self.delivered.items() for before in times[:-1]]
        return Repeats(len(pairs), tuple(name for name, at in pairs if not self._allows(at)))

    def _allows(self, at: float) -> bool:
        """Whether what was delivered at this time may be delivered again."""
        for struck in self._struck:
            if struck.kind in ALLOWS_REPEATS:
                before, after = ALLOWS_REPEATS[struck.kind]
                if struck.at - before <= at <= struck.until + after:
                    return True
        return False
