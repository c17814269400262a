"""The faults of a soak: each function starts a fault, waits, and heals it."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.endpoint_thread import Answering
from tests.program import Program
from tests.scene import Scene
from tests.stack import Broker

Fault = Callable[["Storm"], None]


def is_poison(event_id: str) -> bool:
    """Whether the API refuses this event, and with it its whole batch: one in a thousand."""
    return int(event_id.rpartition("-")[2], 16) % 1000 == 0


def has_poison(request: RequestInfo) -> bool:
    return any(map(is_poison, request.dedupe_ids))


def except_poison(action: Action, ordinary: Answering) -> Answering:
    """``action`` for every request, but the ordinary answer for a batch with poison where ``action`` would accept it."""
    return lambda request: ordinary(request) if action.status is None and has_poison(request) else action


class Storm:
    """The state that the faults of a scene change. All choices come from ``chance``, so that a seed repeats them."""

    def __init__(self, scene: Scene, chance: random.Random) -> None:
        self.scene = scene
        self.chance = chance
        self.began = 0.0
        self.steadfast = scene.members[0]  # frozen at times but never killed, since its memory is measured
        self.others = scene.members[1:]
        scene.endpoint.answer(self.ordinary)

    def ordinary(self, request: RequestInfo) -> Action | None:
        """Answer without a fault: with some latency, and now and then a failure."""
        delay = self.chance.uniform(0.005, 0.05)
        if has_poison(request):
            return Action(status=400, delay_seconds=delay)
        dice = self.chance.random()
        if dice < 0.01:
            return Action(status=503, delay_seconds=delay)
        if dice < 0.015:
            return Action(status=429, headers={"Retry-After": "1"}, delay_seconds=delay)
        return Action(delay_seconds=delay)

    @contextmanager
    def answering(self, status: int | None = None, *, reset: bool = False, hang: bool = False) -> Iterator[None]:
        """Give the same answer to all requests until the context ends; poison is never accepted."""
        action = Action(status=status, reset="after_body" if reset else None, hang=hang, processed=reset or hang)
        self.scene.endpoint.answer(except_poison(action, self.ordinary))
        try:
            yield
        finally:
            self.scene.endpoint.answer(self.ordinary)

    def restart(self, member: Program) -> None:
        """Start a member that has ended."""
        member.start()


def _last(storm: Storm, least: float, most: float) -> None:
    time.sleep(storm.chance.uniform(least, most))


def endpoint_unavailable(storm: Storm) -> None:
    with storm.answering(503):
        _last(storm, 2, 6)


def endpoint_fails(storm: Storm) -> None:
    with storm.answering(500):
        _last(storm, 2, 6)


def key_refused(storm: Storm) -> None:
    with storm.answering(401):
        _last(storm, 2, 6)


def processed_and_reset(storm: Storm) -> None:
    with storm.answering(reset=True):
        _last(storm, 1, 3)


def processed_and_silent(storm: Storm) -> None:
    with storm.answering(hang=True):
        _last(storm, 1, 3)


def endpoint_gone(storm: Storm) -> None:
    storm.scene.endpoint.stop()
    try:
        _last(storm, 1, 4)
    finally:
        storm.scene.endpoint.start()


def member_killed(storm: Storm) -> None:
    member = storm.chance.choice(storm.others)
    member.kill()
    _last(storm, 0, 3)
    storm.restart(member)


def member_ended_in_order(storm: Storm) -> None:
    member = storm.chance.choice(storm.others)
    member.terminate(40)
    _last(storm, 0, 3)
    storm.restart(member)


def member_frozen(storm: Storm) -> None:
    member = storm.chance.choice(storm.scene.members)
    member.signal(signal.SIGSTOP)
    try:
        _last(storm, 1, 8)
    finally:
        member.signal(signal.SIGCONT)


def _broker(storm: Storm) -> Broker:
    broker = storm.scene.broker
    assert isinstance(broker, Broker)
    return broker


def broker_frozen(storm: Storm) -> None:
    _broker(storm).freeze()
    try:
        _last(storm, 1, 8)
    finally:
        _broker(storm).thaw()


def broker_killed(storm: Storm) -> None:
    _broker(storm).kill()
    _last(storm, 0, 2)
    _broker(storm).restart()


def registry_frozen(storm: Storm) -> None:
    storm.scene.registry.freeze()
    try:
        _last(storm, 1, 6)
    finally:
        storm.scene.registry.thaw()


FAULTS: tuple[Fault, ...] = (
    endpoint_unavailable,
    endpoint_fails,
    key_refused,
    processed_and_reset,
    processed_and_silent,
    endpoint_gone,
    member_killed,
    member_ended_in_order,
    member_frozen,
    broker_frozen,
    broker_killed,
    registry_frozen,
)
