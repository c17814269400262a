"""The environment in which documents are played: broker, registry and endpoint, sample topics, a folder, variables.

The samples are always the same, so counts and offsets on a page are those of every run. Their times differ: on the pages
the first sample is of ``FIRST``, and times that a page types are shifted to those of this run's samples.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.schema_registry.error import SchemaRegistryError

from tests.documents.play import Names, Player
from tests.endpoint_thread import Endpoint
from tests.stack import Broker, Registry, produce_events
from tests.stack.asking import patiently
from tests.stack.process import free_ports
from tests.stack.waiting import until

SCHEMAS = Path(__file__).parents[2] / "schemas"
FIRST = datetime(2026, 11, 25, 5, 43, 0, tzinfo=UTC)
LEADS, VIEWS, DEAD, GROUP = "leads", "page-views", "stream-capi.dead-letters", "stream-capi"
KEY = "canary-key-of-the-pages-7c1f"
PIXEL_ID = "axon-key-of-the-pages"
CONFIGURATION = Path(__file__).parent / "stream-capi.toml"
_EVENTS, _BAD = 1000, 12
_AGO = 600  # the first sample's age in seconds
_UNLIMITED = {"retention.ms": "-1"}


class Relay:
    """Forwards requests to an endpoint at ``port`` on this machine, and keeps the events of those answered with 200."""

    def __init__(self, port: int) -> None:
        self.events: list[Any] = []
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                line = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
                line.request("POST", self.path, body, dict(self.headers))
                answer = line.getresponse()
                text = answer.read()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)
                line.close()
                if answer.status == 200:
                    relay.events += json.loads(body)["events"]

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class Stage:
    """Broker, registry and endpoint under the pages' addresses. The topics are deleted before and after."""

    def __init__(self, broker: Broker, registry: Registry, folder: Path, topics: tuple[str, ...] = ()) -> None:
        self.broker, self.registry = broker, registry
        self.folder = folder / "page"
        self.folder.mkdir()
        self._scratch = folder / "terminals"
        self._topics = (LEADS, VIEWS, DEAD, *topics)
        self.endpoint_port, self._drill_port, self._admin_port = free_ports(3)
        begun = datetime.fromtimestamp(int(time.time()) - _AGO, UTC)
        self._shift = timedelta(seconds=int((begun - FIRST).total_seconds()))
        self._begun_ms = int(begun.timestamp() * 1000)

    def __enter__(self) -> Self:
        self._await_coordinator()
        self._clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def _await_coordinator(self) -> None:
        """Wait for the group's coordinator, which a new broker lacks for some seconds."""
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": GROUP, "log_level": 0})
        try:
            patiently(lambda: consumer.committed([TopicPartition(LEADS, 0)], timeout=60))
        finally:
            consumer.close()

    def create(self, topic: str) -> None:
        """Create a topic, and the dead-letter topic."""
        for one in (topic, DEAD):
            self.broker.create_topic(one)

    def produce_samples(self) -> None:
        """Create the sample topics and the dead-letter topic, and produce the samples."""
        self.broker.create_topic(LEADS, 2, _UNLIMITED)
        self.broker.create_topic(VIEWS, 1, _UNLIMITED)
        self.broker.create_topic(DEAD)
        produce_events(
            self.broker, self.registry, LEADS, VIEWS, _EVENTS, seed=1, bad=_BAD, from_ms=self._begun_ms
        )  # fmt: skip

    def write_configuration(self, endpoint: str) -> None:
        """Write the configuration that the pages of commands use."""
        (self.folder / "stream-capi.toml").write_text(self.names(endpoint).typed(CONFIGURATION.read_text()))

    def names(self, endpoint: str) -> Names:
        """The addresses of this run, by those on the pages."""
        real = {
            "http://localhost:8081": self.registry.url,
            "localhost:9092": self.broker.bootstrap,
            "localhost:8080": endpoint,
            "--port 8080": f"--port {self.endpoint_port}",
            "8088": str(self._drill_port),
            "9464": str(self._admin_port),
            "your-axon-event-key": PIXEL_ID,  # the page's text is a placeholder, which `check` refuses
            "stream-capi-host-a-1": f"stream-capi-{socket.gethostname()}-1",
        }
        return Names(real, self._shift)

    def player(self, endpoint: str, not_run: frozenset[str] = frozenset(), **variables: str) -> Player:
        """A player of pages, with an endpoint at this address."""
        self._scratch = self._scratch.with_name(f"{self._scratch.name}-again")
        env = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "HOME": str(self.folder),
            "COLUMNS": "150",
            "TZ": "UTC",
            "SCHEMAS": str(SCHEMAS),
            "LC_ALL": "C.UTF-8",
            "PYTHONFAULTHANDLER": "1",  # a crash of the client prints a traceback
            "STREAM_CAPI_ADMIN__PORT": str(self._admin_port),
            "STREAM_CAPI_ENDPOINT__URL": f"http://{endpoint}/v1/event",
            **variables,
        }
        return Player(self.folder, self._scratch, env, self.names(endpoint), not_run)

    def _clear(self) -> None:
        """Delete what pages have created: topics, groups and subjects."""
        there = self.broker.metadata().topics
        for topic in self._topics:
            if topic in there:
                self.broker.delete_topic(topic)
        with self.registry.client() as client:
            for subject in [subject for topic in self._topics for subject in (f"{topic}-value",)]:
                try:
                    client.delete_subject(subject)
                except SchemaRegistryError:  # no such subject
                    continue
        groups = self.broker.admin.list_consumer_groups().result(15).valid
        ours = [group.group_id for group in groups if group.group_id.split(".")[0] == GROUP]
        until(lambda: self._deleted(ours), 30, "the end of the pages' groups")

    def _deleted(self, groups: list[str]) -> bool:
        for future in self.broker.admin.delete_consumer_groups(groups).values() if groups else ():
            try:
                future.result(15)
            except KafkaException as error:
                if error.args[0].name() == "NON_EMPTY_GROUP":  # of a killed member
                    return False
        return True


@contextmanager
def sampled(broker: Broker, registry: Registry, folder: Path) -> Iterator[tuple[Stage, Endpoint]]:
    """A stage with samples, and an endpoint that accepts the pages' API key."""
    stage = Stage(broker, registry, folder)
    with stage, Endpoint(keys={PIXEL_ID: KEY}) as endpoint:
        stage.produce_samples()
        stage.write_configuration(endpoint.address)
        yield stage, endpoint
