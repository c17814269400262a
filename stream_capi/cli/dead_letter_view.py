"""One dead letter, masked for display and explained by the current settings."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from rich import box
from rich.table import Table
from rich.text import Text

from stream_capi.cli.console import console
from stream_capi.cli.explanation import explanation_as_json, print_explanation
from stream_capi.cli.text import plain
from stream_capi.config import Settings
from stream_capi.errors import RegistryUnavailable
from stream_capi.events.rejected_field import RejectedRule, rule_of
from stream_capi.events.value_masking import masked
from stream_capi.kafka.dead_letter_writer import OWN_HEADERS
from stream_capi.kafka.originals import Originals
from stream_capi.kafka.ranges import shown_time
from stream_capi.model import Record
from stream_capi.observe.masking import FIELDS, scrub
from stream_capi.operations.dead_letters import StoredDeadLetter
from stream_capi.operations.explain import ExplainedRecord, explain_records
from stream_capi.operations.redrive_source import Event
from stream_capi.record_headers import headers_of, lost_headers

_SCHEMA_ID = re.compile(r"(\bschema id [0-9]{1,10}\b)")
_DETAIL_CHARACTERS = 1000
_NAME_CHARACTERS = 100
_MOST_HEADERS = 50  # that are shown
_GONE = "written by reference, and its event is no longer in its topic"


def _masked_detail(detail: str) -> str:
    """The dead letter's detail, masked; a schema id looks like a phone number and stays."""
    parts = _SCHEMA_ID.split(detail[:_DETAIL_CHARACTERS])
    return "".join(part if at % 2 else plain(scrub(part)) for at, part in enumerate(parts))


def topic_shown(topic: str) -> str:
    """The source topic that a dead letter names, masked: a number or a hash is no topic's name."""
    return str(FIELDS["topic"](topic))


def rules_shown(letters: Iterable[StoredDeadLetter]) -> Counter[RejectedRule]:
    """How many events failed which rule. Paths come from the dead letters, so they are masked and shortened."""
    found: Counter[RejectedRule] = Counter()
    for rule, count in Counter(rule_of(stored.kind.code, stored.detail) for stored in letters).items():
        found[rule._replace(source=plain(scrub(rule.source[:_NAME_CHARACTERS])))] += count
    return found


class Shown(NamedTuple):
    """A dead letter and its explanation; if there is none, ``why_not`` says why."""

    dead_letter: StoredDeadLetter
    record: Record
    explanation: ExplainedRecord | None
    why_not: str

    def facts(self) -> list[tuple[str, Any]]:
        """What is known of the dead letter, in the order of display."""
        stored, record = self.dead_letter, self.record
        headers = headers_of(record)
        version = next((value for name, value in headers if name == "capi-version" and value), b"")
        others = [(name, value) for name, value in headers if name not in OWN_HEADERS]
        shown = {plain(scrub(name[:_NAME_CHARACTERS])): masked(value) for name, value in others[:_MOST_HEADERS]}
        if len(others) > _MOST_HEADERS:
            shown["…"] = f"and {len(others) - _MOST_HEADERS:,} more"
        return [
            ("letter", f"{stored.at}@{stored.offset}"),
            ("written", shown_time(stored.written)),
            ("code", stored.kind.code.value),
            ("detail", _masked_detail(stored.detail)),
            ("source", f"{topic_shown(stored.source.topic)}[{stored.source.partition}]@{stored.source_offset}"),
            ("produced", shown_time(stored.source_written)),
            ("attempts", stored.attempts),
            ("version", plain(scrub(version[:_NAME_CHARACTERS].decode(errors="replace")))),
            ("key", masked(record.key())),
            ("value", "by reference" if stored.by_reference else masked(record.value())),
            ("headers", shown),
            ("headers_lost", stored.headers_lost or lost_headers(record) or None),
        ]

    def as_json(self) -> dict[str, Any]:
        """The dead letter and its explanation as JSON types."""
        explanation = explanation_as_json(self.explanation, personal=False) if self.explanation else None
        return {**dict(self.facts()), "mapping": explanation, "no_mapping": self.why_not or None}


async def shown_dead_letters(
    settings: Settings, dead_letters: Sequence[tuple[StoredDeadLetter, Record]]
) -> tuple[list[Shown], RegistryUnavailable | None]:
    """Explain each dead letter as an event of its source. Raises KafkaLost, and Unavailable if the brokers don't answer.

    If the registry can't be reached, the error is returned and the registry is not asked again: the headers of the dead
    letters can be shown without it.
    """
    originals, shown, lost = Originals(settings.kafka), [], None
    try:
        for stored, record in dead_letters:
            try:
                one = await _shown(settings, originals, stored, record, lost)
            except RegistryUnavailable as error:
                lost = error
                one = await _shown(settings, originals, stored, record, lost)
            shown.append(one)
    finally:
        await asyncio.to_thread(originals.close)
    return shown, lost


async def _shown(
    settings: Settings,
    originals: Originals,
    stored: StoredDeadLetter,
    record: Record,
    lost: RegistryUnavailable | None,
) -> Shown:
    sources = settings.sources_of(stored.kind.topic)
    if not sources:
        return Shown(stored, record, None, f"{topic_shown(stored.kind.topic)} is not the topic of one of the sources")
    found: Record | None = record
    if stored.by_reference:
        place = (stored.source, stored.source_offset)
        found = (await asyncio.to_thread(originals.read, [place])).get(place)
    if found is None or (stored.by_reference and not stored.is_of(found)):
        return Shown(stored, record, None, _GONE)
    if lost is not None:
        return Shown(stored, record, None, str(lost))
    (explained,) = await explain_records(settings, sources, [Event(found, found.value(), stored, at_source=True)])
    return Shown(stored, record, explained, "")


def print_dead_letter(shown: Shown) -> None:
    """Print a dead letter: its facts, then its fields."""
    out = console()
    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, fact in shown.facts():
        text = ", ".join(f"{key} {value}" for key, value in fact.items()) if isinstance(fact, dict) else str(fact)
        table.add_row(name.replace("_", " "), Text(text if fact not in (None, {}, "") else "none"))
    out.print(table)
    if shown.explanation is None:
        out.print(Text(shown.why_not))
    else:
        out.print("By the current settings:")
        print_explanation(shown.explanation, personal=False)
