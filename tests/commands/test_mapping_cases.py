"""``stream-capi test`` compares the pipeline's own outcome of a case's record, whatever its form and framing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import fastavro.schema
import pytest

from stream_capi.events.transform import compile_source
from stream_capi.operations import mapping_tests
from tests.commands.mapping_cases import TIME, Folder, a_lead
from tests.events.real_topic import encoded
from tests.events.sources_and_records import LEAD, PAGE_VIEW, lead

EMAIL, PHONE = "canary.person@example.com", "+1 650 555 0199"
HASH = hashlib.sha256(EMAIL.encode()).hexdigest()
SENT = {
    "name": "generate_lead",
    "event_time": TIME,
    "event_source_url": "https://shop.example/quote",
    "data": {"currency": "USD", "value": 30.0},
    "dedupe_id": "e-1",
    "user_data": {
        "client_ip_address": "172.59.8.172",
        "client_user_agent": "chrome/123.456 android mobile",
        "esi": "web",
        "user_id": "user-1",
    },
}
BYTES = encoded(LEAD, lead(event_time=TIME))
FINGERPRINT = bytes.fromhex(fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(LEAD), "CRC-64-AVRO"))
ID_7 = b"\x00\x00\x00\x00\x07"


@pytest.fixture(autouse=True)
def _no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STREAM_CAPI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# Exit codes and output


def test_a_case_whose_event_is_as_expected_passes(folder: Folder) -> None:
    folder.write_case(name="a lead", expect={"event": SENT})
    done = folder.run()
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [f"pass    {folder.cases}/one.json: a lead", "1 case: 1 passed"]


def test_each_field_that_differs_is_told(folder: Folder) -> None:
    expected = SENT | {"dedupe_id": "e-2", "user_data": {**SENT["user_data"], "os": "ios"}}  # type: ignore[dict-item]
    del expected["user_data"]["user_id"]  # type: ignore[attr-defined]
    folder.write_case(expect={"event": expected})
    (told,) = folder.results()
    assert told["verdict"] == "fail"
    assert [one["field"] for one in told["differences"]] == ["user_data.user_id", "dedupe_id", "user_data.os"]
    done = folder.run()
    assert done.code == 1
    lines = [line.strip() for line in done.out.splitlines()[1:4]]
    assert re.fullmatch(r"dedupe_id differs: expected \S+, came out \S+", lines[1].replace(" chars", ""))
    assert lines[0].startswith("user_data.user_id is not expected: came out u…")
    assert lines[2] == "user_data.os is missing: expected ios"
    assert done.out.splitlines()[-1] == "1 case: 0 passed, 1 failed"


@pytest.mark.parametrize(
    ("expect", "differs"),
    [
        ({"skipped": "where"}, ("skipped: where", "sent")),
        ({"dead_letter": "missing_field"}, ("dead letter: missing_field", "sent")),
    ],
)
def test_another_outcome_differs(folder: Folder, expect: dict[str, str], differs: tuple[str, str]) -> None:
    folder.write_case(expect=expect)
    (told,) = folder.results()
    assert told["differences"] == [{"field": "outcome", "expected": differs[0], "came_out": differs[1]}]
    assert folder.run().code == 1


def test_a_dead_letter_that_is_not_expected_is_told_with_its_reason(folder: Folder) -> None:
    folder.write_case(record=a_lead() | {"currency": ""}, expect={"event": SENT})
    done = folder.run()
    assert done.code == 1
    assert "outcome differs: expected sent, came out dead letter: missing_field" in done.out
    assert 'because data.currency: is absent (from "currency")' in done.out


@pytest.mark.parametrize(
    ("expect", "code"),
    [
        ({"dead_letter": "missing_field"}, 0),
        ({"dead_letter": "missing_field", "field": "data.currency"}, 0),
        ({"dead_letter": "missing_field", "detail": 'data.currency: is absent (from "currency")'}, 0),
        ({"dead_letter": "missing_field", "field": "data.value"}, 1),
        ({"dead_letter": "missing_field", "detail": "data.currency: is absent"}, 1),
        ({"dead_letter": "invalid_field", "field": "data.currency"}, 1),
    ],
)
def test_a_dead_letter_is_compared_as_far_as_it_is_written(folder: Folder, expect: dict[str, str], code: int) -> None:
    folder.write_case(record=a_lead() | {"currency": ""}, expect=expect)
    assert folder.run().code == code


def test_numbers_are_compared_by_their_value(folder: Folder) -> None:
    file = folder.write_case(record=a_lead() | {"value": 0.1}, expect={"event": SENT})
    file.write_text(file.read_text().replace("30.0", "1.0e-1"))
    assert folder.run().code == 0
    folder.write_case(expect={"event": SENT | {"data": {"currency": "USD", "value": True}}})
    assert folder.run().code == 1


def test_the_data_of_a_page_view_may_be_null_or_left_out(tmp_path: Path) -> None:
    folder = Folder(tmp_path, sources=[{"event": "page_view"}])
    event = SENT | {"name": "page_view"}
    for data in ({"data": None}, {}):
        expected = {key: value for key, value in event.items() if key != "data"} | data
        record = {key: value for key, value in a_lead().items() if key not in ("currency", "value")}
        folder.write_case(schema="../page_view.avsc", record=record, expect={"event": expected})
        assert folder.run().code == 0


# Sources of records


@pytest.mark.parametrize(
    ("source", "value", "keys"),
    [
        ({"framing": "confluent"}, ID_7 + BYTES, {}),
        ({"framing": "confluent"}, b"\x01" + bytes(16) + BYTES, {}),
        ({"framing": "confluent"}, BYTES, {"headers": {"__value_schema_id": {"hex": ID_7.hex()}}}),
        ({"framing": "apicurio"}, b"\x00" + bytes(7) + b"\x07" + BYTES, {}),
        ({"framing": "apicurio", "apicurio_id": "global"}, BYTES, {"headers": {"apicurio.value.globalId": {"hex": "0000000000000007"}}}),
        ({"framing": "single_object", "schema_folder": "."}, b"\xc3\x01" + FINGERPRINT + BYTES, {}),
        ({"framing": "raw", "schema_file": "page_view.avsc"}, BYTES, {}),
        ({"framing": "auto", "schema_file": "lead.avsc"}, BYTES, {}),
        ({"framing": "auto"}, ID_7 + BYTES, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["hex", "base64", "file"])
def test_a_record_of_any_framing_is_decoded_with_the_schema_that_is_named(
    tmp_path: Path, source: dict[str, Any], value: bytes, keys: dict[str, Any], form: str
) -> None:
    (tmp_path / "lead.avsc").write_text(json.dumps(LEAD))
    (tmp_path / "page_view.avsc").write_text(json.dumps(PAGE_VIEW))
    folder = Folder(tmp_path, sources=[source])
    (folder.cases / "value.bin").write_bytes(value)
    given = {"hex": value.hex(" "), "base64": base64.b64encode(value).decode(), "file": "value.bin"}[form]
    assert folder.outcome(**{form: given}, **keys) == {"pixel": "main", "event": SENT | {"data": SENT["data"]}}
    assert folder.run().code == 0


def test_a_fingerprint_of_another_schema_is_an_unknown_schema(tmp_path: Path) -> None:
    folder = Folder(tmp_path, sources=[{"framing": "single_object", "schema_folder": "."}])
    value = b"\xc3\x01" + bytes(8) + BYTES
    assert folder.outcome(hex=value.hex()) == {"dead_letter": "unknown_schema"}


def test_a_value_that_is_cut_off_is_a_dead_letter(folder: Folder) -> None:
    assert folder.outcome(hex=(ID_7 + BYTES[:-1]).hex()) == {"dead_letter": "decode_error"}
    assert folder.outcome(hex="") == {"dead_letter": "decode_error"}


def test_a_tombstone_is_skipped_without_any_schema(folder: Folder) -> None:
    folder.write('{"tombstone": true, "expect": {"skipped": "tombstone"}}', "one.json")
    folder.write('{"record": null, "expect": {"skipped": "tombstone"}}', "two.json")
    assert folder.run().code == 0


def test_a_file_of_json_beside_holds_the_fields(folder: Folder) -> None:
    (folder.cases / "record.json").write_text(json.dumps(a_lead()))
    folder.write_case(file="record.json", expect={"event": SENT})
    done = folder.run()
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 case: 1 passed")


def test_place_and_key_are_those_of_the_case(folder: Folder) -> None:
    record = a_lead() | {"event_id": ""}
    made = folder.outcome(record=record, partition=3, offset=17, key="k", timestamp="2026-01-01T00:00:01Z")
    other = folder.outcome(record=record, partition=3, offset=18)
    assert made["event"]["dedupe_id"] != other["event"]["dedupe_id"]
    assert made == folder.outcome(record=record, partition=3, offset=17)


# The schema


def test_the_schema_of_the_case_goes_before_that_of_the_command_and_this_before_that_of_the_settings(
    tmp_path: Path,
) -> None:
    folder = Folder(tmp_path, sources=[{"framing": "raw", "schema_file": "lead.avsc"}])
    no_url = {**LEAD, "fields": [one for one in LEAD["fields"] if one["name"] != "event_source_url"]}
    no_time = {**LEAD, "fields": [one for one in LEAD["fields"] if one["name"] != "event_time"]}
    (tmp_path / "no_url.avsc").write_text(json.dumps(no_url))
    (tmp_path / "no_time.avsc").write_text(json.dumps(no_time))
    record = {key: value for key, value in a_lead().items() if key not in ("event_source_url", "event_time")}

    def field(*words: str, **schema: str) -> Any:
        folder.write(json.dumps({"record": record, **schema}), "one.json")
        done = folder.run("--update", *words)
        return json.loads((folder.cases / "one.json").read_text())["expect"]["field"] if done.code == 0 else done.err

    by_command = ["--schema", str(tmp_path / "no_url.avsc")]
    assert "event_time is missing" in field()
    assert "event_time is missing" in field(*by_command)
    assert "event_source_url is missing" in field(*by_command, schema="../no_time.avsc")


def test_without_a_schema_the_registry_is_asked_and_the_case_says_what_to_do(folder: Folder) -> None:
    folder.write(json.dumps({"record": a_lead(), "expect": {"event": SENT}}), "one.json")
    folder.write(json.dumps({"hex": (ID_7 + BYTES).hex(), "expect": {"event": SENT}}), "two.json")
    done = folder.run()
    assert done.code == 2
    lines = done.err.splitlines()
    assert len(lines) == 2
    assert all("127.0.0.1:9" in line and "--schema" in line for line in lines), lines
    assert folder.run("--schema", str(folder.path / "lead.avsc")).code == 0


_WATCHED = """
import sys
OPENED = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")
sys.addaudithook(lambda event, _: event in OPENED and print(event, file=sys.stderr))
from stream_capi.cli import main
main()
"""


@pytest.mark.slow
def test_no_socket_is_opened_where_a_schema_is_given(tmp_path: Path) -> None:
    """One listener stands in for broker, registry and endpoint. The API key's variable isn't set."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        at = f"127.0.0.1:{listener.getsockname()[1]}"
        folder = Folder(
            tmp_path,
            kafka={"bootstrap_servers": at},
            schema_registry={"url": f"http://{at}"},
            endpoint={"url": f"http://{at}/v1/event"},
        )
        (folder.cases / "value.bin").write_bytes(ID_7 + BYTES)
        folder.write_case("one.json", expect={"event": SENT})
        folder.write_case("two.json", file="value.bin", expect={"event": SENT})
        words = [sys.executable, "-c", _WATCHED, "test", "--config", str(folder.config)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        with pytest.raises(BlockingIOError):
            listener.accept()
        folder.write(json.dumps({"record": a_lead(), "expect": {"event": SENT}}), "three.json")
        with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asking:
            listener.settimeout(60)  # shows that the listener would see a request to the registry
            listener.accept()[0].close()
            asking.kill()


# Routing, people, profiles


def test_several_sources_of_one_topic_are_told_by_their_records(tmp_path: Path) -> None:
    folder = Folder(
        tmp_path,
        sources=[
            {"record": "stream_capi.Lead"},
            {"record": "stream_capi.PageView", "event": "page_view", "pixel": "strict"},
        ],
    )
    other = {"type": "record", "name": "Other", "fields": [{"name": "x", "type": "int"}]}
    fields = [one | {"type": "stream_capi.Esi"} if one["name"] == "esi" else one for one in PAGE_VIEW["fields"]]
    union = ["null", LEAD, {**PAGE_VIEW, "fields": fields}, other]
    (tmp_path / "all.avsc").write_text(json.dumps(union))
    view = {
        "stream_capi.PageView": {k: v for k, v in a_lead(client_id="c-1").items() if k not in ("currency", "value")}
    }
    assert folder.outcome(schema="../all.avsc")["pixel"] == "main"
    assert folder.outcome(schema="../all.avsc", record=view)["pixel"] == "strict"
    assert folder.outcome(schema="../all.avsc", record={"x": 1}) == {"skipped": "unrouted"}
    assert folder.outcome(schema="../all.avsc", record=None) == {"skipped": "tombstone"}
    of_lead = ID_7 + b"\x02" + BYTES
    assert folder.outcome(schema="../all.avsc", hex=of_lead.hex())["pixel"] == "main"
    assert folder.outcome(schema="../all.avsc", hex=(ID_7 + b"\x00").hex()) == {"skipped": "tombstone"}


def test_the_pixel_that_a_record_names_is_compared(tmp_path: Path) -> None:
    folder = Folder(tmp_path, sources=[{"pixel": None, "pixel_field": "user_id"}])
    record = a_lead(user_id="main", client_id="c-1")
    made = folder.outcome(record=record)
    assert made["pixel"] == "main"
    folder.write_case(record=record, expect=made | {"pixel": "strict"})
    (told,) = folder.results()
    assert told["differences"] == [{"field": "pixel", "expected": "strict", "came_out": "main"}]
    assert folder.outcome(record=a_lead(user_id="nobody")) == {"dead_letter": "invalid_field", "field": "pixel_field"}


def test_the_restricted_profile_is_that_of_the_pixel(tmp_path: Path) -> None:
    folder = Folder(tmp_path, sources=[{"pixel": "strict"}])
    made = folder.outcome(record=a_lead(email=EMAIL, client_id="c-1"))
    assert "email" not in made["event"]["user_data"]
    assert made["event"]["event_source_url"] == "https://shop.example"


def test_people_who_asked_to_be_forgotten_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "forgotten.txt").write_text(HASH + "\n")
    folder = Folder(tmp_path, suppress={"file": "forgotten.txt"})
    assert folder.outcome(record=a_lead(email=EMAIL)) == {"skipped": "suppressed"}
    assert folder.outcome()["event"] == SENT


