"""Answers for the mock endpoint, and checks of a scene during a fault."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stream_capi.model import Code
from stream_capi.sandbox.fault_script import Action, RequestInfo
from stream_capi.sandbox.mock_api import SeenRequest
from tests.endpoint_thread import Answering
from tests.program import KEY, PIXEL_ID, Program
from tests.scene import Scene
from tests.stack import Broker, Produced, Registry
from tests.stack.waiting import until

OTHER_PIXEL_ID = "pixel-2"
OTHER_KEY = "canary-key-of-the-other-77aa31"
HEALED_SECONDS = 30.0  # within which there must be progress after the end of a fault


def always(**what: Any) -> Answering:
    """The same action for every request."""
    action = Action(**what)
    return lambda request: action


def for_pixel(pixel_id: str, answer: Answering) -> Answering:
    """Use ``answer`` for one pixel's requests; the others get the default answer."""
    return lambda request: answer(request) if request.pixel_id == pixel_id else None


def for_event(name: str, answer: Answering) -> Answering:
    """Use ``answer`` for batches of one event name; the others get the default answer."""
    return lambda request: answer(request) if name_of(request) == name else None


def name_of(request: RequestInfo) -> str:
    """The name of the events in a request: all events of a batch have the same."""
    return str(request.events[0]["name"]) if request.events else ""


def two_pixels(folder: Path, broker: Broker, registry: Registry, **options: Any) -> Scene:
    """A scene whose leads go to one pixel and whose page views go to another, each with its own key."""
    scene = Scene(folder, broker, registry, keys={PIXEL_ID: KEY, OTHER_PIXEL_ID: OTHER_KEY}, **options)
    key_file = folder / "other.key"
    key_file.write_text(OTHER_KEY)
    scene.settings["pixels"].append({"name": "other", "pixel_id": OTHER_PIXEL_ID, "api_key_file": str(key_file)})
    scene.settings["sources"][1]["pixel"] = "other"
    scene.secrets.append(OTHER_KEY)
    return scene


def expect(scene: Scene, events: Iterable[Produced], code: Code) -> None:
    """Tell the ledger that these events must become dead letters with this code after all."""
    scene.ledger.add(event._replace(bad_code=code) for event in events)


def requests_of(scene: Scene, pixel_id: str = PIXEL_ID) -> list[SeenRequest]:
    """One pixel's requests so far, in their order."""
    return [record for record in list(scene.endpoint.mock.requests) if record.pixel_id == pixel_id]


def reasons(member: Program) -> set[str]:
    """The reasons of everything that the member holds."""
    return {held["reason"] for held in member.status()["held"]}


def notices(member: Program) -> str:
    """The member's notices, which are about faults that end by themselves, as one text."""
    return "\n".join(f"{notice['subject']}: {notice['reason']}" for notice in member.status()["notices"])


def await_held(member: Program, reason: str) -> None:
    """Wait until something is held for this reason. Assert that the member is not ready then, and gives the reason."""
    until(lambda: reason in reasons(member), 60, f"a hold for {reason}")
    code, text = member.get("/readyz")
    assert (code, reason in text) == (503, True), f"/readyz: {code} {text}"


def await_progress(scene: Scene, *topics: str) -> None:
    """Wait for new commits after a fault has ended: they must come within the promised time."""
    lag = scene.ledger.lag(*topics)
    until(lambda: scene.ledger.lag(*topics) < max(lag, 1), HEALED_SECONDS, "progress after the fault was mended", 0.1)
    assert not scene.ledger.faults, scene.ledger.faults[:5]


def await_dead_letters_waiting(scene: Scene, member: Program) -> None:
    """After ``poison_in_the_first``: wait until the dead letter can't be written and all other partitions are committed."""

    def committed(partition: int) -> int:
        return scene.ledger.committed.get((scene.leads, partition), 0)

    until(lambda: f"{scene.dead}: dead letters wait" in notices(member), 60, "a word on the dead letters")
    until(lambda: committed(1) >= 50 and scene.ledger.lag(scene.views) == 0, 60, "the sound partitions")
    assert committed(0) <= 1
    assert scene.ledger.dead_letters() == []
    assert member.is_ready()
