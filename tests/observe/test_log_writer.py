"""Log lines go through a bounded queue: a blocked reader of standard error blocks nothing; lost lines are counted."""

from __future__ import annotations

import fcntl
import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from stream_capi.observe.log_writer import MOST_LINES, LogWriter
from tests.stack.waiting import until

_CAPACITY = 16_384  # of the pipe: four pages
_LINE = "x" * 99 + "\n"


class Pipe:
    """A pipe of four pages as standard error, which only the test reads."""

    def __init__(self) -> None:
        self.out, into = os.pipe()
        fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _CAPACITY)
        self.stream = io.TextIOWrapper(os.fdopen(into, "wb", buffering=0), encoding="ascii", write_through=True)
        self.writer = LogWriter(self.stream, lambda count: f"{count} lost\n")
        self.writer.start()

    def read(self, until_text: str) -> str:
        got = ""
        while until_text not in got:
            got += os.read(self.out, 65_536).decode()
        return got


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    of_test = Pipe()
    yield of_test
    os.close(of_test.out)
    of_test.writer.finish(1)
    of_test.stream.close()


def test_lines_come_out_whole_and_in_order(pipe: Pipe) -> None:
    print("one", 1, file=pipe.writer)
    pipe.writer.write("two\nthree\nfo")
    pipe.writer.write("ur\n")
    assert pipe.read("four\n") == "one 1\ntwo\nthree\nfour\n"


def test_a_part_of_a_line_comes_out_when_it_is_flushed(pipe: Pipe) -> None:
    pipe.writer.write("50 %")
    pipe.writer.flush()
    assert pipe.read("%") == "50 %"


def test_what_the_encoding_lacks_is_escaped(pipe: Pipe) -> None:
    pipe.writer.write("…\n")
    assert pipe.read("\n") == "\\u2026\n"


def test_a_reader_that_stands_still_stops_nobody_and_is_told_what_it_missed(pipe: Pipe) -> None:
    begun = time.monotonic()
    written = 3 * MOST_LINES
    for _ in range(written):
        pipe.writer.write(_LINE)
    assert time.monotonic() - begun < 2
    assert pipe.writer.dropped >= MOST_LINES / 2
    pipe.writer.write("last\n")
    dropped = pipe.writer.dropped
    got = pipe.read("last\n").splitlines(keepends=True)
    assert sum(int(line.split()[0]) for line in got if line.endswith(" lost\n")) == dropped
    assert got.count(_LINE) == written - dropped, "each line is written or counted"
    pipe.writer.write("after\n")
    assert pipe.read("after\n") == "after\n", "told once"


def test_long_lines_are_bounded_in_bytes(pipe: Pipe) -> None:
    for _ in range(MOST_LINES):
        pipe.writer.write("x" * 100_000 + "\n")
    assert pipe.writer.dropped > MOST_LINES / 2


@pytest.mark.slow
def test_the_end_takes_a_second_at_most_before_a_reader_that_stands_still(pipe: Pipe) -> None:
    for _ in range(1000):
        pipe.writer.write(_LINE)
    begun = time.monotonic()
    pipe.writer.finish(1)
    assert time.monotonic() - begun < 1.5
    begun = time.monotonic()
    for _ in range(100):
        pipe.writer.write("a crash's lines\n")
    assert time.monotonic() - begun < 1.5


def test_the_end_writes_all_that_is_queued_and_then_directly(pipe: Pipe) -> None:
    for _ in range(30):
        pipe.writer.write(_LINE)
    pipe.writer.write("no end of line")
    pipe.writer.finish(1)
    pipe.writer.write("a crash\n")
    assert pipe.read("crash\n") == _LINE * 30 + "no end of linea crash\n"
    assert not [thread for thread in threading.enumerate() if thread.name == "log-writer" and thread.is_alive()]


def test_a_reader_that_is_gone_costs_its_lines_alone(pipe: Pipe) -> None:
    keep, pipe.out = pipe.out, os.open(os.devnull, os.O_RDONLY)
    os.close(keep)
    pipe.writer.write(_LINE)
    until(lambda: pipe.writer.dropped == 1, 5, "the count of the line")


def test_a_descriptor_that_does_not_block_loses_nothing(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    for _ in range(500):
        pipe.writer.write(_LINE)
    pipe.writer.write("last\n")
    assert pipe.read("last\n") == _LINE * 500 + "last\n"


_CRASH = """
import os, sys
from stream_capi.observe import logs
logs.configure("info", "json")
logs.install_hooks()
logs.write_behind()
for number in range(20):
    print(number, file=sys.stderr)
raise ValueError("secret")
"""


@pytest.mark.slow
def test_a_crash_is_told_behind_all_that_was_queued() -> None:
    ended = subprocess.run([sys.executable, "-c", _CRASH], capture_output=True, text=True, timeout=60, check=False)
    *before, last = ended.stderr.splitlines()
    assert before == [str(number) for number in range(20)]
    assert '"error":"ValueError"' in last
    assert ended.returncode == 1


@pytest.mark.slow
def test_a_crash_ends_though_nobody_reads() -> None:
    out, into = os.pipe()
    fcntl.fcntl(into, fcntl.F_SETPIPE_SZ, _CAPACITY)
    os.write(into, b"x" * _CAPACITY)
    crash = subprocess.Popen([sys.executable, "-c", _CRASH], stderr=into)
    try:
        assert crash.wait(20) == 1
    finally:
        crash.kill()
        crash.wait()
        os.close(out)
        os.close(into)
