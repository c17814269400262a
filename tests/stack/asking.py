"""Queries and administration that tests use, for one broker or a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its own docs say so
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.admin._metadata import ClusterMetadata, PartitionMetadata
from confluent_kafka.cimpl import NewTopic

from tests.stack.waiting import until

SECONDS = 15.0  # deadline of each request to a broker

_SETTLING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,  # the node that was asked does not know the topic yet
        KafkaError._NOENT,  # the same, if the client asks for the leaders first
        KafkaError._UNKNOWN_PARTITION,  # the same of a partition that was added
        KafkaError._TIMED_OUT,  # the node that was asked is frozen or just ending
        KafkaError._TRANSPORT,
    }
)

Answer = TypeVar("Answer")


class Kafka:
    """Kafka at an address: all that scenes and ledgers need of a broker or a cluster."""

    replication = 1  # default of new topics
    bootstrap: str  # where tests connect, past every proxy
    admin_properties: Mapping[str, str | int] = {}
    _admin: AdminClient | None = None

    @property
    def admin(self) -> AdminClient:
        """An admin client of the direct listener."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, **self.admin_properties})
        return self._admin

    def create_topic(
        self,
        topic: str,
        partitions: int = 1,
        config: Mapping[str, str] | None = None,
        *,
        replication: int | None = None,
        assignment: Sequence[Sequence[int]] | None = None,
    ) -> str:
        """Create a topic and wait until each partition has a leader; returns its name.

        ``assignment`` names the nodes of each partition's replicas, the preferred leader first, in place of a number of
        partitions and replicas. ``segment.bytes`` must be 1 MiB or more; ``internal.segment.bytes`` may be less.
        """
        if assignment is not None:
            partitions = len(assignment)
            new = NewTopic(topic, partitions, replica_assignment=[list(nodes) for nodes in assignment],
                           config=dict(config or {}))  # fmt: skip
        else:
            new = NewTopic(topic, partitions, replication or self.replication, config=dict(config or {}))
        self.admin.create_topics([new], request_timeout=SECONDS)[topic].result(SECONDS)
        until(lambda: len(self._led(topic)) == partitions, SECONDS, f"leaders of {topic}")
        self.end_offsets(topic)
        return topic

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and wait until it is gone."""
        self.admin.delete_topics([topic])[topic].result(SECONDS)
        until(lambda: topic not in self.metadata().topics, SECONDS, f"end of {topic}")

    def configure_group(self, group: str, config: Mapping[str, str]) -> None:
        """Set a group's configuration, as ``kafka-configs.sh --entity-type groups`` does."""
        self.configure(ResourceType.GROUP, group, config)

    def configure(self, kind: ResourceType, name: str, config: Mapping[str, str | None]) -> None:
        """Set a resource's dynamic configuration; None deletes a setting, so that its static value applies again."""
        resource = ConfigResource(kind, name)
        for key, value in config.items():
            operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
            resource.add_incremental_config(ConfigEntry(key, value or "", incremental_operation=operation))
        patiently(
            lambda: self.admin.incremental_alter_configs([resource], request_timeout=SECONDS)[resource].result(SECONDS)
        )

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete the records before an offset, as retention does."""
        target = TopicPartition(topic, partition, before)
        self.admin.delete_records([target])[target].result(SECONDS)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset after the last record of each partition that has a leader."""
        return self._offsets(topic, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    def beginning_offsets(self, topic: str) -> dict[int, int]:
        """The offset of the first record of each partition that has a leader."""
        return self._offsets(topic, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def _offsets(self, topic: str, spec: OffsetSpec) -> dict[int, int]:
        wanted = {TopicPartition(topic, partition): spec for partition in self._led(topic)}

        def ask() -> dict[int, int]:
            found = self.admin.list_offsets(wanted)
            try:
                return {tp.partition: future.result(SECONDS).offset for tp, future in found.items()}
            except KafkaException:
                self._admin = None  # a client that found no leader may report so for longer than tests wait
                raise

        return patiently(ask)

    def committed(self, group: str, topic: str) -> dict[int, tuple[int, str]]:
        """The group's committed offset and metadata, for each partition with a commit."""
        wanted = [TopicPartition(topic, partition) for partition in self._led(topic)]
        asking = asker(self.bootstrap, group, self.admin_properties)
        try:
            found = patiently(lambda: _without_error(asking.committed(wanted, timeout=SECONDS)))
        finally:
            asking.close()
        return {tp.partition: (tp.offset, tp.metadata or "") for tp in found if tp.offset >= 0}

    def described(self, topic: str) -> dict[int, PartitionMetadata]:
        """Leader, replicas and in-sync replicas of each partition, as the broker that answers sees them."""
        return dict(self.metadata(topic).topics[topic].partitions)

    def metadata(self, *topic: str) -> ClusterMetadata:
        """Metadata of one topic, or of all. If a broker does not answer, the request is retried at another one."""
        return patiently(lambda: self.admin.list_topics(*topic, timeout=5))

    def _led(self, topic: str) -> list[int]:
        return [number for number, partition in self.described(topic).items() if partition.leader >= 0]


def asker(bootstrap: str, group: str, properties: Mapping[str, str | int] = MappingProxyType({})) -> Consumer:
    """A client for a group's committed offsets that is not a member of the group.

    Not the admin client: its query for them ends the process if the node that it asks is not the group's coordinator. And if
    one of its answers is lost with a killed broker, the others never arrive.
    """
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "reconnect.backoff.max.ms": 500,
            "log_level": 0,
            **properties,
        }
    )


def _without_error(found: list[TopicPartition]) -> list[TopicPartition]:
    """The same partitions. Raises KafkaException if there was an error for one of them."""
    for partition in found:
        if partition.error is not None:
            raise KafkaException(partition.error)
    return found


def patiently(ask: Callable[[], Answer]) -> Answer:
    """Retry while the broker is still loading a partition or a group, as after each start."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _SETTLING or time.monotonic() > deadline:
                raise
        time.sleep(0.05)
