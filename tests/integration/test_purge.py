"""``dead-letters purge`` on the real stack: what is deleted, what stays and why, and every reason to refuse."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from confluent_kafka import Producer

from stream_capi import config
from stream_capi.config import Settings
from stream_capi.errors import CheckFailed
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.model import Code, TopicPartition
from stream_capi.operations.dead_letter_purge import Purged, execute, plan
from stream_capi.operations.dead_letters import Redriven, read_dead_letters
from tests.endpoint_thread import Endpoint
from tests.events.real_topic import confluent, encoded, register
from tests.events.sources_and_records import LEAD, lead
from tests.integration.test_commands import assert_plain, command
from tests.program import KEY, PIXEL_ID, Program, configuration
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.waiting import until

pytestmark = pytest.mark.real

CANARY = "canary.person@example.com"
HOUR = 3_600_000
NOW = int(time.time() * 1000)
OLD, OLDER, NEW = NOW - 3 * HOUR, NOW - 4 * HOUR, NOW - HOUR
SINCE = "2h"  # between OLD and NEW
SCHEMA: Any = copy.deepcopy(LEAD)


class Yard:
    """A dead-letter topic, with dead letters that have the times that the test gives."""

    def __init__(
        self,
        folder: Path,
        broker: Broker,
        names: Names,
        partitions: int = 1,
        topic_config: Mapping[str, str] | None = None,
        registry: Registry | None = None,
        url: str = "http://127.0.0.1:9/v1/event",
        **sections: Any,
    ) -> None:
        self.folder, self.broker = folder, broker
        self.leads, self.dead = names.topic("leads"), names.topic("dead")
        broker.create_topic(self.leads)
        broker.create_topic(self.dead, partitions, {"retention.ms": "604800000", **(topic_config or {})})
        source = {"topic": self.leads, "event": "generate_lead"}
        registry_url = registry.url if registry else "http://127.0.0.1:9"
        self.written = configuration(
            broker.bootstrap, registry_url, url, names.group(), [source], self.dead, **sections
        )  # fmt: skip
        self.file = folder / "purge.toml"
        self.file.write_text(tomli_w.dumps(self.written))
        self._sources = 0

    @property
    def settings(self) -> Settings:
        return config.load(self.file, {}, keys=False)

    def bury(
        self, *times: int, code: Code = Code.REFUSED, partition: int = 0, value: bytes = b"v", source: str = ""
    ) -> None:
        """Write dead letters with these timestamps."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap, "log_level": 0, "linger.ms": 20})
        for at in times:
            self._sources += 1
            headers: list[tuple[str, str | bytes | None]] = [
                ("capi-error-code", code.value),
                ("capi-error-detail", "made by a test"),
                ("capi-source-topic", source or self.leads),
                ("capi-source-partition", "0"),
                ("capi-source-offset", str(self._sources)),
                ("capi-source-timestamp", str(at)),
            ]
            producer.produce(self.dead, value, CANARY.encode(), partition, timestamp=at, headers=headers)
            producer.poll(0)
        assert producer.flush(60) == 0

    def bury_foreign(self, at: int, partition: int = 0) -> None:
        """Write a record that is no dead letter of this program."""
        producer = Producer({"bootstrap.servers": self.broker.bootstrap, "log_level": 0})
        producer.produce(self.dead, b"another's", partition=partition, timestamp=at)
        assert producer.flush(30) == 0

    def mark_redriven(self, *offsets: int, partition: int = 0) -> None:
        """Record dead letters as redriven, as a redrive does."""
        settings = self.settings
        admin = KafkaAdmin(settings.kafka)
        found = read_dead_letters(settings, admin)
        books = Redriven(settings, admin, found)
        for one in found.found:
            if one.at.partition == partition and one.offset in offsets:
                books.add(one)
        books.keep()

    def purge(self, *words: str, code: int = 0) -> Any:
        done = command("dead-letters", "purge", "--config", str(self.file), *words, "--json")
        assert_plain(done, code)
        assert "canary" not in done.stdout + done.stderr
        self.stderr = done.stderr
        return json.loads(done.stdout)

    def refused(self, *words: str, code: int) -> str:
        """Run a purge that is refused; return its one line on standard error."""
        done = command("dead-letters", "purge", "--config", str(self.file), *words)
        assert_plain(done, code)
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("stream-capi: ")]
        return line.removeprefix("stream-capi: ")

    @property
    def beginnings(self) -> dict[int, int]:
        found = KafkaAdmin(self.settings.kafka).beginning_offsets([self.dead])
        return {tp.partition: offset for tp, offset in found.items()}

    def planned(self, before: int = NOW) -> Any:
        """A plan that the test executes later, after something else has happened."""
        settings = self.settings
        return asyncio.run(plan(settings, KafkaAdmin(settings.kafka), Purged(before), lambda _: None))

    def execute(self, planned: Any) -> Any:
        settings = self.settings
        return execute(settings, KafkaAdmin(settings.kafka), planned)


