"""What ``dry-run`` prints: counts and names of the settings, never a value of an event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from stream_capi.cli.console import Fitting, console
from stream_capi.cli.text import plain
from stream_capi.config import Settings
from stream_capi.kafka.ranges import total
from stream_capi.operations.dry_run import DryRun
from stream_capi.operations.dry_run_comparison import Comparison, MappingChange
from stream_capi.operations.dry_run_tally import DryRunTally

_LEAST_FOR_RATIO = 100  # events, as for the hold of a running member
_CHANGES = {
    "field_appears": "field appears",
    "field_disappears": "field disappears",
    "field_differs": "field has another value",
    "other_pixel": "goes to another pixel",
    "other_event": "has another event name",
}
_OUTCOMES = {
    "sent": "sent",
    "dead_letter": "dead-lettered",
    "skipped": "skipped",
    "waits": "waits",
    "no_source": "no source",
}


class Report(NamedTuple):
    """What was asked for. ``newest``: neither a start nor a limit was given."""

    settings: Settings
    file: str
    other: Settings | None
    other_file: str
    topics: Sequence[str]
    newest: bool


def report_as_json(report: Report, done: DryRun) -> dict[str, Any]:
    """The counts as JSON types."""
    document: dict[str, Any] = {
        "partial": done.partial,
        "error": str(done.error) if done.error is not None else None,
        "read_from": report.settings.kafka.bootstrap_servers,
        "offsets": total(done.ranges),
        "records": done.tally.read,
        "without_record": None if done.partial else done.without_record,
        "deleted_meanwhile": done.deleted,
        "partitions": [
            {"topic": tp.topic, "partition": tp.partition, "from": start, "to": end}
            for tp, (start, end) in done.ranges.items()
        ],
        **_tally_as_json(report.settings, done.tally),
        "notes": _notes(report, done),
    }
    if report.other is not None and done.other is not None and done.comparison is not None:
        document["compare"] = {
            "file": report.other_file,
            "compared": done.comparison.compared,
            "changed": done.comparison.changed,
            "changes": [
                {**change._asdict(), "events": n, "first": done.comparison.first[change]}
                for change, n in _sorted(done.comparison.changes)
            ],
            "other": _tally_as_json(report.other, done.other),
        }
    return document


def _tally_as_json(settings: Settings, tally: DryRunTally) -> dict[str, Any]:
    return {
        "sent": [{**key._asdict(), "events": n} for key, n in _sorted(tally.sent)],
        "dead_lettered": [
            {"topic": key.topic, "code": key.code, "field": key.field, "from": key.source}
            | {"events": n, "first": tally.first[key]}
            for key, n in _sorted(tally.dead_lettered)
        ],
        "skipped": [{**key._asdict(), "events": n} for key, n in _sorted(tally.skipped)],
        "waiting": [{**key._asdict(), "events": n} for key, n in _sorted(tally.waiting)],
        "without_source": tally.without_source,
        "left_out": [{**key._asdict(), "events": n} for key, n in _sorted(tally.dropped)],
        "suspect": [
            {"topic": key.topic, "field": key.field, "from": key.source, "reason": key.reason, "events": n}
            for key, n in _sorted(tally.suspect)
        ],
        "identifiers": [
            {**key._asdict(), "field": name, "events": n, "of": of, "share": round(n / of, 4)}
            for key, name, n, of in tally.coverage(settings)
        ],
    }


def _sorted(counts: Counter[Any]) -> list[tuple[Any, int]]:
    """The largest first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def print_report(report: Report, done: DryRun) -> None:
    """Print the counts as tables."""
    out, tally = console(), done.tally
    if done.partial:
        out.print("PARTIAL: it ended before all was read; these are the counts so far.", soft_wrap=True)
    which = "the newest records" if report.newest else "records"
    _line(out, f"dry run of {', '.join(report.topics)} by {report.file}: nothing was sent, nothing committed")
    _line(out, f"{which}: {tally.read:,} read of {total(done.ranges):,} offsets{_gaps(done)}")
    _table(out, "would be sent", ["topic", "pixel", "event"], _rows(tally.sent, tally.read))
    _table(
        out,
        "would be dead-lettered",
        ["topic", "code", "field", "from"],
        _rows(tally.dead_lettered, tally.read, tally.first),
        "first at",
    )
    _table(out, "would be skipped", ["topic", "reason"], _rows(tally.skipped, tally.read))
    _table(out, "would wait", ["topic", "reason"], _rows(tally.waiting, tally.read))
    sent = max(1, tally.sent.total())
    _table(out, "fields left out", ["topic", "field", "reason"], _rows(tally.dropped, tally.read))
    _table(out, "suspect values that are sent", ["topic", "field", "from", "reason"], _rows(tally.suspect, sent))
    _print_coverage(out, report, done)
    if done.other is not None and done.comparison is not None:
        _print_comparison(out, report, done.tally, done.other, done.comparison)
    for note in _notes(report, done):
        _line(out, f"note: {note}")


def _gaps(done: DryRun) -> str:
    gone = f"; {done.deleted:,} deleted by retention meanwhile" if done.deleted else ""
    if done.partial or not done.without_record:
        return gone
    return f"{gone}; {done.without_record:,} without a record (compaction, marks of transactions)"


