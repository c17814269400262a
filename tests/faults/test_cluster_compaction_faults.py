"""A topic after compaction: offsets without records are read over, committed, and part of commits' metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

from stream_capi.core.offset_metadata import decode_outcomes, topic_id_of
from stream_capi.sandbox.fault_script import Action
from tests.faults.crafted_records import Made, Maker, written
from tests.scene import Budget, Scene
from tests.stack import Cluster, Kafka, Produced, Registry
from tests.stack.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]

COMPACTED = {
    "config": {
        "cleanup.policy": "compact",
        "internal.segment.bytes": "8192",  # about twenty leads; the last segment is never cleaned
        "min.cleanable.dirty.ratio": "0",
        "delete.retention.ms": "0",
    }
}
# No time-outs, so that nothing is repeated, and a given form of the key, since finding it allows only one request at a time.
SMALL: Mapping[str, Mapping[str, Any]] = {
    "batch": {"max_events": 10},
    "endpoint": {"timeout_seconds": 100, "authorization": "bearer"},
}
KEYS = 120
NO_DUPLICATE = Budget(0, "all that was answered is in the last commit before the kill")


def leads(maker: Maker, keys: Iterable[int]) -> list[Made]:
    """One lead for each key."""
    return [maker.lead(partition=0)._replace(key=b"%d" % key) for key in keys]


def kept(broker: Kafka, topic: str) -> set[int]:
    """The offsets of the first partition that still have a record."""
    config = {"bootstrap.servers": broker.bootstrap, "group.id": f"{topic}-look", "enable.auto.commit": False}
    with closing(Consumer({**config, "enable.partition.eof": True, "log_level": 0})) as reader:
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        found: set[int] = set()

        def read_to_the_end() -> bool:
            messages = reader.consume(1000, 0.1)
            errors = [at.error() for at in messages]
            found.update(int(at.offset() or 0) for at in messages if at.error() is None)
            return any(error is not None and error.code() == KafkaError._PARTITION_EOF for error in errors)

        until(read_to_the_end, 30, f"the end of {topic}")
        return found


def clean(scene: Scene, superseded: list[Produced]) -> None:
    """Wait until the cleaner has removed these."""
    gone = {event.offset for event in superseded}
    until(lambda: not gone & kept(scene.broker, scene.leads), 60, "the cleaner")


def put(scene: Scene, made: list[Made]) -> list[Produced]:
    """Produce in batches that fit into a segment. Not added to the ledger, since compaction will remove some of them."""
    producer = Producer({"bootstrap.servers": scene.broker.bootstrap, "log_level": 0})
    return [event for at in range(0, len(made), 10) for event in written(producer, scene.leads, made[at : at + 10])]


def test_over_the_holes_of_a_compacted_topic_nothing_is_skipped_and_nothing_sent_twice(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Holes that exist before the first read, that are covered by the metadata, and that appear while no member runs."""
    with Scene(tmp_path, cluster, registry, 1, topics=COMPACTED, sections=SMALL) as scene:
        maker = Maker(scene)
        old = put(scene, leads(maker, range(KEYS)))
        first = [*old[1::2], *put(scene, leads(maker, range(0, KEYS, 2))), *put(scene, leads(maker, range(1000, 1060)))]
        clean(scene, old[::2])
        scene.ledger.add(first)
        in_midst = old[41].event_id
        scene.endpoint.answer(lambda request: Action(hang=True) if in_midst in request.dedupe_ids else None)
        member = scene.member()
        answered = scene.endpoint.answered
        until(lambda: unresolved(scene, first) == {e.offset for e in first if e.event_id not in answered()}
              and len(answered()) >= len(first) - 10, 60, "a commit of all but the batch that hangs")  # fmt: skip
        assert 0 < cluster.committed(scene.group, scene.leads)[0][0] <= old[41].offset
        member.kill()

        done = [key for key in range(1, KEYS, 2) if answered()[old[key].event_id]]
        scene.ledger.add(put(scene, leads(maker, done)))
        scene.ledger.add(put(scene, leads(maker, range(2000, 2060))))
        clean(scene, [old[key] for key in done])
        scene.endpoint.answer(None)
        scene.member()
        scene.close(60, duplicates=NO_DUPLICATE)
        assert cluster.committed(scene.group, scene.leads)[0][0] == cluster.end_offsets(scene.leads)[0]


def unresolved(scene: Scene, events: list[Produced]) -> set[int]:
    """The offsets of the events without an outcome, according to the group's commit and its metadata."""
    offset, metadata = scene.broker.committed(scene.group, scene.leads).get(0, (0, ""))
    beyond = decode_outcomes(metadata, offset, topic_id_of(metadata))
    behind = {event.offset for event in events if event.offset >= offset}
    return {at for at in behind if not any(of.first <= at < of.last for of in beyond)}
