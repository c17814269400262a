"""A real Kafka broker of one node (KRaft)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from confluent_kafka import KafkaException

from tests.stack.asking import Kafka
from tests.stack.kafkaserver import KafkaServer, replicated
from tests.stack.process import Server, free_ports


class Broker(KafkaServer, Kafka):
    """One broker that tests can query, stop, kill and freeze."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        self._settings = dict(settings or {})
        self._port, self.via_port, self._controller = free_ports(3)
        self._proxy_port: int | None = None
        self._server = Server("kafka")
        self.bootstrap = f"127.0.0.1:{self._port}"

    @classmethod
    def at(cls, bootstrap: str) -> Self:
        """A broker that someone else runs: it can be queried, but not stopped, killed or frozen."""
        broker = cls.__new__(cls)
        broker._server = None
        broker.bootstrap = bootstrap
        return broker

    def listener_via(self, proxy_port: int) -> str:
        """Advertise a second listener, at ``via_port``, under the port of a proxy in front of it; returns the address.

        Clients that bootstrap there always connect through the proxy, those at ``bootstrap`` directly. A running broker
        restarts.
        """
        self._proxy_port = proxy_port
        if self.running:
            self.restart()
        return f"127.0.0.1:{proxy_port}"

    def stop(self) -> None:
        """Shut down cleanly, and delete the data."""
        self._own().terminate()
        self._own().remove()
        self._admin = None

    def _answers(self) -> bool:
        try:
            return bool(self.admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return False

    def _properties(self) -> dict[str, str]:
        listeners = f"DIRECT://127.0.0.1:{self._port},VIA://127.0.0.1:{self.via_port}"
        return {
            **replicated(1, 1),
            "node.id": "1",
            "inter.broker.listener.name": "DIRECT",
            "listener.security.protocol.map": "DIRECT:PLAINTEXT,VIA:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"DIRECT://{self.bootstrap},VIA://127.0.0.1:{self._proxy_port or self.via_port}",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            # Long, so that its own controller does not fence a thawed broker. Short after a kill, since the broker can
            # register again only when the session from before the kill has ended.
            "broker.session.timeout.ms": "2000" if self._killed else "60000",
            **self._settings,
        }
