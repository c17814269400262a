"""Standard error for a program that must not wait for it: a bounded queue, and a thread that writes.

A write to a full pipe blocks, and on the event loop it would stop delivery, probes and signals until somebody reads. So the
loop only queues. When the queue is full the oldest lines are dropped and counted: the newest say what is wrong now. The
thread waits with ``select`` before it writes no more than a pipe takes at once.

The standard library's QueueListener is not used: it covers logging alone and not what is printed, its queue has no bound in
bytes, and its ``stop`` waits for the reader without a deadline.
"""

from __future__ import annotations

import io
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from os import write
from typing import TextIO

MOST_LINES = 2_000
_MOST_BYTES = 2 * 1024 * 1024
_AT_ONCE = 4_096  # what a pipe takes without blocking once it is writable (PIPE_BUF)
_LAST_SECONDS = 1.0


class LogWriter(io.TextIOBase):
    """Takes the place of a text stream that has a descriptor. ``dropped`` counts the lines that were never written.

    :param notice: makes the line that says how many were dropped, once the reader moves again.
    """

    def __init__(self, stream: TextIO, notice: Callable[[int], str]) -> None:
        super().__init__()
        self.dropped = 0
        self._stream = stream
        self._descriptor = stream.fileno()
        self._notice = notice
        self._reported = 0  # of the dropped
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._part = ""  # of a line whose end has not come yet
        # Its lock is reentrant: the garbage collector may log in the midst of a call.
        self._queued = threading.Condition()
        self._writing = threading.Lock()
        self._finished = False
        self._patience = _LAST_SECONDS  # left for what is written directly after the end
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    def start(self) -> None:
        """Start the thread. Raises RuntimeError where the system has none left."""
        self._thread.start()

    # A text stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str, /) -> int:
        """Queue whole lines; the rest waits for its end or a flush."""
        with self._queued:
            whole, end, part = (self._part + text).rpartition("\n")
            self._part = part
            for line in whole.split("\n") if end else ():
                self._put(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        """Queue what has no end of line yet. It waits for nothing."""
        with self._queued:
            part, self._part = self._part, ""
            if part:
                self._put(part)

    def finish(self, seconds: float = _LAST_SECONDS) -> None:
        """Write what is queued, for no longer than this. What comes later is written directly, for a second in all."""
        self.flush()
        with self._queued:
            self._finished = True
            self._queued.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(seconds)

    # The queue

    def _put(self, text: str) -> None:
        line = text.encode(self.encoding, "backslashreplace")
        if self._finished:
            self._directly(line)
            return
        self._lines.append(line)
        self._bytes += len(line)
        while len(self._lines) > MOST_LINES or self._bytes > _MOST_BYTES:
            self._bytes -= len(self._lines.popleft())
            self.dropped += 1
        self._queued.notify()

    def _take(self) -> bytes | None:
        """The next line, behind a notice of what was dropped before it; None at the end."""
        with self._queued:
            self._queued.wait_for(lambda: self._lines or self._finished)
            if not self._lines:
                return None
            line = self._lines.popleft()
            self._bytes -= len(line)
            missing, self._reported = self.dropped - self._reported, self.dropped
        return self._notice(missing).encode(self.encoding, "backslashreplace") + line if missing else line

    def _run(self) -> None:
        while (line := self._take()) is not None:
            with self._writing:
                whole = self._write(line, None)
            if not whole:
                self.dropped += 1

    def _directly(self, line: bytes) -> None:
        begun = time.monotonic()
        if self._writing.acquire(timeout=self._patience):
            try:
                self._write(line, begun + self._patience)
            finally:
                self._writing.release()
        self._patience = max(0.0, self._patience - (time.monotonic() - begun))

    def _write(self, data: bytes, deadline: float | None) -> bool:
        """Whether all of it was written: not past the deadline, nor where the reader is gone."""
        try:
            while data:
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                if not select.select((), (self._descriptor,), (), left)[1]:
                    return False
                try:
                    data = data[write(self._descriptor, data[:_AT_ONCE]) :]
                except BlockingIOError:  # a descriptor of another process's making, and somebody was faster
                    if deadline is not None and time.monotonic() > deadline:
                        return False
                    time.sleep(0.01)
        except (OSError, ValueError):
            return False
        return True


def write_behind(notice: Callable[[int], str]) -> None:
    """Put a writer in the place of standard error, where that has a descriptor."""
    try:
        writer = LogWriter(sys.stderr, notice)
    except (AttributeError, OSError, ValueError):  # None, closed, or a stream in memory
        return
    writer.start()
    sys.stderr = writer


def finish() -> None:
    """Write what is queued for standard error, for a second at most."""
    if isinstance(sys.stderr, LogWriter):
        sys.stderr.finish()


def dropped() -> int:
    """How many lines were never written."""
    return sys.stderr.dropped if isinstance(sys.stderr, LogWriter) else 0
