"""``status``: lag and members from the broker; from the members, what is held and why the oldest event waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from stream_capi.sandbox.fault_script import Action
from tests.commands.running import Started, run_command, run_for_json
from tests.program import Program
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.process import free_ports
from tests.stack.waiting import until

pytestmark = pytest.mark.real


def admin_of(member: Program) -> dict[str, Any]:
    """Settings with the address of this member's admin server."""
    return {"admin": {"port": member.port}}


def nowhere() -> dict[str, Any]:
    return {"admin": {"port": free_ports(1)[0]}}


@pytest.mark.repeat(of="tests/integration/test_status_truth.py::test_a_member_tells_its_own_lag_and_the_groups")
def test_lag_and_members_with_their_share_are_told_by_the_broker(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        scene.produce(200, bad=8)
        before = run_for_json(scene, "status", **nowhere())
        assert (before["lag"], before["members"], before["state"]) == (200, [], "dead")
        assert all(one["oldest"]["why"] == "nobody reads this partition" for one in before["partitions"])
        assert all(one["oldest"]["seconds"] >= 0 for one in before["partitions"])
        members = [scene.member(), scene.member()]
        until(lambda: all(len(one.status()["partitions"]) == 2 for one in members), 60, "a share for each member")
        scene.close()
        after = run_for_json(scene, "status", **admin_of(members[0]))
        assert after["lag"] == 0
        assert [one["partitions"] for one in after["members"]] == [2, 2]
        assert {one["member"] for one in after["partitions"]} == {one["id"] for one in after["members"]}
        assert after["dead_letters"]["letters"] == 8
        text = run_command(scene, "status", **admin_of(members[0])).stdout
        assert "2 members, lag 0" in text
        assert "asked 1 of 2 members; what the others hold is not known here; --member HOST:PORT" in text
        assert scene.leads in text


def test_what_is_held_and_why_the_oldest_event_waits_are_told_by_the_member(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1, answer=lambda _: Action(status=401)) as scene:
        events = scene.produce(200)
        member = scene.member(ready=False)
        until(lambda: bool(member.status()["held"]), 60, "the held pixel")
        seen: dict[str, Any] = {}

        def reported_for_both() -> bool:
            """Whether both lanes' events wait for the key; during a probe its event waits for the answer instead."""
            seen.update(run_for_json(scene, "status", **admin_of(member)))
            return all("401" in one["oldest"]["why"] for one in seen["partitions"])

        until(reported_for_both, 60, "the key's fault as what both lanes' oldest events wait for")
        assert seen["lag"] == len(events)
        (held,) = seen["held"]
        assert (held["subject"], held["reason"]) == ("main", "401")
        assert "key" in held["what_to_do"]
        assert all(one["oldest"]["offset"] == 0 for one in seen["partitions"])
        text = run_command(scene, "status", **admin_of(member)).stdout
        assert "held: main: 401. " in text
        unseen = run_for_json(scene, "status", **nowhere())
        assert unseen["held"] == []
        assert all(one["oldest"]["why"] == "not known here: its member was not reached" for one in unseen["partitions"])
        assert not unseen["asked"][0]["answered"]
        assert (
            "asked 0 of 1 members; what the others hold is not known here"
            in run_command(scene, "status", **nowhere()).stdout
        )
        named = run_for_json(scene, "status", "--member", f"127.0.0.1:{member.port}", **nowhere())
        assert named["held"] == seen["held"] or named["held"][0]["reason"] == "401"


@contextmanager
def answering(text: bytes) -> Iterator[int]:
    """A server that is no member and returns ``text``; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.mark.repeat(of="test_what_is_held_and_why_the_oldest_event_waits_are_told_by_the_member")
def test_whoever_answers_there_without_being_a_member_is_told(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        other = json.dumps({"group": "another", "partitions": []}).encode()
        for text, fault in ((b"<html>", "no answer"), (b"[]", "is not stream-capi"), (other, "for group another")):
            with answering(text) as port:
                (asked,) = run_for_json(scene, "status", admin={"port": port})["asked"]
                assert not asked["answered"]
                assert fault in asked["fault"]
        assert "no answer" in run_for_json(scene, "status", "--member", "no address:at all")["asked"][0]["fault"]


def test_it_looks_again_until_it_is_told_to_end(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        scene.produce(100)
        with Started(scene, "status", "--watch", "--json", **nowhere()) as watch:
            until(lambda: len(watch.output.splitlines()) >= 2, 60, "two looks")
            watch.interrupt()
            assert watch.wait() == 0
            assert [json.loads(line)["lag"] for line in watch.output.splitlines()][:2] == [100, 100]


@pytest.mark.repeat(of="test_what_is_held_and_why_the_oldest_event_waits_are_told_by_the_member")
def test_a_missing_topic_and_an_unreachable_broker_are_a_line_each(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, dead_letters=False) as scene:
        seen = run_for_json(scene, "status", **nowhere())
        assert seen["dead_letters"]["letters"] is None
        broker.delete_topic(scene.views)
        done = run_command(scene, "status", code=3, **nowhere())
        assert done.stderr.splitlines() == [
            f"stream-capi: topic {scene.views} is missing at {broker.bootstrap}: create it, or correct its name"
        ]
        unreachable = {"kafka": {**scene.settings["kafka"], "bootstrap_servers": "127.0.0.1:1"}}
        assert len(run_command(scene, "status", code=3, **unreachable).stderr.splitlines()) == 1
