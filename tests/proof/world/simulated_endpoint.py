"""The simulated API: answers by its mode, processes events that it accepts, and checks every request."""

from __future__ import annotations

import asyncio
import json
from random import Random

from stream_capi.model import Answer, Lane
from tests.proof.world.events import MAX_BYTES, Event, event_of
from tests.proof.world.ledger import Ledger

TIMEOUT = 10.0
MAX_EVENTS = 10
PACES = {"quick": (0.01, 0.2), "slow": (0.5, 4.0), "ragged": (0.01, 14.0)}  # seconds; ragged: some answers are too late
# How requests of a lane or a pixel are answered; ``lost``: processed, but the answer is lost.
MODES = (
    "fine",
    "refuse",
    "401",
    "404",
    "302",
    "429",
    "429 without",
    "503",
    "503 later",
    "500",
    "202",
    "408",
    "early_answer",
    "timeout",
    "lost",
    "reset",
    "mixed",
)
_MIXED = ("fine", "fine", "fine", "429", "500", "503", "429 without", "lost", "reset", "timeout")


class SimulatedEndpoint:
    """The API. ``modes`` has the current mode of pixels and lanes, by name; a lane's mode overrides its pixel's."""

    def __init__(self, seed: int, ledger: Ledger, lanes: dict[str, Lane]) -> None:
        self.seed = seed
        self.ledger = ledger
        self.modes: dict[str, str] = {}
        self.pace = "quick"
        self.requests = 0
        self._lanes = lanes
        self._under_way: set[asyncio.Task[Answer]] = set()

    async def post(self, pixel: str, body: bytes) -> Answer:
        """One exchange, as the program's client would see it. If the caller is cut off, the server side still goes on."""
        self.requests += 1
        events = [event_of(text) for text in json.loads(body)["events"]]
        lane = self._check(pixel, body, events)
        serving = asyncio.get_running_loop().create_task(self._serve(lane, events, Random(self.seed + self.requests)))
        self._under_way.add(serving)
        serving.add_done_callback(self._under_way.discard)
        done, _ = await asyncio.wait([serving], timeout=TIMEOUT)
        if not done:
            return Answer(fault="timeout", seconds=TIMEOUT)
        answer = serving.result()
        if answer.status == 200:
            self.ledger.heard(events)
        return answer

    def _check(self, pixel: str, body: bytes, events: list[Event]) -> Lane:
        lanes = {self._lanes[event.topic] for event in events}
        assert len(lanes) == 1, f"a request of several lanes: {lanes}"
        (lane,) = lanes
        assert lane.pixel == pixel, f"events of {lane.pixel} go to {pixel}"
        assert 1 <= len(events) <= MAX_EVENTS, f"a request of {len(events)} events"
        assert len(body) <= MAX_BYTES, f"a request of {len(body)} bytes"
        ids = {event.id for event in events}
        assert len(ids) == len(events), "an event stands in one request twice"
        return lane

    async def _serve(self, lane: Lane, events: list[Event], rng: Random) -> Answer:
        least, most = PACES[self.pace]
        before, behind = rng.uniform(least, most), rng.uniform(least, most) / 4
        await asyncio.sleep(before)
        mode = self.modes.get(str(lane)) or self.modes.get(lane.pixel) or "fine"
        if mode == "mixed":
            mode = rng.choice(_MIXED)
        answer = self._answer(mode, events, rng)
        if answer.fault == "timeout":
            await asyncio.sleep(TIMEOUT * 2)
        await asyncio.sleep(behind)
        return answer

    def _answer(self, mode: str, events: list[Event], rng: Random) -> Answer:
        if mode in ("fine", "lost", "refuse"):
            if mode == "refuse" or any(event.kind == "poison" for event in events):
                if len(events) == 1:
                    self.ledger.refused_alone.add(events[0].id)
                return Answer(rng.choice((400, 400, 413, 422)))
            self.ledger.took(events)
            return Answer(200) if mode == "fine" else Answer(fault=rng.choice(("timeout", "reset", "disconnected")))
        if mode in ("timeout", "reset", "early_answer"):
            return Answer(fault=mode)
        if mode in ("429", "503 later"):
            return Answer(int(mode[:3]), retry_after=str(rng.randint(1, 90)))
        return Answer(int(mode.split()[0]))
