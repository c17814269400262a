"""One Kafka process: its settings, its storage, and how it is started and stopped."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self
from uuid import uuid4

from tests.stack.ahead import classes
from tests.stack.artefacts import kafka_jars
from tests.stack.process import Server, ServerFailed, java

# Shorter than the defaults that make tests wait, smaller than those that are meant for big machines.
SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "5000",
    "group.consumer.min.heartbeat.interval.ms": "100",
    "group.consumer.heartbeat.interval.ms": "500",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "log.retention.check.interval.ms": "2000",  # with hundreds of topics a check takes a part of the machine
    "log.initial.task.delay.ms": "500",
    "log.segment.delete.delay.ms": "500",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "broker.heartbeat.interval.ms": "300",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
}
_INTERNAL = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
_LOGGING = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"


def replicated(factor: int, in_sync: int) -> dict[str, str]:
    """Replication settings for Kafka's internal topics, and for topics that set none of their own."""
    return {
        "default.replication.factor": str(factor),
        "min.insync.replicas": str(in_sync),
        **{f"{topic}.replication.factor": str(factor) for topic in _INTERNAL},
        **{f"{topic}.min.isr": str(in_sync) for topic in _INTERNAL[1:]},
    }


class KafkaServer:
    """A process with its own folder; ``restart`` keeps its ports and data."""

    heap_mb = 384
    java_options: tuple[str, ...] = ()
    classes: list[str] | None = None  # the option of Java with the file of classes; None: the one for every broker
    _server: Server | None
    _killed = False  # last ended by SIGKILL: the controller still holds its session

    @property
    def running(self) -> bool:
        return self._own().running

    def start(self) -> Self:
        """Start on the existing data, if there is any. Raises ServerFailed with the end of the log."""
        self.spawn()
        self.await_ready()
        return self

    def spawn(self) -> None:
        """Start without waiting until it is ready."""
        server = self._own()
        if not (server.folder / "data").exists():
            self.format()
        self._own().spawn(self._java("kafka.Kafka", str(self._write_properties()), heap_mb=self.heap_mb), {})

    def await_ready(self) -> None:
        """Wait until it answers. Raises ServerFailed with the end of the log."""
        self._own().await_ready(self._answers)
        self._killed = False

    def kill(self) -> None:
        """Send SIGKILL; the data stays for ``restart``."""
        self._own().kill()
        self._killed = True

    def restart(self) -> Self:
        """Start again with the same ports and data, after a clean shutdown if it runs."""
        self._own().terminate()
        return self.start()

    def freeze(self) -> None:
        """Suspend the process: every connection stays open, nothing is answered and nothing refused."""
        self._own().freeze()

    def thaw(self) -> None:
        self._own().thaw()

    def format(self) -> None:
        """Format the storage for a new cluster."""
        arguments = ["format", "--cluster-id", str(uuid4()), "--config", str(self._write_properties())]
        tool = self._java("kafka.tools.StorageTool", *arguments, heap_mb=128)
        done = subprocess.run(tool, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise ServerFailed(f"formatting the storage ended with {done.returncode}:\n{done.stdout}{done.stderr}")

    def _java(self, main: str, *arguments: str, heap_mb: int) -> list[str]:
        jars = kafka_jars()
        classpath = ":".join(str(jar) for jar in jars)
        # Java unpacks libraries here. They are deleted with the folder, since a killed process leaves them behind.
        scratch = f"-Djava.io.tmpdir={self._own().folder}"
        options = [*(classes(jars, _run) if self.classes is None else self.classes), *self.java_options]
        return java("-cp", classpath, _LOGGING, scratch, *options, main, *arguments, heap_mb=heap_mb)

    def _own(self) -> Server:
        if self._server is None:
            raise ServerFailed("this broker belongs to someone else; a test that stops one needs `own_broker`")
        return self._server

    def _write_properties(self) -> Path:
        folder = self._own().folder
        settings = {**SETTINGS, "log.dirs": str(folder / "data"), **self._properties()}
        path = folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        return path

    def _properties(self) -> dict[str, str]:
        """This server's settings, in addition to those of every server."""
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError


def _run(option: str) -> None:
    """Start a broker with one more option of Java, and shut it down cleanly."""
    from tests.stack.kafka import Broker

    broker = Broker()
    broker.classes = []
    try:
        broker.format()
        broker.classes = [option]
        broker.start()
        broker._own().terminate(seconds=60)  # Java writes the file now
    finally:
        broker.stop()
