"""Parts of a dry run that need no broker: dividing the limit, the fields of rejections, changes in a comparison."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from stream_capi.events.fields import FIELDS
from stream_capi.events.rejected_field import field_of
from stream_capi.events.rules import SourceRules
from stream_capi.events.transform import compile_source
from stream_capi.kafka.ranges import Range
from stream_capi.model import Code, EventName, Lane, Rejection, Routed, Skipped, TopicPartition
from stream_capi.operations.dry_run import shared
from stream_capi.operations.dry_run_comparison import Comparison, origin
from stream_capi.operations.dry_run_mapper import ENCRYPTED, NO_SOURCE, MappedPart, Outcome
from stream_capi.operations.dry_run_tally import DryRunTally
from tests.events.sources_and_records import LEAD, apply, lead, rules

TP = TopicPartition("leads", 0)
MAIN, STRICT = Lane("main", EventName.GENERATE_LEAD), Lane("strict", EventName.GENERATE_LEAD)
CANARY = "canary.person@example.com"


def sizes(limit: int, *given: int) -> list[int]:
    ranges = {TopicPartition("t", number): Range(10, 10 + size) for number, size in enumerate(given)}
    found = shared(ranges, limit, newest=True)
    assert all(one.end == ranges[tp].end for tp, one in found.items())
    oldest = shared(ranges, limit, newest=False)
    assert all(one.start == 10 for one in oldest.values())
    assert [one.size for one in found.values()] == [one.size for one in oldest.values()]
    return [one.size for one in found.values()]


def test_a_limit_is_shared_and_what_one_partition_lacks_goes_to_the_others() -> None:
    assert sizes(30, 100, 100, 100) == [10, 10, 10]
    assert sizes(30, 2, 100, 100) == [2, 14, 14]
    assert sizes(31, 2, 0, 100) == [2, 0, 29]
    assert sizes(500, 2, 0, 100) == [2, 0, 100]
    assert sum(sizes(1, 5, 5, 5)) == 1
    assert sum(sizes(32, 100, 100, 100)) == 32
    assert sizes(5) == []


REQUIRED = [target for target, field in FIELDS.items() if field.need.name in ("REQUIRED", "DATA")]


@pytest.mark.parametrize("target", REQUIRED)
@pytest.mark.parametrize("path", ["a.b", "none of them", "odd (from x)"])
def test_the_field_of_each_rejection_is_found(target: str, path: str) -> None:
    made = apply(compile_source(rules(fields={target: path}), LEAD), lead())
    assert isinstance(made, Rejection)
    assert field_of(made) == (target, f'"{path}"')


def test_rejections_that_are_of_a_setting_or_of_no_field() -> None:
    routed = rules(event_field="kind", events={"a": "generate_lead"})
    made = apply(compile_source(routed, LEAD), lead())
    assert isinstance(made, Rejection)
    assert field_of(made) == ("event_field", '"kind"')
    for detail in ("none of aleid, axwrt is there", "the record ends early (at or after byte 7 of 9)", "", "x: y"):
        assert field_of(Rejection(Code.DECODE_ERROR, detail)) == ("", "")


def part(outcomes: Sequence[Outcome], lane: Lane | None = MAIN, of: SourceRules | None = None) -> MappedPart:
    return MappedPart(lane, of or rules(), range(len(outcomes)), outcomes)


def kinds(one: Outcome, other: Outcome, **lanes: Any) -> Counter[tuple[str, str]]:
    compared = Comparison()
    compared.add(TP, [part([one])], [part([other], **lanes)])
    assert compared.compared == 1
    assert compared.changed == bool(compared.changes)
    assert CANARY not in repr((compared.changes, compared.first))
    return Counter({(change.kind, change.field): n for change, n in compared.changes.items()})


def event(**fields: Any) -> bytes:
    made = apply(compile_source(rules(), LEAD), lead(**fields))
    assert isinstance(made, bytes)
    return made


MISSING = Rejection(Code.MISSING_FIELD, 'user_data.esi: is absent (from "esi")')
ELSEWHERE = Rejection(Code.MISSING_FIELD, 'user_data.esi: is absent (from "channel")')


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        (event(), event(), []),
        (event(), event(email=CANARY), [("field_appears", "user_data.email")]),
        (event(email=CANARY), event(), [("field_disappears", "user_data.email")]),
        (event(email=CANARY), event(email="a@example.com"), [("field_differs", "user_data.email")]),
        (event(value=1.0), event(value=2.0), [("field_differs", "data.value")]),
        (event(), event(event_id="other", zip="12345"), [("field_differs", "dedupe_id"), ("field_appears", "user_data.zip")]),
        (event(), MISSING, [("sent_to_dead_letter", "")]),
        (MISSING, event(), [("dead_letter_to_sent", "")]),
        (MISSING, ELSEWHERE, []),
        (MISSING, Rejection(Code.INVALID_FIELD, "user_data.esi: must be web or app"), [("other_dead_letter", "")]),
        (event(), Skipped("where"), [("sent_to_skipped", "")]),
        (Skipped("where"), Skipped("event"), [("other_skipped", "")]),
        (Skipped("where"), Skipped("where"), []),
        (ENCRYPTED, event(), [("waits_to_sent", "")]),
        (event(), NO_SOURCE, [("sent_to_no_source", "")]),
        (NO_SOURCE, NO_SOURCE, []),
        (event(), Routed(MAIN, event()), []),
        (event(), Routed(STRICT, event()), [("other_pixel", "")]),
        (json.dumps({**json.loads(event())}, indent=1).encode(), event(), []),
    ],
)  # fmt: skip
def test_a_change_is_called_by_its_kind(one: Outcome, other: Outcome, found: list[tuple[str, str]]) -> None:
    assert kinds(one, other) == Counter(found)


def test_another_lane_of_the_whole_source_is_another_pixel() -> None:
    assert kinds(event(), event(), lane=STRICT) == Counter([("other_pixel", "")])


def test_chunks_are_compared_by_offset_whatever_the_order_of_their_parts() -> None:
    compared = Comparison()
    gone, good = Skipped("tombstone"), event()
    before = [MappedPart(MAIN, rules(), [5], [gone]), MappedPart(MAIN, rules(), [4, 6], [good, good])]
    after = [MappedPart(MAIN, rules(), [4, 5, 6], [good, gone, event(zip="12345")])]
    compared.add(TP, before, after)
    assert (compared.compared, compared.changed) == (3, 1)
    assert list(compared.first.values()) == ["leads[0]@6"]


def test_where_a_field_comes_from_is_told_without_constants() -> None:
    fields = {
        "user_data.email": ["a", "b.c"],
        "user_data.esi": {"path": "channel", "map": {"W": "web"}, "default": "app"},
        "data.currency": {"const": "USD"},
        "event_time": {"path": "at", "unit": "s"},
    }
    made = rules(fields=fields)
    assert origin(made, MAIN, "user_data.email") == '"a" or "b.c": trimmed, lower-cased, SHA-256 unless it is one'
    assert origin(made, MAIN, "user_data.esi") == '"channel" or a constant by its map: web or app'
    assert origin(made, MAIN, "data.currency") == "a constant: an ISO 4217 code, upper-cased"
    assert origin(made, MAIN, "event_time") == '"at" in s: epoch milliseconds'
    assert origin(made, MAIN, "dedupe_id") == '"dedupe_id" or "event_id": trimmed'
    assert "country" in origin(rules(phone_region={"path": "country"}), MAIN, "user_data.phone")
    assert origin(made, STRICT, "user_data.user_id") == '"user_id": digits'


def test_counts_keep_no_value_and_are_bounded_by_the_settings() -> None:
    tally = DryRunTally()
    broken = [Rejection(Code.DECODE_ERROR, f"the record ends early (at or after byte {n} of 99)") for n in range(50)]
    tally.add(TP, part([*broken, MISSING, MISSING, Skipped("where"), event(email=CANARY), ENCRYPTED]))
    assert {key[1:]: n for key, n in tally.dead_lettered.items()} == {
        ("decode_error", "", ""): 50,
        ("missing_field", "user_data.esi", '"esi"'): 2,
    }
    assert tally.read == 55
    assert (tally.sent.total(), tally.skipped.total(), tally.waiting.total()) == (1, 1, 1)
    assert CANARY not in repr(vars(tally))
