"""Faults of the API: whatever it answers, refuses or leaves unanswered, each event is delivered, dead-lettered or waits.

A row has several faults if none hides another; each row ends with the check of the ledger.
"""

from __future__ import annotations

import asyncio
import random
import signal
import ssl
import time
from email.utils import formatdate
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import pytest
import trustme

from stream_capi.model import Code
from stream_capi.sandbox.fault_script import Action, RequestInfo, Script
from tests.faults.answers import (
    OTHER_KEY,
    OTHER_PIXEL_ID,
    always,
    await_held,
    await_progress,
    expect,
    for_event,
    for_pixel,
    name_of,
    notices,
    reasons,
    requests_of,
    two_pixels,
)
from tests.faults.crafted_records import Maker
from tests.faults.doubles import names
from tests.faults.stray_origin import Elsewhere
from tests.program import KEY, PIXEL_ID, Program
from tests.scene import Budget, Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real

_MOST_REQUESTS_OF_ONE = 8  # of sizes 100, 50, 25, 13, 7, 4, 2, 1: the requests of a split that have a given event


# Events that the API refuses


def test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        refused = random.Random(5).sample(scene.produce(1500), 6)
        statuses = dict(zip((event.event_id for event in refused), cycle((400, 413, 422)), strict=False))
        expect(scene, refused, Code.REFUSED)

        def answer(request: RequestInfo) -> Action | None:
            found = [statuses[name] for name in request.dedupe_ids if name in statuses]
            return Action(status=found[0]) if found else None

        scene.endpoint.answer(answer)
        scene.member()
        scene.close(duplicates=0)
        met = scene.endpoint.mock.counts.statuses
        assert sum(met[str(status)] for status in (400, 413, 422)) <= len(refused) * _MOST_REQUESTS_OF_ONE
        by_place = {dead_letter.source: dead_letter for dead_letter in scene.ledger.dead_letters()}
        for event in refused:
            dead_letter = by_place[event.topic, event.partition, event.offset]
            assert str(statuses[event.event_id]) in (dead_letter.headers["capi-error-detail"] or b"").decode()


@pytest.mark.cases(1)
@pytest.mark.parametrize(
    ("reason", "sections"),
    [
        ("split_budget", {"delivery": {"max_split_requests": 4}}),
        ("dead_letter_ratio", {"delivery": {"max_split_requests": 1000}, "dead_letter": {"max_ratio": 0.0}}),
    ],
    ids=["too_many_to_find_out", "too_many_of_the_recent"],
)
def test_when_all_events_are_refused_their_lane_is_held_and_nothing_is_dead_lettered_and_it_goes_on_by_itself(
    tmp_path: Path, broker: Broker, registry: Registry, reason: str, sections: dict[str, Any]
) -> None:
    with Scene(tmp_path, broker, registry, sections={**sections, "batch": {"window_ms": 1000}}) as scene:
        member = scene.member(delivery={"probe_seconds": 0.5})
        scene.produce(300)
        scene.ledger.await_all(60)
        # While an answer is awaited, batches don't go early: so each has more bad events than the split's budget can find.
        _answer_slowly(scene)
        scene.endpoint.answer(always(status=422))
        scene.produce(600)
        await_held(member, reason)
        until(lambda: scene.endpoint.answered().total() == 320, 60, "the slow answers")  # a success: it is tried again
        await_held(member, reason)
        asked = scene.endpoint.mock.counts.requests
        until(lambda: scene.endpoint.mock.counts.requests >= asked + 3, 30, "probes")
        assert reason in reasons(member)
        assert scene.ledger.dead_letters() == []
        assert scene.ledger.lag() > 0
        scene.endpoint.answer(None)
        await_progress(scene)
        scene.close(duplicates=0)
        assert member.is_ready()


