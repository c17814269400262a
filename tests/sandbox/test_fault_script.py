"""Fault scripts: which requests a rule fits, what it does, and how faults in a script are reported."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from stream_capi.errors import ConfigurationError
from stream_capi.sandbox import fault_script as script_module
from stream_capi.sandbox.fault_script import Action, RequestInfo, Script
from tests.endpoint.events import lead, view


def rules(*given: dict[str, Any], seed: int = 0) -> Script:
    return Script.parse({"seed": seed, "rules": list(given)})


def request(number: int = 1, *events: dict[str, Any], pixel_id: str = "pixel", seconds: float = 0.0) -> RequestInfo:
    return RequestInfo(number, seconds, pixel_id, events or (lead(),))


def statuses(script: Script, *requests: RequestInfo) -> list[int | None]:
    actions = [script.action(each) for each in requests]
    return [action.status if action else None for action in actions]


def test_the_documented_example_is_a_script(tmp_path: Path) -> None:
    assert script_module.__doc__ is not None
    _, _, after = script_module.__doc__.partition("::\n\n")
    example = textwrap.dedent(after.partition("\nConditions,")[0])
    path = tmp_path / "script.toml"
    path.write_text(example)
    script = Script.load(path)
    assert statuses(script, *[request()] * 4) == [503, 503, 503, None]
    assert statuses(script, request(5, lead("lead-17"))) == [400]
    assert statuses(script, request(6, pixel_id="AXON-1", seconds=10)) == [401]


def test_a_script_in_json_is_the_same_as_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"rules": [{"first": 1, "status": 429, "headers": {"Retry-After": "2"}}]}))
    script = Script.load(path)
    assert script.action(request()) == Action(429, {"Retry-After": "2"})
    assert script.action(request()) is None


# Conditions


def test_the_first_rule_that_fits_is_followed() -> None:
    script = rules({"pixel": "a", "status": 401}, {"status": 503})
    assert statuses(script, request(pixel_id="a"), request(pixel_id="b")) == [401, 503]


def test_first_after_and_every_count_the_requests_that_the_rule_fits_otherwise() -> None:
    a, b = request(pixel_id="a"), request(pixel_id="b")
    assert statuses(rules({"pixel": "a", "first": 2, "status": 500}), b, a, b, a, a) == [None, 500, None, 500, None]
    assert statuses(rules({"pixel": "a", "after": 1, "status": 500}), a, b, a, a) == [None, None, 500, 500]
    assert statuses(rules({"pixel": "a", "every": 2, "status": 500}), a, b, a, a, a) == [None, None, 500, None, 500]


def test_a_rule_fits_by_the_name_or_the_id_of_any_event_in_the_batch() -> None:
    mixed, views = request(1, view("v1"), lead("l1")), request(2, view("v2"))
    assert statuses(rules({"event": "generate_lead", "status": 500}), mixed, views) == [500, None]
    assert statuses(rules({"dedupe_ids": ["l1", "x"], "status": 400}), mixed, views) == [400, None]


def test_a_rule_of_seconds_fits_from_the_first_to_before_the_last() -> None:
    script = rules({"seconds": [1, 2.5], "status": 500})
    assert statuses(script, *(request(seconds=at) for at in (0.9, 1.0, 2.4, 2.5))) == [None, 500, 500, None]


def test_a_share_is_random_and_the_same_for_the_same_seed() -> None:
    def followed(seed: int) -> list[int | None]:
        return statuses(rules({"share": 0.25, "status": 500}, seed=seed), *[request()] * 400)

    assert followed(1) == followed(1) != followed(2)
    assert 50 < Counter(followed(1))[500] < 150


def test_events_that_are_none_are_no_trouble() -> None:
    script = rules({"event": "page_view", "status": 500}, {"dedupe_ids": ["x"], "status": 400})
    assert statuses(script, request(1, {}), request(2, {"name": [], "dedupe_id": {}})) == [None, None]


# Actions


def test_a_delay_is_fixed_or_random_between_two_bounds() -> None:
    def delays(delay: Any) -> list[float]:
        script = rules({"delay_ms": delay})
        return [action.delay_seconds for _ in range(100) if (action := script.action(request()))]

    assert delays(250) == [0.25] * 100
    assert delays([100, 300]) == delays([100, 300])
    assert min(delays([100, 300])) >= 0.1
    assert max(delays([100, 300])) <= 0.3
    assert len(set(delays([100, 300]))) > 50


def test_a_redirect_is_a_307_unless_another_status_is_given() -> None:
    there = "http://127.0.0.1:1/"
    assert rules({"redirect": there}).action(request()) == Action(307, {"Location": there})
    assert rules({"redirect": there, "status": 302}).action(request()) == Action(302, {"Location": there})


def test_only_a_reset_before_the_body_is_looked_for_before_the_body() -> None:
    script = rules({"first": 1, "reset": "before_body"}, {"status": 500})
    head = RequestInfo(1, 0.0, "pixel")
    assert script.before_body(head)
    assert not script.before_body(head)
    assert statuses(script, request()) == [500]


def test_an_early_answer_is_looked_for_before_the_body_and_is_a_200_unless_another_status_is_given() -> None:
    script = rules({"first": 1, "early": True}, {"first": 1, "early": True, "status": 413}, {"status": 500})
    head = RequestInfo(1, 0.0, "pixel")
    assert script.before_body(head) == Action(200, early=True)
    assert script.before_body(head) == Action(413, early=True)
    assert script.before_body(head) is None
    assert statuses(script, request()) == [500]


def test_a_stray_answer_comes_behind_the_one_that_was_asked_for() -> None:
    assert rules({"stray": 408}).action(request()) == Action(stray=408)
    assert rules({"stray": 200, "status": 500}).action(request()) == Action(500, stray=200)


def test_a_script_with_early_answers_says_so() -> None:
    assert rules({"early": True}).has_early
    assert not rules({"status": 500}).has_early


def test_a_request_shows_nothing_of_its_events() -> None:
    assert repr(request(3, lead("canary"))) == "RequestInfo(3, 1 events)"


# Faults


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown key": ({"statuss": 500}, "rule 1: statuss: is not known"),
    "no number": ({"status": "canary"}, "rule 1: status: must be a valid integer"),
    "status beyond": ({"status": 600}, "rule 1: status: must be less than or equal to 599"),
    "true as a number": ({"first": True, "status": 500}, "rule 1: first: must be a valid integer"),
    "zero": ({"every": 0, "status": 500}, "rule 1: every: must be greater than or equal to 1"),
    "another event": ({"event": "canary", "status": 500}, "rule 1: event: must be '"),
    "share beyond": ({"share": 1.5, "status": 500}, "rule 1: share: must be less than or equal to 1"),
    "header name": ({"headers": {"a b": "c"}}, "rule 1: headers.a b: "),
    "header text": ({"headers": {"a": "c\nd"}}, "rule 1: headers.a: "),
    "delay of three": ({"delay_ms": [1, 2, 3]}, "rule 1: delay_ms: must be a number of milliseconds, or [least, most]"),
    "delay": ({"delay_ms": [-1, 5]}, "rule 1: delay_ms.0: must be greater than or equal to 0"),
    "delay backwards": ({"delay_ms": [2, 1]}, "rule 1: delay_ms ends before it begins"),
    "seconds backwards": ({"seconds": [2, 1], "status": 500}, "rule 1: seconds ends before it begins"),
    "nothing to do": ({"first": 3}, "rule 1: does nothing: give it a status"),
    "hang and reset": ({"hang": True, "reset": "after_body"}, "rule 1: can't both hang and reset"),
    "hang and status": ({"hang": True, "status": 500}, "rule 1: status has no effect, because hang gives no answer"),
    "reset and body": ({"reset": "after_body", "body": "drip"}, "rule 1: body has no effect, because reset gives no answer"),
    "processed alone": ({"processed": True, "delay_ms": 1}, "rule 1: processed needs hang"),
    "processed 200": ({"processed": True, "status": 200}, "rule 1: processed needs hang"),
    "processed before": ({"processed": True, "reset": "before_body"}, "rule 1: processed needs hang"),
    "events before": ({"event": "page_view", "reset": "before_body"}, "rule 1: a reset before the body can't depend"),
    "early and hang": ({"early": True, "hang": True}, "rule 1: early can't be together with hang"),
    "early and stray": ({"early": True, "stray": 200}, "rule 1: early can't be together with stray"),
    "early and delay": ({"early": True, "delay_ms": 5}, "rule 1: early can't be together with delay_ms"),
    "early and body": ({"early": True, "body": "drip"}, "rule 1: early can't be together with body"),
    "early and event": ({"early": True, "event": "page_view"}, "rule 1: an answer before the body can't depend"),
    "early and processed": ({"early": True, "status": 500, "processed": True}, "rule 1: processed needs hang"),
    "stray and reset": ({"stray": 200, "reset": "after_body"}, "rule 1: stray has no effect, because reset gives no answer"),
    "stray and body": ({"stray": 200, "body": "drip"}, "rule 1: stray can't come after body drip"),
    "stray beyond": ({"stray": 100}, "rule 1: stray: must be greater than or equal to 200"),
    "redirect with 200": ({"redirect": "http://a/", "status": 200}, "rule 1: redirect needs a status from 300"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_with_its_rule_and_key(name: str) -> None:
    rule, expected = FAULTS[name]
    with pytest.raises(ConfigurationError) as raised:
        rules(rule)
    (fault,) = raised.value.faults
    assert fault.startswith(f"script: {expected}")
    assert "canary" not in fault


def test_all_faults_are_told_at_once_and_name_the_nearest_key() -> None:
    with pytest.raises(ConfigurationError) as raised:
        Script.parse({"seeds": 1, "rules": [{"status": 500}, {"delay": 5, "status": 1}]}, "drill.toml")
    assert sorted(raised.value.faults) == [
        'drill.toml: rule 2: delay: is not known; did you mean "delay_ms"?',
        "drill.toml: rule 2: status: must be greater than or equal to 200",
        'drill.toml: seeds: is not known; did you mean "seed"?',
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("missing.toml", None, "can't be read: No such file"),
        ("bad.toml", b"= 5", "is not a script: Invalid"),
        ("bad.json", b"{", "is not a script: Expecting"),
        ("bad.toml", b"\xff", "is not a script: not text in UTF-8"),
        ("list.json", b"[]", "must be"),
        ("empty.toml", b"", "rules: is missing"),
    ],
)
def test_a_file_that_is_no_script_is_told_as_such(
    tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        Script.load(path)
    (fault,) = raised.value.faults
    assert fault.startswith(f"{path}: ")
    assert expected in fault


def test_a_block_begins_with_so_many_errors_and_ends_by_itself() -> None:
    script = Script.parse({"rules": [{"blocks_at": 3, "blocks_within": 10, "blocks_for": 100, "status": 403}]})

    def status(seconds: float) -> int | None:
        action = script.action(RequestInfo(1, seconds, "p"))
        return action.status if action else None

    for seconds, answer in ((0, 400), (1, 400), (2, 200), (3, 500), (12, 400)):
        script.answered(seconds, answer)
        assert status(seconds) is None, "not three within ten seconds"
    for seconds in (13, 14):
        script.answered(seconds, 401)
    assert status(14) == 403
    script.answered(113, 403)
    assert (status(113.9), status(114)) == (403, None)
