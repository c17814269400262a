"""The limits of this member that the settings put on requests: how many a second, and how many refusals in five minutes.

A pixel whose key has had ``max_refusals`` refusals within the window is held until the window has moved on. Each request in
flight may come to be one more, so no more of them go out than there is room for: the limit is never passed.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from stream_capi.core.flow import Gate
from stream_capi.core.held_reason import HeldReason
from stream_capi.core.window import Window

REFUSALS_SECONDS = 300.0


class RequestLimits:
    """Asked before each request, and notified after it.

    :param key_of: identifies a pixel's key: refusals are counted per key, whichever pixels share it.
    """

    def __init__(
        self, per_second: int, refusals: int, gates: Mapping[str, Gate], key_of: Callable[[str], Hashable]
    ) -> None:
        self._pace = Window(per_second, 1.0)
        self._most_refusals = refusals
        self._gates = gates
        self._key_of = key_of
        self._refusals: dict[Hashable, Window] = {}
        self._in_flight: dict[str, int] = dict.fromkeys(gates, 0)

    def admits(self, pixel: str, now: float) -> bool:
        """Whether a request of this pixel may go now."""
        if self._pace.room(now) <= 0:
            return False
        if not self._most_refusals:
            return True
        key = self._key_of(pixel)
        under_way = sum(count for of, count in self._in_flight.items() if count and self._key_of(of) == key)
        return self._window(key).room(now) > under_way

    def sent(self, pixel: str, now: float) -> None:
        """A request of this pixel goes out."""
        self._pace.add(now)
        self._in_flight[pixel] += 1

    def answered(self, pixel: str, refused: bool, now: float) -> None:
        """A request of this pixel has ended."""
        self._in_flight[pixel] -= 1
        if refused and self._most_refusals:
            self._window(self._key_of(pixel)).add(now)

    def review(self, now: float) -> None:
        """Hold the pixels whose keys have no room left, let go those that have some again."""
        if not self._most_refusals:
            return
        for pixel, gate in self._gates.items():
            until = self._window(self._key_of(pixel)).full_until(now)
            if until is not None:
                gate.rest(HeldReason.REFUSALS, until, now)
            elif gate.resting:
                gate.release(now)

    def again(self, now: float) -> float | None:
        """When there is room again, where there is none now."""
        ends = [self._pace.full_until(now), *(window.full_until(now) for window in self._refusals.values())]
        return min((end for end in ends if end is not None), default=None)

    def _window(self, key: Hashable) -> Window:
        return self._refusals.setdefault(key, Window(self._most_refusals, REFUSALS_SECONDS))
