"""The progress of a job, for people: on a terminal a bar with an estimate, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from stream_capi.cli.console import console
from stream_capi.operations.range_job import Progress

_LINE_SECONDS = 5.0  # between two lines where there is no terminal


def _outcomes(progress: Progress) -> str:
    return f"delivered {progress.delivered:,}, dead-lettered {progress.dead_lettered:,}"


class ProgressBar:
    """Prints to standard error; standard output is for the job's result. ``counts`` gives the text of the counts so far."""

    def __init__(self, what: str, quiet: bool, counts: Callable[[Progress], str] = _outcomes) -> None:
        self._what = what
        self._counts = counts
        self._console = console(stderr=True)
        self._quiet = quiet
        self._reported_at = time.monotonic()
        self._reported_waits: tuple[str, ...] = ()
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[counts]}"),
            console=self._console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        if self._console.is_terminal and not self._quiet:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar.live.is_started:  # else it prints an empty line
            self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Update the display. Each reason for waiting is printed once when it begins, also if everything else is quiet."""
        if progress.waits != self._reported_waits:
            for wait in progress.waits:
                if wait not in self._reported_waits:
                    self.print_line(wait)
            self._reported_waits = progress.waits
        if self._quiet:
            return
        if self._console.is_terminal:
            self._show_bar(progress)
        elif time.monotonic() - self._reported_at >= _LINE_SECONDS:
            self._reported_at = time.monotonic()
            self.print_line(f"{progress.done:,} of {progress.total:,}: {self._counts(progress)}")

    def _show_bar(self, progress: Progress) -> None:
        what = "stopping, waits for what is in flight" if progress.stopping else self._what
        counts = self._counts(progress)
        if self._task is None:
            # Added here, with what a former run has done, so that the estimate doesn't count that as this run's work.
            self._task = self._bar.add_task(what, total=max(1, progress.total), completed=progress.done, counts=counts)
        self._bar.update(self._task, description=what, completed=progress.done, counts=counts)

    def print_line(self, line: str) -> None:
        """Print a line, above the bar if there is one."""
        self._console.print(Text(line))
