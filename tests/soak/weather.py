"""The faults of an episode on the cluster: each is a context manager that starts the fault, and heals it at its end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from confluent_kafka import ElectionType
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]  # its own docs say so

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.endpoint_thread import Endpoint
from tests.program import Program
from tests.soak.faults import except_poison
from tests.soak.traffic import Traffic
from tests.stack import Cluster, Proxy, Registry
from tests.stack.cluster import Node
from tests.workers.processes import workers_of

_SLOW_SECONDS = 0.1
_MORE_PARTITIONS = 2


class Bed(Protocol):
    """What faults can break. The target is the number of a node, or the position of a member or a topic in the plan."""

    cluster: Cluster
    registry: Registry
    endpoint: Endpoint
    members: list[Program]
    traffic: list[Traffic]

    def ordinary(self, request: RequestInfo) -> Action:
        """The endpoint's answer without a fault."""

    def spawn(self, member: Program) -> None:
        """Start a member without waiting for anything."""

    def join(self) -> Program:
        """Start one more member."""

    def leave(self, member: Program) -> None:
        """Wait until a member that was told to stop has ended."""


Fault = Callable[[Bed, str], AbstractContextManager[None]]


def _node(bed: Bed, target: str) -> Node:
    return bed.cluster.node(int(target))


@contextmanager
def node_killed(bed: Bed, target: str) -> Iterator[None]:
    node = _node(bed, target)
    node.kill()
    yield
    node.spawn()


@contextmanager
def node_ended(bed: Bed, target: str) -> Iterator[None]:
    node = _node(bed, target)
    node.terminate()
    yield
    node.spawn()


@contextmanager
def node_frozen(bed: Bed, target: str) -> Iterator[None]:
    node = _node(bed, target)
    node.freeze()
    yield
    node.thaw()


def _at_proxies(proxies: Callable[[Bed, str], list[Proxy]], begin: Callable[[Proxy], None]) -> Fault:
    @contextmanager
    def fault(bed: Bed, target: str) -> Iterator[None]:
        befallen = proxies(bed, target)
        for proxy in befallen:
            begin(proxy)
        yield
        for proxy in befallen:
            proxy.heal()

    return fault


def _clients(bed: Bed, target: str) -> list[Proxy]:
    return [_node(bed, target).clients]


def _replication(bed: Bed, target: str) -> list[Proxy]:
    return [_node(bed, target).replication]


def _controller(bed: Bed, target: str) -> list[Proxy]:
    return [_node(bed, target).controller]


def _all_clients(bed: Bed, target: str) -> list[Proxy]:
    return [node.clients for node in bed.cluster.nodes]


def _all_controllers(bed: Bed, target: str) -> list[Proxy]:
    return [node.controller for node in bed.cluster.nodes]


def _slow(proxy: Proxy) -> None:
    proxy.slow(_SLOW_SECONDS)


@contextmanager
def member_killed(bed: Bed, target: str) -> Iterator[None]:
    member = bed.members[int(target)]
    member.kill()
    yield
    bed.spawn(member)


@contextmanager
def member_ended(bed: Bed, target: str) -> Iterator[None]:
    member = bed.members[int(target)]
    member.signal(signal.SIGTERM)
    yield
    bed.leave(member)
    bed.spawn(member)


@contextmanager
def member_frozen(bed: Bed, target: str) -> Iterator[None]:
    member = bed.members[int(target)]
    processes = [member.process, *workers_of(member)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    yield
    for process in processes:
        process.send_signal(signal.SIGCONT)


@contextmanager
def worker_killed(bed: Bed, target: str) -> Iterator[None]:
    for worker in workers_of(bed.members[int(target)])[:1]:
        worker.kill()
    yield


@contextmanager
def member_joined(bed: Bed, target: str) -> Iterator[None]:
    member = bed.join()
    yield
    member.signal(signal.SIGTERM)


def _answered(**what: object) -> Fault:
    """The same answer to all requests, except that poison is never accepted."""
    action = Action(**what)  # type: ignore[arg-type]  # the fields of an action

    @contextmanager
    def fault(bed: Bed, target: str) -> Iterator[None]:
        bed.endpoint.answer(except_poison(action, bed.ordinary))
        yield
        bed.endpoint.answer(bed.ordinary)

    return fault


@contextmanager
def endpoint_gone(bed: Bed, target: str) -> Iterator[None]:
    bed.endpoint.stop()
    yield
    bed.endpoint.start()


@contextmanager
def registry_frozen(bed: Bed, target: str) -> Iterator[None]:
    bed.registry.freeze()
    yield
    bed.registry.thaw()


@contextmanager
def partitions_added(bed: Bed, target: str) -> Iterator[None]:
    """Request more partitions without waiting: with a quorum they are created at once, without one later."""
    name = bed.traffic[int(target)].name
    wanted = len(bed.cluster.described(name)) + _MORE_PARTITIONS
    bed.cluster.admin.create_partitions([NewPartitions(name, wanted)], request_timeout=20)
    yield


@contextmanager
def transaction_left_open(bed: Bed, target: str) -> Iterator[None]:
    left_open = bed.traffic[int(target)].left_open
    left_open.set()
    yield
    left_open.clear()


@contextmanager
def leaders_elected(bed: Bed, target: str) -> Iterator[None]:
    """Elect the preferred leaders again, after earlier faults have moved partitions away from them."""
    bed.cluster.admin.elect_leaders(ElectionType.PREFERRED, None)
    yield


FAULTS: Mapping[str, Fault] = {
    "node_killed": node_killed,
    "node_ended": node_ended,
    "node_frozen": node_frozen,
    "clients_cut": _at_proxies(_clients, Proxy.cut),
    "clients_half_open": _at_proxies(_clients, Proxy.half_open),
    "clients_slow": _at_proxies(_clients, _slow),
    "replication_cut": _at_proxies(_replication, Proxy.cut),
    "replication_half_open": _at_proxies(_replication, Proxy.half_open),
    "controller_cut": _at_proxies(_controller, Proxy.cut),
    "controller_half_open": _at_proxies(_controller, Proxy.half_open),
    "quorum_lost": _at_proxies(_all_controllers, Proxy.cut),
    "brokers_half_open": _at_proxies(_all_clients, Proxy.half_open),
    "member_killed": member_killed,
    "member_ended": member_ended,
    "member_frozen": member_frozen,
    "worker_killed": worker_killed,
    "member_joined": member_joined,
    "endpoint_fails": _answered(status=500),
    "endpoint_throttles": _answered(status=429, headers={"Retry-After": "1"}),
    "key_refused": _answered(status=401),
    "processed_and_reset": _answered(reset="after_body", processed=True),
    "processed_and_silent": _answered(hang=True, processed=True),
    "endpoint_slow": _answered(delay_seconds=2.0),
    "endpoint_gone": endpoint_gone,
    "registry_frozen": registry_frozen,
    "partitions_added": partitions_added,
    "transaction_left_open": transaction_left_open,
    "leaders_elected": leaders_elected,
}
