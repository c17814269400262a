"""A search for the commands: with a progress bar, and a summary of what was searched."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence

from stream_capi.cli.progress import ProgressBar
from stream_capi.cli.selection import since_of
from stream_capi.config import Settings
from stream_capi.errors import CheckFailed
from stream_capi.events.selecting import Wanted
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.ranges import shown_time
from stream_capi.model import Record
from stream_capi.operations.range_job import Progress
from stream_capi.operations.search import Match, Scanned, scope, search


def found_by(
    settings: Settings, topics: Sequence[str], wanted: Wanted, since: str, most: int, quiet: bool
) -> tuple[list[Match], Scanned]:
    """The newest ``most`` records of the topics that match, and what was searched. Shows a progress bar.

    Raises ConfigurationError, RegistryUnavailable, Unavailable, KafkaLost.
    """
    scanned = scope(KafkaAdmin(settings.kafka), topics, since_of(since))
    with ProgressBar("scanning", quiet, lambda _: f"{scanned.records:,} records, {scanned.matches:,} found") as bar:
        found = asyncio.run(search(settings, wanted, scanned, most, lambda now: bar.show(progress_of(now))))
    return found, scanned


def progress_of(scanned: Scanned) -> Progress:
    """A search's progress, in offsets."""
    return Progress(scanned.offsets, scanned.passed, 0, 0, (), stopping=False)


def selected(settings: Settings, topic: str, wanted: Wanted, since: str, most: int, quiet: bool) -> list[Record]:
    """The newest ``most`` records of a topic that match, oldest first. Raises CheckFailed if none does."""
    found, scanned = found_by(settings, [topic], wanted, since, most, quiet)
    lines = scanned_lines(scanned, wanted)
    if not found:
        raise CheckFailed(f"{topic}: no record was found: {'; '.join(lines)}; --since says how far back to look")
    if scanned.matches > len(found) and not quiet:
        count = "the newest is" if len(found) == 1 else f"the newest {len(found)} are"
        print(f"{scanned.matches:,} records are found, {count} explained; --latest N explains more", file=sys.stderr)
    return [match.record for match in found]


def scanned_lines(scanned: Scanned, wanted: Wanted) -> list[str]:
    """What was searched, and which part of it could not be read, in lines for people."""
    partitions = len(scanned.ranges)
    span = "" if scanned.first is None else f", {shown_time(scanned.first)} to {shown_time(scanned.last or 0)}"
    lines = [
        f"scanned {partitions} partition{'s' * (partitions != 1)}, {scanned.offsets:,} offsets, "
        f"{scanned.records:,} records{span}"
    ]
    if undecoded := scanned.undecoded.total():
        codes = ", ".join(f"{code} {count:,}" for code, count in sorted(scanned.undecoded.items()))
        records = "record" if undecoded == 1 else "records"
        lines.append(f"{undecoded:,} {records} could not be decoded ({codes}): of these only keys were looked at")
    lines += [
        f"{tp}: {count:,} offsets are behind a transaction that is still open, and can't be read yet"
        for tp, count in scanned.hidden.items()
    ]
    if wanted.kind == "field" and scanned.missing is not None and not scanned.has_field:
        lines.append(f"no schema of these records has the field: {scanned.missing}")
    return lines
