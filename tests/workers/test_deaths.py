"""When a worker that ended is restarted and when not, and with which settings a worker starts."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_capi import config
from stream_capi.config import Settings
from stream_capi.kafka.properties import consumer_properties
from stream_capi.workers.client_ids import identified
from stream_capi.workers.supervisor import DEATHS, WITHIN_SECONDS, Deaths, numbered, of_worker, stopped_with

SCHEMA = Path(__file__).parents[2] / "schemas" / "lead.avsc"
CONFIGURATION = """
[kafka]
properties = {{ {properties} }}
[endpoint]
url = "http://127.0.0.1:1/"
[[pixels]]
name = "main"
pixel_id = "p"
api_key_env = "KEY"
[[sources]]
topic = "leads"
event = "generate_lead"
pixel = "main"
framing = "raw"
schema_file = "{schema}"
[admin]
host = "0.0.0.0"
port = 9464
"""


def test_each_start_again_waits_longer_until_there_is_none() -> None:
    deaths = Deaths()
    delays = [deaths.died(float(second)) for second in range(DEATHS)]
    assert delays == [0.5, 1.0, 2.0, 4.0, None]


def test_a_worker_that_ends_once_in_a_while_is_always_started_again() -> None:
    deaths = Deaths()
    assert all(deaths.died(turn * WITHIN_SECONDS) == 0.5 for turn in range(100))


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (3, 3), (4, 4), (-signal.SIGTERM, 0), (-signal.SIGKILL, 4), (-signal.SIGALRM, 4)],
)
def test_a_worker_that_was_asked_to_stop_before_it_began_has_cut_nothing_off(code: int, expected: int) -> None:
    assert stopped_with(code) == expected


Read = Callable[[str], Settings]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def read(properties: str) -> Settings:
        file = tmp_path / "settings.toml"
        file.write_text(CONFIGURATION.format(properties=properties, schema=SCHEMA))
        return config.load(file, {"KEY": "k"})

    return read


def group_of(settings: Settings) -> tuple[object, object, object]:
    """The member's name, session and heartbeat interval, as the client gets them."""
    properties = consumer_properties(settings.kafka, 64 * 1_048_576)
    return (
        properties.get("group.instance.id"),
        properties.get("session.timeout.ms"),
        properties.get("heartbeat.interval.ms"),
    )


def test_a_worker_has_a_port_of_its_own(read: Read) -> None:
    settings = read("")
    of = [of_worker(settings, number, 5000 + number, "t").settings for number in (1, 2)]
    assert [(one.admin.host, one.admin.port) for one in of] == [("127.0.0.1", 5001), ("127.0.0.1", 5002)]
    assert settings.admin.port == 9464


@pytest.mark.parametrize(
    ("users", "session"),
    [("", 9000), ('"session.timeout.ms" = 6000', 6000), ('"partition.assignment.strategy" = "range"', 9000)],
)
def test_a_worker_is_a_static_member_that_is_missed_soon_and_leaves_for_good(
    read: Read, users: str, session: int
) -> None:
    """Restarted within the session, it keeps its membership; a machine that died is replaced as soon as without workers."""
    starts = [of_worker(read(users), number, 5000, "t") for number in (1, 2)]
    assert [group_of(start.settings) for start in starts] == [(f"stream-capi-t-{n}", session, 1000) for n in (1, 2)]
    assert all(start.leave_for_good for start in starts)


def test_a_name_of_the_users_own_gets_the_workers_number_and_stays_with_the_group(read: Read) -> None:
    settings = read('"group.instance.id" = "pod-{worker}-a"')
    starts = [of_worker(settings, number, 5000, "t") for number in (1, 2)]
    assert [group_of(start.settings) for start in starts] == [("pod-1-a", 45_000, 1000), ("pod-2-a", 45_000, 1000)]
    assert not any(start.leave_for_good for start in starts)


def test_under_the_brokers_protocol_a_worker_has_no_name(read: Read) -> None:
    """With it, a static member that crashed is refused until its session ends, which the client treats as fatal."""
    start = of_worker(read('"group.protocol" = "consumer"'), 1, 5000, "t")
    assert group_of(start.settings) == (None, None, None)
    assert not start.leave_for_good


def test_without_workers_the_number_is_one(read: Read) -> None:
    assert group_of(numbered(read('"group.instance.id" = "pod-{worker}"'), 1))[0] == "pod-1"
    assert group_of(numbered(read('"group.instance.id" = "pod"'), 1))[0] == "pod"
    assert numbered(read(""), 1) == read("")


def test_a_client_id_has_host_and_number_and_is_the_same_after_a_restart(read: Read) -> None:
    ids = [identified(read(""), number, "pod-7f.example.org").kafka.client_id for number in (1, 2)]
    assert ids == ["stream-capi-pod-7f.example.org-1", "stream-capi-pod-7f.example.org-2"]
    assert identified(read(""), 1).kafka.client_id == identified(read(""), 1).kafka.client_id
    properties = consumer_properties(identified(read(""), 2, "pod").kafka, 64 * 1_048_576)
    assert properties["client.id"] == "stream-capi-pod-2"


@pytest.mark.parametrize(
    ("host", "found"), [("a b\nc/d", "a-b-c-d"), ("ü" * 3, "---"), ("x" * 500, "x" * 64), ("", "")]
)
def test_a_client_id_is_bounded_and_plain_whatever_the_host_is_called(read: Read, host: str, found: str) -> None:
    assert identified(read(""), 1, host).kafka.client_id == f"stream-capi-{found}-1"


def test_a_client_id_of_the_users_own_stays(read: Read) -> None:
    assert identified(read('"client.id" = "theirs"'), 1, "pod").kafka.client_id == "theirs"


def test_settings_reach_a_worker_as_they_were_read(read: Read) -> None:
    start = of_worker(read('"sasl.password" = "canary"'), 1, 5000, "t")
    assert pickle.loads(pickle.dumps(start)) == start  # noqa: S301 -- written here
    assert start.settings.kafka.properties["sasl.password"] == "canary"
