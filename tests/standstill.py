"""How long commits stand still while events keep arriving, by the broker's committed offsets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

from stream_capi.model import TopicPartition
from tests.scene import Budget, Scene

REPLACED_SECONDS = 15.0  # promised: from a member's death to the first commit of its partitions by another
STANDSTILL_SECONDS = 5.0  # promised: longest time without a commit of the survivors
EVENTS = 100  # per round: enough for each of a few partitions to get some
BURST = Budget(EVENTS, "one round's events came since the last commit before the kill")
_EVERY_SECONDS = 0.3
_FOR_EVER = 900.0


def committed(scene: Scene) -> dict[TopicPartition, int]:
    """The group's committed offsets."""
    return {
        TopicPartition(topic, number): offset
        for topic in (scene.leads, scene.views)
        for number, (offset, _) in scene.broker.committed(scene.group, topic).items()
    }


class Standstill:
    """Produces to every partition of a scene, and records when the committed offset of each has moved."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._committed: dict[TopicPartition, int] = {}
        self._moved: dict[TopicPartition, list[float]] = {}

    def watch(self, seconds: float, done: Callable[[], bool] = lambda: False) -> None:
        """Produce and watch for so long, or until ``done``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not done():
            self._scene.produce(EVENTS)
            time.sleep(_EVERY_SECONDS)
            for tp, offset in committed(self._scene).items():
                if offset > self._committed.get(tp, -1):
                    self._committed[tp] = offset
                    self._moved.setdefault(tp, []).append(time.monotonic())

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Produce and watch in the background until the context ends."""
        over = threading.Event()
        with ThreadPoolExecutor(1) as threads:
            watching = threads.submit(self.watch, _FOR_EVER, over.is_set)
            try:
                yield
            finally:
                over.set()
        watching.result()

    def longest(self, partitions: Collection[TopicPartition], since: float) -> float:
        """The longest time, up to now, for which one of these partitions had no new commit."""
        return max(
            after - before
            for tp in partitions
            for before, after in pairwise([since, *(at for at in self._moved[tp] if at > since), time.monotonic()])
        )

    def resumed(self, partitions: Collection[TopicPartition], since: float) -> bool:
        """Whether each of these partitions has a new commit."""
        return all(self._moved[tp][-1] > since for tp in partitions)


def assert_replaced(
    scene: Scene, kill: Callable[[], object], lost: Collection[TopicPartition], kept: Collection[TopicPartition]
) -> None:
    """Kill the owner of ``lost``. Assert that others soon commit these, and commit ``kept`` without a long pause."""
    commits = Standstill(scene)
    commits.watch(3)
    kill()
    at = time.monotonic()
    commits.watch(2 * REPLACED_SECONDS, lambda: commits.resumed(lost, at))
    took, longest = time.monotonic() - at, commits.longest(kept, at)
    scene.figures.append(f"{took:.1f} s after the kill; {longest:.1f} s without a commit of the survivors")
    assert commits.resumed(lost, at), "the partitions of the one that was killed are read by nobody"
    assert took < REPLACED_SECONDS
    assert longest < STANDSTILL_SECONDS
