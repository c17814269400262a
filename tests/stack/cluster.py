"""A real Kafka cluster: three nodes, each broker and controller, with a test proxy in front of every listener but one."""

from __future__ import annotations

import contextlib
import shutil
import ssl
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Self
from uuid import uuid4

import psutil
import trustme
from confluent_kafka import ElectionType, KafkaException, TopicPartition
from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]  # its own docs say so
from confluent_kafka.admin._metadata import PartitionMetadata

from tests.stack.asking import SECONDS, Kafka
from tests.stack.kafkaserver import KafkaServer, replicated
from tests.stack.process import Server, free_ports
from tests.stack.proxy import Proxy
from tests.stack.users import Users, identity_of
from tests.stack.waiting import until
from tests.stack.wire import ask_to_reassign, limit_reading

_SESSION_SECONDS = 5  # after which the controller fences a node that is silent

_SETTINGS: Mapping[str, str] = {
    **replicated(3, 2),
    "inter.broker.listener.name": "REPLICATION",
    "broker.session.timeout.ms": str(_SESSION_SECONDS * 1000),
    "replica.lag.time.max.ms": "5000",
    "replica.fetch.backoff.ms": "200",
    "log.cleaner.backoff.ms": "500",
    # Tests connect to the listeners without a password and may do everything; a user may do what was granted.
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}


GROUPS = "__consumer_offsets"
STORAGE = ("data", "disk")  # of each node: two log directories, the first of which has the metadata too
_USERS = "USERS"
_LISTENERS = ("DIRECT", "VIA", _USERS, "REPLICATION", "CONTROLLER")


class Node(KafkaServer):
    """One node. ``clients``, ``users``, ``replication`` and ``controller`` are the proxies in front of its listeners.

    Clients connect without a password at ``clients``, and as a user over SASL_SSL at ``users``.
    """

    heap_mb = 256

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.id = number
        self._cluster = cluster
        self._server = Server(f"kafka-{number}")
        ports = free_ports(len(_LISTENERS))
        self.bootstrap = f"127.0.0.1:{ports[0]}"
        self.proxies = tuple(Proxy("127.0.0.1", port) for port in ports[1:])
        self.clients, self.users, self.replication, self.controller = self.proxies
        self._addresses = [self.bootstrap, *(proxy.address for proxy in self.proxies)]
        bound = zip(_LISTENERS, ports, strict=True)
        self._listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in bound)

    @property
    def resident_mb(self) -> int:
        return int(psutil.Process(self._own().pid).memory_info().rss) >> 20

    def terminate(self) -> None:
        """Shut down cleanly: leaders and the active controller move first."""
        self._own().terminate()

    def remove(self) -> None:
        """Kill the process, and delete the data."""
        self._own().kill()
        for proxy in self.proxies:
            proxy.stop()
        self._own().remove()

    @contextlib.contextmanager
    def failing_storage(self, name: str) -> Iterator[None]:
        """Put a file in place of a log directory, to act like a failed disk; put the directory back at the end.

        The broker notices within seconds, at its next checkpoint. It uses the directory again after a restart.
        """
        folder = self._own().folder / name
        aside = folder.rename(folder.with_suffix(".aside"))
        folder.touch()
        try:
            yield
        finally:
            folder.unlink()
            aside.rename(folder)

    def stores(self, topic: str, partition: int) -> str:
        """The log directory that holds a partition's replica."""
        (found,) = (name for name in STORAGE if (self._own().folder / name / f"{topic}-{partition}").is_dir())
        return found

    def present(self, certificate: trustme.LeafCert | None = None) -> None:
        """Present this certificate to users who connect from now on, without a restart; None restores the first one."""
        key_store, shown = self._cluster.users.key_store, certificate or self._cluster.users.certificate
        store = str(identity_of(shown, self._own().folder / f"identity-{uuid4()}.pem")) if certificate else None
        self._cluster.configure(ResourceType.BROKER, str(self.id), {key_store: store})
        wanted = ssl.PEM_cert_to_DER_cert(shown.cert_chain_pems[0].bytes().decode())
        until(lambda: self._shown() == wanted, SECONDS, f"the certificate at node {self.id}")

    def _shown(self) -> bytes:
        with contextlib.suppress(OSError):
            return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", self.users.port), timeout=5))
        return b""

    def copy_storage(self, other: Node) -> None:
        """Copy the formatted storage of another node, and set this node's ids: nothing else in it depends on the node."""
        for name in STORAGE:
            data = self._own().folder / name
            shutil.copytree(other._own().folder / name, data)
            meta = (data / "meta.properties").read_text().splitlines()
            kept = [line for line in meta if line.startswith(("cluster.id", "version"))]
            directory = urlsafe_b64encode(uuid4().bytes).decode().rstrip("=")
            own = [f"node.id={self.id}", f"directory.id={directory}"]
            (data / "meta.properties").write_text("\n".join([*kept, *own]) + "\n")

    def _properties(self) -> dict[str, str]:
        return {
            **_SETTINGS,
            "node.id": str(self.id),
            "log.dirs": ",".join(str(self._own().folder / name) for name in STORAGE),
            "listeners": self._listeners,
            "advertised.listeners": ",".join(map("://".join, zip(_LISTENERS, self._addresses, strict=True))),
            "listener.security.protocol.map": ",".join(
                f"{name}:{'SASL_SSL' if name == _USERS else 'PLAINTEXT'}" for name in _LISTENERS
            ),
            **self._cluster.users.listener(self._own().folder),
            "controller.quorum.voters": self._cluster.voters,
        }

    def _answers(self) -> bool:
        """Whether the brokers that clients are told of include this node: so the controller has unfenced it."""
        return self.id in self._cluster.alive()


