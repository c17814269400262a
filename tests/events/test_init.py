"""``stream-capi init``: what it guesses, and what it leaves to a person."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from stream_capi import config
from stream_capi.avro.encryption import NOTHING_ENCRYPTED, Encrypted
from stream_capi.cli import init
from stream_capi.cli.init import command
from stream_capi.config.settings import TARGETS
from stream_capi.errors import ConfigurationError, RegistryUnavailable
from stream_capi.events.guess import Guess, event_of, guesses
from stream_capi.events.mapping_check import mapping_faults
from stream_capi.events.rules import rules_from
from stream_capi.model import EventName
from tests.avro.records import schema as ready
from tests.events.real_topic import encoded, produce, register
from tests.events.sources_and_records import LEAD, PAGE_VIEW, lead, nullable, record
from tests.stack import Broker, Registry
from tests.stack.names import Names

TIMESTAMP = {"type": "long", "logicalType": "timestamp-millis"}


def guess(target: str, raw: Any, event: EventName = EventName.GENERATE_LEAD) -> Guess:
    (found,) = [one for one in guesses(raw, event) if one.target == target]
    return found


def nested(name: str, /, **types: Any) -> dict[str, Any]:
    return record(**types) | {"name": name}


@pytest.mark.parametrize(("event", "raw"), [(EventName.GENERATE_LEAD, LEAD), (EventName.PAGE_VIEW, PAGE_VIEW)])
def test_the_shipped_contract_is_guessed_whole_and_for_sure(event: EventName, raw: Any) -> None:
    for one in guesses(raw, event):
        assert one.paths[0] == one.target.rpartition(".")[2]
        assert one.sure


def test_names_are_known_in_every_spelling_and_at_any_depth() -> None:
    raw = record(
        sentAt=TIMESTAMP,
        customer=nullable(nested("C", EmailAddress="string", phone_number=nullable("string"))),
        page=nested("P", url="string"),
        device=nested("D", os=nested("O", name="string"), ip="string"),
    )
    assert guess("event_time", raw).paths == ("sentAt",)
    assert guess("user_data.email", raw).paths == ("customer.EmailAddress",)
    assert guess("user_data.phone", raw).paths == ("customer.phone_number",)
    assert guess("event_source_url", raw) == Guess("event_source_url", ("page.url",), sure=True)
    assert guess("user_data.os", raw).paths[0] == "device.os.name"
    assert guess("user_data.client_ip_address", raw).paths == ("device.ip",)


def test_the_best_name_comes_first_and_the_others_are_named() -> None:
    raw = record(id="string", uuid="string", message_id="string", created_at=TIMESTAMP, ts=TIMESTAMP)
    assert guess("event_id", raw) == Guess("event_id", ("message_id", "id", "uuid"), sure=True)
    assert guess("event_time", raw) == Guess("event_time", ("created_at", "ts"), sure=False)


def test_three_are_named_at_most() -> None:
    raw = record(id="string", uuid="string", message_id="string", lead_id="string")
    assert guess("event_id", raw).paths == ("message_id", "lead_id", "id")


def test_a_name_that_may_mean_something_else_is_never_sure() -> None:
    assert guess("event_id", record(lead_id="string")).sure
    assert not guess("event_id", record(id="string")).sure


def test_what_a_field_is_in_belongs_to_its_name() -> None:
    raw = record(page=nested("P", location="string"), location="string")
    assert guess("event_source_url", raw) == Guess("event_source_url", ("page.location", "location"), sure=True)


def test_what_nothing_looks_like_is_left_open() -> None:
    assert guess("user_data.sid", record(odd="string")) == Guess("user_data.sid", (), sure=False)
    assert guess("user_data.email", record(sent_at_s="string", email_s="string")).paths == ()


def test_every_field_of_the_event_is_guessed_and_of_a_page_view_no_data() -> None:
    leads = [one.target for one in guesses(LEAD, EventName.GENERATE_LEAD)]
    assert leads == list(TARGETS)
    views = [one.target for one in guesses(LEAD, EventName.PAGE_VIEW)]
    assert views == [target for target in TARGETS if target not in ("data.currency", "data.value")]


def test_a_user_id_that_is_no_number_is_guessed_too() -> None:
    uuid = {"type": "string", "logicalType": "uuid"}
    assert guess("user_data.user_id", record(user_id=uuid)).paths == ("user_id",)


def test_what_can_not_hold_it_is_not_guessed() -> None:
    raw = record(email="boolean", value="boolean", event_time="boolean", phone={"type": "map", "values": "string"})
    for target in ("user_data.email", "data.value", "event_time", "user_data.phone"):
        assert guess(target, raw).paths == ()


def test_of_a_change_event_what_is_true_now_comes_first() -> None:
    raw = record(before=nullable(nested("V", email="string")), after=nullable("V"))
    assert guess("user_data.email", raw).paths == ("after.email", "before.email")
    raw = record(before=nested("V", email="string"), mail="string")
    assert guess("user_data.email", raw) == Guess("user_data.email", ("mail", "before.email"), sure=False)
    raw = record(ts_ms="long", source=nested("S", ts_ms="long"))
    assert guess("event_time", raw) == Guess("event_time", ("source.ts_ms", "ts_ms"), sure=False, unit="ms")


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("sent_at", "long", "ms"),
        ("sent_at", "int", "s"),
        ("timestamp", "double", "ms"),
        ("sent_at_s", "long", "s"),
        ("event.created_at_sec", "double", "s"),
        ("timestampSeconds", "long", "s"),
        ("created_at_us", "long", "us"),
        ("event.timestampMicros", "long", "us"),
        ("time_ms", "long", "ms"),
        ("ts_ms", "int", "s"),
        ("sent_at_us", TIMESTAMP, None),
        ("sent_at", TIMESTAMP, None),
        ("sent_at", "string", None),
    ],
)
def test_what_a_bare_number_counts_is_guessed_and_never_for_sure(name: str, kind: Any, unit: str | None) -> None:
    outer, _, inner = name.rpartition(".")
    found = guess("event_time", record(**{outer: nested("E", **{inner: kind})} if outer else {name: kind}))
    assert (found.paths, found.unit) == ((name,), unit)
    assert not (found.sure and unit)


@pytest.mark.parametrize(
    ("name", "topic", "event"),
    [
        ("acme.PageViewed", "x", EventName.PAGE_VIEW),
        ("acme.Event", "page-views", EventName.PAGE_VIEW),
        ("acme.page_visits", "x", EventName.PAGE_VIEW),
        ("acme.Visited", "x", EventName.PAGE_VIEW),
        ("VIEW", "x", EventName.PAGE_VIEW),
        ("Event", "web.pageview.v2", EventName.PAGE_VIEW),
        ("Event", "screenviews", EventName.PAGE_VIEW),
        ("acme.LeadSubmitted", "quotes", EventName.GENERATE_LEAD),
        ("acme.InterviewRequest", "x", EventName.GENERATE_LEAD),
        ("acme.LeadReviewed", "x", EventName.GENERATE_LEAD),
        ("acme.VisitorSignup", "x", EventName.GENERATE_LEAD),
        ("Lead", "lead-previews", EventName.GENERATE_LEAD),
        ("Lead", "rampage_leads", EventName.GENERATE_LEAD),
    ],
)
def test_which_event_it_is_is_guessed_by_the_names(name: str, topic: str, event: EventName) -> None:
    assert event_of(name, topic) is event


# The command


def run(*words: str) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(words))


@pytest.fixture
def newest(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replaces the request to the registry: set the ``schema`` to return; its ``properties`` are recorded."""
    told: dict[str, Any] = {"schema": LEAD}

    async def answer(url: str, topic: str, properties: Any, kafka: Any) -> Any:
        told["properties"], told["kafka"] = properties, kafka
        schema = replace(ready(told["schema"]), encrypted=told.get("encrypted", NOTHING_ENCRYPTED))
        return [schema], told.get("framing")

    monkeypatch.setattr(init, "_newest", answer)
    return told


