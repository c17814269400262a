"""The real neighbours as fixtures. They start when a test first asks for them; one that can't start fails the test.

``STREAM_CAPI_TEST_BOOTSTRAP`` and ``STREAM_CAPI_TEST_REGISTRY`` name ones that run already, to be used instead.
Everything of ``tests.stack`` is imported inside the fixtures, so that tests without neighbours don't pay for it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

    from tests.stack import Broker, Cluster, Proxy, Registry
    from tests.stack.names import Names

_ON_THE_CLUSTER = "test_cluster"  # how the names of files begin whose tests use the cluster


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The broker that tests share. Whoever freezes it thaws it; whoever stops one takes ``own_broker``."""
    from tests.stack import Broker

    if address := os.environ.get("STREAM_CAPI_TEST_BOOTSTRAP"):
        yield Broker.at(address)
        return
    shared = Broker()
    try:
        yield shared.start()
    finally:
        shared.stop()


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """The registry that tests share."""
    from tests.stack import Registry

    if url := os.environ.get("STREAM_CAPI_TEST_REGISTRY"):
        yield Registry.at(url)
        return
    shared = Registry()
    try:
        yield shared.start()
    finally:
        shared.stop()


@pytest.fixture
def names() -> Names:
    """Topic and group names of this test alone."""
    from tests.stack.names import Names

    return Names()


class _Proxied(NamedTuple):
    broker: Broker
    proxy: Proxy


@pytest.fixture(scope="module")
def _own() -> Iterator[_Proxied]:
    from tests.stack import Broker, Proxy

    own = Broker()
    proxy = Proxy("127.0.0.1", own.via_port).start()
    own.listener_via(proxy.port)
    try:
        yield _Proxied(own.start(), proxy)
    finally:
        proxy.stop()
        own.stop()


@pytest.fixture(scope="module")
def own_broker(_own: _Proxied) -> Broker:
    """A broker of this module alone: to be stopped, killed, frozen and started again."""
    return _own.broker


@pytest.fixture(scope="module")
def own_proxy(_own: _Proxied) -> Proxy:
    """The proxy before ``own_broker``: who bootstraps at its ``address`` stays behind it."""
    return _own.proxy


@pytest.fixture(scope="session")
def _bed() -> Iterator[Cluster]:
    from tests.stack import Cluster

    bed = Cluster()
    try:
        yield bed.start()
    finally:
        bed.stop()


@pytest.fixture
def cluster(_bed: Cluster) -> Iterator[Cluster]:
    """The three nodes that tests share. What a test does to them is undone after it: nodes, proxies, replicas in sync."""
    yield _bed
    _bed.restore()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse a test that uses the cluster in a file which would run in another process than the rest of these tests."""
    for item in items:
        if "_bed" in getattr(item, "fixturenames", ()) and not item.path.name.startswith(_ON_THE_CLUSTER):
            raise pytest.UsageError(f"{item.nodeid} uses the cluster: its file must be named {_ON_THE_CLUSTER}*.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """With ``--dist loadfile``: one process for all files with tests on the cluster, so that it is started once."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneCluster(LoadFileScheduling):  # type: ignore[misc]  # it comes without types
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return _ON_THE_CLUSTER if file.rpartition("/")[2].startswith(_ON_THE_CLUSTER) else file

    return OneCluster(config, log)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the scorecard of the fault rows. Here, because the process that prints collects no tests itself."""
    from tests.faults import scorecard

    rows = scorecard.rows_of([*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")])
    if rows:
        whole = config.option.markexpr != "not long" and not config.option.keyword
        scorecard.write(rows, whole, config.rootpath / scorecard.FILE)
        terminalreporter.section(f"scorecard (in {scorecard.FILE})")
        for line in scorecard.table(rows):
            terminalreporter.write_line(line)
