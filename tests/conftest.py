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
    from tests.stack import Broker, Proxy, Registry
    from tests.stack.names import Names


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
