"""The command ``stream-capi explain``: from a file, and from a topic without leaving a consumer group behind."""

from __future__ import annotations

import json
import os
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import typer
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner, Result

from stream_capi.cli.explain import command
from stream_capi.errors import ConfigurationError, KafkaLost
from stream_capi.kafka.scan import latest_records, record_at
from tests.events.real_topic import confluent, encoded, produce, register, settings_of
from tests.events.sources_and_records import LEAD, SCHEMAS, lead
from tests.stack import Broker, Registry
from tests.stack.names import Names

CANARY = "canary.person@example.com"
PERSON = {
    "email": CANARY, "phone": "+1 650 555 0199", "user_id": "canary-user", "client_id": "canary-client", "sid": "canary-session",
    "client_ip_address": "203.0.113.77", "client_user_agent": "canary-agent", "zip": "98765-4321", "event_id": "canary-order",
    "event_source_url": "https://shop.example/thanks?email=canary", "country_code": CANARY, "os": f"windows {CANARY}",
}  # fmt: skip
SECRETS = ("canary", "555 0199", "203.0.113.77", "98765-4321")
DIGITS = "6505550199"  # the phone's digits; a shorter part may occur in a time or a hash by chance


@pytest.fixture(autouse=True)
def _no_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("STREAM_CAPI_")]:
        monkeypatch.delenv(name)


def app() -> typer.Typer:
    made = typer.Typer()
    made.command()(command)
    return made


def run(*words: str) -> Result:
    return CliRunner().invoke(app(), list(words), env={"COLUMNS": "200"})


def config_file(folder: Path, **source: Any) -> str:
    tables = {
        "pixels": [{"name": "main", "pixel_id": "p", "api_key_env": "KEY"}],
        "sources": [{"topic": "leads", "event": "generate_lead", "pixel": "main", **source}],
    }
    file = folder / "stream-capi.toml"
    file.write_text(tomli_w.dumps(tables))
    return str(file)


@pytest.fixture
def raw_config(tmp_path: Path) -> str:
    return config_file(tmp_path, framing="raw", schema_file=str(SCHEMAS / "lead.avsc"))


def now_lead(**fields: Any) -> dict[str, Any]:
    return lead(event_time=int(time.time() * 1000) - 1000, **fields)


def as_json_file(folder: Path, record: dict[str, Any]) -> str:
    file = folder / "record.json"
    file.write_text(json.dumps(record))
    return str(file)


def test_a_file_of_json_is_explained(tmp_path: Path, raw_config: str) -> None:
    file = as_json_file(tmp_path, now_lead(email="jane@example.com"))
    done = run("--config", raw_config, "--topic", "leads", "--file", file)
    assert done.exit_code == 0, done.output
    assert "sent as generate_lead to pixel main" in done.output
    assert "user_data.email" in done.output
    assert "j…(16 chars)" in done.output


def test_a_file_of_bytes_is_explained_as_on_the_wire(tmp_path: Path, raw_config: str) -> None:
    file = tmp_path / "value.bin"
    file.write_bytes(encoded(LEAD, now_lead()))
    done = run("--config", raw_config, "--topic", "leads", "--file", str(file), "--json")
    (told,) = json.loads(done.stdout)
    outcome = told["outcome"]
    assert {name: outcome[name] for name in ("kind", "pixel", "event")} == {
        "kind": "sent", "pixel": "main", "event": "generate_lead",
    }  # fmt: skip
    assert outcome["payload"]["user_data"]["user_id"] == "u…(6 chars)"
    assert told["schema"] == "stream_capi.Lead (schema file)"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_personal_data_is_shown_only_when_asked_for(tmp_path: Path, raw_config: str, options: list[str]) -> None:
    file = as_json_file(tmp_path, now_lead(**PERSON))
    shown = run("--config", raw_config, "--topic", "leads", "--file", file, *options).output
    assert not [secret for secret in (*SECRETS, DIGITS) if secret in shown]
    asked = run("--config", raw_config, "--topic", "leads", "--file", file, "--show-personal-data", *options).output
    assert not [secret for secret in SECRETS if secret not in asked]


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_completed_phone_is_shown_in_both_forms_masked(tmp_path: Path, options: list[str]) -> None:
    config = config_file(tmp_path, framing="raw", schema_file=str(SCHEMAS / "lead.avsc"), phone_region="DE")
    file = as_json_file(tmp_path, now_lead(phone="030/1234567"))
    words = ("--config", config, "--topic", "leads", "--file", file, *options)
    shown, asked = run(*words).output, run(*words, "--show-personal-data").output
    assert "0…(11 chars)" in shown
    assert "4…(11 chars)" in shown
    assert not [form for form in ("030/1234567", "49301234567") if form in shown]
    assert "030/1234567" in asked
    assert "49301234567" in asked


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("spoilt", sorted(PERSON))
def test_a_value_that_fails_is_not_shown_either(
    tmp_path: Path, raw_config: str, options: list[str], spoilt: str
) -> None:
    file = as_json_file(
        tmp_path, now_lead(**PERSON) | {spoilt: f"canary {spoilt} here"} | {"currency": "canary", "esi": "web"}
    )
    shown = run("--config", raw_config, "--topic", "leads", "--file", file, *options).output
    assert "invalid_field" in shown
    assert "canary" not in shown