def of(document: Any, *keys: str) -> list[Any]:
    """The values of these keys, for each partition."""
    rows = [[one[key] for key in keys] for one in document["partitions"]]
    return [row[0] if len(keys) == 1 else tuple(row) for row in rows]


@pytest.mark.repeat(of="test_open_letters_and_records_of_others_go_on_demand_alone")
def test_old_letters_go_up_to_the_first_open_one_of_each_partition(
    tmp_path: Path, broker: Broker, names: Names
) -> None:
    yard = Yard(tmp_path, broker, names, 3)
    yard.bury(OLDER, OLDER, OLD)
    yard.bury(OLD, code=Code.TOO_OLD)
    yard.bury(NEW)
    yard.bury(OLD, OLD, OLD, partition=1)
    yard.mark_redriven(0, 1, 2, 3, 4)
    yard.mark_redriven(0, 2, partition=1)

    planned = yard.purge("--before", SINCE)
    assert of(planned, "beginning", "old_before", "new_beginning", "first_kept") == [
        (0, 4, 4, None),
        (0, 3, 1, 1),
        (0, 0, 0, None),
    ]
    assert planned["partitions"][0]["go"] == {
        "letters": 4, "by_code": {"refused": 3, "too_old": 1}, "redriven": 4, "open": 0, "suppressed": 0, "foreign": 0,
    }  # fmt: skip
    assert [(one["letters"], one["redriven"], one["open"]) for one in of(planned, "stay")] == [
        (0, 0, 0),
        (2, 1, 1),
        (0, 0, 0),
    ]
    assert (planned["left"], planned["executed"], planned["retention"]) == (2, False, "limited")
    assert yard.beginnings == {0: 0, 1: 0, 2: 0}, "a plan deletes nothing"

    text = command("dead-letters", "purge", "--config", str(yard.file), "--before", SINCE, "--execute")
    assert_plain(text, 1)
    assert f"{yard.dead}[1]@1 was not redriven" in text.stdout
    assert "Deleted 5 dead letters." in text.stdout
    assert "refused 3, too_old 1" in text.stdout
    assert yard.beginnings == {0: 4, 1: 1, 2: 0}
    listed = command("dead-letters", "list", "--config", str(yard.file), "--json")
    assert json.loads(listed.stdout)["letters"] == 3
    assert sum(kind["redriven"] for kind in json.loads(listed.stdout)["kinds"]) == 2, "of those that are left"

    again = yard.purge("--before", SINCE, "--execute", code=1)
    assert of(again, "new_beginning", "beginning_now") == [(4, None), (1, None), (0, None)]
    yard.mark_redriven(1, partition=1)
    assert yard.purge("--before", SINCE, "--execute")["left"] == 0
    assert yard.beginnings == {0: 4, 1: 3, 2: 0}


def test_open_letters_and_records_of_others_go_on_demand_alone(tmp_path: Path, broker: Broker, names: Names) -> None:
    yard = Yard(tmp_path, broker, names)
    yard.bury_foreign(OLDER)
    yard.bury(OLD, OLD, NEW)
    assert yard.purge("--before", SINCE, "--execute", code=1)["left"] == 3
    assert yard.beginnings == {0: 0}
    planned = yard.purge("--before", SINCE, "--also-open")
    assert of(planned, "new_beginning") == [3]
    done = command("dead-letters", "purge", "--config", str(yard.file), "--before", SINCE, "--also-open", "--execute")
    assert_plain(done, 0)
    assert "2 of those that go were not redriven: they are never delivered." in done.stdout
    assert "Deleted 2 dead letters and 1 records of others." in done.stdout
    assert yard.beginnings == {0: 3}


