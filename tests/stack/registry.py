"""A real schema registry (Apicurio) with the Confluent-compatible API and in-memory storage."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy

from tests.stack.artefacts import registry_folder
from tests.stack.process import Server, ServerFailed, free_ports, java

# For Confluent's serializers. By default they first request a subject's "associations", of which this registry has none;
# about one such request in fifty is never answered, and the client waits for it for ever.
SUBJECTS = {"subject.name.strategy": topic_subject_name_strategy}
_HEAP_MB = 384


class Registry:
    """One registry. Its schemas are in memory: ``freeze`` keeps them, ``stop`` and ``kill`` lose them."""

    def __init__(self) -> None:
        self.port, self._management = free_ports(2)
        self._server: Server | None = Server("registry")
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"

    @classmethod
    def at(cls, url: str) -> Self:
        """A registry that someone else runs: it can be queried, but not stopped, killed or frozen."""
        registry = cls.__new__(cls)
        registry._server = None
        registry.url = url
        return registry

    def start(self) -> Self:
        """Start empty, on the same port each time. Raises ServerFailed with the end of the log."""
        server = self._own()
        command = java("-Djava.util.logging.manager=org.jboss.logmanager.LogManager", heap_mb=_HEAP_MB)
        env = {
            "APICURIO_STORAGE_KIND": "sql",
            "QUARKUS_HTTP_HOST": "127.0.0.1",
            "QUARKUS_HTTP_PORT": str(self.port),
            "QUARKUS_MANAGEMENT_PORT": str(self._management),
            "QUARKUS_MANAGEMENT_HOST": "127.0.0.1",
            "LOG_LEVEL": "WARN",
        }
        server.launch([*command, "-jar", str(registry_folder() / "quarkus-run.jar")], env, self._answers)
        return self

    def stop(self) -> None:
        """Shut down cleanly, and delete the folder."""
        self._own().terminate()
        self._own().remove()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._own().kill()

    def freeze(self) -> None:
        """Suspend the process: every connection stays open, nothing is answered and nothing refused."""
        self._own().freeze()

    def thaw(self) -> None:
        self._own().thaw()

    @contextmanager
    def client(self, **options: Any) -> Iterator[SchemaRegistryClient]:
        """Confluent's client. It has no ``close``, so its HTTP session is closed here: open sockets would cause warnings."""
        client = SchemaRegistryClient({"url": self.url, "timeout": 15, **options})
        try:
            yield client
        finally:
            client._rest_client.session.close()

    def _own(self) -> Server:
        if self._server is None:
            raise ServerFailed("this registry belongs to someone else; a test that stops one needs its own")
        return self._server

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/subjects", timeout=2) as answer:  # noqa: S310 -- our own http URL
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