def test_a_dead_letter_is_told_with_every_fault(tmp_path: Path, raw_config: str) -> None:
    file = as_json_file(tmp_path, now_lead(event_source_url="/x", value=-1.0))
    (told,) = json.loads(run("--config", raw_config, "--topic", "leads", "--file", file, "--json").stdout)
    assert told["outcome"]["kind"] == "dead_letter"
    assert told["outcome"]["code"] == "invalid_field"
    assert told["outcome"]["detail"].startswith("event_source_url: ")
    assert [field["target"] for field in told["fields"] if field["verdict"] == "fails"] == [
        "event_source_url",
        "data.value",
    ]


def test_bytes_that_are_no_record_are_a_dead_letter_too(tmp_path: Path, raw_config: str) -> None:
    file = tmp_path / "value.bin"
    file.write_bytes(b"\x02")
    done = run("--config", raw_config, "--topic", "leads", "--file", str(file))
    assert done.exit_code == 1
    assert "dead letter: decode_error: " in done.output


@pytest.mark.parametrize(
    ("record", "source", "code"),
    [
        ({}, {}, 0),
        ({"value": -1.0}, {}, 1),
        ({}, {"where": {"field": "esi", "equals": "app"}}, 1),
        ({"client_user_agent": "x" * 5000}, {}, 1),
    ],
    ids=["sent", "dead letter", "skipped", "too large"],
)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_it_ends_with_0_only_where_the_event_would_be_sent(
    tmp_path: Path, options: list[str], record: dict[str, Any], source: dict[str, Any], code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("STREAM_CAPI_BATCH__MAX_BYTES", "4096")
    config = config_file(tmp_path, framing="raw", schema_file=str(SCHEMAS / "lead.avsc"), **source)
    done = run("--config", config, "--topic", "leads", "--file", as_json_file(tmp_path, now_lead(**record)), *options)
    assert done.exit_code == code, done.output


def test_an_event_that_no_request_can_hold_is_too_large_as_in_the_pipeline(
    tmp_path: Path, raw_config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_CAPI_BATCH__MAX_BYTES", "4096")
    file = as_json_file(tmp_path, now_lead(client_user_agent="x" * 5000))
    (told,) = json.loads(run("--config", raw_config, "--topic", "leads", "--file", file, "--json").stdout)
    assert told["outcome"] == {
        "kind": "dead_letter", "code": "too_large", "detail": "the event alone is larger than batch.max_bytes",
    }  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_event_itself_is_shown_masked_and_whole_when_asked_for(
    tmp_path: Path, raw_config: str, options: list[str]
) -> None:
    words = ("--config", raw_config, "--topic", "leads", "--file", as_json_file(tmp_path, now_lead(**PERSON)), *options)

    def shown(*more: str) -> Any:
        text = run(*words, *more).output
        return json.loads(text)[0]["outcome"]["payload"] if options else json.loads(text[text.index("{\n") :])

    masked, whole = shown(), shown("--show-personal-data")
    assert masked["user_data"]["email"] == "…(SHA-256)"
    assert whole["user_data"]["email"] == sha256(CANARY.encode()).hexdigest()
    assert masked["event_source_url"] == "https://shop.example/…(20 chars)"
    assert masked.keys() == whole.keys()
    assert masked["data"] == whole["data"]


@pytest.mark.parametrize(
    "words",
    [
        [], ["--partition", "0"], ["--offset", "0"], ["--latest", "1", "--file", "x"],
        ["--partition", "0", "--offset", "0", "--latest", "1"],
    ],
)  # fmt: skip
def test_what_to_explain_must_be_said_in_one_way(raw_config: str, words: list[str]) -> None:
    assert run("--config", raw_config, "--topic", "leads", *words).exit_code == 2


@pytest.mark.parametrize(
    ("topic", "file", "content", "fault"),
    [
        ("lead", "r.json", "{}", "--topic: lead is not the topic of one of the sources; did you mean leads?"),
        ("views", "r.json", "{}", "--topic: views is not the topic of one of the sources; there are leads"),
        ("leads", "absent.json", None, "can't be read: No such file or directory"),
        ("leads", "r.json", "{", "is not a record of stream_capi.Lead: it is not JSON"),
        ("leads", "r.json", '{"emial": 1}', "is not a record of stream_capi.Lead: the schema has no field emial"),
        ("leads", "r.json", "{}", "is not a record of stream_capi.Lead: event_id is missing"),
        ("leads", "r.json", b"\xff", "is not UTF-8 text"),
    ],
)
def test_faults_are_one_clear_line(
    tmp_path: Path, raw_config: str, topic: str, file: str, content: str | bytes | None, fault: str
) -> None:
    path = tmp_path / file
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    done = run("--config", raw_config, "--topic", topic, "--file", str(path))
    assert isinstance(done.exception, ConfigurationError)
    assert fault in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize("words", [["--latest", "3"], ["--partition", "0", "--offset", "1"], ["--file", "a.json"]])
def test_a_since_that_nothing_would_read_is_refused(raw_config: str, words: list[str]) -> None:
    done = run("--config", raw_config, "--topic", "leads", *words, "--since", "2h")
    assert done.exit_code == 2
    assert "--since goes with --key, --event-id or --where" in done.output


def test_json_needs_one_schema(tmp_path: Path) -> None:
    config = config_file(tmp_path, framing="single_object", schema_file=str(SCHEMAS))
    done = run("--config", config, "--topic", "leads", "--file", as_json_file(tmp_path, lead()))
    assert "has stream_capi.Lead, stream_capi.PageView" in str(done.exception)


# From a real topic


@pytest.fixture
def topic_of_leads(broker: Broker, registry: Registry, names: Names) -> tuple[str, int]:
    topic = names.topic("leads")
    broker.create_topic(topic, 2)
    return topic, register(registry, f"{topic}-value", LEAD)


def real_config(folder: Path, broker: Broker, registry: Registry, topic: str, group: str) -> str:
    tables = {
        "kafka": {
            "bootstrap_servers": broker.bootstrap,
            "group_id": group,
            "properties": {"group.protocol": "consumer"},
        },
        "schema_registry": {"url": registry.url},
        "pixels": [{"name": "main", "pixel_id": "p", "api_key_env": "KEY"}],
        "sources": [{"topic": topic, "event": "generate_lead", "pixel": "main"}],
    }
    settings_of(folder, tables)
    return str(folder / "stream-capi.toml")


@pytest.mark.real
def test_a_record_of_a_topic_is_explained_and_no_group_is_left(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names, topic_of_leads: tuple[str, int]
) -> None:
    topic, schema_id = topic_of_leads
    values = [confluent(schema_id, encoded(LEAD, now_lead(event_id=f"e-{at}"))) for at in range(3)]
    produce(broker, topic, [*values, None, b"junk"], partition=1)
    config = real_config(tmp_path, broker, registry, topic, names.group())
    at = ("--config", config, "--topic", topic, "--partition", "1", "--json", "--show-personal-data", "--offset")
    (told,) = json.loads(run(*at, "2").stdout)
    assert told["record"] == f"{topic}[1]@2"
    assert told["schema"] == f"stream_capi.Lead (schema id {schema_id})"
    assert told["outcome"]["payload"]["dedupe_id"] == "e-2"
    assert json.loads(run(*at, "3").stdout)[0]["outcome"] == {"kind": "skipped", "reason": "tombstone"}
    assert json.loads(run(*at, "4").stdout)[0]["outcome"]["code"] == "decode_error"
    beyond = run(*at, "5")
    assert isinstance(beyond.exception, ConfigurationError)
    assert str(beyond.exception) == f"--offset: {topic}[1] has the offsets 0 to 4"
    assert "has partitions 0 to 1" in str(
        run("--config", config, "--topic", topic, "--partition", "7", "--offset", "0").exception
    )
    admin = AdminClient({"bootstrap.servers": broker.bootstrap})  # a variable: the future needs its client alive
    groups = admin.list_consumer_groups().result(30).valid
    assert [group.group_id for group in groups if group.group_id.startswith(names.prefix)] == []


@pytest.mark.real
def test_the_newest_records_of_all_partitions_are_explained(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names, topic_of_leads: tuple[str, int]
) -> None:
    topic, schema_id = topic_of_leads
    config = real_config(tmp_path, broker, registry, topic, names.group())
    words = ("--config", config, "--topic", topic, "--latest")
    empty = run(*words, "3")
    assert f"{topic} has no records" in empty.output
    assert empty.exit_code == 1
    for at in range(4):
        produce(broker, topic, [confluent(schema_id, encoded(LEAD, now_lead(event_id=f"e-{at}")))], partition=at % 2)
    done = run(*words, "3", "--json", "--show-personal-data")
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert [one["outcome"]["payload"]["dedupe_id"] for one in told] == ["e-1", "e-2", "e-3"]
    produce(broker, topic, [b"junk"], partition=0)
    assert run(*words, "3").exit_code == 1, "one of several would not be sent"


@pytest.mark.real
def test_a_topic_that_is_missing_is_told(tmp_path: Path, broker: Broker, registry: Registry, names: Names) -> None:
    settings = settings_of(tmp_path, {
        "kafka": {"bootstrap_servers": broker.bootstrap},
        "schema_registry": {"url": registry.url},
        "pixels": [{"name": "main", "pixel_id": "p", "api_key_env": "KEY"}],
        "sources": [{"topic": names.topic(), "event": "generate_lead", "pixel": "main"}],
    })  # fmt: skip
    with pytest.raises(KafkaLost, match="is missing"):
        latest_records(settings.kafka, names.topic(), 1)
    with pytest.raises(KafkaLost, match="is missing"):
        record_at(settings.kafka, names.topic(), 0, 0)
