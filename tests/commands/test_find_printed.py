"""The output of ``find``: blocks that fit 80 columns, whatever a record's key or topic is."""

from __future__ import annotations

import pytest

from stream_capi.cli import find
from stream_capi.events.selecting import Wanted
from stream_capi.kafka.ranges import Range
from stream_capi.model import TopicPartition
from stream_capi.operations.event_state import EventState, State
from stream_capi.operations.find import FoundEvent, FoundEvents
from stream_capi.operations.group_status import GroupStatus
from stream_capi.operations.search import Match, Scanned
from tests.commands.test_asked_members import SILENT, A, seen
from tests.fake_record import FakeRecord

CANARY = "canary.person@example.com"
WHY = "missing_field, as stream-capi.dead-letters[0]@1, 2026-11-29T14:16:19.206Z: redriven since, without a new dead letter"


def printed(
    capsys: pytest.CaptureFixture[str], topic: str, *states: State, group: GroupStatus | None = None
) -> list[str]:
    scanned = Scanned({TopicPartition(topic, 0): Range(0, 9)}, {}, records=9, matches=len(states), first=5, last=5)
    found = [
        FoundEvent(
            Match(FakeRecord(key=CANARY.encode(), place=(topic, 0, at)), by_key=at == 1), "", EventState(state, WHY)
        )
        for at, state in enumerate(states)
    ]
    find._print(FoundEvents(found, group), scanned, Wanted("key", CANARY, CANARY.encode()))
    text = capsys.readouterr().out
    assert "canary" not in text
    return text.splitlines()


def test_it_fits_eighty_columns_with_the_place_in_one_piece(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    topic = "prod.eu-central-1.marketing.leads.v2"
    lines = printed(capsys, topic, *State)
    assert max(map(len, lines)) <= 80
    assert [line.split("  ")[0] for line in lines if line.startswith(topic)] == [
        f"{topic}[0]@{at}" for at in range(len(State))
    ]
    text = "\n".join(lines)
    assert "  delivered: missing_field, as" in text
    assert "  dead lettered, by its key: " in text
    assert "scanned 1 partition, 9 offsets, 9 records" in text


def test_nothing_found_says_how_to_look_farther_back(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "leads")
    assert lines[0] == "no record was found"
    assert lines[-1] == "--since says how far back to look"


def test_a_name_of_a_topic_with_control_characters_is_shown_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    assert "\x1b" not in "\n".join(printed(capsys, "le\x1b[31mads", State.OPEN))


def test_an_address_that_no_member_answers_at_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = " ".join(printed(capsys, "leads", State.OPEN, group=seen(2, A, SILENT)))
    assert "capi-9:9464: no answer (Connection refused)" in text
    assert "asked 1 of 2 members; what the others hold is not known here; --member HOST:PORT names" in text
    assert "asked" not in " ".join(printed(capsys, "leads", State.OPEN, group=seen(1, A)))
