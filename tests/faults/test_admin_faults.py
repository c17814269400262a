"""Faulty clients of the admin server don't disturb the delivery."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.faults.answers import await_progress
from tests.scene import Scene
from tests.stack import Broker, Registry

pytestmark = pytest.mark.real

_DESCRIPTORS = 1_024  # the usual limit of open files of a process


@pytest.fixture
def sockets() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_more_half_open_connections_than_descriptors_stop_neither_delivery_nor_probes_and_fill_no_log(
    tmp_path: Path, broker: Broker, registry: Registry, sockets: ExitStack
) -> None:
    with Scene(tmp_path, broker, registry, sections={"log": {"level": "info"}}) as scene:
        member = scene.member()
        member.process.rlimit(psutil.RLIMIT_NOFILE, (_DESCRIPTORS, _DESCRIPTORS))
        scene.produce(200)
        scene.ledger.await_all(60)
        lines = len(member.output.splitlines())
        for _ in range(_DESCRIPTORS + 100):
            half_open = sockets.enter_context(socket.create_connection(("127.0.0.1", member.port), timeout=10))
            half_open.sendall(b"GET /status HTT")
        scene.produce(300)
        await_progress(scene)
        for path in ("/healthz", "/readyz", "/status", "/metrics"):
            assert member.get(path)[0] == 200
        assert member.process.num_fds() < 300
        assert len(member.output.splitlines()) - lines < 20
        assert len(member.logged("admin connections cut")) == 1
        scene.close(duplicates=0)