def test_records_that_are_left_out_are_skipped_for_their_reason(tmp_path: Path) -> None:
    source = {"where": [{"field": "esi", "equals": "web"}], "consent_field": "user_id"}
    folder = Folder(tmp_path, sources=[source])
    assert folder.outcome(record=a_lead(esi="app")) == {"skipped": "where"}
    assert folder.outcome(record=a_lead(user_id="no")) == {"skipped": "no_consent"}


def test_a_pause_is_no_part_of_the_mapping(tmp_path: Path) -> None:
    folder = Folder(tmp_path, sources=[{"paused": True}])
    assert folder.outcome()["event"] == SENT


def test_an_event_larger_than_a_request_is_a_dead_letter(tmp_path: Path) -> None:
    folder = Folder(tmp_path, batch={"max_bytes": 4096})
    record = a_lead(client_user_agent="x" * 4_000)
    assert folder.outcome(record=record) == {"dead_letter": "too_large"}


# Moments


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({}, "event"),
        ({"now": "2026-01-01T00:00:59Z"}, "event"),
        ({"now": TIME + 60_001}, "too_old"),
        ({"now": "2026-01-02"}, "too_old"),
        ({"now": "2025-12-31T23:00:00Z"}, "in_future"),
        ({"timestamp": TIME + 60_001}, "too_old"),
        ({"timestamp": TIME + 60_001, "now": TIME}, "event"),
    ],
)
def test_ages_are_judged_at_the_moment_of_the_case_and_never_at_that_of_the_test(
    tmp_path: Path, keys: dict[str, Any], kind: str
) -> None:
    folder = Folder(tmp_path, delivery={"max_age_seconds": 60})
    made = folder.outcome(**keys)
    assert (made.get("dead_letter") or "event") == kind


