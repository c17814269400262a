"""A real Kafka broker of one node (KRaft), and what tests ask of it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self, TypeVar
from uuid import uuid4

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewTopic

from tests.stack.artefacts import kafka_jars
from tests.stack.process import Server, ServerFailed, free_ports, java
from tests.stack.waiting import until

_HEAP_MB = 384
_SECONDS = 15.0  # deadline of each question to the broker

# Short where a default makes tests wait, small where a default is made for big machines.
_SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "DIRECT",
    "listener.security.protocol.map": "DIRECT:PLAINTEXT,VIA:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "5000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "log.retention.check.interval.ms": "500",
    "log.initial.task.delay.ms": "500",
    "log.segment.delete.delay.ms": "500",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "broker.heartbeat.interval.ms": "300",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
}


_SETTLING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)

Answer = TypeVar("Answer")


class Broker:
    """One broker with a folder of its own; ``restart`` keeps its ports and data."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = dict(settings or {})
        self._port, self.via_port, self._controller = free_ports(3)
        self._proxy_port: int | None = None
        self._server: Server | None = Server("kafka")
        self._admin: AdminClient | None = None
        self._killed = False
        self.bootstrap = f"127.0.0.1:{self._port}"

    @classmethod
    def at(cls, bootstrap: str) -> Self:
        """A broker that someone else runs: it can be asked, but not stopped, killed or frozen."""
        broker = cls.__new__(cls)
        broker._server = None
        broker._admin = None
        broker.bootstrap = bootstrap
        return broker

    # --- its life

    @property
    def log_tail(self) -> str:
        """The end of the broker's log."""
        return self._own().tail()

    def listener_via(self, proxy_port: int) -> str:
        """Advertise a second listener, at ``via_port``, under the port of a proxy in front of it; returns the address.

        Clients that bootstrap there stay behind the proxy, those at ``bootstrap`` go direct. A running broker restarts.
        """
        self._proxy_port = proxy_port
        if self._own().running:
            self.restart()
        return f"127.0.0.1:{proxy_port}"

    def start(self) -> Self:
        """Start, on the data that is there. Raises ServerFailed with the end of the log."""
        server = self._own()
        classpath = ":".join(str(jar) for jar in kafka_jars())
        properties = self._write_properties(server.folder)
        logging = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
        if not (server.folder / "data").exists():
            _format(classpath, properties, logging)
        command = java("-cp", classpath, logging, "kafka.Kafka", str(properties), heap_mb=_HEAP_MB)
        server.launch(command, {}, self._answers)
        self._killed = False
        return self

    def stop(self) -> None:
        """Shut down in order, and delete the data."""
        self._own().terminate()
        self._own().remove()
        self._admin = None

    def kill(self) -> None:
        """SIGKILL; the data stays for ``restart``."""
        self._own().kill()
        self._killed = True

    def restart(self) -> Self:
        """Start again with the same ports and data, stopping in order first if it runs."""
        self._own().terminate()
        return self.start()

    def freeze(self) -> None:
        """Stop the process with every connection open: nothing answers, nothing is refused."""
        self._own().freeze()

    def thaw(self) -> None:
        self._own().thaw()

    # --- what tests ask of it

    @property
    def admin(self) -> AdminClient:
        """A client of the direct listener."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin

    def create_topic(self, topic: str, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic and wait until each partition has a leader; returns its name.

        ``segment.bytes`` must be 1 MiB or more; ``internal.segment.bytes`` takes less.
        """
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=dict(config or {}))
        self.admin.create_topics([new])[topic].result(_SECONDS)
        until(lambda: len(self._led(topic)) == partitions, _SECONDS, f"leaders of {topic}")
        self.end_offsets(topic)
        return topic

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and wait until it is gone."""
        self.admin.delete_topics([topic])[topic].result(_SECONDS)
        until(lambda: topic not in self.admin.list_topics(timeout=_SECONDS).topics, _SECONDS, f"end of {topic}")

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Delete what lies before an offset, as retention does."""
        target = TopicPartition(topic, partition, before)
        self.admin.delete_records([target])[target].result(_SECONDS)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The offset after the last record of each partition."""
        latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        wanted = {TopicPartition(topic, partition): latest for partition in self._led(topic)}

        def ask() -> dict[int, int]:
            found = self.admin.list_offsets(wanted)
            return {tp.partition: future.result(_SECONDS).offset for tp, future in found.items()}

        return _patiently(ask)

    def committed(self, group: str, topic: str) -> dict[int, tuple[int, str]]:
        """Offset and metadata that a group has committed, for each partition with a commit."""
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p) for p in self._led(topic)])
        found = _patiently(lambda: self.admin.list_consumer_group_offsets([wanted])[group].result(_SECONDS))
        return {tp.partition: (tp.offset, tp.metadata or "") for tp in found.topic_partitions if tp.offset >= 0}

    def _led(self, topic: str) -> list[int]:
        described = self.admin.list_topics(topic, timeout=_SECONDS).topics[topic]
        return [number for number, partition in described.partitions.items() if partition.leader >= 0]

    def _answers(self) -> bool:
        try:
            return bool(self.admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    # --- what it is made of

    def _own(self) -> Server:
        if self._server is None:
            raise ServerFailed("this broker belongs to someone else; a test that stops one needs `own_broker`")
        return self._server

    def _write_properties(self, folder: Path) -> Path:
        listeners = f"DIRECT://127.0.0.1:{self._port},VIA://127.0.0.1:{self.via_port}"
        settings = {
            **_SETTINGS,
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"DIRECT://{self.bootstrap},VIA://127.0.0.1:{self._proxy_port or self.via_port}",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "log.dirs": str(folder / "data"),
            # Long, so that a thawed broker is not fenced by its own controller; but one that was killed is not let back
            # in before the session of its former self ends.
            "broker.session.timeout.ms": "2000" if self._killed else "60000",
            **self._settings,
        }
        path = folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path


def _patiently(ask: Callable[[], Answer]) -> Answer:
    """Ask again while the broker says that it is still taking up a partition or a group, as after each start."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in _SETTLING or time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _format(classpath: str, properties: Path, *options: str) -> None:
    tool = java("-cp", classpath, *options, "kafka.tools.StorageTool", heap_mb=128)
    arguments = ["format", "--cluster-id", str(uuid4()), "--config", str(properties)]
    done = subprocess.run([*tool, *arguments], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise ServerFailed(f"formatting the broker's storage ended with {done.returncode}:\n{done.stdout}{done.stderr}")