class Cluster(Kafka):
    """Three nodes. Clients that bootstrap at ``bootstrap`` connect directly, those at ``bootstrap_via`` through the proxies.

    So do those at ``bootstrap_users``, over SASL_SSL with the properties that ``users.add`` returns.
    """

    replication = 3
    admin_properties: Mapping[str, str | int] = {"socket.timeout.ms": 5000}  # the longest wait for a frozen node
    started_in = 0.0  # seconds

    def __init__(self) -> None:
        self.users = Users(_USERS)
        self.nodes = [Node(self, number) for number in (1, 2, 3)]
        self.voters = ",".join(f"{node.id}@{node.controller.address}" for node in self.nodes)
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)
        self.bootstrap_via = ",".join(node.clients.address for node in self.nodes)
        self.bootstrap_users = ",".join(node.users.address for node in self.nodes)

    # --- starting, stopping, restoring

    def start(self) -> Self:
        """Start all nodes and wait until each has joined. Raises ServerFailed with the end of a log."""
        began = time.monotonic()
        for node in self.nodes:
            for proxy in node.proxies:
                proxy.start()
        first, *others = self.nodes
        first.format()
        for node in others:
            node.copy_storage(first)
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            node.await_ready()
        self.started_in = time.monotonic() - began
        return self

    def stop(self) -> None:
        """Kill all nodes and delete their data. A clean shutdown would hang: the last two would wait for a quorum."""
        self._admin = None
        for node in self.nodes:
            node.remove()

    def restore(self, seconds: float = 90) -> None:
        """Heal proxies, thaw and start nodes, wait until all replicas are in sync, and elect the preferred leaders."""
        for node in self.nodes:
            for proxy in node.proxies:
                proxy.heal()
            if node.running:
                node.thaw()
        ended = [node for node in self.nodes if not node.running]
        for node in ended:
            node.spawn()
        for node in self.nodes:
            node.await_ready()
        until(self.whole, seconds, "every replica in sync")
        # Otherwise all leaders, and with them the groups' coordinators, would end up on the node that was never stopped.
        self.admin.elect_leaders(ElectionType.PREFERRED, None).result(SECONDS)

    def reconnect_users(self) -> None:
        """Cut every user's connections, and let them reconnect."""
        for node in self.nodes:
            node.users.cut()
            node.users.heal()

    # --- queries and changes

    def node(self, number: int) -> Node:
        """The node with an id, as ``leader`` and ``in_sync`` name nodes."""
        return self.nodes[number - 1]

    def alive(self) -> set[int]:
        """The ids of the nodes that the controller counts as alive; empty if no node answers."""
        try:
            return set(self.admin.list_topics(timeout=1).brokers)
        except KafkaException:
            return set()

    def whole(self) -> bool:
        """Whether all nodes are alive and every replica of every partition is in sync."""
        if len(self.alive()) < len(self.nodes):
            return False
        partitions = [p for topic in self.metadata().topics.values() for p in topic.partitions.values()]
        return all(p.leader >= 0 and set(p.isrs) == set(p.replicas) for p in partitions)

    def coordinator(self, group: str) -> Node:
        """The node that coordinates a group: the leader of the group's partition of ``__consumer_offsets``.

        Computed, as brokers do, because the client aborts the process when it describes a group without a coordinator.
        """
        return self.node(self.described(GROUPS)[self.partition_of(group)].leader)

    def partition_of(self, group: str) -> int:
        """The partition of ``__consumer_offsets`` that has a group's offsets."""
        return _java_hash(group) % len(self.described(GROUPS))

    def described(self, topic: str) -> dict[int, PartitionMetadata]:
        """As one broker describes it; waits while the node that answers does not know the topic yet."""
        found: dict[int, PartitionMetadata] = {}
        until(lambda: bool(found.update(super(Cluster, self).described(topic)) or found), SECONDS, f"word of {topic}")
        return found

    def leader(self, topic: str, partition: int = 0) -> int:
        """The id of the node that leads a partition, -1 for none."""
        return int(self.described(topic)[partition].leader)

    def in_sync(self, topic: str, partition: int = 0) -> set[int]:
        """The ids of the nodes whose replicas are in sync."""
        return set(self.described(topic)[partition].isrs)

    def elect(self, topic: str, partition: int = 0, unclean: bool = False) -> None:
        """Elect the preferred leader; ``unclean`` elects a replica that is not in sync if no other is alive."""
        kind = ElectionType.UNCLEAN if unclean else ElectionType.PREFERRED
        target = TopicPartition(topic, partition)
        error = self.admin.elect_leaders(kind, [target]).result(SECONDS)[target]
        if error is not None:
            raise error
        preferred = self.described(topic)[partition].replicas[0]
        until(
            lambda: (unclean and self.leader(topic, partition) >= 0) or self.leader(topic, partition) == preferred,
            SECONDS,
            f"the leader of {topic}",
        )

    def reassign(self, topic: str, replicas: Mapping[int, Sequence[int]], seconds: float = 30) -> None:
        """Move partitions to these nodes, the first as leader, and wait until all replicas are there and in sync."""
        ask_to_reassign(self.nodes[0].bootstrap, topic, replicas)
        until(lambda: self._lies(topic, replicas), seconds, f"the replicas of {topic} on {replicas}")
        for partition, (first, *_) in replicas.items():
            if self.leader(topic, partition) != first:
                self.elect(topic, partition)

    def _lies(self, topic: str, replicas: Mapping[int, Sequence[int]]) -> bool:
        found = self.described(topic)
        return all(
            found[p].replicas == list(nodes) and set(found[p].isrs) == set(nodes) for p, nodes in replicas.items()
        )

    def limit_reading(self, client_id: str, bytes_a_second: float | None) -> None:
        """Limit the bytes per second that clients with this id read from each node; None removes the limit."""
        limit_reading(self.nodes[0].bootstrap, client_id, bytes_a_second)


def _java_hash(text: str) -> int:
    """The absolute value of Java's ``String.hashCode()``, as Kafka takes it: 0 for the smallest integer."""
    number = 0
    for unit in memoryview(text.encode("utf-16-le")).cast("H"):
        number = (31 * number + unit) & 0xFFFF_FFFF
    return min(number, (1 << 32) - number) & 0x7FFF_FFFF
