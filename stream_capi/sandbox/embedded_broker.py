"""A Kafka broker inside the process, for the demo: librdkafka's own mock cluster.

It supports groups, commits, headers and transactions, and creates topics on first use (4 partitions each). It keeps at most
5 MiB or 100,000 messages a partition and forgets everything when it is closed: for demos only, not durable.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from confluent_kafka import Producer

from stream_capi.errors import KafkaLost

_SECONDS = 5.0


class EmbeddedBroker:
    """A mock cluster that exists while the context is entered. Other clients connect to ``bootstrap``."""

    def __init__(self, brokers: int = 1) -> None:
        self._brokers = brokers
        self._holder: Producer | None = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        """``host:port`` of each broker, separated by commas; raises RuntimeError outside the context."""
        if self._holder is None:
            raise RuntimeError("the embedded broker is not running: enter its context first")
        return self._bootstrap

    def __enter__(self) -> Self:
        # The cluster belongs to the client that was created with it, and ends with that client.
        holder = Producer({"test.mock.num.brokers": self._brokers, "log_level": 0})
        brokers = holder.list_topics(timeout=_SECONDS).brokers.values()
        if not brokers:
            raise KafkaLost(f"the embedded broker gave no address within {_SECONDS:g} s")
        self._bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self._holder = holder
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._holder = None
