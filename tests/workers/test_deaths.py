"""When a worker that ended is started again, and when no more."""

from __future__ import annotations

from pathlib import Path

from stream_capi import config
from stream_capi.workers import DEATHS, WITHIN_SECONDS, Deaths, of_worker

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
    assert delays[:-1] == sorted(delay for delay in delays[:-1] if delay is not None)
    assert delays[-1] is None


def test_a_worker_that_ends_once_in_a_while_is_always_started_again() -> None:
    deaths = Deaths()
    assert all(deaths.died(turn * WITHIN_SECONDS) == 0.5 for turn in range(100))


def test_a_worker_has_a_port_and_a_member_name_of_its_own(tmp_path: Path) -> None:
    for properties, names in (('"group.instance.id" = "a"', {"a-1", "a-2"}), ("", {None})):
        file = tmp_path / "settings.toml"
        file.write_text(CONFIGURATION.format(properties=properties, schema=SCHEMA))
        settings = config.load(file, {"KEY": "k"})
        of = [of_worker(settings, number, 5000 + number) for number in (1, 2)]
        assert {one.kafka.properties.get("group.instance.id") for one in of} == names
        assert [(one.admin.host, one.admin.port) for one in of] == [("127.0.0.1", 5001), ("127.0.0.1", 5002)]
        assert settings.admin.port == 9464
