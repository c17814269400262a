"""Continuous traffic while a row disturbs the brokers, with few events in flight."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from tests.faults.budgets import AT_ONCE
from tests.scene import Budget, Scene
from tests.stack.waiting import until

_EVENTS = 20  # per round
_EVERY_SECONDS = 0.2


@contextlib.contextmanager
def traffic(scene: Scene) -> Iterator[None]:
    """Produce up to a hundred events a second, a few of them bad, from a thread until the context ends."""
    ending, failures = threading.Event(), list[BaseException]()

    def produce() -> None:
        try:
            while not ending.wait(_EVERY_SECONDS):
                scene.produce(_EVENTS, bad=1, idempotent=True)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=produce, name="traffic", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(90)
    assert not failures, failures


def await_commits(scene: Scene) -> None:
    """Wait until delivery and commits of all partitions are under way."""
    scene.ledger.await_first_commits()
    until(lambda: sum(scene.ledger.committed.values()) > 100, 30, "commits before the fault")


def in_flight_when_lost(scene: Scene) -> Budget:
    """The budget of a member that loses its partitions and gets them back: it skips what it saw answered before."""
    lost = sum(len(member.logged("lost")) for member in scene.members)
    return Budget(AT_ONCE * lost, f"in flight when partitions were lost, {lost} times")
