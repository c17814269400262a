"""Odd values of options: each ends the command with an error message for people.

The commands run in the test's process, so any other exception fails the test as it was raised.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from stream_capi.cli import app, process, produce_samples
from stream_capi.errors import StreamCapiError
from stream_capi.sandbox.embedded_broker import EmbeddedBroker

REGISTRY = ("init", "--registry", "http://127.0.0.1:1", "--topic", "leads")
PROPERTIES = "STREAM_CAPI_SCHEMA_REGISTRY__PROPERTIES"
LONG_LABEL = "a" * 70 + ".com"
SETTINGS = f"""
[kafka]
bootstrap_servers = "127.0.0.1:1"
[schema_registry]
url = "http://127.0.0.1:1"
[endpoint]
url = "http://127.0.0.1:1/v1/event"
[[pixels]]
name = "main"
pixel_id = "p"
api_key_env = "CAPI_TEST_KEY"
[[sources]]
topic = "leads"
event = "generate_lead"
pixel = "main"
[admin]
host = "{LONG_LABEL}"
port = 0
"""
PROPERTY_NAMES = (
    "basic.auth.user.info",
    "basic.auth.credentials.source",
    "bearer.auth.credentials.source",
    "bearer.auth.token",
    "ssl.ca.location",
    "ssl.key.location",
    "ssl.certificate.location",
    "timeout",
    "cache.capacity",
    "max.retries",
    "proxy",
    "sasl.mechanism",
)
PROPERTY_VALUES = (5, True, "", "x", -1, 1.5, 10**30, "/dev/zero", "/tmp", "USER_INFO", "OAUTHBEARER", "SASL_INHERIT")
NAMES_OF_NO_HOST = ("", "[", "a\nb", "a\udc80", LONG_LABEL, "..", "-", "999.999.1.1", "\0", "a" * 300)


def error_of(*words: str) -> str:
    """Run a command that must fail; return its error message."""
    try:
        get_command(app)(list(words), standalone_mode=False)
    except StreamCapiError as error:
        return str(error)
    except typer.BadParameter as error:
        return f"usage: {error.message}"
    except SystemExit as error:
        return f"exit {error.code}"
    raise AssertionError("it ended in no fault")


def assert_reported(*words: str) -> None:
    ended = error_of(*words)
    assert ended
    assert "\n" not in ended


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "stream-capi.toml"
    path.write_text(SETTINGS)
    return str(path)


@pytest.mark.parametrize("host", NAMES_OF_NO_HOST)
def test_a_registry_that_can_not_be_one(host: str) -> None:
    assert_reported("init", "--registry", f"http://{host}", "--topic", "leads")
    assert_reported("init", "--registry", f"http://[{host}", "--topic", "leads")


@pytest.mark.parametrize("port", ["0", "-1", "99999", "x", "9" * 5000, "٣"])
def test_a_registrys_port_that_can_not_be_one(port: str) -> None:
    assert_reported("init", "--registry", f"http://127.0.0.1:{port}", "--topic", "leads")


@pytest.mark.parametrize("topic", ["", ".", "a\nb", "a\udc80", "a b", "a/b", "é", "a" * 250, "[/x]"])
def test_a_topic_that_kafka_does_not_take(topic: str) -> None:
    assert error_of("init", "--registry", "http://127.0.0.1:1", "--topic", topic).startswith("usage: ")


@pytest.mark.parametrize("given", ["5", "[1]", '"x"', "null", "true", "{", '{"a":{}}'])
def test_registry_properties_of_another_shape(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROPERTIES, given)
    assert_reported(*REGISTRY)


@pytest.mark.slow
# With an invalid time-out the library doesn't close its socket, and the garbage collector warns of it.
@pytest.mark.cases(16)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", PROPERTY_NAMES)
@pytest.mark.parametrize("value", PROPERTY_VALUES)
def test_an_odd_registry_property_ends_every_client_of_it(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setenv(PROPERTIES, json.dumps({name: value}))
    assert_reported(*REGISTRY)
    assert_reported("produce-samples", "--config", file, "--count", "1")


@pytest.mark.parametrize("name", ["ssl.ca.location", "ssl.certificate.location", "ssl.key.location"])
def test_a_pipe_is_no_certificate(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    monkeypatch.setenv(PROPERTIES, json.dumps({name: str(fifo)}))
    assert error_of(*REGISTRY) == f'schema_registry.properties."{name}": names a pipe, not a file'


@pytest.mark.parametrize("output", ["a" * 300, "a/" * 5000, "/proc/1/mem", "/dev/full/x"])
def test_an_output_that_can_not_be_written(output: str) -> None:
    assert_reported(*REGISTRY, "--output", output)


@pytest.mark.parametrize("host", [*NAMES_OF_NO_HOST[1:], "203.0.113.1"])
def test_a_host_that_the_stand_in_can_not_listen_on(host: str) -> None:
    ended = error_of("mock-endpoint", "--port", "0", "--host", host)
    assert "can't be used" in ended


@pytest.mark.parametrize("option", ["--from", "--to"])
@pytest.mark.parametrize(
    "place", ["9" * 20, "9" * 5000, "-1", "0x10", "1e3", "nan", "\udc80", "9999999-01-01", "2026-W60"]
)
def test_a_place_in_a_topic_that_is_none(option: str, place: str, file: str) -> None:
    words = {"--from": "0"} | {option: place}
    given = [word for pair in words.items() for word in pair]
    assert error_of("replay", "--config", file, "--topic", "leads", *given).startswith(f"{option}: ")
    if option == "--to":
        assert error_of("reset", "--config", file, "--to", place).startswith("--to: ")


ODD_CLIENT_PROPERTIES: tuple[tuple[str, str | int], ...] = (
    ("socket.timeout.ms", -5),
    ("socket.timeout.ms", "x"),
    ("message.max.bytes", "1" + "0" * 30),
    ("message.max.bytes", 1_000),
    ("compression.type", "nope"),
    ("debug", "all,x"),
    ("nope", "1"),
    ("fetch.wait.max.ms", "x"),
    ("isolation.level", "x"),
    ("sasl.oauthbearer.metadata.authentication.type", "aws_iam"),
)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "value"), ODD_CLIENT_PROPERTIES)
def test_an_odd_client_property_ends_each_client_of_kafka_or_does_no_harm(
    name: str, value: str | int, tmp_path: Path
) -> None:
    schema = Path(__file__).parents[2] / "schemas" / "lead.avsc"
    with EmbeddedBroker() as broker:
        path = tmp_path / "stream-capi.toml"
        text = SETTINGS.replace("127.0.0.1:1", broker.bootstrap, 1).replace(
            'topic = "leads"', f'topic = "leads"\nframing = "raw"\nschema_file = "{schema}"'
        )
        path.write_text(f"{text}[kafka.properties]\n{json.dumps(name)} = {json.dumps(value)}\n")
        for words in (["produce-samples", "--count", "1"], ["explain", "--topic", "leads", "--latest", "1"]):
            with contextlib.suppress(StreamCapiError):
                get_command(app)([*words, "--config", str(path)], standalone_mode=False)


def test_a_rate_near_nothing_rests_and_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    monkeypatch.setattr(time, "sleep", rests.append)
    assert list(produce_samples.paced_steps([1], 1e-320)) == [1]
    assert rests == [86_400.0]


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "--config", "NAME", "--topic", "leads", "--latest", "1"),
        ("explain", "--config", "settings.toml", "--topic", "leads", "--file", "NAME"),
        ("dry-run", "--config", "settings.toml", "--compare", "NAME"),
        ("check", "--config", "NAME"),
        ("mock-endpoint", "--script", "NAME"),
        ("test", "--config", "settings.toml", "NAME"),
    ],
)
def test_a_name_moves_no_cursor(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("settings.toml").write_text(SETTINGS.replace(LONG_LABEL, "127.0.0.1"))
    with contextlib.suppress(typer.Exit, SystemExit):
        try:
            get_command(app)([word.replace("NAME", "n\x1b[2Jo\u202e") for word in words], standalone_mode=False)
        except StreamCapiError as error:
            process.print_error(error)
    shown = "".join(capfd.readouterr())
    assert "n\\x1b[2Jo\\u202e" in shown
    assert not [sign for sign in shown if not (sign.isprintable() or sign == "\n")], shown