WORDS = ("--registry", "http://registry:8081", "--topic", "leads")


def test_what_is_written_loads_and_fits(newest: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "made.toml"
    done = run(*WORDS, "--output", str(file))
    assert done.exit_code == 0, done.output
    assert f"stream-capi check --config {file}" in done.output
    settings = config.load(file, {}, keys=False)
    assert settings.schema_registry is not None
    assert settings.schema_registry.url == "http://registry:8081"
    assert mapping_faults(rules_from(settings.sources[0], settings), LEAD) == []


def test_without_an_output_it_is_printed(newest: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "made.toml"
    file.write_text(run(*WORDS).output)
    assert config.load(file, {}, keys=False).sources[0].event == "generate_lead"


def test_what_is_required_and_unknown_is_a_line_to_do(newest: dict[str, Any]) -> None:
    newest["schema"] = record(at="long", odd="string")
    text = run(*WORDS).output
    todo = [
        line.split("=")[0].removeprefix("# TODO ").strip() for line in text.splitlines() if line.startswith("# TODO ")
    ]
    assert todo[:7] == [
        "event_time", "event_source_url", '"data.currency"', '"data.value"', '"user_data.client_ip_address"',
        '"user_data.client_user_agent"', '"user_data.esi"',
    ]  # fmt: skip
    assert todo[7].startswith("one of these is required: user_data.aleid")
    assert "# Nothing looks like these, which are optional: event_id, dedupe_id" in text


def test_what_is_unsure_says_so(newest: dict[str, Any]) -> None:
    newest["schema"] = record(ts="long", id="string", uuid="string")
    text = run(*WORDS).output
    assert 'event_time = { path = "ts", unit = "ms" }' in text
    assert "# unsure; a bare number: s, ms or us?" in text
    assert "# unsure; or uuid" in text


def test_a_value_table_is_written_and_read(newest: dict[str, Any], tmp_path: Path) -> None:
    newest["schema"] = record(kind={"type": "enum", "name": "K", "symbols": ["WEBSITE", "IOS_APP"]})
    file = tmp_path / "made.toml"
    assert run(*WORDS, "--output", str(file)).exit_code == 0
    rule = config.load(file, {}, keys=False).sources[0].fields["user_data.esi"]
    assert (rule.paths, rule.map) == (("kind",), {"WEBSITE": "web", "IOS_APP": "app"})
    assert "# unsure; its symbols fit" in file.read_text()


def test_what_only_a_person_can_decide_is_offered_as_comments_that_are_keys(
    newest: dict[str, Any], tmp_path: Path
) -> None:
    value = nested("V", email="string", event_type="string")
    newest["schema"] = record(
        before=nullable(value),
        after=nullable("V"),
        op="string",
        consent={"type": "map", "values": "boolean"},
        opt_in="boolean",
    )
    text = run(*WORDS).output
    keys = ("event_field", "where", "consent_field", "consent_purposes")
    offered = [line[2:] for line in text.splitlines() if line.startswith(tuple(f"# {key} = " for key in keys))]
    assert [line.split("  ")[0] for line in offered] == [
        'event_field = "after.event_type"',
        'where = { field = "op", in = ["c", "r"] }',
        'consent_field = "consent"',
        'consent_purposes = ["…"]',
        'consent_field = "opt_in"',
    ]
    file = tmp_path / "made.toml"
    taken = text.replace('event = "generate_lead"', 'events = { LEAD = "generate_lead" }')
    for line in offered[:4]:
        taken = taken.replace(f"# {line}", line)
    file.write_text(taken)
    source = config.load(file, {}, keys=False).sources[0]
    assert (source.event_field, source.consent_field) == ("after.event_type", "consent")


def test_what_was_not_said_is_marked(newest: dict[str, Any]) -> None:
    text = run(*WORDS).output
    assert "# TODO: the brokers; none were given" in text
    assert "# unsure: by the names; or event_field" in text
    text = run(*WORDS, "--bootstrap-servers", "broker:9092", "--event", "generate_lead").output
    assert "unsure: by the names" not in text
    assert "the brokers" not in text


def test_how_much_is_left_is_counted(newest: dict[str, Any], tmp_path: Path) -> None:
    newest["schema"] = record(ts="long", id="string", email="string")
    words = ("--bootstrap-servers", "b:1", "--event", "generate_lead", "--output", str(tmp_path / "made.toml"))
    assert "is written: 2 lines are marked as unsure, 7 as TODO. Correct it" in run(*WORDS, *words).output


def test_a_password_comes_from_the_environment_and_is_not_written(
    newest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_CAPI_SCHEMA_REGISTRY__PROPERTIES__BASIC__AUTH__USER__INFO", "me:canary")
    done = run(*WORDS)
    assert newest["properties"] == {"basic.auth.user.info": "me:canary"}
    assert "canary" not in done.output
    refused = run("--registry", "http://me:canary@registry:8081", "--topic", "leads")
    assert refused.exit_code == 2
    assert "canary" not in refused.output


@pytest.mark.parametrize("evil", ['"\n[admin]\nport = 1\n#', '" ] = 1 #', "\\"])
def test_names_of_a_schema_can_not_write_lines_of_their_own(newest: dict[str, Any], tmp_path: Path, evil: str) -> None:
    newest["schema"] = record(
        **{field["name"]: field["type"] for field in LEAD["fields"]} | {f"x{evil}email": "string"}
    )
    newest["schema"]["name"] = f"Lead{evil}"
    done = run(*WORDS)
    if "\n" in evil:
        assert "control characters" in str(done.exception)
        return
    file = tmp_path / "made.toml"
    file.write_text(done.output)
    assert config.load(file, {}, keys=False).admin.port == 9464


@pytest.mark.parametrize("url", ["registry:8081", "ftp://registry", "http://"])
def test_a_registry_must_be_a_url(url: str) -> None:
    assert run("--registry", url, "--topic", "leads").exit_code == 2


def test_a_file_that_is_there_is_not_written_over(newest: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "made.toml"
    file.write_text("precious")
    done = run(*WORDS, "--output", str(file))
    assert isinstance(done.exception, ConfigurationError)
    assert file.read_text() == "precious"


def test_a_registry_that_does_not_answer_is_told_in_a_line() -> None:
    done = run("--registry", "http://127.0.0.1:9", "--topic", "leads")
    assert isinstance(done.exception, RegistryUnavailable)
    assert "subject leads-value" in str(done.exception)


@pytest.mark.real
def test_a_topic_without_a_schema_is_told_in_a_line(registry: Registry, names: Names) -> None:
    topic = names.topic()
    done = run("--registry", registry.url, "--topic", topic, "--bootstrap-servers", "localhost:1")
    assert isinstance(done.exception, ConfigurationError)
    fault = f"the registry has no subject {topic}-value, and no record can be read to find another: "
    assert str(done.exception).startswith(f"{fault}topic {topic}: no answer from localhost:1 within 10 s")
    assert "\n" not in str(done.exception)


@pytest.mark.real
def test_a_real_registry_is_asked_for_the_newest_schema(registry: Registry, names: Names, tmp_path: Path) -> None:
    topic, file = names.topic(), tmp_path / "made.toml"
    older = json.loads(json.dumps(LEAD).replace('"email"', '"was_email"'))
    register(registry, f"{topic}-value", older)
    register(registry, f"{topic}-value", LEAD)
    assert run("--registry", registry.url, "--topic", topic, "--output", str(file)).exit_code == 0
    settings = config.load(file, {}, keys=False)
    assert mapping_faults(rules_from(settings.sources[0], settings), LEAD) == []


def test_the_brokers_come_from_the_option_or_the_environment(
    newest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_CAPI_KAFKA__BOOTSTRAP_SERVERS", "env:9092")
    monkeypatch.setenv("STREAM_CAPI_KAFKA__PROPERTIES__SECURITY__PROTOCOL", "SSL")
    assert 'bootstrap_servers = "env:9092"' in run(*WORDS).output
    assert newest["kafka"].properties == {"security.protocol": "SSL"}
    assert 'bootstrap_servers = "option:9092"' in run(*WORDS, "--bootstrap-servers", "option:9092").output
    monkeypatch.setenv("STREAM_CAPI_KAFKA__PASSWORD", "canary-secret")
    done = run(*WORDS)
    assert isinstance(done.exception, ConfigurationError)
    assert "STREAM_CAPI_KAFKA" in str(done.exception)
    assert "canary" not in str(done.exception)


def test_the_framing_that_a_record_showed_is_written_and_encrypted_fields_are_named(newest: dict[str, Any]) -> None:
    newest["framing"] = "apicurio"
    newest["encrypted"] = Encrypted(frozenset({"stream_capi.Lead.email"}))
    text = run(*WORDS).output
    assert 'framing = "apicurio"' in text
    assert "# Can't be sent: the registry's rules encrypt fields that are mapped (ENCRYPT): email" in text


@pytest.mark.real
@pytest.mark.parametrize("apicurio", [False, True])
def test_where_no_subject_has_the_topic_s_name_a_recent_record_says_the_schema(
    broker: Broker, registry: Registry, names: Names, monkeypatch: pytest.MonkeyPatch, apicurio: bool
) -> None:
    topic = broker.create_topic(names.topic("renamed"))
    monkeypatch.setenv("STREAM_CAPI_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap)
    words = ("--registry", registry.url, "--topic", topic)
    before = run(*words)
    assert str(before.exception).endswith("and the topic has no record to find another by")
    schema_id = register(registry, names.topic("any"), LEAD)
    produce(broker, topic, [b"\0" + schema_id.to_bytes(8 if apicurio else 4, "big") + encoded(LEAD, lead())])
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "stream_capi.Lead" in done.output
    assert ('framing = "apicurio"' in done.output) is apicurio
    produce(broker, topic, [b"\x03\0" + bytes(16)])
    assert "AWS Glue" in str(run(*words).exception)


@pytest.mark.real
def test_each_record_type_among_recent_records_gets_a_source(
    broker: Broker, registry: Registry, names: Names, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With RecordNameStrategy a topic has several types, and no subject of its name. The newest schema of each is mapped."""
    topic, file = broker.create_topic(names.topic("mixed")), tmp_path / "made.toml"
    monkeypatch.setenv("STREAM_CAPI_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap)
    space = names.topic().replace(".", "_")
    of_lead, of_view = (
        raw | {"name": name, "namespace": space} for raw, name in ((LEAD, "LeadWon"), (PAGE_VIEW, "PageSeen"))
    )
    older = json.loads(json.dumps(of_lead).replace('"email"', '"was_email"'))
    first, view_id = register(registry, f"{space}.LeadWon", older), register(registry, f"{space}.PageSeen", of_view)
    register(registry, f"{space}.LeadWon", of_lead)
    values = [(first, encoded(LEAD, lead())), *[(view_id, b"")] * 20]  # what init reads of a record is its schema's id
    produce(broker, topic, [b"\0" + id_.to_bytes(4, "big") + payload for id_, payload in values])
    done = run("--registry", registry.url, "--topic", topic, "--output", str(file))
    assert done.exit_code == 0, done.output
    settings = config.load(file, {}, keys=False)
    assert {source.record: source.event for source in settings.sources} == {
        f"{space}.LeadWon": "generate_lead",
        f"{space}.PageSeen": "page_view",
    }
    for source in settings.sources:
        raw = of_lead if source.event == "generate_lead" else of_view
        assert mapping_faults(rules_from(source, settings), raw) == []
