"""Suppression: events of people on the list are skipped, whatever fields the lane would have sent."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from stream_capi.events.explain import Explanation, explain
from stream_capi.events.lines import Verdict
from stream_capi.events.paths import table_of
from stream_capi.events.transform import Transform, compile_source
from stream_capi.model import Code, Rejection, Skipped, Table, Transformed
from stream_capi.pipeline.suppression_list import SuppressionList
from tests.events.sources_and_records import LEAD, NOW, TOPIC, lead, mapped, nullable, record, rules, sent
from tests.events.test_same_as_reference import counted

EMAIL, PHONE, USER = "canary.person@example.com", "16505550199", "canary-user-88"
EMAIL_HASH, PHONE_HASH = (sha256(text.encode()).hexdigest() for text in (EMAIL, PHONE))
SUPPRESSED = Skipped("suppressed")
LISTS = {"email": EMAIL_HASH, "phone": PHONE_HASH, "user_id": USER, "all": f"{EMAIL_HASH}\n{PHONE_HASH}\n{USER}"}


def people(folder: Path, lines: str = LISTS["all"]) -> SuppressionList:
    file = folder / "forgotten"
    file.write_text(lines)
    return SuppressionList(str(file))


def outcome(
    folder: Path,
    row: Mapping[str, Any],
    lines: str = LISTS["all"],
    delivery: Mapping[str, Any] | None = None,
    raw: Any = LEAD,
    **source: Any,
) -> Transformed:
    """The outcome of one record; asserts that it is the same alone, among others, and explained."""
    of_source, listed = rules(delivery, **source), people(folder, lines)
    transform = compile_source(of_source, raw, people=listed)
    (alone,) = mapped(transform, [row], offsets=[7])
    others = [dict(row) | dict.fromkeys(("email", "phone", "user_id")) for _ in range(5)]
    assert mapped(transform, [*others, row, *others], offsets=range(2, 13))[5] == alone
    assert explain(of_source, raw, row, (TOPIC, 3, 7), NOW, people=listed).outcome == alone
    return alone


GIVEN = {
    "email": [EMAIL, f"  {EMAIL.upper()} ", EMAIL_HASH, EMAIL_HASH.upper()],
    "phone": [PHONE, "+1 (650) 555-0199", "001 650 555 0199", PHONE_HASH],
    "user_id": [USER, f" {USER} "],
}
WAYS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "passthrough": {"delivery": {"hash": "passthrough"}},
    "restricted": {"pixel": "strict"},
    "restricted, passthrough": {"pixel": "strict", "delivery": {"hash": "passthrough"}},
    "without consent": {"consent_field": "idfv", "without_consent": "strip"},
    "several lanes": {"event_field": "idfv", "events": {"*": "generate_lead"}},
    "pixel by field": {"pixel_field": "ifa"},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in GIVEN.items() for value in values])
def test_a_person_on_the_list_is_skipped(way: str, field: str, value: str, tmp_path: Path) -> None:
    row = lead(**{"user_id": "123456", "alart": "a", "ifa": "main", field: value})
    assert outcome(tmp_path, row, LISTS[field], **WAYS[way]) == SUPPRESSED
    assert outcome(tmp_path, row, "somebody else", **WAYS[way]) != SUPPRESSED


@pytest.mark.parametrize("region", ["US", {"path": "country_code"}])
def test_a_phone_is_compared_as_it_is_completed_for_its_country(region: Any, tmp_path: Path) -> None:
    row = lead(email=None, phone="(650) 555-0199", user_id="u-2", country_code="US")
    assert sent(outcome(tmp_path, row, PHONE_HASH))
    for way in WAYS.values():
        assert outcome(tmp_path, row | {"ifa": "main"}, PHONE_HASH, phone_region=region, **way) == SUPPRESSED


@pytest.mark.parametrize("way", WAYS)
def test_anybody_else_is_mapped_as_without_a_list(way: str, tmp_path: Path) -> None:
    given = dict(WAYS[way])
    delivery = given.pop("delivery", None)
    row = lead(email="jane@example.com", phone="+31201234567", user_id="654321", alart="a", ifa="main")
    (without,) = mapped(compile_source(rules(delivery, **given), LEAD), [row], offsets=[7])
    assert outcome(tmp_path, row, **WAYS[way]) == without
    sent(without)


@pytest.mark.parametrize(
    "wrong",
    [
        {"event_source_url": "no url"},
        {"event_time": None},
        {"currency": "none"},
        {"esi": "none"},
        {"client_ip_address": "300.1.1.1"},
    ],
)
def test_an_event_that_would_be_dead_lettered_is_forgotten_as_well(wrong: dict[str, Any], tmp_path: Path) -> None:
    assert outcome(tmp_path, lead(user_id=USER, **wrong)) == SUPPRESSED
    assert isinstance(outcome(tmp_path, lead(user_id="u-2", **wrong)), Rejection)


def test_so_is_one_that_names_no_pixel_but_not_one_that_was_never_meant(tmp_path: Path) -> None:
    row = lead(user_id=USER, ifa="nobody", sid="no")
    assert outcome(tmp_path, row, pixel_field="ifa") == SUPPRESSED
    assert outcome(tmp_path, row, where=[{"field": "sid", "equals": "yes"}]) == Skipped("where")
    assert outcome(tmp_path, row, consent_field="idfv") == Skipped("no_consent")


def test_the_mapped_value_is_compared_and_no_other(tmp_path: Path) -> None:
    row = lead(email=None, sid=EMAIL, user_id=None, ifa=USER, client_id="c")
    assert sent(outcome(tmp_path, row))
    assert outcome(tmp_path, row, fields={"user_data.email": "sid"}) == SUPPRESSED
    assert outcome(tmp_path, row, fields={"user_data.user_id": ["user_id", "ifa"]}) == SUPPRESSED
    assert sent(outcome(tmp_path, row | {"user_id": "u-2"}, fields={"user_data.user_id": ["user_id", "ifa"]}))


def test_a_user_id_that_is_a_number_is_compared_as_it_would_be_sent(tmp_path: Path) -> None:
    raw = record(
        **{field["name"]: field["type"] for field in LEAD["fields"] if field["name"] != "esi"}
        | {"esi": nullable("string"), "user_id": nullable("long")}
    )
    assert outcome(tmp_path, lead(user_id=12345678), "12345678", raw=raw) == SUPPRESSED
    assert sent(outcome(tmp_path, lead(user_id=12345678), "1234567", raw=raw))


def test_what_can_not_be_an_email_or_a_phone_is_nobody(tmp_path: Path) -> None:
    lines = "\n".join(sha256(text.encode()).hexdigest() for text in ("no address", "123", ""))
    assert sent(outcome(tmp_path, lead(email="no address", phone="123"), lines))
    assert sent(outcome(tmp_path, lead(email="", phone=" ", user_id="", client_id="c"), lines))


def test_a_schema_without_these_fields_has_nobody_on_the_list(tmp_path: Path) -> None:
    left = [field for field in LEAD["fields"] if field["name"] not in ("email", "phone", "user_id")]
    row = {name: value for name, value in lead(client_id="c").items() if name not in ("email", "phone", "user_id")}
    assert sent(outcome(tmp_path, row, raw={**LEAD, "fields": left}))


def test_nothing_is_counted_of_a_suppressed_event(tmp_path: Path) -> None:
    transform = compile_source(rules(), LEAD, people=people(tmp_path))
    row = lead(user_id=USER, email="no address", client_ip_address="10.0.0.1", os="none")
    assert mapped(transform, [row] * 6) == [SUPPRESSED] * 6
    assert counted(transform) == {}


def test_a_list_that_changes_counts_from_the_next_chunk_on(tmp_path: Path) -> None:
    listed = people(tmp_path, "somebody else")
    transform = compile_source(rules(), LEAD, people=listed)
    assert isinstance(mapped(transform, [lead(user_id=USER)])[0], bytes)
    (tmp_path / "forgotten").write_text(USER)
    while not listed.changed():
        pass
    assert mapped(transform, [lead(user_id=USER)]) == [SUPPRESSED]


def test_what_can_not_be_decoded_keeps_its_own_code(tmp_path: Path) -> None:
    transform = compile_source(rules(), LEAD, people=people(tmp_path))
    unread = Rejection(Code.DECODE_ERROR, "the record ends early")
    table = table_of([unread, lead(user_id=USER), lead()], transform.paths)
    assert transform.apply(table, TOPIC, 0, range(3), NOW)[:2] == [unread, SUPPRESSED]


def test_a_list_that_raises_rejects_the_records_and_does_not_let_them_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = people(tmp_path)
    transform = compile_source(rules(), LEAD, people=listed)

    def broken(_: object) -> list[int]:
        raise RuntimeError(EMAIL)

    monkeypatch.setattr(listed, "among", broken)
    for made in mapped(transform, [lead(), lead(email=EMAIL)]):
        assert isinstance(made, Rejection)
        assert made.code is Code.INTERNAL_ERROR
        assert EMAIL not in made.detail


def explained(folder: Path, row: Mapping[str, Any], **source: Any) -> Explanation:
    return explain(rules(**source), LEAD, row, (TOPIC, 3, 7), NOW, people=people(folder))


def test_explain_says_so_and_shows_nobody(tmp_path: Path) -> None:
    told = explained(tmp_path, lead(email=EMAIL))
    line = told.lines[-1]
    assert (line.target, line.verdict) == ("suppress", Verdict.SKIPS)
    assert (line.raw, line.result, line.paths) == (None, None, ())
    passed = [line for line in explained(tmp_path, lead()).lines if line.target == "suppress"]
    assert [line.verdict for line in passed] == [Verdict.PASSED]
    skipped = explained(tmp_path, lead(email=EMAIL), where=[{"field": "sid", "present": True}])
    assert [line.target for line in skipped.lines] == ["where"]


def test_a_table_without_records_has_nobody(tmp_path: Path) -> None:
    transform: Transform = compile_source(rules(), LEAD, people=people(tmp_path))
    assert transform.suppressed(Table(0, {path: [] for path in transform.paths}, {}).columns, 0) == {}


def test_the_paths_that_are_read_to_find_people_are_those_of_the_mapping(tmp_path: Path) -> None:
    """So code that only needs the paths (``check``, the check for encrypted fields) needs no suppression list."""
    for source in ({"pixel": "strict"}, {"phone_region": {"path": "sid"}}, {"event": "page_view"}):
        with_list = compile_source(rules(**source), LEAD, people=people(tmp_path)).paths
        assert compile_source(rules(**source, suppress=True), LEAD).paths == with_list
    assert "email" not in compile_source(rules(pixel="strict"), LEAD).paths
