"""How delivery behaves towards an API that follows a script. Each test runs twice: in memory with simulated time, and over
HTTP with the mock endpoint and the program's own client, with a shortened day.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import Any, ClassVar

import pytest

from stream_capi.core.batch import Batch
from stream_capi.core.flow import Backoff
from stream_capi.endpoint.client import EndpointClient
from stream_capi.endpoint.key_forms import KeyForms
from stream_capi.model import Answer, ApiError, DeadLetter
from stream_capi.pipeline import request_limits
from stream_capi.sandbox.fault_script import Action, RequestInfo, Script
from stream_capi.sandbox.mock_api import MockEndpoint
from tests.endpoint.events import batch, lead
from tests.pipeline.given import P0, names
from tests.simulation import Line, held, simulate

KEY = "canary-key"


class Edge(Line):
    """A line in front of a scripted API that accepts its key in one form."""

    day: ClassVar[float] = 86_400.0
    window: ClassVar[float] = 300.0
    soon: ClassVar[float] = window  # a member without a limit gets 100 errors within this time
    longest: ClassVar[float] = 60.0  # longest backoff
    probe: ClassVar[float] = 30.0

    def __init__(self, rules: list[Mapping[str, Any]], takes: str = "bearer", **more: Any) -> None:
        self.script, self.takes = Script.parse({"rules": rules}), takes
        self.begun = asyncio.get_running_loop().time()
        self.sent: list[float] = []
        self.words: list[ApiError] = []
        self.details: list[str] = []
        self.running: list[asyncio.Task[None]] = []
        self.forms = KeyForms("auto")
        backoff = Backoff(self.longest / 120, self.longest)
        super().__init__(
            lambda *_: (0.0, Answer(200)),
            None,
            **{"backoff": backoff, "probe_seconds": self.probe, "try_key_first": True} | more,
        )

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time() - self.begun

    async def post(self, batch: Batch) -> Answer:
        self.sent.append(self.now)
        return await super().post(batch)

    async def exchange(self, ids: list[str], batch: Batch) -> Answer:
        """Answer in memory: the script's action, as the client would interpret it."""
        form = self.forms.form("main", KEY)
        info = RequestInfo(len(self.sent), self.now, "main", [lead(each) for each in ids])
        action = self.script.action(info) or Action()
        status = action.status or (200 if form == self.takes else 401)
        self.script.answered(info.seconds, status)
        await asyncio.sleep(0.05)
        said = ApiError(*(action.headers.get(f"x-{name}", "") for name in ("al-error-code", "al-error-message")))
        again = self.forms.answered("main", KEY, form, status)
        return Answer(
            status, retry_after=action.headers.get("Retry-After"), again=again, said=said if any(said) else None
        )

    async def write(self, dead_letter: DeadLetter) -> None:
        self.details.append(dead_letter.detail)
        await super().write(dead_letter)

    def api_said(self, pixel: str, status: str, said: ApiError) -> None:
        self.words.append(said)

    @property
    def statuses(self) -> list[tuple[float, int | None]]:
        """When each request was answered, and with which status."""
        return [(at - self.begun, status) for at, _, _, status in self.requests]

    @property
    def met(self) -> Counter[int | None]:
        return Counter(status for _, status in self.statuses)

    def begin(self, count: int) -> None:
        self.produce("leads", 0, *names("a", count))
        self.assign(P0)

    async def run_for(self, seconds: float) -> None:
        """Let the line run for a while. It is not stopped then, since that would cancel the requests in flight."""
        if not self.running:
            self.running = [asyncio.create_task(self.pipeline.run()), asyncio.create_task(self.feed())]
        done, _ = await asyncio.wait(self.running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def until_done(self, seconds: float) -> None:
        """Run until there is no lag, in steps of a quarter of a window."""
        end = self.now + seconds
        while self.lag and self.now < end:
            await self.run_for(self.window / 4)
        assert self.lag == 0
        assert self.accepted.total() + self.dead_letters.total() == self.logs[P0].end


class OverHttp(Edge):
    """The same over HTTP."""

    day, window, longest, probe = 5.0, 1.6, 0.25, 0.2
    soon = 60.0  # on a busy machine it may take longer than the short window

    async def start(self, stack: AsyncExitStack) -> None:
        keys = {"main": KEY}
        self.mock = MockEndpoint(keys=keys, authorization=self.takes, script=self.script)  # type: ignore[arg-type]
        await stack.enter_async_context(self.mock)
        self.begun = asyncio.get_running_loop().time()
        self.client = EndpointClient(url=self.mock.url, authorization="auto")
        await self.client.start()
        stack.push_async_callback(self.client.close)

    async def exchange(self, ids: list[str], batch_: Batch) -> Answer:
        return await self.client.post("main", KEY, batch(*map(lead, ids)))


Make = Callable[..., Any]
Play = Callable[[Callable[[Make], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=[Edge, OverHttp], ids=["in memory", "over HTTP"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[Edge]:
    kind: type[Edge] = request.param
    monkeypatch.setattr(request_limits, "REFUSALS_SECONDS", kind.window)
    return kind


@pytest.fixture
def play(kind: type[Edge]) -> Play:
    """Runs a test in simulated or real time, as its edge needs."""

    def run(test: Callable[[Make], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with AsyncExitStack() as stack:

                async def make(rules: list[Mapping[str, Any]], **more: Any) -> Edge:
                    edge = kind(rules, **more)
                    if isinstance(edge, OverHttp):
                        await edge.start(stack)
                    return edge

                await test(make)

        simulate(main()) if kind is Edge else asyncio.run(main())

    return run


@pytest.mark.slow
def test_a_429_for_a_day_without_retry_after_costs_a_request_now_and_then(play: Play, kind: type[Edge]) -> None:
    async def test(make: Make) -> None:
        line = await make([{"seconds": [0, kind.day], "status": 429}])
        line.begin(100)
        await line.run_for(kind.day * 0.95)
        assert not held(line.pipeline)
        await line.until_done(kind.day)
        met = [status for at, status in line.statuses if at < kind.day * 0.95]  # ``run_for`` may end late
        assert set(met) == {429}
        assert (kind.day / kind.longest / 2 if kind is Edge else 2) <= len(met) <= 4 * kind.day / kind.longest
        assert not line.dead_letters

    play(test)


def _block(kind: type[Edge], within: float) -> list[Mapping[str, Any]]:
    """A script that blocks for a day after 100 errors within so many seconds, and refuses one event in ten."""
    blocked = {"x-al-error-code": 100007, "x-al-error-message": "blocked", "x-trace-id": "t-1"}
    poison = {"dedupe_ids": [f"a{i}" for i in range(0, 400, 10)], "status": 400, "headers": {"x-al-error-code": 42}}
    block = {"blocks_at": 100, "blocks_within": within, "blocks_for": kind.day, "status": 403, "headers": blocked}
    return [block, poison]


@pytest.mark.slow
def test_100_errors_block_for_a_day_which_holds_the_pixel_and_loses_nothing(play: Play, kind: type[Edge]) -> None:
    async def test(make: Make) -> None:
        line = await make(_block(kind, kind.soon))
        line.begin(400)
        while not held(line.pipeline) and line.now < 3 * kind.day:
            await line.run_for(kind.window / 16)
        assert [one.reason for one in held(line.pipeline)] == ["403"]
        assert (line.words[-1].code, line.words[-1].message) == ("100007", "blocked")
        assert line.lag > 0
        await line.until_done(3 * kind.day)
        assert line.met[400] >= 100
        assert line.dead_letters.total() == 40

    play(test)


@pytest.mark.slow
def test_with_max_refusals_the_block_is_never_reached(play: Play, kind: type[Edge]) -> None:
    async def test(make: Make) -> None:
        line = await make(_block(kind, kind.window), max_refusals=80)
        line.begin(400)
        await line.until_done(20 * kind.window)
        assert line.met[403] == 0
        assert line.met[400] > 100
        assert line.dead_letters.total() == 40
        assert any("refusals" in report for report in line.reports)
        refusals = [at for at, status in line.statuses if status == 400]
        late = 0.05  # the pipeline counts an answer slightly later than the API
        assert max(sum(at <= one < at + kind.window - late for one in refusals) for at in refusals) <= 80

    play(test)


def test_the_words_of_a_refusal_come_to_the_dead_letter(play: Play, kind: type[Edge]) -> None:
    async def test(make: Make) -> None:
        words = {"x-al-error-code": 42, "x-al-error-message": "no such currency"}
        line = await make([{"dedupe_ids": ["a7"], "status": 400, "headers": words}])
        line.begin(20)
        await line.until_done(20)
        said = "x-al-error-code 42, x-al-error-message no such currency"
        assert line.details == [f"the API answered 400 to this event alone; {said}"]
        assert {each.code for each in line.words} == {"42"}

    play(test)


@pytest.mark.parametrize(("takes", "refused"), [("bearer", 0), ("raw", 1)])
def test_the_form_of_the_key_is_found(play: Play, kind: type[Edge], takes: str, refused: int) -> None:
    async def test(make: Make) -> None:
        line = await make([], takes=takes)
        line.begin(300)
        await line.until_done(60)
        assert line.met[401] == refused
        assert not any("held" in report for report in line.reports)

    play(test)


def test_no_second_has_more_requests_than_max_requests_per_second(play: Play, kind: type[Edge]) -> None:
    async def test(make: Make) -> None:
        line = await make([], max_requests_per_second=7)
        line.begin(200)
        await line.until_done(60)
        assert len(line.sent) >= 20
        assert max(sum(at <= one < at + 0.95 for one in line.sent) for at in line.sent) == 7

    play(test)
