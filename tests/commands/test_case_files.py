"""Broken files of cases: each fault is one line that says where it is and what to do, and the other cases are run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.commands.mapping_cases import Folder, a_lead

CANARY = "canary.person@example.com"
RECORD = json.dumps(a_lead())


@pytest.fixture(autouse=True)
def _no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STREAM_CAPI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def faults(folder: Folder, *words: str) -> list[str]:
    """The error lines, without the path of the file."""
    done = folder.run(*words)
    assert done.code == 2, done.output
    assert CANARY not in done.output
    return [line.removeprefix(f"stream-capi: {folder.cases}/") for line in done.err.splitlines()]


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"recrod": 1}, 'recrod: unknown key; did you mean "record"?'),
        ({"expect": {"skiped": "where"}}, 'expect.skiped: unknown key; did you mean "skipped"?'),
        ({"expect": {"skipped": "wher"}}, 'expect.skipped: must be one of where, event, no_consent, tombstone, unrouted, suppressed; did you mean "where"?'),
        ({"expect": {"skipped": CANARY}}, "expect.skipped: must be one of where, event, no_consent, tombstone, unrouted, suppressed"),
        ({"expect": {"event": {"user_data": {"emial": CANARY}}}}, 'expect.event.user_data.emial: unknown key; did you mean "email"?'),
        ({"expect": {"event": {"email": CANARY}}}, "expect.event.email: unknown key"),
        ({"expect": {"event": {"name": ["x"]}}}, "expect.event.name: must be text or a number; a field that is not sent is left out"),
        ({"expect": {"event": {"user_data": {"email": None}}}}, "expect.event.user_data.email: must be text or a number; a field that is not sent is left out"),
        ({"expect": {"event": 1}}, "expect.event: must be a table"),
        ({"expect": "where"}, "expect: must be a table"),
        ({"expect": {}}, "expect: must have exactly one of event, skipped and dead_letter"),
        ({"expect": {"skipped": "where", "dead_letter": "too_old"}}, "expect: must have exactly one of event, skipped and dead_letter"),
        ({"expect": {"skipped": "where", "field": "data.value"}}, "expect.field: is allowed only with dead_letter"),
        ({"expect": {"dead_letter": "too_old", "pixel": "main"}}, "expect.pixel: is allowed only with event"),
        ({"expect": {"dead_letter": "refused"}}, "expect.dead_letter: must be one of decode_error, unknown_schema, missing_field, invalid_field, "
         "no_identifier, too_old, in_future, too_large, internal_error"),
        ({"hex": "00"}, "the case: must have exactly one of record, base64, hex, file, tombstone"),
        ({"record": None, "hex": "0g"}, "hex: is not hex"),
        ({"record": None, "base64": "%%%"}, "base64: is not base64"),
        ({"record": None, "tombstone": False}, "tombstone: must be true, or left out"),
        ({"headers": {"x": 1}}, 'headers: each must be text, { hex = "…" } or { base64 = "…" }'),
        ({"partition": -1}, "partition: must be a whole number from 0 to 2147483647"),
        ({"offset": True}, "offset: must be a whole number from 0 to 9223372036854775807"),
        ({"now": 1_767_225_600}, "now: must be a time like 2026-03-01T09:30:00Z, or epoch milliseconds"),
        ({"now": CANARY}, "now: must be a time like 2026-03-01T09:30:00Z, or epoch milliseconds"),
        ({"name": ""}, "name: must be text"),
        ({"topic": 7}, "topic: must be text"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_key(folder: Folder, keys: dict[str, Any], fault: str) -> None:
    given = {"schema": "../lead.avsc", "record": a_lead(), "expect": {"skipped": "where"}} | keys
    if "record" in keys:
        del given["record"]
    folder.write(json.dumps(given), "one.json")
    assert fault in [line.removeprefix("one.json: ") for line in faults(folder)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = [", "is not TOML: "),
        ("tombstone = true\n[[case]]\nname = 'x'", 'case: unknown key; did you mean "cases"?'),
        ("a = 1\na = 2", "is not TOML: "),
        ("cases = []", "cases: must be a list of tables: write [[cases]]"),
        ("[cases]\nname = 'x'", "cases: must be a list of tables: write [[cases]]"),
        ("cases = [1]", "cases[0]: must be a table"),
        ("", "the case: must have exactly one of record, base64, hex, file, tombstone"),
        ("expect = {skipped = 'where'}\n[[cases]]\nname = 'x'\ntombstone = true", "expect: belongs in each of the cases"),
        ("topci = 'leads'\n[[cases]]\nname = 'x'\ntombstone = true", 'topci: unknown key; did you mean "topic"?'),
        ("now = 1\n[[cases]]\nname = 'x'\ntombstone = true", "now: must be a time like 2026-03-01T09:30:00Z, or epoch milliseconds"),
        ("[[cases]]\ntombstone = true", "cases[0].name: is missing"),
        ("[[cases]]\nname = 'x'\ntombstone = true\n[[cases]]\nname = 'x'\ntombstone = true", 'name: "x" is the name of two cases'),
        ("[record]\nevent_time = 2026-01-01T00:00:00Z", "record.event_time: is a TOML time; write what the schema has there: a number, or a text in quotes"),
        ("x = " + "[" * 5000, "can't be parsed as TOML"),
        ("offset = " + "9" * 5000, "can't be parsed as TOML"),
        ("file = 'none.bin'", "file: "),
        ("file = '../lead.avsc'", "expect"),
    ],
)  # fmt: skip
def test_a_file_of_toml_that_is_broken_is_told(folder: Folder, text: str, fault: str) -> None:
    folder.write(text)
    found = faults(folder)
    assert len(found) == 1
    assert fault in found[0]
    assert found[0].startswith("leads.toml: ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{", "can't be parsed as JSON: line 1 column 2"),
        ("[]", "must be a table of one case, or of a list called cases"),
        ('{"name": "x", "name": "y"}', 'has the key "name" twice in one table'),
        ('{"record": ' + "[" * 100_000, "can't be parsed as JSON"),
        ('{"record": 1e99999999999999999999}', "can't be parsed as JSON"),
        ('{"record": ' + '{"a":' * 200 + "1" + "}" * 200 + "}", "nested too deep"),
        ('{"topic": "\\ud800", "record": {}}', "topic: must be text"),
    ],
)
def test_a_file_of_json_that_is_broken_is_told(folder: Folder, text: str, fault: str) -> None:
    folder.write(text, "one.json")
    (found,) = faults(folder)
    assert found.startswith("one.json: ")
    assert fault in found


@pytest.mark.parametrize(
    ("keys", "fault"),
    [
        ({"topic": "laeds"}, 'topic: is not that of one of the sources; did you mean "leads"?'),
        ({"schema": "../none.avsc"}, "schema: {cases}/../none.avsc: can't be read: No such file or directory"),
        ({"schema": ".."}, "schema: {cases}/..: can't be read: Is a directory"),
        ({"schema": "one.json"}, "schema: {cases}/one.json: "),
        ({"record": {"event_id": "e"}}, "record: is not a record of stream_capi.Lead: event_time is missing"),
        ({"record": {"evnt_id": "e"}}, "record: is not a record of stream_capi.Lead: the schema has no field evnt_id"),
        ({"record": [1]}, "record: is not a record of stream_capi.Lead: it is not a record"),
        ({"record": a_lead() | {"user_id": "\ud800"}}, "a string in it has a lone surrogate"),
        ({"expect": {"event": {}, "pixel": "mian"}}, 'expect.pixel: is not one of the pixels; did you mean "main"?'),
    ],
)
def test_a_case_that_can_not_be_run_is_told_and_the_others_are_run(
    folder: Folder, keys: dict[str, Any], fault: str
) -> None:
    folder.write_case("one.json", **{"expect": {"skipped": "where"}} | keys)
    folder.write_case("two.json", expect={"skipped": "where"})
    done = folder.run()
    assert done.code == 2
    assert fault.format(cases=folder.cases) in done.err
    assert len(done.err.splitlines()) == 1
    assert f"FAIL    {folder.cases}/two.json: two" in done.out
    assert done.out.splitlines()[-1] == "2 cases: 0 passed, 1 failed, 1 broken"


def test_a_topic_must_be_named_where_there_are_several(tmp_path: Path) -> None:
    folder = Folder(tmp_path, sources=[{}, {"topic": "views", "event": "page_view"}])
    folder.write_case(expect={"skipped": "where"})
    assert faults(folder) == ["one.json: topic: is missing; there are leads, views"]


def test_faults_of_all_files_are_told_at_once(folder: Folder) -> None:
    folder.write("x = [")
    folder.write("{", "one.json")
    folder.write_case("deep/two.json", expect={"skiped": 1}, recrod=2)
    named = [line.partition(":")[0] for line in faults(folder)]
    assert sorted(named) == ["deep/two.json"] * 3 + ["leads.toml", "one.json"]


@pytest.mark.parametrize("words", [[], ["{path}/none"], ["{path}/lead.avsc"], ["{path}"]])
def test_no_cases_are_no_success(folder: Folder, words: list[str]) -> None:
    done = folder.run(
        *(
            word.format(path=folder.path / "empty") if word == "{path}" else word.format(path=folder.path)
            for word in words
        )
    )
    assert done.code == 2
    assert len(done.err.splitlines()) == 1


def test_a_file_that_is_named_twice_is_run_once(folder: Folder) -> None:
    file = folder.write_case(tombstone=True, expect={"skipped": "tombstone"})
    done = folder.run(str(file), str(folder.cases), str(folder.cases / ".." / "cases" / "one.json"))
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 case: 1 passed")


def test_a_wrong_configuration_is_told_as_ever(folder: Folder) -> None:
    folder.config.write_text("[kafka]\ngroup = 'x'\n")
    done = folder.run()
    assert (done.code, 'did you mean "group_id"' in done.err) == (2, True)


def test_a_folder_that_can_not_be_read_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.write('{"tombstone": true, "expect": {"skipped": "tombstone"}}', "one.json")
    scan = os.scandir

    def refuse(path: str) -> Any:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    (folder.cases / "locked").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    done = folder.run()
    assert (done.code, done.out.splitlines()[-1]) == (2, "1 case: 1 passed")
    assert done.err == f"stream-capi: {folder.cases}/locked: can't be read: Permission denied\n"


def test_what_is_expected_may_be_any_number(folder: Folder) -> None:
    """JSON can't express some of them, nor can it serialize a Decimal."""
    record = "\n".join(f"{key} = {json.dumps(one)}" for key, one in a_lead().items())
    for value, shown in (("nan", "nan"), ("inf", "inf"), ("1e999", "inf"), ("0.1", 0.1)):
        folder.write(f"schema = '../lead.avsc'\n[record]\n{record}\n[expect.event.data]\nvalue = {value}\n")
        differences = folder.results()[0]["differences"]
        assert [one["expected"] for one in differences if one["field"] == "data.value"] == [shown]


def test_a_schema_of_the_command_that_is_none_is_told_although_no_case_needs_it(folder: Folder) -> None:
    folder.write('{"tombstone": true, "expect": {"skipped": "tombstone"}}', "one.json")
    done = folder.run("--schema", str(folder.path / "none.avsc"))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"stream-capi: --schema: {folder.path}/none.avsc: can't be read: ")
