"""How each contender is run: its command and environment, how many events it gets, and what it promises."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import tomli_w

from benchmarks.backlog import Backlog
from benchmarks.before import search_path
from benchmarks.contenders.setup import SetUp
from benchmarks.measure import Plan
from benchmarks.settings import DEAD_LETTERS, settings_of
from benchmarks.stack import CACHE, KEY, PIXEL_ID, ROOT, Stack
from tests.stack.process import free_ports

PROGRAM, BEFORE = "stream-capi", "commit before"
BARE, ORDINARY, LIBRARY = "bare parts", "ordinary consumer", "stream library"
NAMES = (
    PROGRAM,
    BEFORE,
    BARE,
    ORDINARY,
    LIBRARY,
)  # in the order of the runs: the two that are compared most are next to each other
_WARM = 0.1
_OTHERS = ROOT / ".venv-bench"
_serial = itertools.count()


def set_up(stack: Stack, backlog: Backlog) -> SetUp:
    """A contender's set-up, with a group that no member has been in."""
    group = f"bench-{os.getpid()}-{next(_serial)}"
    endpoint = stack.endpoint.url
    return SetUp(
        stack.broker.bootstrap,
        stack.registry.url,
        group,
        backlog.leads,
        backlog.views,
        endpoint,
        PIXEL_ID,
        KEY,
        backlog.shape,
    )


def plan(name: str, stack: Stack, backlog: Backlog, before: Path) -> Plan:
    """How one contender is run over a whole backlog. A part of it could have a larger share of leads, which cost more.

    :param before: the folder with the program of the commit before.
    """
    events = backlog.events
    setup = set_up(stack, backlog)
    if name in (PROGRAM, BEFORE):
        ours = program(stack, setup, backlog, events, name=name.replace(" ", "-"))
        return (
            ours if name == PROGRAM else ours._replace(name=BEFORE, folder=before, env=ours.env | search_path(before))
        )
    module = {BARE: "bare", ORDINARY: "ordinary", LIBRARY: "library"}[name]
    python = str(_OTHERS / "bin" / "python") if name == LIBRARY else sys.executable
    command = [python, "-W", "ignore", "-m", f"benchmarks.contenders.{module}", *setup.arguments()]
    return Plan(name, command, events, int(events * _WARM), {})


def program(
    stack: Stack, setup: SetUp, backlog: Backlog, events: int, name: str = "program", **sections: dict[str, object]
) -> Plan:
    """``stream-capi run`` as its users run it, with its own defaults."""
    (port,) = free_ports(1)
    file = CACHE / f"{name}.toml"
    file.write_text(tomli_w.dumps(settings_of(setup, port, **sections)))
    command = [sys.executable, "-m", "stream_capi", "run", "--config", str(file)]

    def committed() -> int:
        topics = (backlog.leads, backlog.views)
        return sum(offset for topic in topics for offset, _ in stack.broker.committed(setup.group, topic).values())

    return Plan(
        PROGRAM,
        command,
        events,
        int(events * _WARM),
        {"BENCH_KEY": KEY},
        done=lambda: committed() >= events,
        committed=lambda: committed() > 0,
    )


def others_installed() -> Path:
    """The stream library's environment, created if it is missing or was created from another lock file."""
    lock, ready = ROOT / "requirements" / "bench.lock", _OTHERS / "ready"
    if not ready.exists() or ready.read_text() != lock.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(_OTHERS)], check=True)
        pip = [str(_OTHERS / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes"]
        subprocess.run([*pip, "--requirement", str(lock)], check=True)
        ready.write_text(lock.read_text())
    return _OTHERS


def dead_letter_topic(stack: Stack) -> None:
    """Create the dead-letter topic, which the program requires, if it is missing."""
    if DEAD_LETTERS not in stack.broker.admin.list_topics(timeout=15).topics:
        stack.broker.create_topic(DEAD_LETTERS)