@pytest.mark.parametrize("at", [TIME - 10**11, TIME + 10**11])
def test_no_clock_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    folder = Folder(tmp_path, delivery={"max_age_seconds": 60})
    folder.write_case(expect={"event": SENT})
    monkeypatch.setattr("time.time", lambda: at / 1000)
    assert folder.run().code == 0


# Output and masking


CANARIES = a_lead(
    email=EMAIL,
    phone=PHONE,
    client_id="canary-client",
    sid="canary-session",
    event_source_url="https://shop.example/canary?x=canary",
    client_user_agent="canary-agent",
    client_ip_address="203.0.113.77",
)


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_no_output_shows_personal_data_unless_it_is_asked_for(folder: Folder, words: list[str]) -> None:
    texts = dict.fromkeys(
        ("email", "phone", "client_id", "user_id", "os", "zip", "country_code", "client_ip_address", "sid", "esi"),
        EMAIL,
    )
    expected = {
        "name": EMAIL, "event_time": EMAIL, "event_source_url": EMAIL, "dedupe_id": EMAIL,
        "data": {"currency": EMAIL, "value": EMAIL}, "user_data": texts,
    }  # fmt: skip
    folder.write_case("one.json", record=CANARIES, expect={"event": expected})
    folder.write_case("two.json", record=CANARIES, expect={"event": SENT})
    wrong = CANARIES | {"currency": EMAIL}
    folder.write_case("three.json", record=wrong, expect={"dead_letter": "invalid_field", "detail": EMAIL})
    secrets = ["canary", HASH, hashlib.sha256(b"16505550199").hexdigest(), "555 0199", "5550199", "203.0.113.77"]
    report = folder.path / "report.xml"
    shown = folder.run(*words, "--junit", str(report))
    assert shown.code == 1
    for text in (shown.output, report.read_text()):
        assert not [secret for secret in secrets if secret in text.replace(str(folder.path), "")]
    asked = folder.run(*words, "--show-personal-data", "--junit", str(report))
    assert not [secret for secret in (EMAIL, HASH, "canary-client", "203.0.113.77") if secret not in asked.output]
    assert "canary" not in report.read_text(), "CI servers publish the file"


