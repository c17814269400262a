"""Finding the form of an API key: how few 401 answers it takes, and what is held meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from stream_capi.core.batch import Batch
from stream_capi.endpoint.key_forms import KeyForms
from stream_capi.model import Answer
from tests.pipeline.given import P0, V0, names
from tests.simulation import Line, always, held, simulated


class Forming(Line):
    """A line whose endpoint accepts the key in one form, ``takes``; empty: in none."""

    takes = "raw"

    async def post(self, batch: Batch) -> Answer:
        form = self.forms.form("main", self.key)
        key = self.key
        right = form == self.takes
        answer = await super().post(batch) if right else Answer(401)
        if not right:
            await asyncio.sleep(0.05)
            self.refused.append(form)
        return answer._replace(again=self.forms.answered("main", key, form, answer.status or 0))

    def begin(self, count: int = 1000) -> None:
        self.forms, self.key, self.refused = KeyForms("auto"), "key", list[str]()
        self.produce("leads", 0, *names("a", count))
        self.produce("views", 0, *names("v", count))
        self.assign(P0, V0)


@pytest.mark.parametrize("first", [200, 400, 429, 500])
@simulated
async def test_the_form_is_found_with_one_401_whatever_the_first_answer_to_it_is(first: int) -> None:
    line = Forming(lambda pixel, ids, now: (0.05, Answer(first if now < 1.3 else 200)), try_key_first=True)
    line.begin()
    await line.run_for(120)
    assert line.refused == ["bearer"]
    assert line.accepted.total() + line.dead_letters.total() == 2000
    assert line.lag == 0
    assert not held(line.pipeline)
    assert not any("held" in report for report in line.reports)
    assert line.most_in_flight == 8, "the caution ends"


@simulated
async def test_a_key_that_is_refused_in_both_forms_is_held_after_two_answers() -> None:
    line = Forming(always(200), try_key_first=True)
    line.takes = ""
    line.begin()
    await line.run_for(20)
    assert line.refused == ["bearer", "raw"]
    assert [one.reason for one in held(line.pipeline)] == ["401"]
    line.key, line.takes = "new", "raw"
    line.pipeline.delivery.probe_at_once("main")
    await line.run_for(20)
    assert line.refused == ["bearer", "raw", "bearer"]
    assert sum(line.accepted.values()) == 2000


@simulated
async def test_nothing_is_dead_lettered_for_a_key_that_one_form_got_a_401_for_and_no_form_a_200() -> None:
    """A gateway may answer 400 to a header that it can't parse: that doesn't mean that the events are bad."""
    line = Forming(always(400), try_key_first=True)
    line.begin(20)
    await line.run_for(200)
    assert not line.dead_letters.total()
    assert {one.reason for one in held(line.pipeline)} == {"401"}
    line.key, line.takes = "new", "bearer"
    line.answering = lambda pixel, ids, now: (0.05, Answer(400 if "a7" in ids or "v" in ids[0] else 200))
    line.pipeline.delivery.probe_at_once("main")
    await line.run_for(100)
    assert line.dead_letters.keys() == {"a7", *names("v", 20)}, "the key is taken, so they are at fault"
    assert line.accepted.total() == 19
    assert line.lag == 0
    assert not held(line.pipeline)


@pytest.mark.slow
@simulated
async def test_a_form_that_changes_under_traffic_holds_nothing_and_is_tried_by_one_request() -> None:
    line = Forming(always(200), try_key_first=True)
    line.takes = "bearer"
    line.begin(5000)
    await line.run_for(3)
    assert not line.refused
    line.takes = "raw"
    await line.run_for(120)
    assert set(line.refused) == {"bearer"}
    assert len(line.refused) <= 8
    assert not any("held" in report for report in line.reports)
    assert sum(line.accepted.values()) == 10_000


@simulated
async def test_a_key_that_is_withdrawn_under_traffic_tries_the_other_form_by_one_request() -> None:
    line = Forming(always(200), try_key_first=True)
    line.takes = "bearer"
    line.begin(5000)
    await line.run_for(3)
    line.takes = ""
    await line.run_for(20)
    assert line.refused.count("raw") == 1
    assert [one.reason for one in held(line.pipeline)] == ["401"]


@pytest.mark.parametrize("hangs", ["a", "v"])
@simulated
async def test_a_first_request_that_hangs_keeps_no_other_event(hangs: str) -> None:
    """The first request is sent alone. If it hangs, the others don't wait for its time-out."""
    line = Forming(lambda pixel, ids, now: (3600.0 if ids[0][0] == hangs else 0.05, Answer(200)), try_key_first=True)
    line.begin(300)
    await line.run_for(20)
    assert line.accepted.keys() == set(names("a" if hangs == "v" else "v", 300))
    assert line.refused == ["bearer"]
