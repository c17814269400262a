"""Made-up leads must not reach a live pixel: when ``produce-samples`` refuses, and which option overrides it."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from stream_capi.cli import app, produce_samples
from stream_capi.errors import ConfigurationError
from stream_capi.sandbox.live_endpoint import refuse_live

SETTINGS = """
[schema_registry]
url = "http://127.0.0.1:1"
[[pixels]]
name = "main"
pixel_id = "p"
api_key_env = "CAPI_TEST_KEY"
[[sources]]
topic = "leads"
event = "generate_lead"
pixel = "main"
"""
OWN = (
    "http://localhost:8080/v1/event",
    "http://127.0.0.1/v1/event",
    "http://127.1:80/v1/event",
    "https://127.8.8.8/v1/event",
    "http://[::1]:8080/v1/event",
    "https://10.0.0.7/v1/event",
    "https://172.31.255.1/v1/event",
    "https://192.168.1.1/v1/event",
    "https://[fd00::7]/v1/event",
    "https://[::ffff:10.0.0.7]/v1/event",
)
LIVE = (
    "https://8.8.8.8/v1/event",
    "https://172.32.0.1/v1/event",
    "https://100.64.0.1/v1/event",
    "https://[2001:4860:4860::8888]/v1/event",
    "https://[::ffff:8.8.8.8]/v1/event",
    "https://[64:ff9b::8.8.8.8]/v1/event",
)


def resolving_to(*addresses: str) -> Any:
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]


@pytest.mark.parametrize("url", OWN)
def test_an_endpoint_on_this_machine_or_network_takes_samples(url: str) -> None:
    refuse_live(url)


@pytest.mark.parametrize("url", LIVE)
def test_a_public_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="--into-live"):
        refuse_live(url)


@pytest.mark.parametrize(
    ("addresses", "taken"),
    [(["10.0.0.7"], True), (["10.0.0.7", "8.8.8.8"], False), (["8.8.8.8"], False), (["fd00::7", "127.0.0.1"], True)],
)
def test_a_name_counts_by_all_of_its_addresses(
    addresses: list[str], taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving_to(*addresses))
    refused: Any = contextlib.nullcontext() if taken else pytest.raises(ConfigurationError, match="--into-live")
    with refused:
        refuse_live("https://capi.example/v1/event")


@pytest.mark.parametrize("error", [socket.gaierror("no such name"), UnicodeError("label too long")])
def test_a_name_without_an_address_is_refused(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ConfigurationError, match="--into-live"):
        refuse_live("https://capi.example/v1/event")


class Stopped(Exception):
    """The command passed the check and started its work."""


def run(folder: Path, url: str | None, *options: str) -> None:
    path = folder / "stream-capi.toml"
    path.write_text(SETTINGS + (f'[endpoint]\nurl = "{url}"\n' if url else ""))
    get_command(app)(["produce-samples", "--config", str(path), "--count", "1", *options], standalone_mode=False)


@pytest.mark.parametrize("url", [None, "https://8.8.8.8/v1/event"])
def test_the_command_refuses_before_it_asks_any_neighbour(
    url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(produce_samples, "sample_topics", lambda _: pytest.fail("went on"))
    if url is None:  # the default is the API itself
        monkeypatch.setattr(socket, "getaddrinfo", resolving_to("8.8.8.8"))
    with pytest.raises(ConfigurationError) as raised:
        run(tmp_path, url)
    (fault,) = raised.value.faults
    assert fault.startswith("endpoint.url")
    assert "--into-live" in fault


def test_the_option_overrules_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(_: object) -> None:
        raise Stopped

    monkeypatch.setattr(produce_samples, "sample_topics", stopped)
    for url, options in (("http://127.0.0.1/v1/event", ()), ("https://8.8.8.8/v1/event", ("--into-live",))):
        with pytest.raises(Stopped):
            run(tmp_path, url, *options)
