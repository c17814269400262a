"""The request limits of a member: refusals are counted by key, and held pixels resume when the refusals are old enough."""

from __future__ import annotations

import pytest

from stream_capi.core.flow import Backoff, Gate
from stream_capi.core.held_reason import HeldReason
from stream_capi.pipeline.request_limits import RequestLimits

GATES = ("main", "second", "other")


@pytest.fixture
def gates() -> dict[str, Gate]:
    return {pixel: Gate(Backoff(0.5, 60.0), 30.0) for pixel in GATES}


def limits(gates: dict[str, Gate], keys: dict[str, str], per_second: int = 0, refusals: int = 0) -> RequestLimits:
    return RequestLimits(per_second, refusals, gates, lambda pixel: keys[pixel])


def test_pixels_of_one_key_are_held_together_and_go_on_by_themselves(gates: dict[str, Gate]) -> None:
    keys = {"main": "a", "second": "a", "other": "b"}
    of = limits(gates, keys, refusals=2)
    for pixel in ("main", "second"):
        of.sent(pixel, 1.0)
        of.answered(pixel, refused=True, now=1.0)
    of.review(1.0)
    assert {pixel: gate.reason for pixel, gate in gates.items() if gate.held} == dict.fromkeys(
        ("main", "second"), HeldReason.REFUSALS
    )
    assert [of.admits(pixel, 1.0) for pixel in GATES] == [False, False, True]
    gates["main"].succeeded(2.0)
    gates["main"].fail("timeout", 2.0, 0.5)
    assert (gates["main"].held, gates["main"].opens_at) == (True, 301.0), "what was in flight changes nothing"
    assert of.again(2.0) == 301.0
    of.review(301.0)
    assert not any(gate.held for gate in gates.values())


def test_requests_in_flight_are_refusals_to_come(gates: dict[str, Gate]) -> None:
    of = limits(gates, {"main": "a", "second": "a", "other": "b"}, refusals=2)
    of.sent("main", 0.0)
    assert of.admits("second", 0.0)
    of.sent("second", 0.0)
    assert [of.admits(pixel, 0.0) for pixel in GATES] == [False, False, True]
    of.review(0.0)
    assert not gates["main"].held, "there is room yet"
    of.answered("main", refused=False, now=1.0)
    assert of.admits("main", 1.0)


def test_a_changed_key_has_refusals_of_its_own(gates: dict[str, Gate]) -> None:
    keys = dict.fromkeys(GATES, "a")
    of = limits(gates, keys, refusals=1)
    of.sent("main", 0.0)
    of.answered("main", refused=True, now=0.0)
    of.review(0.0)
    keys["main"] = "new"
    of.review(1.0)
    assert [gates[pixel].held for pixel in GATES] == [False, True, True]


def test_another_hold_is_not_replaced(gates: dict[str, Gate]) -> None:
    of = limits(gates, dict.fromkeys(GATES, "a"), refusals=1)
    of.sent("main", 0.0)
    of.answered("main", refused=True, now=0.0)
    gates["main"].hold("401", 0.0)
    of.review(0.0)
    of.review(301.0)
    assert gates["main"].reason == "401"


def test_all_pixels_share_the_requests_of_a_second(gates: dict[str, Gate]) -> None:
    of = limits(gates, {}, per_second=2)
    of.sent("main", 0.0)
    of.sent("other", 0.5)
    assert not any(of.admits(pixel, 0.9) for pixel in GATES)
    assert of.again(0.9) == 1.0
    assert of.admits("main", 1.0)
