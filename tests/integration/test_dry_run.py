"""``dry-run`` on the real stack: what it counts, that it leaves nothing behind, and which faults it survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.config.settings import KafkaSection
from stream_capi.errors import KafkaLost, Unavailable
from stream_capi.kafka.range_reader import RangeReader
from stream_capi.kafka.ranges import Range
from stream_capi.model import TopicPartition
from tests.commands.running import Started, configuration_of, on_a_terminal, only, run_command, run_for_json
from tests.peak_memory import peak_memory
from tests.program import KEY
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.process import free_ports
from tests.stack.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.real]


@pytest.fixture
def scene(tmp_path: Path, broker: Broker, registry: Registry) -> Iterator[Scene]:
    with Scene(tmp_path, broker, registry, partitions=3) as made:
        yield made


def groups(broker: Broker) -> set[str]:
    """The broker's consumer groups."""
    found = broker.admin.list_consumer_groups(request_timeout=10).result(10)
    assert not found.errors
    return {group.group_id for group in found.valid}


def topics(broker: Broker) -> dict[str, int]:
    """All topics but the broker's internal ones, with the sum of their end offsets."""
    names = [name for name in broker.metadata().topics if not name.startswith("__")]
    return {name: sum(broker.end_offsets(name).values()) for name in names}


def other_file(scene: Scene, change: Mapping[str, Any]) -> str:
    """A second configuration file, with some of the scene's sections replaced."""
    path = scene.folder / "other.toml"
    path.write_text(tomli_w.dumps({**scene.settings, **change}))
    return str(path)


def sources(scene: Scene, **of_leads: Any) -> dict[str, Any]:
    """The scene's sources, with changes to that of the leads."""
    leads, views = scene.settings["sources"]
    return {"sources": [{**leads, **of_leads}, views]}


def count(rows: Sequence[Mapping[str, Any]], **of: Any) -> int:
    """The sum of events in the rows with these values."""
    return sum(row["events"] for row in rows if all(row[name] == value for name, value in of.items()))