def _answer_slowly(scene: Scene) -> None:
    """Produce twenty events, and wait until those of both lanes are in flight; they are answered after some seconds."""
    met: list[str] = []

    def slowly(request: RequestInfo) -> Action:
        met.extend([name_of(request)] * len(request.events))
        return Action(delay_seconds=3.0)

    scene.endpoint.answer(slowly)
    scene.produce(20)
    until(lambda: len(met) == 20, 30, "the requests")
    assert len(set(met)) == 2


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_when_all_events_of_a_topic_lack_a_field_it_is_held_before_a_dead_letter_is_written_and_the_rest_goes_on(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        member = scene.member(dead_letter={"max_ratio": 0.0})
        scene.produce(400)
        scene.ledger.await_all(60)
        maker = Maker(scene)
        maker.put(maker.lead(Code.MISSING_FIELD, client_ip_address="") for _ in range(400))
        await_held(member, "dead_letter_ratio")
        scene.produce(200)
        until(lambda: scene.ledger.lag(scene.views) == 0, 60, "the page views")
        assert scene.ledger.dead_letters() == []
        assert scene.ledger.lag(scene.leads) >= 400
        assert member.terminate() == 0
        scene.member(dead_letter={"max_ratio": 1.0})  # as an operator does who has seen that the events are bad
        await_progress(scene)
        scene.close(duplicates=0)


# Keys, addresses and redirects: a pixel is held


def test_a_pixel_is_held_while_its_requests_are_not_taken_and_probed_and_goes_on_by_itself_and_the_other_pixel_never_stops(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    probe, at_once = 0.4, 2
    with two_pixels(tmp_path, broker, registry) as scene:
        member = scene.member(delivery={"probe_seconds": probe, "max_in_flight": at_once})
        for status in (401, 403, 404, 451):
            before = len(requests_of(scene))
            scene.endpoint.answer(for_pixel(PIXEL_ID, always(status=status)))
            scene.produce(150)
            await_held(member, str(status))
            until(lambda: scene.ledger.lag(scene.views) == 0, 60, "the other pixel's events")
            until(lambda before=before: len(requests_of(scene)) >= before + at_once + 2, 60, "probes")  # type: ignore[misc]
            asked = requests_of(scene)[before + at_once - 1 :]
            assert all(later.at - sooner.at >= probe * 0.95 for sooner, later in pairwise(asked))
            assert scene.ledger.lag(scene.leads) > 0
            scene.endpoint.answer(None)
            await_progress(scene, scene.leads)
            scene.ledger.await_all(60)
        assert scene.ledger.dead_letters() == []
        assert {record.status for record in requests_of(scene, OTHER_PIXEL_ID)} == {200}
        scene.close(duplicates=0)
        assert member.is_ready()


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_a_key_that_is_rotated_in_its_file_is_tried_at_once_and_nothing_waits_for_a_probe(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    key_file, wrong, rotated = tmp_path / "key", "canary-key-of-no-use-11ab", "canary-key-rotated-c3d9"
    key_file.write_text(wrong)
    with two_pixels(tmp_path, broker, registry) as scene:
        scene.secrets += [wrong, rotated]
        scene.settings["pixels"][0] = {"name": "main", "pixel_id": PIXEL_ID, "api_key_file": str(key_file)}
        member = scene.member(delivery={"probe_seconds": 600})
        scene.produce(200)
        await_held(member, "401")
        scene.produce(100)
        until(lambda: scene.ledger.lag(scene.views) == 0, 60, "the other pixel's events")
        assert scene.ledger.lag(scene.leads) > 0
        key_file.write_text(KEY + "\n")
        await_progress(scene, scene.leads)
        scene.ledger.await_all(60)
        scene.endpoint.mock.keys = {PIXEL_ID: rotated, OTHER_PIXEL_ID: OTHER_KEY}  # before the new one is in the file
        scene.produce(200)
        await_held(member, "401")
        key_file.unlink()
        scratch = tmp_path / "key.new"
        scratch.write_text(rotated)
        scratch.rename(key_file)
        await_progress(scene, scene.leads)
        assert scene.ledger.dead_letters() == []
        scene.close(duplicates=0)


def test_a_redirect_is_never_followed_and_a_proxy_of_the_environment_never_used(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Elsewhere() as elsewhere, Scene(tmp_path, broker, registry) as scene:
        member = scene.member(env=_proxies(elsewhere.url, registry.url), delivery={"probe_seconds": 0.5})
        for status in (301, 302, 303, 307, 308):
            scene.endpoint.answer(always(status=status, headers={"Location": f"{elsewhere.url}/v1/event"}))
            scene.produce(60)
            await_held(member, str(status))
            assert scene.ledger.lag() > 0
            scene.endpoint.answer(None)
            await_progress(scene)
            scene.ledger.await_all(60)
        assert scene.ledger.dead_letters() == []
        scene.close(duplicates=0)
        assert elsewhere.seen == []


def _proxies(url: str, registry: str) -> dict[str, str]:
    """Proxy variables as on a company's machine. The registry's client would use them, so the registry is exempted."""
    names = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
    origin = "/".join(registry.split("/")[:3])
    return dict.fromkeys(names, url) | {"NO_PROXY": origin}


# Pauses that the API asks for, and failures of its own


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_no_request_of_a_pixel_goes_before_the_pause_has_ended_that_the_api_asked_for_in_either_form(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    pauses = [(429, "2"), (429, "date"), (503, "1"), (503, "date")]
    ends: dict[int, float] = {}

    def answer(request: RequestInfo) -> Action | None:
        if not pauses:
            return None
        status, form = pauses.pop(0)
        end = time.time() + 2 if form == "date" else time.time() + float(form)
        ends[request.number] = float(int(end)) if form == "date" else end
        return Action(status=status, headers={"Retry-After": formatdate(end, usegmt=True) if form == "date" else form})

    with Scene(tmp_path, broker, registry, answer=answer) as scene:
        scene.produce(300)
        scene.member(delivery={"max_in_flight": 1})  # one at a time: each request's time shows the pause before
        scene.close(duplicates=0)
        requests = scene.endpoint.mock.requests
        assert len(ends) == 4
        for number, end in ends.items():
            assert requests[number].number == number + 1
            assert requests[number].at >= end
        assert scene.ledger.dead_letters() == []


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_while_the_api_fails_few_requests_probe_it_and_a_success_of_another_kind_is_none(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, answer=always(status=503), sections={"batch": {"max_events": 20}}) as scene:
        member = scene.member(delivery={"backoff_max_ms": 200})
        scene.produce(1000)
        for status in (503, 500, 202):
            scene.endpoint.answer(always(status=status))
            until(lambda status=status: _met(scene, status) >= 10, 60, f"requests answered with {status}")  # type: ignore[misc]
        asked, at = scene.endpoint.mock.counts.requests, time.monotonic()
        until(lambda: scene.endpoint.mock.counts.requests >= asked + 10, 60, "probes")
        # If each request in flight were retried after its own backoff, there would be hundreds in a second.
        assert 10 / (time.monotonic() - at) < 60
        assert scene.ledger.lag() == 1000
        assert member.metric("stream_capi_in_flight_limit") < 16
        scene.endpoint.answer(_storm(random.Random(17)))
        scene.produce(1000)
        until(lambda: scene.ledger.lag() < 1000, 90, "progress in a storm")
        scene.endpoint.answer(None)
        await_progress(scene)
        scene.close(duplicates=0)
        assert scene.ledger.dead_letters() == []


def _met(scene: Scene, status: int) -> int:
    return scene.endpoint.mock.counts.statuses[str(status)]


def _storm(chance: random.Random) -> Any:
    statuses = (200, 200, 200, 500, 502, 503, 504, 201, 202, 204)
    return lambda request: Action(status=chance.choice(statuses))


# The network


def test_what_the_network_swallows_is_sent_again_with_the_same_id_and_the_same_content(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    rules = [
        {"share": 0.05, "reset": "before_body"},
        {"share": 0.08, "hang": True, "processed": True},
        {"share": 0.08, "reset": "after_body", "processed": True},
        {"share": 0.08, "reset": "after_body"},
    ]
    script = Script.parse({"seed": 3, "rules": rules})
    with Scene(tmp_path, broker, registry, sections={"batch": {"max_events": 20}}, script=script) as scene:
        scene.produce(2000)
        scene.member(endpoint={"timeout_seconds": 2})
        scene.ledger.await_all(90)
        swallowed = sum(record.n_events for record in requests_of(scene) if record.accepted and not record.answered)
        scene.close(duplicates=Budget(swallowed, "in requests that were taken and whose answers were swallowed"))
        sent: dict[str, Any] = {}
        for accepted in scene.endpoint.mock.events:
            event = accepted.event
            assert sent.setdefault(event["dedupe_id"], event) == event
        times = scene.endpoint.mock.times_accepted()
        assert len(times) == 2000
        assert sum(times.values()) > 2000, "nothing was repeated, so nothing was shown"
        assert scene.ledger.dead_letters() == []


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_an_endpoint_that_is_down_at_the_start_and_goes_down_again_is_waited_for(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        scene.endpoint.stop()
        scene.produce(200)
        member = scene.member()
        until(lambda: "connect" in notices(member), 30, "a word on the endpoint")
        assert scene.ledger.lag() == 200
        scene.endpoint.start()
        await_progress(scene)
        scene.ledger.await_all(60)
        for _ in range(3):  # each time pooled connections are lost
            scene.endpoint.stop()
            scene.produce(100)
            scene.endpoint.start()
            await_progress(scene)
            scene.ledger.await_all(60)
        scene.close(duplicates=0)


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_an_endpoint_whose_name_is_not_known_for_a_while_is_waited_for(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    known, ca_file, served = tmp_path / "known", tmp_path / "ca.pem", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca_file))
    authority.issue_cert(names.NAME).configure_cert(served)
    with Scene(tmp_path, broker, registry, ssl_context=served) as scene:
        scene.settings["endpoint"]["url"] = scene.endpoint.url.replace("127.0.0.1", names.NAME)
        scene.produce(300)
        env = {names.FILE: str(known)}
        member = scene.member(module=names.__name__, env=env, endpoint={"ca_file": str(ca_file)})
        until(lambda: "dns" in notices(member), 30, "a word on the name")
        assert scene.ledger.lag() == 300
        known.touch()
        await_progress(scene)
        scene.close(duplicates=0)


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_no_event_goes_to_an_endpoint_with_a_certificate_of_another_authority_or_for_another_name(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    trusted, ca_file, served = trustme.CA(), tmp_path / "ca.pem", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.cert_pem.write_to_path(str(ca_file))
    trustme.CA().issue_cert("127.0.0.1").configure_cert(served)
    with Scene(tmp_path, broker, registry, ssl_context=served) as scene:
        scene.produce(300)
        member = scene.member(endpoint={"ca_file": str(ca_file)})
        for wrong in (trustme.CA().issue_cert("127.0.0.1"), trusted.issue_cert("elsewhere.example")):
            wrong.configure_cert(served)  # used by handshakes from now on
            enough = _broken_handshakes(member) + 3
            until(lambda enough=enough: _broken_handshakes(member) >= enough, 60, "broken handshakes")  # type: ignore[misc]
        assert "tls" in notices(member)
        assert scene.endpoint.mock.counts.requests == 0
        assert scene.ledger.lag() == 300
        trusted.issue_cert("127.0.0.1").configure_cert(served)
        await_progress(scene)
        scene.close(duplicates=0)


def _broken_handshakes(member: Program) -> float:
    return member.metric("stream_capi_requests_total", status="tls")


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_an_answer_without_end_neither_costs_memory_nor_the_events_of_its_request(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, sections={"batch": {"max_events": 20}}) as scene:
        member = scene.member()
        scene.produce(200)
        scene.ledger.await_all(60)
        before = member.process.memory_info().rss
        for body in ("gzip_bomb", "endless", "drip"):
            for status in (200, 500):
                count = scene.endpoint.mock.counts.requests
                scene.endpoint.answer(always(status=status, body=body))
                scene.produce(100)
                until(lambda count=count: scene.endpoint.mock.counts.requests > count + 3, 60, f"requests for {body}")  # type: ignore[misc]
        scene.endpoint.answer(None)
        scene.close(duplicates=0)
        assert member.peak_memory() - before < 48 * 2**20


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
@pytest.mark.parametrize("count", [15_000, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])])
def test_what_waits_for_an_endpoint_that_hangs_stays_within_the_memory_budget(
    tmp_path: Path, broker: Broker, registry: Registry, count: int
) -> None:
    budget = 8 * 2**20
    with Scene(tmp_path, broker, registry) as scene:
        member = scene.member(delivery={"max_buffered_bytes": budget}, endpoint={"timeout_seconds": 2})
        scene.produce(1000)  # so that the libraries allocate their memory before the measurement
        scene.ledger.await_all(60)
        before = member.process.memory_info().rss
        scene.endpoint.answer(always(hang=True))
        scene.produce(count)
        until(lambda: all(place["paused"] for place in member.status()["partitions"]), 60, "pauses of all partitions")
        until(lambda: _timed_out(member) >= 8, 60, "hanging requests")
        assert scene.ledger.lag() > count * 0.9
        assert member.peak_memory() - before < 3 * budget
        hung = _timed_out(member)
        scene.endpoint.answer(None)
        await_progress(scene)
        scene.ledger.await_all(150)
        late = 100 * int(_timed_out(member) - hung)
        scene.close(duplicates=Budget(late, "100 in each request that timed out after the endpoint was well again"))
        assert member.peak_memory() - before < 3 * budget


def _timed_out(member: Program) -> float:
    return member.metric("stream_capi_requests_total", status="timeout")


# Answers that belong to no request, and answers with strange heads


def test_a_success_that_comes_before_the_events_were_sent_delivers_none_of_them(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    script = Script.parse({"rules": [{"every": 3, "early": True}]})
    with Scene(tmp_path, broker, registry, script=script) as scene:
        maker = Maker(scene)
        # A batch of these is larger than the kernel's socket buffers, so that it can't be sent while nobody reads it.
        maker.put(maker.lead(client_user_agent="agent " * 800) for _ in range(2000))
        member = scene.member()
        scene.close(duplicates=0)
        early = [record for record in scene.endpoint.mock.requests if record.status == 200 and not record.accepted]
        assert len(early) >= 5
        assert member.metric("stream_capi_requests_total", status="early_answer") == len(early)
        assert scene.ledger.dead_letters() == []


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_an_answer_that_nobody_asked_for_answers_no_batch(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    fail = False

    def answer(request: RequestInfo) -> Action | None:
        return Action(status=500) if fail else None

    script = Script.parse({"rules": [{"stray": 200}]})
    with Scene(tmp_path, broker, registry, answer=answer, script=script) as scene:
        mock, member = scene.endpoint.mock, scene.member()
        for round_ in range(1, 11):
            fail = False
            scene.produce(100)
            scene.ledger.await_all(60)
            # Wait for all: a stray answer that arrives while the next request is in flight looks like that request's answer.
            until(lambda least=round_: mock.strays >= least and not mock.strays_due, 10, "the stray answers")  # type: ignore[misc]
            # The next requests fail: if a stray answer were taken for theirs, their events would be lost.
            fail = True
            failed = mock.counts.statuses["500"]
            scene.produce(100)
            until(lambda failed=failed: mock.counts.statuses["500"] > failed, 30, "a failure")  # type: ignore[misc]
        fail = False
        why = "in each round those of one request, whose own answer came behind a stray one on a connection that is closed for it"
        scene.close(duplicates=Budget(10 * 100, why))
        assert member.metric("stream_capi_requests_total", status="early_answer") == 0
        assert scene.ledger.dead_letters() == []


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_the_status_is_the_answer_however_long_the_head_is(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    heads = [
        {"X-Long": "x" * 9_000},
        {f"X-{number}": "x" for number in range(150)},
        {"X-Long": "x" * 100_000},
        {f"X-{number}": "x" * 1_000 for number in range(400)},
    ]
    with Scene(tmp_path, broker, registry) as scene:
        member = scene.member()
        for headers in heads:
            scene.endpoint.answer(always(headers=headers))
            scene.produce(300)
            scene.ledger.await_all(60)
        scene.close(duplicates=0)
        assert set(scene.endpoint.mock.counts.statuses) == {"200"}
        assert member.metric("stream_capi_requests_total", status="protocol") == 0


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_a_member_that_stood_still_for_longer_than_the_time_out_reads_what_was_answered_meanwhile(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    sections: dict[str, Any] = {
        "kafka": {"properties": {"session.timeout.ms": 45_000}},
        "endpoint": {"timeout_seconds": 3},
    }
    with Scene(tmp_path, broker, registry, sections=sections) as scene:
        member = scene.member()
        for round_ in range(1, 4):
            scene.endpoint.answer(always(delay_seconds=1.5))
            asked = scene.endpoint.mock.counts.requests
            scene.produce(1600)
            until(lambda asked=asked: scene.endpoint.mock.counts.requests >= asked + 8, 30, "requests under way")  # type: ignore[misc]
            member.signal(signal.SIGSTOP)
            time.sleep(6)
            scene.endpoint.answer(None)
            member.signal(signal.SIGCONT)
            scene.ledger.await_all(60)
            scene.notes.append(f"after stop {round_}: {scene.endpoint.mock.counts.statuses}")
        scene.close(duplicates=0)
        assert member.metric("stream_capi_requests_total", status="timeout") == 0


# Lanes: one slow or held, the others not


def test_page_views_that_hang_or_are_refused_hold_up_no_lead_of_the_same_pixel(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    late = asyncio.Event()
    with Scene(tmp_path, broker, registry, answer=for_event("page_view", always(until=late))) as scene:
        member = _member_with_four_slots(scene)
        scene.produce(1500)
        until(lambda: scene.ledger.lag(scene.leads) == 0, 60, "the leads, while page views hang")
        lag = scene.ledger.lag(scene.views)
        assert lag > 1000
        scene.endpoint.answer(for_event("page_view", always(status=400)))
        scene.endpoint.release(late)
        await_held(member, "split_budget")
        scene.produce(300)
        until(lambda: scene.ledger.lag(scene.leads) == 0, 60, "the leads, while page views are refused")
        assert scene.ledger.lag(scene.views) > 0
        assert scene.ledger.dead_letters() == []
        scene.endpoint.answer(None)
        await_progress(scene)
        scene.close(duplicates=0)


@pytest.mark.repeat(
    of="test_events_that_the_api_refuses_are_dead_lettered_alone_and_the_rest_of_their_batches_is_delivered"
)
def test_one_pixel_that_hangs_takes_nothing_from_the_other(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    late = asyncio.Event()
    hanging = for_pixel(OTHER_PIXEL_ID, always(until=late))
    with two_pixels(tmp_path, broker, registry, answer=hanging) as scene:
        _member_with_four_slots(scene)
        scene.produce(2000)
        until(lambda: scene.ledger.lag(scene.leads) == 0, 60, "the other pixel's events")
        assert scene.ledger.lag(scene.views) > 1000
        scene.endpoint.answer(None)
        scene.endpoint.release(late)
        await_progress(scene)
        scene.close(duplicates=0)


def _member_with_four_slots(scene: Scene) -> Program:
    """If hanging requests took all slots, nothing else could be sent for a time-out: longer than the row waits."""
    return scene.member(
        delivery={"max_in_flight": 4, "max_split_requests": 1, "probe_seconds": 0.5}, endpoint={"timeout_seconds": 200}
    )
