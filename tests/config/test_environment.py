"""Environment variables override the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stream_capi.config import FieldRule
from stream_capi.errors import ConfigurationError
from tests.config.test_load import ENVIRON, LEAST, Faults, Read, faults, read

__all__ = ["faults", "read"]


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        ("KAFKA__GROUP_ID", "123", "kafka", "group_id", "123"),
        ("KAFKA__START", "latest", "kafka", "start", "latest"),
        ("KAFKA__COMMIT_INTERVAL_MS", "250", "kafka", "commit_interval_ms", 250),
        ("SCHEMA_REGISTRY__URL", "https://registry.example", "schema_registry", "url", "https://registry.example"),
        ("ENDPOINT__TIMEOUT_SECONDS", "2.5", "endpoint", "timeout_seconds", 2.5),
        ("DEAD_LETTER__MAX_RATIO", "1", "dead_letter", "max_ratio", 1.0),
        ("LOG__FORMAT", "json", "log", "format", "json"),
    ],
)
def test_a_key_of_a_section(read: Read, variable: str, text: str, section: str, key: str, value: object) -> None:
    settings = read(LEAST, ENVIRON | {f"STREAM_CAPI_{variable}": text})
    assert getattr(getattr(settings, section), key) == value


def test_the_environment_wins_over_the_file(read: Read) -> None:
    settings = read(
        LEAST + '[kafka]\ngroup_id = "a"\nstart = "latest"\n', ENVIRON | {"STREAM_CAPI_KAFKA__GROUP_ID": "b"}
    )
    assert (settings.kafka.group_id, settings.kafka.start) == ("b", "latest")


def test_a_default_lies_beneath_the_file_and_the_environment(read: Read) -> None:
    defaults = ENVIRON | {"STREAM_CAPI_DEFAULT__ADMIN__PORT": "1", "STREAM_CAPI_DEFAULT__LOG__LEVEL": "debug"}
    settings = read(LEAST + "[admin]\nport = 2\n", defaults)
    assert (settings.admin.port, settings.log.level) == (2, "debug")
    settings = read(LEAST, defaults | {"STREAM_CAPI_ADMIN__PORT": "3", "STREAM_CAPI_LOG__LEVEL": "error"})
    assert (settings.admin.port, settings.log.level) == (3, "error")


@pytest.mark.parametrize(
    ("variable", "fault"),
    [
        ("ADMIN__HOSTT", 'is not a setting of this program; did you mean "STREAM_CAPI_DEFAULT__ADMIN__HOST"?'),
        ("ADMIN__PORT", "admin.port: must be a whole number"),
        ("ADMIN", "a default can be set only for one key, in a section that is not a list"),
        ("PIXELS__0__NAME", "a default can be set only for one key, in a section that is not a list"),
        ("KAFKA__PROPERTIES__SASL__PASSWORD", "a default can be set only for one key, in a section that is not a list"),
    ],
)
def test_a_default_that_is_none_is_told_with_its_variable(faults: Faults, variable: str, fault: str) -> None:
    name = f"STREAM_CAPI_DEFAULT__{variable}"
    assert faults(LEAST, ENVIRON | {name: "x"}) == [f"{name}: {fault}"]


def test_entries_of_lists_by_index(read: Read) -> None:
    settings = read(
        LEAST,
        ENVIRON
        | {
            "STREAM_CAPI_PIXELS__0__PIXEL_ID": "007",
            "STREAM_CAPI_PIXELS__1__NAME": "second",
            "STREAM_CAPI_PIXELS__1__PIXEL_ID_ENV": "AXON_API_KEY",
            "STREAM_CAPI_PIXELS__1__API_KEY_ENV": "AXON_API_KEY",
            "STREAM_CAPI_SOURCES__0__WINDOW_MS": "50",
            "STREAM_CAPI_SOURCES__0__CONSENT_FIELD": "consent",
            "STREAM_CAPI_SOURCES__0__CONSENT_PURPOSES": '["ads"]',
            "STREAM_CAPI_SOURCES__0__WHERE": '{"field": "a", "in": [1, "x"]}',
            "STREAM_CAPI_SOURCES__0__FIELDS__USER_DATA__EMAIL": "mail",
            "STREAM_CAPI_SOURCES__0__FIELDS__EVENT_TIME": '{"path": "at", "unit": "ms"}',
            "STREAM_CAPI_SOURCES__0__VALUES": '{"field": "q", "table": {"High": 5}}',
        },
    )
    assert [pixel.name for pixel in settings.pixels] == ["main", "second"]
    assert settings.pixels[0].pixel_id == "007"
    source = settings.sources[0]
    assert (source.window_ms, source.consent_purposes, source.where[0].one_of) == (50, ("ads",), (1, "x"))
    assert source.fields == {
        "user_data.email": FieldRule(paths=("mail",)),
        "event_time": FieldRule(paths=("at",), unit="ms"),
    }
    assert source.values is not None
    assert source.values.table == {"High": 5}


def test_keys_of_a_condition_are_those_of_the_file(read: Read) -> None:
    text = LEAST + "where = [{ field = 'a' }]\n"
    environ = ENVIRON | {"STREAM_CAPI_SOURCES__0__WHERE__0__IN": '[1, "x"]'}
    assert read(text, environ).sources[0].where[0].one_of == (1, "x")
    with pytest.raises(ConfigurationError, match="ONE_OF: is not a setting of this program"):
        read(text, ENVIRON | {"STREAM_CAPI_SOURCES__0__WHERE__0__ONE_OF": "[1]"})


def test_more_than_ten_entries_come_in_the_order_of_their_numbers(read: Read) -> None:
    pixels = {
        f"STREAM_CAPI_PIXELS__{at}__{key}": value
        for at in range(1, 12)
        for key, value in {"NAME": f"p{at}", "PIXEL_ID": str(at), "API_KEY_ENV": "AXON_API_KEY"}.items()
    }
    assert [pixel.name for pixel in read(LEAST, ENVIRON | pixels).pixels] == [
        "main",
        *(f"p{at}" for at in range(1, 12)),
    ]


def test_everything_by_environment_alone(read: Read) -> None:
    pixel = {"name": "main", "pixel_id": "1", "api_key_env": "AXON_API_KEY"}
    source = {"topic": "leads", "event": "generate_lead", "pixel": "main"}
    environ = {
        "STREAM_CAPI_PIXELS": json.dumps([pixel]),
        "STREAM_CAPI_SOURCES": json.dumps([source]),
        "STREAM_CAPI_SCHEMA_REGISTRY": "{}",
    }
    assert read("", ENVIRON | environ).sources[0].topic == "leads"


def test_properties_are_laid_over_those_of_the_file(read: Read) -> None:
    text = LEAST + '[kafka.properties]\nsecurity.protocol = "SASL_SSL"\n"sasl.password" = "of the file"\n'
    environ = {
        "STREAM_CAPI_KAFKA__PROPERTIES": '{"client.id": "a", "socket.keepalive.enable": true, "fetch.min.bytes": 50.0}',
        "STREAM_CAPI_KAFKA__PROPERTIES__SASL__PASSWORD": "0123",
    }
    assert read(text, ENVIRON | environ).kafka.properties == {
        "security.protocol": "SASL_SSL",
        "sasl.password": "0123",
        "client.id": "a",
        "socket.keepalive.enable": "true",
        "fetch.min.bytes": 50,
    }


@pytest.mark.parametrize(
    ("variable", "value", "wanted"),
    [
        ("BATCH__MAX_EVENTS", "many", "batch.max_events: must be a whole number"),
        ("BATCH__MAX_EVENTS", "0", "batch.max_events: must be at least 1"),
        ("KAFKA__START", "newest", 'kafka.start: "newest" is not one of earliest, latest, error'),
        ("KAFKA__PROPERTIES", "x", "kafka.properties: must be a table"),
        (
            "KAFKA__PROPERTIES",
            '{"group.id": "x"}',
            'kafka.properties."group.id": is the program\'s own: set kafka.group_id',
        ),
        (
            "SOURCES__0__PIXEL",
            "man",
            'sources[0].pixel: "man" is not the name of one of the pixels; did you mean "main"?',
        ),
        ("KAFKA__GROUP", "x", 'is not a setting of this program; did you mean "STREAM_CAPI_KAFKA__GROUP_ID"?'),
        ("KAFKA_GROUP_ID", "x", 'is not a setting of this program; did you mean "STREAM_CAPI_KAFKA__GROUP_ID"?'),
        ("ADMIN_PORT", "99", 'is not a setting of this program; did you mean "STREAM_CAPI_ADMIN__PORT"?'),
        (
            "PIXELS__0__PIXELID",
            "x",
            'is not a setting of this program; did you mean "STREAM_CAPI_PIXELS__0__PIXEL_ID"?',
        ),
        ("PIXELS__3__NAME", "x", "leaves out index 1; indices begin at 0"),
        ("PIXELS__NAME", "x", "doesn't fit into pixels, which is set to a value of another type"),
        ("PIXELS__0__API_KEY", "canary", "a key is not a setting; name the variable that holds it in api_key_env"),
        ("SOURCES__0__EVENTS__LEAD", "skip", "can't name a key inside this table; write the whole table as JSON"),
        ("ZZZ", "x", "is not a setting of this program"),
    ],
)
def test_a_fault_names_the_variable(faults: Faults, variable: str, value: str, wanted: str) -> None:
    name = f"STREAM_CAPI_{variable}"
    assert faults(LEAST, ENVIRON | {name: value}) == [f"{name}: {wanted}"]


def test_faults_of_file_and_environment_come_together(faults: Faults) -> None:
    found = faults(
        LEAST + "[batch]\nmax_events = 0\n", ENVIRON | {"STREAM_CAPI_LOG__LEVEL": "loud", "STREAM_CAPI_X": ""}
    )
    assert sorted(fault.partition(": ")[0] for fault in found) == [
        "STREAM_CAPI_LOG__LEVEL",
        "STREAM_CAPI_X",
        "stream-capi.toml",
    ]


def test_variables_that_are_not_ours_are_left_alone(read: Read) -> None:
    """Kubernetes sets these for a service named "stream-capi"; the variable of an API key may have the prefix too."""
    environ = {
        "STREAM_CAPI_SERVICE_HOST": "10.0.0.1",
        "STREAM_CAPI_SERVICE_PORT_ADMIN": "9464",
        "STREAM_CAPI_PORT": "tcp://10.0.0.1:9464",
        "STREAM_CAPI_PORT_9464_TCP_ADDR": "10.0.0.1",
        "STREAM_CAPI_ADMIN_PORT": "tcp://10.0.0.1:9464",
        "STREAM_CAPI_ADMIN_SERVICE_HOST": "10.0.0.1",
        "STREAM_CAPI_MAIN_KEY": "key-3",
    }
    settings = read(LEAST.replace("AXON_API_KEY", "STREAM_CAPI_MAIN_KEY"), environ)
    assert settings.admin.port == 9464


def test_the_real_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stream_capi.config import load

    monkeypatch.setenv("STREAM_CAPI_KAFKA__GROUP_ID", "from-the-environment")
    monkeypatch.setenv("AXON_API_KEY", "key-1")
    file = tmp_path / "a.toml"
    file.write_text(LEAST)
    assert load(file).kafka.group_id == "from-the-environment"