def test_two_hashes_that_differ_are_told_in_one_word(folder: Folder) -> None:
    event = SENT | {"user_data": {**SENT["user_data"], "email": "0" * 64}}  # type: ignore[dict-item]
    folder.write_case(record=a_lead(email=EMAIL), expect={"event": event})
    assert "user_data.email differs: expected …(SHA-256), came out …(SHA-256)" in folder.run().out


# JUnit


def test_the_report_is_what_ci_servers_read(folder: Folder) -> None:
    folder.write_case("good.json", name="fine", expect={"event": SENT})
    folder.write_case("bad.json", name='says "<no>" \x00\x1b[31m & ends', expect={"skipped": "where"})
    folder.write_case("open.json")
    folder.write("x = [", "broken.toml")
    report = folder.path / "report.xml"
    assert folder.run("--junit", str(report)).code == 2
    root = ElementTree.fromstring(report.read_bytes())  # noqa: S314 -- written just now
    assert_junit(root)
    found = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert found == {
        "fine": [],
        'says "<no>" \\x00\\x1b[31m & ends': ["failure"],
        "open": ["error"],
        "broken": ["error"],
    }
    assert {key: root.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "4",
        "failures": "1",
        "errors": "2",
    }


def assert_junit(root: ElementTree.Element) -> None:
    """Assert the structure that Jenkins' schema (``junit-10.xsd``) requires, for the elements that this report has."""
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.tag == "testsuite"
        assert {"name", "tests", "failures", "errors", "skipped", "time"} <= set(suite.keys())
        cases = list(suite)
        assert all(case.tag == "testcase" and {"name", "classname", "time"} <= set(case.keys()) for case in cases)
        outcomes = [child for case in cases for child in case]
        assert all(child.tag in ("failure", "error") and {"message", "type"} <= set(child.keys()) for child in outcomes)
        counted = [len(cases), *(sum(child.tag == tag for child in outcomes) for tag in ("failure", "error"))]
        assert [int(suite.get(key) or "") for key in ("tests", "failures", "errors")] == counted


