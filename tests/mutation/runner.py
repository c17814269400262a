"""Runs a module's tests against its mutants, each in a forked child that imports the mutant instead of the module.

The parent has imported the libraries, so a child starts within some milliseconds. It has not imported the program, so
every import in the child gets the mutant. A child that takes too long counts as killed, since a test would notice a
mutant that never ends.
"""

from __future__ import annotations

import gc
import importlib.machinery
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.mutation.changes import Mutant, mutated

ROOT = Path(__file__).parents[2]
_MEMORY = 4 << 30  # bytes of address space: a mutant may fill a list without end
_LIBRARIES = (
    "pytest",
    "hypothesis",
    "confluent_kafka",
    "fastavro",
    "pydantic",
    "orjson",
    "aiohttp",
    "structlog",
    # Libraries that only tests import, so that the children need not import each of them again.
    "aiohttp.web",
    "confluent_kafka.schema_registry.avro",
    "jsonschema",
    "prometheus_client",
    "rich.table",
    "schemathesis",
    "tomli_w",
    "typer.testing",
    "yaml",
)


class Result(NamedTuple):
    """How one mutant ended: ``killed``, ``timeout`` or ``survived``."""

    mutant: Mutant
    end: str


class _Child(NamedTuple):
    mutant: Mutant | None
    started: float


def preload() -> None:
    """Import what the children need, but nothing of the program."""
    for name in _LIBRARIES:
        __import__(name)
    import hypothesis

    hypothesis.settings.register_profile(
        "mutation", derandomize=True, database=None, phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
    )
    assert not any(name.startswith("stream_capi") for name in sys.modules)
    gc.collect()
    gc.freeze()  # otherwise garbage collection in a child would touch, and so copy, all of the parent's pages


def baseline(tests: Sequence[str]) -> float:
    """Seconds that the tests take on the unchanged module. Raises SystemExit if they fail."""
    begun = time.monotonic()
    pid = _fork(None, tests)
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"the tests fail without any change: {' '.join(tests)}")
    return time.monotonic() - begun


def run(found: Sequence[Mutant], tests: Sequence[str], jobs: int, patience: float) -> Iterator[Result]:
    """Run every mutant, ``jobs`` at once, each for ``patience`` seconds at most."""
    children: dict[int, _Child] = {}
    waiting = list(reversed(found))
    try:
        while waiting or children:
            while waiting and len(children) < jobs:
                mutant = waiting.pop()
                children[_fork(mutant, tests)] = _Child(mutant, time.monotonic())
            yield from _ended(children, patience)
            time.sleep(0.01)
    finally:
        for pid in children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _ended(children: dict[int, _Child], patience: float) -> Iterator[Result]:
    for pid, (mutant, started) in list(children.items()):
        assert mutant is not None
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del children[pid]
            yield Result(mutant, "killed" if status else "survived")
        elif time.monotonic() - started > patience:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            del children[pid]
            yield Result(mutant, "timeout")


def _fork(mutant: Mutant | None, tests: Sequence[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        os.chdir(ROOT)
        status = _test(mutant, tests)
    finally:
        os._exit(status)


def _test(mutant: Mutant | None, tests: Sequence[str]) -> int:
    import pytest

    if mutant is not None:
        _install(mutant)
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider", "--hypothesis-profile=mutation"]
    options += ["-m", "not real and not long"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis was imported by the parent
    return int(pytest.main([*options, *tests]))


def _install(mutant: Mutant) -> None:
    path = ROOT / mutant.path
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    code = compile(mutated(path.read_text(encoding="utf-8"), mutant), str(path), "exec")
    loader = importlib.machinery.SourceFileLoader
    get_code = loader.get_code

    def changed(self: importlib.machinery.SourceFileLoader, fullname: str) -> object:
        return code if fullname == name else get_code(self, fullname)

    loader.get_code = changed  # type: ignore[assignment,method-assign]
