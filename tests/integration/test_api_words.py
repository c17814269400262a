"""The API's error texts, from the answer's headers to the log, the status and the dead letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_capi.model import Code
from stream_capi.sandbox.fault_script import Script
from tests.faults.answers import expect
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
TRACE = "0af7651916cd43dd8448eb211c80319c"
WORDS = {"x-al-error-code": 1042, "x-al-error-message": "jane@example.com has a bad value", "x-trace-id": TRACE}


def test_the_words_of_a_refusal_are_in_log_status_and_dead_letter(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry) as scene:
        poison = scene.produce(300)[5]
        expect(scene, [poison], Code.REFUSED)
        rule = {"dedupe_ids": [poison.event_id], "status": 400, "headers": WORDS}
        scene.endpoint.mock.script = Script.parse({"rules": [rule]})
        member = scene.member()
        scene.close(90)
        (dead_letter,) = scene.ledger.dead_letters()
        assert (
            dead_letter.headers["capi-error-detail"]
            == (
                f"the API answered 400 to this event alone; x-al-error-code 1042, x-al-error-message … has a bad value,"
                f" x-trace-id {TRACE}"
            ).encode()
        )
        said = {"error_code": "1042", "error_message": "… has a bad value", "trace_id": TRACE}
        until(lambda: bool(member.logged("the API says")), 10, "the line")
        (line,) = member.logged("the API says")
        assert said.items() <= line.items()
        assert said.items() <= member.status()["pixels"][0]["api_said"].items()
        assert "jane@" not in member.output + member.get("/status")[1]