def _line(out: Console, text: str) -> None:
    out.print(plain(text), soft_wrap=True)


def _rows(
    counts: Counter[Any], of: int, first: Mapping[NamedTuple, str] | None = None
) -> Iterable[tuple[Sequence[str], Sequence[str], str]]:
    """Each key, its figures, and the first place."""
    for key, n in _sorted(counts):
        yield key, (f"{n:,}", _percent(n, of)), first.get(key, "") if first is not None else ""


def _percent(n: int, of: int) -> str:
    return f"{100 * n / max(1, of):.1f}%"


def _table(
    out: Console,
    title: str,
    names: Sequence[str],
    rows: Iterable[tuple[Sequence[str], Sequence[str], str]],
    last: str = "",
    figures: Sequence[str] = ("events", "share"),
) -> None:
    """A table, unless it is empty."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    for figure in figures:
        table.add_column(figure, justify="right")
    if last:
        table.add_column(last, overflow="fold")
    for key, numbers, place in rows:
        table.add_row(*(plain(part) for part in key), *numbers, *([place] if last else []))
    if table.row_count:
        out.print(f"\n{title}")
        out.print(Fitting(table), end="")


def _print_coverage(out: Console, report: Report, done: DryRun) -> None:
    others = {}
    if report.other is not None and done.other is not None:
        others = {(key, field): _percent(n, of) for key, field, n, of in done.other.coverage(report.other)}
    found = done.tally.coverage(report.settings)
    rows = [
        ((*key, field), (f"{n:,}", _percent(n, of), *([others.get((key, field), "")] if others else [])), "")
        for key, field, n, of in found
    ]
    figures = ("events", "share", *(["by the other file"] if others else []))
    _table(out, "identifiers", ["topic", "pixel", "event", "identifier"], rows, figures=figures)


def _print_comparison(
    out: Console, report: Report, tally: DryRunTally, other: DryRunTally, comparison: Comparison
) -> None:
    out.print()
    _line(
        out,
        f"compared with {report.other_file}: {comparison.compared:,} records, "
        f"{comparison.changed:,} change ({_percent(comparison.changed, comparison.compared)})",
    )
    totals = [
        ((name,), (f"{one:,}", f"{two:,}"), "")
        for name, one, two in (
            ("sent", tally.sent.total(), other.sent.total()),
            ("dead-lettered", tally.dead_lettered.total(), other.dead_lettered.total()),
            ("skipped", tally.skipped.total(), other.skipped.total()),
            ("waits", tally.waiting.total(), other.waiting.total()),
            ("no source", tally.without_source, other.without_source),
        )
        if one or two
    ]
    _table(out, "outcomes", ["outcome"], totals, figures=("by this file", "by the other file"))
    left_out = _rows(other.dropped, other.read)
    _table(out, "fields left out by the other file", ["topic", "field", "reason"], left_out)
    changes = [
        ((key.topic, _change_name(key), key.field, key.before, key.after), (f"{n:,}",), comparison.first[key])
        for key, n in _sorted(comparison.changes)
    ]
    names = ["topic", "change", "field", "by this file", "by the other file"]
    _table(out, "changes", names, changes, "first at", ("events",))


def _change_name(change: MappingChange) -> str:
    if change.kind in _CHANGES:
        return _CHANGES[change.kind]
    before, to, after = change.kind.partition("_to_")
    if to:
        return f"{_OUTCOMES[before]} -> {_OUTCOMES[after]}"
    return f"{_OUTCOMES[change.kind.removeprefix('other_')]} for another reason"


def _notes(report: Report, done: DryRun) -> list[str]:
    """What a reader must know to understand the counts."""
    settings, other = report.settings, report.other
    notes = [*done.notes]
    for topic in report.topics:
        if why := settings.why_paused(topic):
            notes.append(f"{topic}: {why}; the counts are those without the pause")
        notes += _ratio_notes(settings, done.tally, topic)
    if other is None:
        return notes
    servers = settings.kafka.bootstrap_servers, other.kafka.bootstrap_servers
    if servers[0] != servers[1]:
        notes.append(
            f"records are read from {servers[0]}, as {report.file} says; {report.other_file} names {servers[1]}"
        )
    urls = [one.schema_registry.url if one.schema_registry else "" for one in (settings, other)]
    if urls[0] != urls[1]:
        notes.append("the files name different registries: each mapping uses the schemas of its own registry")
    for topic in report.topics:
        lacking = [
            file for file, one in ((report.file, settings), (report.other_file, other)) if not one.sources_of(topic)
        ]
        notes += [f"{topic}: no source in {file}" for file in lacking]
    return notes


def _ratio_notes(settings: Settings, tally: DryRunTally, topic: str) -> list[str]:
    rejected = sum(n for key, n in tally.dead_lettered.items() if key.topic == topic)
    events = rejected + sum(n for key, n in tally.sent.items() if key.topic == topic)
    default = settings.dead_letter.max_ratio
    ratios = [default if one.max_ratio is None else one.max_ratio for one in settings.sources_of(topic)]
    if events < _LEAST_FOR_RATIO or not ratios or rejected / events <= min(ratios):
        return []
    return [
        f"{topic}: {_percent(rejected, events)} of its events would be dead letters, above max_ratio {min(ratios):g}: "
        "`run` would hold the source instead"
    ]
