"""The output of ``explain`` fits the terminal's width: for all worked cases, and for a worse schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from stream_capi.cli.explanation import print_explanation
from stream_capi.events.explain import explain
from stream_capi.events.plain_json import row_from_json
from stream_capi.events.rules import rules_from
from stream_capi.operations.explain import ExplainedRecord
from tests.events.cases import Case, cases
from tests.events.sources_and_records import LEAD, NOW, TOPIC, lead, record, rules
from tests.events.test_worked_cases import settings, whole

CASES = {case.name: case for case in cases()}
LONG = "a_path_that_nobody_shortened_" * 9
WIDE = "日本語" * 20


def of_case(case: Case, folder: Path) -> ExplainedRecord:
    stated, raw = settings(case, folder), whole(case)
    explanation = explain(rules_from(stated.sources[0], stated), raw, row_from_json(raw, case.record), ("t", 0, 0), NOW)
    return ExplainedRecord("t[0]@0", "com.acme.Some (schema id 6)", explanation, explanation.outcome)


def of_lead(source: dict[str, Any], **fields: Any) -> ExplainedRecord:
    explanation = explain(rules(**source), LEAD, lead(**fields), (TOPIC, 3, 7), NOW)
    return ExplainedRecord(f"{TOPIC}[3]@7", LONG, explanation, explanation.outcome)


def odd() -> list[ExplainedRecord]:
    schema = record(**{LONG: "string", WIDE: "string"})
    paths: dict[str, Any] = {"fields": {"user_data.user_id": ["gone", WIDE, LONG], "user_data.sid": {"const": LONG}}}
    explanation = explain(rules(**paths), schema, {LONG: "x" * 500, WIDE: WIDE}, (TOPIC, 3, 7), NOW)
    url = f"https://{'long.' * 40}example/?{LONG}"
    return [
        ExplainedRecord(LONG, WIDE, explanation, explanation.outcome),
        of_lead({}, event_source_url=url, user_id=LONG, dedupe_id=WIDE),
        of_lead({"pixel": "strict"}, client_id=None),
        of_lead({"where": {"field": "sid", "equals": LONG}}, sid=LONG),
    ]


def printed(explained: ExplainedRecord, capsys: pytest.CaptureFixture[str], personal: bool = False) -> list[str]:
    print_explanation(explained, personal)
    return capsys.readouterr().out.splitlines()


@pytest.fixture(params=["80", "60", "120", ""])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """The width set by COLUMNS; without it 80, since the output is no terminal."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if request.param:
        monkeypatch.setenv("COLUMNS", request.param)
    return int(request.param or 80)


@pytest.mark.parametrize("name", CASES)
def test_no_line_of_a_worked_case_is_longer(
    name: str, width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(of_case(CASES[name], tmp_path), capsys)
    assert max(map(cell_len, lines)) <= width


def test_no_line_of_odd_names_and_values_is_longer(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    for explained in odd():
        assert max(map(cell_len, printed(explained, capsys))) <= width


def test_at_80_columns_a_path_and_its_value_stand_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = printed(of_case(CASES["snowplow"], tmp_path), capsys)
    path = "unstruct_event_com_acme_lead_submitted_1.lead_quality"
    assert f"    {path} = HIGH" in [line.rstrip() for line in lines]
    assert not [line for line in lines if line.strip() and "…(" in line and line.rstrip().endswith("…(")]
    starts = [line for line in lines if line.startswith("user_data.client_ip_address ")]
    assert [line.rstrip() for line in starts] == ["user_data.client_ip_address sent     1…(12 chars)"]


def test_the_whole_event_is_json_that_can_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    for case in CASES.values():
        text = "\n".join(printed(of_case(case, tmp_path), capsys, personal=True))
        assert json.loads(text[text.index("{\n") :]) == case.event


def test_a_masked_event_is_json_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = "\n".join(printed(of_case(CASES["snowplow"], tmp_path), capsys))
    event = json.loads(text[text.index("{\n") :])
    assert event["user_data"]["email"] == "…(SHA-256)"
    assert event.keys() == CASES["snowplow"].event.keys()
    assert event["user_data"].keys() == CASES["snowplow"].event["user_data"].keys()
