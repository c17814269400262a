"""Fixtures for real brokers and registries. They start when a test first uses them; one that can't start fails the test.

``STREAM_CAPI_TEST_BOOTSTRAP`` and ``STREAM_CAPI_TEST_REGISTRY`` name running servers to use instead. ``tests.stack`` is
imported inside the fixtures, so that tests without servers don't wait for the import.
"""

from __future__ import annotations

import gc
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadFileScheduling

    from tests.stack import Broker, Cluster, Proxy, Registry, SecuredBroker
    from tests.stack.names import Names

_CLUSTER: pytest.StashKey[Cluster] = pytest.StashKey()  # the three nodes, while they run
_ON_THE_CLUSTER = "test_cluster"  # prefix of the files whose tests use the cluster
# The marker that a test needs, by the program that it starts or by the module of a fixture's class. Playwright starts the
# browser through node.
_STARTED = {"java": "real", "node": "browser", "chromium": "browser"} | dict.fromkeys(
    ("helm", "kubectl", "etcd", "kube-apiserver", "buildah", "podman"), "engine"
)
_USED = {
    "tests.stack.kafka": "real",
    "tests.stack.registry": "real",
    "tests.stack.secured": "real",
    "tests.stack.cluster": "real",
    "playwright.sync_api._generated": "browser",
}
COLLECTED = pytest.StashKey[list[pytest.Item]]()  # all tests, before ``-m`` deselects some
_running: list[pytest.Item] = []


def _syntax_of_iris() -> ModuleType:
    """In place of ``rfc3987_syntax``, whose import takes seconds: jsonschema imports it for formats that one test checks."""

    def is_valid_syntax(kind: str, text: str) -> bool:
        if sys.modules[module.__name__] is module:
            del sys.modules[module.__name__]
        found: bool = import_module(module.__name__).is_valid_syntax(kind, text)
        return found

    module = ModuleType("rfc3987_syntax")
    module.is_valid_syntax = is_valid_syntax  # type: ignore[attr-defined]
    return module


sys.modules.setdefault("rfc3987_syntax", _syntax_of_iris())


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The broker that tests share. A test that freezes it must thaw it; a test that stops a broker uses ``own_broker``."""
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
    """Topic and group names that only this test uses."""
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
    """A broker for this module only, which tests may stop, kill, freeze and restart."""
    return _own.broker


@pytest.fixture(scope="module")
def own_proxy(_own: _Proxied) -> Proxy:
    """The proxy in front of ``own_broker``: clients that bootstrap at its ``address`` always connect through it."""
    return _own.proxy


@pytest.fixture(scope="session")
def secured_broker() -> Iterator[SecuredBroker]:
    """The broker with passwords, tokens, certificates and rights that tests share."""
    from tests.stack import SecuredBroker

    shared = SecuredBroker()
    try:
        yield shared.start()
    finally:
        shared.stop()


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The three nodes that tests share. After each test, nodes and proxies are restored, and all replicas are in sync."""
    from tests.stack import Cluster

    shared = request.session.stash.get(_CLUSTER, None)
    if shared is None:
        shared = Cluster()
        request.session.addfinalizer(shared.stop)
        request.session.stash[_CLUSTER] = shared.start()
    yield shared
    shared.restore()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stop the three nodes after the last test that uses them, since idle nodes take a fifth of a core."""
    shared = item.session.stash.get(_CLUSTER, None)
    if shared is not None and nextitem is not None and not _is_on_the_cluster(nextitem):
        del item.session.stash[_CLUSTER]
        shared.stop()


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Refuse to start a server or a browser for a test without the marker: it would run in `make test-fast` too."""
    if event == "subprocess.Popen" and _running:
        program = Path(os.fsdecode(arguments[0])).name
        require(_running[-1], _STARTED.get(program), program)


sys.addaudithook(_refuse)


def require(item: pytest.Item, marker: str | None, what: str) -> None:
    """Raise RuntimeError if a test lacks this marker."""
    if marker is not None and item.get_closest_marker(marker) is None:
        raise RuntimeError(f"{item.nodeid} uses {what}: mark it {marker}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Refuse a shared server too, which another test may have started already."""
    for name, value in getattr(item, "funcargs", {}).items():
        require(item, _USED.get(type(value).__module__), name)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a test that uses the cluster from a file with another prefix: it would run in another process.

    With several processes the tests on the cluster come first, since they all run in one process and take longest, and then
    the files with tests on servers, which wait: at the end the short files keep every process busy.
    """
    config.stash[COLLECTED] = list(items)
    _mark_the_rest(items)
    for item in items:
        if "cluster" in getattr(item, "fixturenames", ()) and not _is_on_the_cluster(item):
            raise pytest.UsageError(f"{item.nodeid} uses the cluster: its file must be named {_ON_THE_CLUSTER}*.py")
    if hasattr(config, "workerinput"):
        waiting = {item.path for item in items if item.get_closest_marker("real")}
        items.sort(key=lambda item: (_is_on_the_cluster(item), item.path in waiting), reverse=True)


def _mark_the_rest(items: Iterable[pytest.Item]) -> None:
    """Of a test marked ``cases(count)`` mark all cases ``repeat`` but so many, taken at even distances."""
    cases: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("cases") and not item.get_closest_marker("repeat"):
            cases[item.nodeid.partition("[")[0]].append(item)
    for of_a_test in cases.values():
        (count,) = of_a_test[0].get_closest_marker("cases").args  # type: ignore[union-attr]  # each of them has it
        taken = {at * len(of_a_test) // count for at in range(count)}
        for at, item in enumerate(of_a_test):
            if at not in taken:
                item.add_marker("repeat")


def pytest_collection(session: pytest.Session) -> None:
    """Don't look for garbage while tests are collected: there is none, and each search goes over all that was collected."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave what was collected out of all later searches for garbage, and let hypothesis draw integers once.

    At its first draw it parses the program's source for constants, and the time counts as that of the test: on a busy
    machine more than the second that the health check of slow generation allows.
    """
    gc.freeze()
    gc.enable()
    if any(getattr(getattr(item, "obj", None), "is_hypothesis_test", False) for item in session.items):
        from hypothesis import given, settings
        from hypothesis import strategies as st

        settings(deadline=None, derandomize=True, database=None)(given(st.lists(st.integers()))(lambda _: None))()


def _is_on_the_cluster(item: pytest.Item) -> bool:
    return item.path.name.startswith(_ON_THE_CLUSTER)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """With ``--dist loadfile``, run all files with tests on the cluster in one process, so that it is started only once."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneCluster(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return _ON_THE_CLUSTER if file.rpartition("/")[2].startswith(_ON_THE_CLUSTER) else file

    return OneCluster(config, log)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print a failure at once: the summary comes after an hour, or never if the run is aborted."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        print(f"\nfailed: {report.nodeid} ({report.when})", file=sys.__stderr__, flush=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the scorecard of the fault rows. It must be here: with xdist the process that prints loads no other conftest."""
    from tests.faults import scorecard

    rows = scorecard.rows_of([*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")])
    if rows:
        whole = config.option.markexpr in ("", "matrix or not matrix") and not config.option.keyword
        scorecard.write(rows, whole, config.rootpath / scorecard.FILE)
        terminalreporter.section(f"scorecard (in {scorecard.FILE})")
        for line in scorecard.table(rows):
            terminalreporter.write_line(line)
