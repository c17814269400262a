"""Topics written in transactions: aborted events are never delivered; a hanging transaction holds up only what follows it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from confluent_kafka import Producer

from stream_capi.model import HANGING_TRANSACTION, EventName
from stream_capi.observe.what_to_do import what_to_do
from tests.faults.crafted_records import Made, Maker, written
from tests.scene import Budget, Scene
from tests.stack import Cluster, Produced, Registry
from tests.stack.transaction_v2 import TransactionV2
from tests.stack.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]

NO_DUPLICATE = Budget(0, "no member is stopped and no answer lost")
LARGE = 2500  # more leads than fit into one fetch answer of a partition


def transactional(cluster: Cluster, name: str) -> Producer:
    """A producer of protocol v1. A transaction that a former producer of this name left open is aborted."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": name, "log_level": 0})
    producer.init_transactions(30)
    return producer


def assert_never_seen(scene: Scene, aborted: Iterable[Produced]) -> None:
    """Assert that these events were neither delivered nor dead-lettered."""
    assert not {event.event_id for event in aborted} & set(scene.endpoint.answered())
    assert not {event[:3] for event in aborted} & {dead_letter.source for dead_letter in scene.ledger.dead_letters()}


def test_aborted_records_are_never_delivered(tmp_path: Path, cluster: Cluster, registry: Registry) -> None:
    """In large and small transactions, between other records and at a partition's end, with records that can't be decoded."""
    with Scene(tmp_path, cluster, registry, 2, bootstrap=cluster.bootstrap_via) as scene:
        maker, producer = Maker(scene), transactional(cluster, scene.group)
        member = scene.member()
        aborted: list[Produced] = []
        for size in (20, LARGE, 1, 20):
            producer.begin_transaction()
            leads = [maker.lead(partition=at % 2) for at in range(size)]
            aborted += written(producer, scene.leads, [*leads, Made(b"no schema's", partition=0)])
            producer.abort_transaction(30)
            producer.begin_transaction()
            committed = written(producer, scene.leads, [maker.lead(partition=at % 2) for at in range(20)])
            producer.commit_transaction(30)
            scene.ledger.add(committed)
            scene.produce(20)
        producer.begin_transaction()
        aborted += written(producer, scene.leads, [maker.lead(partition=0) for _ in range(3)])
        producer.abort_transaction(30)
        scene.close(60, duplicates=NO_DUPLICATE)
        assert_never_seen(scene, aborted)
        assert member.status()["notices"] == []


def test_nothing_behind_a_hanging_transaction_is_delivered_until_it_has_ended(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """One transaction is aborted when a new producer of its name starts, the other one is committed late."""
    with Scene(tmp_path, cluster, registry, 3, bootstrap=cluster.bootstrap_via) as scene:
        maker = Maker(scene)
        gone, late = (transactional(cluster, scene.group + name) for name in ("gone", "late"))
        for producer in (gone, late):
            producer.begin_transaction()
        never = written(gone, scene.leads, [maker.lead(partition=0) for _ in range(20)])
        lately = written(late, scene.leads, [maker.lead(partition=1) for _ in range(20)])
        behind = [event for event in scene.produce(300, bad=4) if event.topic == scene.leads]
        waiting = [{event.event_id for event in behind if event.partition == number} for number in (0, 1)]
        member = scene.member()
        free = sum(1 for event in scene.ledger.produced.values() if event.bad_code is None)
        free -= sum(1 for event in behind if event.partition < 2 and event.bad_code is None)
        until(lambda: len(scene.endpoint.answered()) >= free, 60, "all that no transaction holds back")

        def held_back() -> list[str]:
            of_this = what_to_do(HANGING_TRANSACTION)
            return [notice["reason"] for notice in member.status()["notices"] if notice["what_to_do"] == of_this]

        until(lambda: "[0, 1]" in "".join(held_back()), 25, "the notice of both partitions")
        assert not (waiting[0] | waiting[1]) & set(scene.endpoint.answered())
        transactional(cluster, scene.group + "gone")
        until(lambda: len(scene.endpoint.answered()) > free, 60, "what was behind the one that was aborted")
        until(lambda: "[1]" in "".join(held_back()), 25, "the notice of the other partition alone")
        assert not waiting[1] & set(scene.endpoint.answered())
        late.commit_transaction(30)
        scene.ledger.add(lately)
        scene.close(60, duplicates=NO_DUPLICATE)
        assert_never_seen(scene, never)
        until(lambda: not held_back(), 30, "the end of the notice")


def test_producers_of_both_transaction_protocols_are_read_together(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """The brokers' feature ``transaction.version`` is 2, Kafka 4's default for new clusters; older clients still use v1."""
    with Scene(tmp_path, cluster, registry, 2, bootstrap=cluster.bootstrap_via) as scene:
        maker, first = Maker(scene), transactional(cluster, scene.group)
        scene.member()
        aborted: list[Produced] = []
        with TransactionV2(cluster, f"{scene.group}-v2") as second:
            for number in range(8):
                partition, epoch = number % 2, second.epoch
                first.begin_transaction()
                of_first = written(first, scene.leads, [maker.lead(partition=partition) for _ in range(10)])
                of_second = written_by(second, scene, partition, [maker.lead() for _ in range(10)])
                of_first += written(first, scene.leads, [maker.lead(partition=1 - partition) for _ in range(10)])
                commits = number // 2 % 2 == 0
                second.end(commit=commits)
                assert second.epoch == epoch + 1, "the broker does not speak v2"
                first.abort_transaction(30) if commits else first.commit_transaction(30)
                scene.ledger.add(of_second if commits else of_first)
                aborted += of_first if commits else of_second
        scene.produce(100)
        scene.close(60, duplicates=NO_DUPLICATE)
        assert_never_seen(scene, aborted)


def written_by(producer: TransactionV2, scene: Scene, partition: int, made: list[Made]) -> list[Produced]:
    offset = producer.write(scene.leads, partition, [(record.key, record.value) for record in made])
    return [
        Produced(scene.leads, partition, offset + number, record.event_id, EventName.GENERATE_LEAD, None)
        for number, record in enumerate(made)
    ]