def values_of(broker: Broker, topic: str, partition_count: int) -> list[bytes]:
    """Every value in a topic."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "looks", "enable.auto.commit": False})
    consumer.assign([ClientPartition(topic, number, 0) for number in range(partition_count)])
    wanted = sum(broker.end_offsets(topic).values())
    found: list[bytes] = []
    while len(found) < wanted:
        found += [message.value() or b"" for message in consumer.consume(500, 1)]
    consumer.close()
    return found


def write(broker: Broker, topic: str, values: Sequence[bytes | None], partition: int = -1) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0, "linger.ms": 20})
    for number, value in enumerate(values):
        producer.produce(topic, value, key=str(number), partition=partition)
        if number % 10_000 == 0:
            producer.flush(30)
    assert producer.flush(60) == 0


def test_everything_is_counted_and_nothing_is_left_behind(scene: Scene, broker: Broker) -> None:
    events = scene.produce(900, bad=16)
    before = groups(broker), topics(broker)
    report = run_for_json(scene, "dry-run")
    assert (groups(broker), topics(broker)) == before
    assert broker.committed(scene.group, scene.leads) == {}
    assert scene.endpoint.answered().total() == 0
    good: Counter[str] = Counter(event.topic for event in events if event.bad_code is None)
    assert {row["topic"]: row["events"] for row in report["sent"]} == good
    assert {(row["pixel"], row["event"]) for row in report["sent"]} == {
        ("main", "generate_lead"),
        ("main", "page_view"),
    }
    bad = Counter((event.topic, str(event.bad_code)) for event in events if event.bad_code is not None)
    assert Counter({(r["topic"], r["code"]): r["events"] for r in report["dead_lettered"]}) == bad
    fields = {(row["code"], row["field"], row["from"]) for row in report["dead_lettered"]}
    assert ("invalid_field", "event_source_url", '"event_source_url"') in fields
    places = {f"{event.topic}[{event.partition}]@{event.offset}" for event in events if event.bad_code is not None}
    assert {row["first"] for row in report["dead_lettered"]} <= places
    assert (report["records"], report["without_record"], report["partial"]) == (len(events), 0, False)
    of_leads = [row for row in report["identifiers"] if row["topic"] == scene.leads]
    assert {row["of"] for row in of_leads} == {good[scene.leads]}
    assert 0 < count(of_leads, field="email") <= good[scene.leads]


def test_the_table_tells_the_same_and_no_personal_data(scene: Scene) -> None:
    scene.produce(300, bad=8)
    text = run_command(scene, "dry-run").stdout
    for words in ("nothing was sent", "would be sent", "would be dead-lettered", "event_source_url", "identifiers"):
        assert words in text
    assert scene.leads in text


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_no_group_appears_while_it_runs(scene: Scene, broker: Broker) -> None:
    scene.produce(400)
    write(broker, scene.leads, values_of(broker, scene.leads, 3) * 200)
    before, seen = groups(broker), set()
    with Started(scene, "dry-run", "--from", "earliest") as started:
        while started.running:
            seen |= groups(broker)
        assert started.wait() == 0, started.output
    assert seen <= before, seen - before
    assert not [name for name in groups(broker) if scene.group in name]


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_a_comparison_counts_each_kind_of_change_without_values(scene: Scene) -> None:
    events = scene.produce(600)
    leads = only(events, scene.leads)
    changed = sources(
        scene,
        fields={
            "user_data.email": "sid",
            "user_data.user_id": "none_such",
            "user_data.esi": {"path": "esi", "map": {"web": "app"}},
        },
    )
    other = other_file(scene, changed)
    report = run_for_json(scene, "dry-run", "--topic", scene.leads, "--compare", other)["compare"]
    changes = report["changes"]
    assert report["compared"] == len(leads)
    kinds = {(row["kind"], row["field"]) for row in changes}
    assert ("field_disappears", "user_data.user_id") in kinds
    assert ("field_differs", "user_data.esi") in kinds
    (esi,) = [row for row in changes if row["kind"] == "field_differs" and row["field"] == "user_data.esi"]
    assert '"esi" by its map' in esi["after"]
    assert {row["before"] for row in changes if row["kind"] == "field_disappears"} >= {'"user_id": trimmed'}
    text = run_command(scene, "dry-run", "--topic", scene.leads, "--compare", other).stdout
    assert "field disappears" in text
    stricter = other_file(scene, sources(scene, fields={"user_data.client_ip_address": "sid"}))
    changes = run_for_json(scene, "dry-run", "--topic", scene.leads, "--compare", stricter)["compare"]["changes"]
    rejected = {(row["kind"], row["after"]) for row in changes}
    assert ("sent_to_dead_letter", 'invalid_field user_data.client_ip_address from "sid"') in rejected
    text = run_command(scene, "dry-run", "--topic", scene.leads, "--compare", stricter).stdout
    assert "sent -> dead-lettered" in text


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_the_same_file_changes_nothing(scene: Scene) -> None:
    events = scene.produce(300, bad=8)
    report = run_for_json(scene, "dry-run", "--compare", other_file(scene, {}))["compare"]
    assert (report["compared"], report["changed"], report["changes"]) == (len(events), 0, [])


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_another_pixel_event_and_a_source_that_one_file_lacks(scene: Scene) -> None:
    events = scene.produce(300)
    pixels = [*scene.settings["pixels"], {"name": "second", "pixel_id": "p2", "api_key_env": "CAPI_TEST_KEY"}]
    leads = {**scene.settings["sources"][0], "pixel": "second", "event": "page_view"}
    other = other_file(scene, {"pixels": pixels, "sources": [leads]})
    report = run_for_json(scene, "dry-run", "--compare", other)
    changes, of_leads = report["compare"]["changes"], len(only(events, scene.leads))
    assert count(changes, kind="other_pixel", before="main", after="second") == of_leads
    assert count(changes, kind="other_event", before="generate_lead", after="page_view") == of_leads
    assert count(changes, kind="field_disappears", field="data.currency") == of_leads
    assert count(changes, kind="sent_to_no_source", topic=scene.views) == len(only(events, scene.views))
    assert report["compare"]["other"]["without_source"] == len(only(events, scene.views))
    assert any("no source in" in note for note in report["notes"])


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_it_says_which_brokers_are_read(scene: Scene) -> None:
    scene.produce(50)
    kafka = {**scene.settings["kafka"], "bootstrap_servers": "elsewhere.example:9092"}
    report = run_for_json(scene, "dry-run", "--compare", other_file(scene, {"kafka": kafka}))
    assert report["read_from"] == scene.broker.bootstrap
    assert any("elsewhere.example:9092" in note for note in report["notes"])


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_a_limit_is_shared_among_partitions_and_takes_the_newest(scene: Scene) -> None:
    events = scene.produce(600)
    report = run_for_json(scene, "dry-run", "--topic", scene.views, "--limit", "90")
    assert report["records"] == 90
    assert [row["to"] - row["from"] for row in report["partitions"]] == [30, 30, 30]
    of_one = [event for event in only(events, scene.views) if event.partition == 0]
    assert report["partitions"][0]["to"] == len(of_one)
    first = run_for_json(scene, "dry-run", "--topic", scene.views, "--limit", "90", "--from", "earliest")
    assert [(row["from"], row["to"]) for row in first["partitions"]] == [(0, 30)] * 3
    one = run_for_json(scene, "dry-run", "--topic", scene.views, "--partition", "1", "--from", "5", "--to", "9")
    assert (one["records"], len(one["partitions"])) == (4, 1)


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_tombstones_empty_values_unknown_schemas_and_garbage(scene: Scene, broker: Broker) -> None:
    write(broker, scene.leads, [None, b"", b"\0", b"\0\x7f\xff\xff\xff", b"garbage", None], partition=1)
    report = run_for_json(scene, "dry-run")
    assert count(report["skipped"], reason="tombstone") == 2
    assert count(report["dead_lettered"], code="unknown_schema") == 1
    assert count(report["dead_lettered"], code="decode_error") == 3
    assert report["records"] == 6


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_topics_without_records(scene: Scene) -> None:
    report = run_for_json(scene, "dry-run")
    assert (report["records"], report["sent"], report["partial"]) == (0, [], False)
    assert "0 read of 0 offsets" in run_command(scene, "dry-run", "--from", "earliest").stdout


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_a_topic_that_is_missing_is_one_line(scene: Scene) -> None:
    scene.settings["sources"].append({"topic": f"{scene.leads}-missing", "event": "page_view", "pixel": "main"})
    done = run_command(scene, "dry-run", code=3)
    assert "is missing" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--topic", "none-such"], "--topic"),
        (["--from", "yesterday"], "--from"),
        (["--from", "99999"], "out of bounds"),
        (["--limit", "0"], "--limit"),
        (["--partition", "0"], "--topic"),
        (["--compare", "/none/such.toml"], "such.toml"),
        (["--from", "2026-11-17", "--to", "2026-11-16"], "--to"),
    ],
)
def test_wrong_words_are_one_clear_error(scene: Scene, words: list[str], says: str) -> None:
    done = run_command(scene, "dry-run", *words, code=2)
    assert says in done.stderr
    assert done.stdout == ""


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_a_hanging_transaction_ends_it_at_the_last_stable_offset(scene: Scene, broker: Broker) -> None:
    events = scene.produce(300)
    values = values_of(broker, scene.leads, 3)
    topic = broker.create_topic(f"{scene.leads}-transactional", 1)
    scene.settings["sources"] = [{"topic": topic, "event": "generate_lead", "pixel": "main"}]
    config = {"bootstrap.servers": broker.bootstrap, "transactional.id": topic, "log_level": 0}
    producer = Producer(config)
    producer.init_transactions(30)
    for number, end in enumerate(
        (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction)
    ):
        producer.begin_transaction()
        for value in values[10 * number : 10 * number + 10]:
            producer.produce(topic, value)
        producer.flush(30)
        end(30)
    producer.begin_transaction()
    for value in values[30:40]:
        producer.produce(topic, value)
    producer.flush(30)
    write(broker, topic, values[40:50])  # behind the open transaction
    begun = time.monotonic()
    report = run_for_json(scene, "dry-run")
    assert time.monotonic() - begun < 30
    assert (report["records"], count(report["sent"])) == (20, 20)
    assert report["without_record"] == 13, "an aborted transaction's ten, and three marks"
    producer.abort_transaction(30)
    assert events


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_a_log_that_was_cut_begins_where_it_begins(scene: Scene, broker: Broker) -> None:
    events = [event for event in only(scene.produce(300), scene.leads) if event.partition == 0]
    cut = len(events) // 2
    broker.delete_records(scene.leads, 0, cut)
    report = run_for_json(scene, "dry-run", "--topic", scene.leads, "--partition", "0", "--from", "earliest")
    assert report["records"] == len(events) - cut
    done = run_command(scene, "dry-run", "--topic", scene.leads, "--partition", "0", "--from", "0", code=2)
    assert "out of bounds" in done.stderr


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_a_registry_that_is_down_is_one_line_and_exit_3(scene: Scene) -> None:
    scene.produce(50)
    (port,) = free_ports(1)
    done = run_command(scene, "dry-run", code=3, schema_registry={"url": f"http://127.0.0.1:{port}"})
    assert "PARTIAL" in done.stdout
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("stream-capi:")]
    assert "registry" in line


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_a_broker_that_is_down_is_one_line_and_exit_3(scene: Scene) -> None:
    (port,) = free_ports(1)
    done = run_command(scene, "dry-run", code=3, kafka={"bootstrap_servers": f"127.0.0.1:{port}"})
    assert len(done.stderr.splitlines()) == 1
    assert str(port) in done.stderr


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_ctrl_c_prints_what_was_counted_so_far(scene: Scene, broker: Broker) -> None:
    scene.produce(400)
    scene.registry.freeze()  # so that the dry run doesn't end before it is interrupted
    try:
        with Started(scene, "dry-run", "--from", "earliest") as started:
            until(lambda: "asking again" in started.output, 60, "the wait for the registry")
            started.interrupt()
            assert started.wait() == 1
            output = started.output
    finally:
        scene.registry.thaw()
    assert "PARTIAL" in output
    assert "Traceback" not in output
    code, seen = on_a_terminal(scene, "dry-run", "--from", "earliest")
    assert code == 0
    assert "mapping" in seen
    assert "would be sent" in seen


def test_records_that_retention_takes_meanwhile_are_counted(scene: Scene, broker: Broker) -> None:
    write(broker, scene.leads, [b"one"] * 100, partition=0)
    write(broker, scene.leads, [b"two"] * 100, partition=1)
    broker.delete_records(scene.leads, 0, 40)
    broker.delete_records(scene.leads, 1, 100)
    ranges = {TopicPartition(scene.leads, number): Range(0, 100) for number in (0, 1)}
    reader = opened(scene, ranges)
    assert read_all(reader) == 60
    assert list(reader.deleted.values()) == [40, 100]
    assert reader.done == 200
    reader.close()


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_a_topic_that_is_deleted_meanwhile_is_lost(scene: Scene, broker: Broker) -> None:
    write(broker, scene.leads, [b"one"] * 100, partition=0)
    reader = opened(scene, {TopicPartition(scene.leads, 0): Range(0, 1_000)})
    reader.read()
    broker.delete_topic(scene.leads)
    with pytest.raises((KafkaLost, Unavailable), match=r"kafka|topic"):
        read_all(reader)
    reader.close()


def read_all(reader: RangeReader) -> int:
    """Read to the end; return the number of records."""
    records = 0
    while not reader.ended:
        records += sum(len(chunk.values) for chunk in reader.read())
    return records


def opened(scene: Scene, ranges: Mapping[TopicPartition, Range]) -> RangeReader:
    kafka = KafkaSection.model_validate(scene.settings["kafka"])
    return RangeReader(kafka, ranges)


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_people_who_are_forgotten_paused_sources_and_a_source_that_would_be_held(scene: Scene) -> None:
    events = only(scene.produce(600), scene.leads)
    (scene.folder / "forgotten").write_text("nobody\n")
    scene.settings["suppress"] = {"file": str(scene.folder / "forgotten")}
    scene.settings |= sources(scene, paused=True, fields={"user_data.client_ip_address": "sid"})
    report = run_for_json(scene, "dry-run", "--topic", scene.leads)
    assert count(report["dead_lettered"], field="user_data.client_ip_address") == len(events)
    notes = " ".join(report["notes"])
    assert "paused by configuration" in notes
    assert "max_ratio 0.5" in notes
    (scene.folder / "forgotten").unlink()
    assert "suppress.file" in run_command(scene, "dry-run", code=2).stderr


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
def test_a_topic_of_several_record_types_is_counted_by_its_sources(scene: Scene, broker: Broker) -> None:
    scene.produce(300)
    topic = broker.create_topic(f"{scene.leads}-shared", 1)
    leads, views = values_of(broker, scene.leads, 3), values_of(broker, scene.views, 3)
    write(broker, topic, [value for pair in zip(leads, views, strict=False) for value in pair])
    of_lead = {"topic": topic, "event": "generate_lead", "pixel": "main", "record": "stream_capi.Lead"}
    of_view = {"topic": topic, "event": "page_view", "pixel": "main", "record": "stream_capi.PageView"}
    scene.settings["sources"] = [of_lead, of_view]
    other = other_file(scene, {"sources": [of_lead]})
    report = run_for_json(scene, "dry-run", "--compare", other)
    pairs = min(len(leads), len(views))
    assert Counter({row["event"]: row["events"] for row in report["sent"]}) == {
        "generate_lead": pairs,
        "page_view": pairs,
    }
    (change,) = report["compare"]["changes"]
    assert (change["kind"], change["after"], change["events"]) == ("sent_to_skipped", "unrouted", pairs)


def peak_bytes(scene: Scene, *words: str) -> tuple[int, dict[str, Any]]:
    """The peak resident memory of a command, and its output."""
    words = (sys.executable, "-m", "stream_capi", *words, "--config", configuration_of(scene), "--json")
    peak = 0
    with tempfile.TemporaryFile() as output:
        started = subprocess.Popen(words, stdout=output, env={**os.environ, "CAPI_TEST_KEY": KEY})
        while started.poll() is None:
            with suppress(ProcessLookupError):
                peak = peak_memory(started.pid)
            time.sleep(0.02)
        assert started.returncode == 0
        output.seek(0)
        return peak, json.load(output)


@pytest.mark.repeat(of="test_everything_is_counted_and_nothing_is_left_behind")
@pytest.mark.timeout(300)
def test_memory_stays_the_same_for_twice_as_many_records(scene: Scene, broker: Broker) -> None:
    scene.produce(800, bad=40)
    for topic in (scene.leads, scene.views):
        values = values_of(broker, topic, 3)
        write(broker, topic, values * (110_000 // len(values)))
    other = other_file(scene, sources(scene, fields={"user_data.email": "sid"}))
    words = ("dry-run", "--from", "earliest", "--compare", other)
    peaks = {}
    for limit in (100_000, 200_000):
        peaks[limit], report = peak_bytes(scene, *words, "--limit", str(limit))
        assert report["records"] == limit
        assert report["compare"]["changed"] > limit / 10
    assert peaks[200_000] - peaks[100_000] < 8 << 20, peaks
    assert peaks[200_000] < 250 << 20, peaks