@pytest.mark.repeat(of="test_open_letters_and_records_of_others_go_on_demand_alone")
def test_an_old_letter_behind_one_of_the_future_is_said_to_stay(tmp_path: Path, broker: Broker, names: Names) -> None:
    yard = Yard(tmp_path, broker, names)
    yard.bury(OLD, NOW + HOUR // 2, OLD, NEW)
    yard.mark_redriven(0, 1, 2, 3)
    done = yard.purge("--before", SINCE, "--execute", code=1)
    assert of(done, "new_beginning", "first_kept") == [(1, 1)]
    assert (done["left"], yard.beginnings) == (1, {0: 1})
    text = command("dead-letters", "purge", "--config", str(yard.file), "--before", SINCE, "--execute")
    assert f"{yard.dead}[0]@1 is newer: it stays, and so does everything after it." in text.stdout


@pytest.mark.repeat(of="test_open_letters_and_records_of_others_go_on_demand_alone")
def test_what_can_not_be_is_refused_in_a_line(tmp_path: Path, broker: Broker, names: Names) -> None:
    yard = Yard(tmp_path, broker, names)
    assert "--before TIME is needed" in command("dead-letters", "purge", "--config", str(yard.file)).stderr
    assert yard.refused("--before", "lately", code=2).startswith("--before: must be a time like")
    assert yard.refused("--before", "2999-01-01", code=2) == "--before: 2999-01-01T00:00:00Z lies in the future"
    assert yard.refused("--suppressed", code=2) == "--suppressed: there is no suppress.file"
    broker.delete_topic(yard.dead)
    assert f"topic {yard.dead} is missing" in yard.refused("--before", SINCE, code=3)


@pytest.mark.repeat(of="test_open_letters_and_records_of_others_go_on_demand_alone")
def test_a_compacted_topic_is_refused_and_one_that_deletes_besides_is_not(
    tmp_path: Path, broker: Broker, names: Names
) -> None:
    yard = Yard(tmp_path, broker, names, topic_config={"cleanup.policy": "compact"})
    yard.bury(OLD)
    line = yard.refused("--before", SINCE, "--also-open", "--execute", code=1)
    assert line.startswith(f"topic {yard.dead}: its cleanup.policy is only compact")
    settings = yard.settings
    (error,) = KafkaAdmin(settings.kafka).delete_before({TopicPartition(yard.dead, 0): 1}).values()
    assert isinstance(error, CheckFailed), "so say the brokers, where their configuration may not be read"
    assert "whose cleanup.policy is compact" in str(error)
    both = Yard(tmp_path, broker, Names(), topic_config={"cleanup.policy": "compact,delete"})
    both.bury(OLD)
    both.purge("--before", SINCE, "--also-open", "--execute")
    assert both.beginnings == {0: 1}


def test_a_topic_recreated_since_the_plan_keeps_its_letters(tmp_path: Path, broker: Broker, names: Names) -> None:
    yard = Yard(tmp_path, broker, names)
    yard.bury(OLD, OLD)
    yard.mark_redriven(0, 1)
    planned = yard.planned()
    broker.delete_topic(yard.dead)
    broker.create_topic(yard.dead)
    yard.bury(OLD, OLD, OLD)
    with pytest.raises(CheckFailed, match=r"was recreated since it was read: nothing was deleted"):
        yard.execute(planned)
    assert yard.beginnings == {0: 0}


def test_what_happens_between_plan_and_execution_deletes_no_more(tmp_path: Path, broker: Broker, names: Names) -> None:
    yard = Yard(tmp_path, broker, names, 2)
    yard.bury(OLD, OLD, OLD)
    yard.bury(OLD, OLD, partition=1)
    yard.mark_redriven(0, 1)
    yard.mark_redriven(0, 1, partition=1)
    planned = yard.planned()
    yard.mark_redriven(2)  # redriven after the plan, so it stays until the next purge
    yard.bury(OLD, partition=1)  # written after the plan, with an old time
    broker.delete_records(yard.dead, 0, 1)  # as retention does
    assert set(yard.execute(planned).values()) == {2}
    assert yard.beginnings == {0: 2, 1: 2}
    broker.delete_records(yard.dead, 0, 3)  # beyond the plan
    assert yard.execute(planned) == {TopicPartition(yard.dead, 0): 3, TopicPartition(yard.dead, 1): 2}
    planned.partitions[1].new_beginning = 99
    (error,) = (one for one in yard.execute(planned).values() if not isinstance(one, int))
    assert "its log ends before offset 99" in str(error)


@pytest.mark.repeat(of="test_open_letters_and_records_of_others_go_on_demand_alone")
def test_a_redrive_that_runs_is_waited_for(tmp_path: Path, broker: Broker, registry: Registry, names: Names) -> None:
    with Endpoint(keys={PIXEL_ID: KEY}) as endpoint:
        yard = Yard(tmp_path, broker, names, registry=registry, url=endpoint.url)
        yard.bury(*[OLD] * 30, value=_of_people(registry, yard.leads, ["u-1"])[0])
        words = ("dead-letters", "redrive", "--config", str(yard.file), "--rate", "5", "--execute")
        env = {"CAPI_TEST_KEY": KEY, "PATH": os.defpath}
        with subprocess.Popen(
            [sys.executable, "-m", "stream_capi", *words], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as redrive:
            until(lambda: endpoint.answered().total() > 0, 60, "the first delivery")
            done = yard.purge("--before", SINCE, "--execute")
            assert redrive.wait(60) == 0
        assert "waiting for" in yard.stderr
        assert (done["left"], of(done, "beginning_now")) == (0, [30])


@pytest.mark.repeat(of="test_open_letters_and_records_of_others_go_on_demand_alone")
@pytest.mark.slow
def test_memory_does_not_grow_with_the_topic(tmp_path: Path, broker: Broker, names: Names) -> None:
    script = (
        "import atexit, sys; from stream_capi.cli import main; from tests.peak_memory import peak_memory; "
        "atexit.register(lambda: sys.stderr.write(f'{peak_memory()}\\n')); main()"
    )

    def peak_mb(count: int) -> float:
        yard = Yard(tmp_path, broker, Names())
        yard.bury(*[OLD] * count)
        words = ["dead-letters", "purge", "--config", str(yard.file), "--before", SINCE, "--json"]
        done = subprocess.run(
            [sys.executable, "-c", script, *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
        assert json.loads(done.stdout)["left"] == count
        return int(done.stderr.splitlines()[-1]) / 2**20

    assert peak_mb(150_000) < peak_mb(15_000) + 25


# People on the suppression list


def _of_people(registry: Registry, topic: str, people: Sequence[str]) -> list[bytes]:
    schema_id = register(registry, f"{topic}-value", SCHEMA)
    now = int(time.time() * 1000)
    rows = (lead(event_id=f"e-{at}", event_time=now, email=CANARY, user_id=one) for at, one in enumerate(people))
    return [confluent(schema_id, encoded(SCHEMA, row)) for row in rows]


@pytest.fixture
def listed(tmp_path: Path, broker: Broker, registry: Registry, names: Names) -> Yard:
    """Dead letters in two partitions, some of them of people on the list."""
    file = tmp_path / "forgotten"
    file.write_text("canary-on-the-list\n")
    yard = Yard(tmp_path, broker, names, 2, registry=registry, suppress={"file": str(file)})
    somebody, other = _of_people(registry, yard.leads, ["canary-on-the-list", "canary-another"])
    yard.bury(OLD, value=other)
    yard.bury(OLD, value=somebody, code=Code.MISSING_FIELD)
    yard.bury(OLD, value=other)
    yard.bury(NOW + HOUR, value=somebody)  # from a clock that is ahead
    yard.bury(NEW, value=other)
    yard.bury(OLD, value=somebody, partition=1)
    yard.bury(OLD, code=Code.DECODE_ERROR, partition=1)
    yard.bury(OLD, value=somebody, source="nobody-reads-it", partition=1)
    return yard


@pytest.mark.repeat(of="test_open_letters_and_records_of_others_go_on_demand_alone")
def test_letters_of_people_on_the_list_are_found_and_deleted_as_far_as_the_last(listed: Yard) -> None:
    planned = listed.purge("--suppressed")
    assert of(planned, "suppressed_places") == [[1, 3], [0]]
    assert of(planned, "new_beginning", "first_kept") == [(0, 0), (1, 1)]
    assert [one["by_code"] for one in of(planned, "go")] == [{}, {"refused": 1}]
    assert (planned["left"], planned["unseen"]) == (2, {"decode_error": 1, "no source": 1})
    segment = 7 * 24 * HOUR  # segment.ms by default
    until_ms = datetime.fromisoformat(planned["left_gone_at_latest"]).timestamp() * 1000
    assert until_ms == pytest.approx(NOW + HOUR + 7 * 24 * HOUR + segment, abs=1)

    done = command("dead-letters", "purge", "--config", str(listed.file), "--suppressed", "--execute")
    assert_plain(done, 1)
    assert "canary" not in done.stdout + done.stderr
    assert "1 dead letters of people on the list go, and 0 of others that lie before them." in done.stdout
    assert f"2 stay: {listed.dead}[0]@1, {listed.dead}[0]@3; the topic's retention deletes them by " in done.stdout
    assert "2 dead letters can't be assigned to a person: decode_error 1, no source 1." in done.stdout
    assert listed.beginnings == {0: 0, 1: 1}

    listed.mark_redriven(0, 2)
    done = listed.purge("--suppressed", "--before", SINCE, "--execute")
    assert (of(done, "new_beginning"), done["left"]) == ([2, 1], 0), "the newer one is not old enough"
    done = listed.purge("--suppressed", "--execute")
    assert (of(done, "new_beginning"), done["left"]) == ([4, 1], 0), "and what lies behind the last stays"
    assert listed.beginnings == {0: 4, 1: 1}


def test_with_also_open_all_of_them_go_at_once(listed: Yard) -> None:
    done = listed.purge("--suppressed", "--also-open", "--execute")
    assert (of(done, "new_beginning"), done["left"]) == ([4, 1], 0)
    assert listed.beginnings == {0: 4, 1: 1}


# Other commands after a purge


@pytest.mark.repeat(of="test_open_letters_and_records_of_others_go_on_demand_alone")
def test_find_does_not_call_an_event_delivered_whose_letter_may_have_been_deleted(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    with Endpoint(keys={PIXEL_ID: KEY}) as endpoint:
        sections: dict[str, Any] = {"delivery": {"max_age_seconds": 0}}
        yard = Yard(tmp_path, broker, names, registry=registry, url=endpoint.url, **sections)
        (value,) = _of_people(registry, yard.leads, ["u-1"])
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        producer.produce(yard.leads, value, b"the-key")
        assert producer.flush(30) == 0
        with Program(tmp_path, yard.written).start(ready=True) as member:
            until(lambda: endpoint.answered().total() == 1, 30, "the event's delivery")
            wanted = {
                "topic": yard.dead,
                "retention": "limited",
                "retention_seconds": 604_800.0,
                "kept": "kept for 7 days",
            }
            until(lambda: member.status()["dead_letter_topic"] == wanted, 30, "how long dead letters are kept")
            time.sleep(1)
            assert member.terminate() == 0

        def state() -> str:
            found = command("find", "--config", str(yard.file), "--key", "the-key", "--json")
            return str(json.loads(found.stdout)["events"][0]["state"])

        yard.bury(OLD)
        assert state() == "delivered"
        yard.purge("--before", SINCE, "--also-open", "--execute")
        assert yard.beginnings == {0: 1}
        assert state() == "delivered", "only older letters were deleted"
        yard.bury(NEW)
        yard.purge("--before", datetime.now(UTC).isoformat(), "--also-open", "--execute")
        assert state() == "unknown"
