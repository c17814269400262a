"""The plan of one episode of the cluster's soak, as plain data. All of it is drawn from a seed before anything starts."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import NamedTuple

NODES = 3
ANY = ""  # the target of a fault that has only one possible target
PROTOCOLS = ("classic", "range", "consumer")
_WHICH = ("coordinator", "leader", *map(str, range(1, NODES + 1)))  # roles are resolved when the fault begins
_FIRST_AT = 3.0
_PAUSE = (1.0, 6.0)  # seconds between the starts of two faults


class Fault(NamedTuple):
    """A fault of a target that begins at the second ``at`` and lasts so many seconds."""

    at: float
    kind: str
    target: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.at:5.1f} s  {self.kind} {self.target}".rstrip() + f", for {self.seconds:.1f} s"


class Topic(NamedTuple):
    """A source of one event name. If it is transactional, some transactions are aborted."""

    event: str
    partitions: int
    replication: int
    transactional: bool
    compacted: bool


class Plan(NamedTuple):
    """One episode: its members, topics and settings, and the schedule of faults."""

    seed: int
    seconds: float
    rate: int  # events a second, all topics together
    protocol: str
    static: bool
    workers: tuple[int, ...]  # by member
    topics: tuple[Topic, ...]
    max_events: int
    window_ms: int
    max_in_flight: int
    latency_ms: int  # the endpoint's longest latency without a fault
    faults: tuple[Fault, ...]


class Kind(NamedTuple):
    """A kind of fault: the kind of its target, how long it lasts, and the weight with which it is drawn."""

    of: str
    seconds: tuple[float, float]
    weight: int = 2


_AT_NODES = {
    "node_killed": Kind("node", (0.0, 8.0), 4),
    "node_ended": Kind("node", (0.0, 6.0), 4),
    "node_frozen": Kind("node", (1.0, 12.0), 3),
    "clients_cut": Kind("node", (1.0, 10.0)),
    "clients_half_open": Kind("node", (1.0, 15.0), 3),
    "clients_slow": Kind("node", (2.0, 8.0), 1),
    "replication_cut": Kind("node", (1.0, 10.0)),
    "replication_half_open": Kind("node", (1.0, 10.0)),
    "controller_cut": Kind("node", (1.0, 10.0)),
    "controller_half_open": Kind("node", (1.0, 10.0)),
    "quorum_lost": Kind("quorum", (2.0, 10.0)),
    "brokers_half_open": Kind("brokers", (1.0, 12.0)),
}
_AT_MEMBERS = {
    "member_killed": Kind("member", (0.0, 6.0), 5),
    "member_ended": Kind("member", (0.0, 4.0), 4),
    "member_frozen": Kind("member", (1.0, 14.0), 3),
    "worker_killed": Kind("worker", (0.0, 0.0)),
    "member_joined": Kind("spare", (3.0, 10.0), 3),
}
_AT_THE_ENDPOINT = {
    "endpoint_fails": Kind("endpoint", (1.0, 6.0)),
    "endpoint_throttles": Kind("endpoint", (1.0, 5.0)),
    "key_refused": Kind("endpoint", (1.0, 5.0)),
    "processed_and_reset": Kind("endpoint", (1.0, 4.0)),
    "processed_and_silent": Kind("endpoint", (1.0, 4.0)),
    "endpoint_gone": Kind("endpoint", (1.0, 4.0)),
    "endpoint_slow": Kind("endpoint", (2.0, 8.0)),
}
_ELSEWHERE = {
    "registry_frozen": Kind("registry", (1.0, 6.0), 1),
    "partitions_added": Kind("topic", (0.0, 0.0), 1),
    "transaction_left_open": Kind("transactions", (2.0, 8.0)),
    "leaders_elected": Kind("leaders", (0.0, 0.0)),
}
KINDS: Mapping[str, Kind] = {**_AT_NODES, **_AT_MEMBERS, **_AT_THE_ENDPOINT, **_ELSEWHERE}


def draw(seed: int, seconds: float = 60.0) -> Plan:
    """Draw the episode of a seed. The same seed and length give the same episode."""
    chance = random.Random(seed)
    topics = tuple(_topic(chance, event) for event in ("generate_lead", "page_view", *_more(chance)))
    most = Plan(
        seed,
        seconds,
        rate=chance.choice((60, 100, 160)),
        protocol=chance.choice(PROTOCOLS),
        static=chance.random() < 0.3,
        workers=tuple(chance.choice((1, 1, 1, 2)) for _ in range(chance.choice((1, 2, 2, 3)))),
        topics=topics,
        max_events=chance.choice((5, 20, 100)),
        window_ms=chance.choice((50, 200, 500)),
        max_in_flight=chance.choice((2, 4, 16)),
        latency_ms=chance.choice((20, 100, 400)),
        faults=(),
    )
    # One member alone can deliver three times the rate: so a backlog is soon delivered after a fault.
    answers = most.max_events * most.max_in_flight * 1000 // (3 * most.rate)
    plan = most._replace(latency_ms=min(most.latency_ms, answers))
    return plan._replace(faults=_schedule(chance, plan))


def kept(plan: Plan, numbers: tuple[int, ...]) -> Plan:
    """The same episode with only these of its faults."""
    return plan._replace(faults=tuple(plan.faults[number] for number in numbers))


def _more(chance: random.Random) -> tuple[str, ...]:
    return chance.choice(((), (), ("generate_lead",), ("page_view",)))


def _topic(chance: random.Random, event: str) -> Topic:
    return Topic(
        event, chance.choice((1, 2, 4, 6)), chance.choice((2, 3, 3)), chance.random() < 0.4, chance.random() < 0.3
    )


def _schedule(chance: random.Random, plan: Plan) -> tuple[Fault, ...]:
    """Faults may overlap, but not on the same target: so leaving some out doesn't change the others."""
    targets = _targets(plan)
    names = [name for name, kind in KINDS.items() if targets[kind.of]]
    weights = [KINDS[name].weight for name in names]
    free_at: dict[tuple[str, str], float] = {}
    faults: list[Fault] = []
    at = _FIRST_AT
    while at < plan.seconds:
        (name,) = chance.choices(names, weights)
        kind = KINDS[name]
        target = chance.choice(targets[kind.of])
        lasts = round(min(chance.uniform(*kind.seconds), plan.seconds - at), 1)
        if free_at.get(whose(kind.of, target), 0.0) < at:
            faults.append(Fault(at, name, target, lasts))
            free_at[whose(kind.of, target)] = at + lasts
        at = round(at + chance.uniform(*_PAUSE), 1)
    return tuple(faults)


def whose(of: str, target: str) -> tuple[str, str]:
    """The target that may have only one fault at a time: for a worker it is its member."""
    return ("member" if of == "worker" else of), target


def _targets(plan: Plan) -> Mapping[str, tuple[str, ...]]:
    """The possible targets by kind; none for transactions without a transactional topic, or for workers without workers."""
    numbered = tuple(map(str, range(len(plan.topics))))
    return {
        "node": _WHICH,
        "member": tuple(map(str, range(len(plan.workers)))),
        "worker": tuple(str(number) for number, workers in enumerate(plan.workers) if workers > 1),
        "topic": numbered,
        "transactions": tuple(number for number in numbered if plan.topics[int(number)].transactional),
        **dict.fromkeys(("quorum", "brokers", "spare", "endpoint", "registry", "leaders"), (ANY,)),
    }