def test_a_report_that_can_not_be_written_is_told(folder: Folder) -> None:
    folder.write_case(expect={"event": SENT})
    done = folder.run("--junit", str(folder.path))
    assert (done.code, done.err) == (2, f"stream-capi: --junit: {folder.path} can't be written: Is a directory\n")


@pytest.mark.parametrize("name", ["cases/case.json", "stream-capi.toml", "lead.avsc"])
def test_a_report_takes_the_place_of_no_file_but_a_report(folder: Folder, name: str) -> None:
    folder.write_case("case.json", expect={"event": SENT})
    target = folder.path / name
    before = target.read_bytes()
    done = folder.run("--junit", str(target))
    assert target.read_bytes() == before
    fault = f"--junit: {target} is there already and is not a report; name another file, or delete it"
    assert (done.code, done.err) == (2, f"stream-capi: {fault}\n")


def test_a_report_takes_the_place_of_a_report_and_of_nothing(folder: Folder) -> None:
    folder.write_case(expect={"event": SENT})
    report = folder.path / "report.xml"
    report.touch()
    for _ in range(2):
        assert folder.run("--junit", str(report)).code == 0
        assert_junit(ElementTree.fromstring(report.read_bytes()))  # noqa: S314 -- written just now


def test_many_cases_compile_their_mapping_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [{"name": f"case {at}", "record": a_lead(), "expect": {"event": SENT}} for at in range(300)]
    folder.write(json.dumps({"schema": "../lead.avsc", "cases": cases}), "many.json")
    made: list[Any] = []

    def counted(*given: Any, **named: Any) -> Any:
        made.append(given)
        return compile_source(*given, **named)

    monkeypatch.setattr(mapping_tests, "compile_source", counted)
    assert folder.run().code == 0
    assert len(made) == 1
