"""Preflight: is everything there that the settings name? Sends no event and commits nothing (contract, section 2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from typing import NamedTuple

from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.config import Settings, SourceSection
from stream_capi.core.clock import Clocks
from stream_capi.endpoint.client import EndpointClient
from stream_capi.errors import ConfigurationError, KafkaLost, StreamCapiError
from stream_capi.events.mapping_check import (
    is_for,
    mapping_faults,
    mapping_notes,
    no_record,
    record_faults,
    record_names,
)
from stream_capi.events.rules import rules_from
from stream_capi.events.transform import compile_source
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.sessions import session_of
from stream_capi.limits import descriptors
from stream_capi.model import Record, Rejection
from stream_capi.observe.what_to_do import CLOCK_DIFFERS, difference, what_to_do
from stream_capi.operations.recent_records import key_of, recent_records, unreadable

_MOST_SCHEMAS = 20  # of recent records
_GRANT = "grant it with an ACL"
_MISSING = "create it, or grant the right"


class Finding(NamedTuple):
    """One line: what was looked at, whether it is good, and what was found."""

    subject: str
    passed: bool
    detail: str


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything, one thing after the other; nothing that is wrong keeps the rest from being looked at."""
    for source in settings.sources:
        yield Finding("configuration", True, f"source {_named(source)}: {source.event or 'event by field'}")
    for topic in filter(settings.is_braked, settings.topics):
        yield Finding("configuration", True, _pause(settings, topic))
    if settings.suppress.file is not None:
        yield _suppression(settings.suppress.file)
    files = descriptors(settings.delivery.max_in_flight)
    yield Finding(
        "open files", not files.fault, files.fault or f"{files.needed} needed at most, {files.allowed} allowed"
    )
    of_kafka = await asyncio.to_thread(lambda: list(_kafka(settings)))
    for finding in of_kafka:
        yield finding
    async for finding in schema_findings(settings, {finding.subject for finding in of_kafka if finding.passed}):
        yield finding
    async for finding in _endpoint(settings):
        yield finding


def _named(source: SourceSection) -> str:
    return source.topic if source.record is None else f"{source.topic} ({source.record})"


def _pause(settings: Settings, topic: str) -> str:
    """What a pause means for a topic."""
    if all(map(settings.is_paused, settings.sources_of(topic))):
        return f"{settings.why_braked(topic)}: nothing of {topic} is read or committed, for as long as its retention"
    return (
        f"{settings.why_braked(topic)}: its events in {topic} wait; the others there go on, and wait as "
        "well where those fill a partition's memory"
    )


def _suppression(file: str) -> Finding:
    """What a list is made of shows whether it is what it should be. What reads it is imported with it alone."""
    from stream_capi.pipeline.suppression_list import SuppressionList

    try:
        people = SuppressionList(file)
    except ConfigurationError as error:
        return Finding("suppression list", False, str(error))
    return Finding("suppression list", True, f"{people.hashes} hashes, {people.user_ids} user ids")


def _kafka(settings: Settings) -> Iterator[Finding]:
    admin, group = KafkaAdmin(settings.kafka), settings.kafka.group_id
    needed = {**dict.fromkeys(settings.topics, "READ"), settings.dead_letter.topic: "WRITE"}
    try:
        if astray := admin.astray(settings.dead_letter.topic):
            yield Finding("brokers", False, astray)
            return
        partitions, lacking = _topics(admin, needed)
        readable = [topic for topic, right in needed.items() if right == "READ" and partitions.get(topic)]
        may_read = not readable or admin.may_read(group, readable)
    except StreamCapiError as error:
        yield Finding("brokers", False, str(error))
        return
    yield Finding("brokers", True, settings.kafka.bootstrap_servers)
    for topic in needed:
        subject = "dead-letter topic" if topic == settings.dead_letter.topic else "topic"
        count = partitions.get(topic)
        if topic in lacking:
            yield Finding(f"{subject} {topic}", False, f"this user lacks {lacking[topic]} on it; {_GRANT}")
        elif count is None:
            yield Finding(
                f"{subject} {topic}",
                False,
                "is not there, or may not be described by this user; create it, or grant DESCRIBE",
            )
        else:
            yield Finding(f"{subject} {topic}", True, f"{count} partitions")
    if not may_read:
        yield Finding(f"group {group}", False, f"this user lacks READ on it; {_GRANT}")
        return
    session = session_of(admin, settings.kafka)
    fault = f": {session.fault}" if session.fault else ""
    yield Finding(f"group {group}", not fault, f"{session.what}{fault}")


def _topics(admin: KafkaAdmin, needed: Mapping[str, str]) -> tuple[dict[str, int | None], dict[str, str]]:
    """How many partitions each topic has, of those that may be described; and the rights that are lacking."""
    try:
        return admin.describe(needed), admin.lacking(needed)
    except KafkaLost:
        lacking = admin.lacking(needed)
        if not lacking:
            raise
        return admin.describe(topic for topic in needed if topic not in lacking), lacking


async def schema_findings(settings: Settings, passed: Set[str] = frozenset()) -> AsyncIterator[Finding]:
    """Whether each source's mapping fits the schemas that its next records have.

    ``passed``: the subjects that are good so far. Only topics among them are read from.
    """
    sources, recent = SchemaSources(settings), dict[str, list[Record]]()
    try:
        for source in settings.sources:
            topic = source.topic
            if topic not in recent and f"topic {topic}" in passed:
                try:
                    recent[topic] = await asyncio.to_thread(recent_records, settings.kafka, topic)
                except StreamCapiError as error:
                    yield Finding(f"records of {topic}", False, f"can't be read: {error}")
            async for finding in _schema(source, settings, sources, recent.get(topic)):
                yield finding
    finally:
        await sources.aclose()


async def _schema(
    source: SourceSection, settings: Settings, sources: SchemaSources, recent: Sequence[Record] | None
) -> AsyncIterator[Finding]:
    """``recent``: records of the topic, the newest first; None where none could be read."""
    subject = f"mapping of {_named(source)}"
    if recent is not None:
        with suppress(StreamCapiError):  # the next question tells it
            yield await _records(source, settings, sources, recent)
    rules = rules_from(source, settings)
    names = [source.record] if source.record is not None else record_names(rules)
    keys = dict.fromkeys(key for record in recent or () if not isinstance(key := key_of(source, record), Rejection))
    try:
        schemas = await sources.newest(source, names, [*keys][:_MOST_SCHEMAS])
    except ConfigurationError as error:
        for fault in error.faults:
            yield Finding(subject, False, fault)
        return
    except StreamCapiError as error:
        yield Finding(subject, False, f"{error}; check schema_registry.url and that the registry runs")
        return
    records = [record for schema in schemas for record in schema.records if record is not None]
    if not any(source.is_for(record.name) for record in records):
        yield Finding(subject, False, f"record: {no_record(source.record or '', [record.name for record in records])}")
        return
    records = [record for record in records if source.is_for(record.name)]
    are_all = source.has_folder or any(len(schema.records) > 1 for schema in schemas)
    for fault in record_faults(rules, [record.name for record in records], are_all=are_all):
        yield Finding(subject, False, fault)
    for record in records:
        faults = mapping_faults(rules, record.raw, record.name)
        paths = compile_source(rules, record.raw, record.name).paths
        if encrypted := record.encrypted.fault(record.parsed, paths):
            faults.append(encrypted)
        for fault in faults:
            yield Finding(subject, False, f"{record.name}: {fault}")
        if not faults:
            fits = is_for(rules, record.name)
            yield Finding(subject, True, f"fits {record.name}" if fits else f"skips {record.name}")
            for note in mapping_notes(rules, record.raw, record.name):
                yield Finding(subject, True, f"{record.name}: {note}")


async def _records(
    source: SourceSection, settings: Settings, sources: SchemaSources, recent: Sequence[Record]
) -> Finding:
    """Whether a recent record can be read. Raises ConfigurationError, RegistryUnavailable."""
    subject = f"records of {source.topic}"
    if not recent:
        return Finding(subject, True, "there is none yet to look at")
    fault = await unreadable(source, rules_from(source, settings), sources.for_source(source), recent)
    return Finding(subject, fault is None, fault or f"have the framing {source.framing}")


async def _endpoint(settings: Settings) -> AsyncIterator[Finding]:
    endpoint = settings.endpoint
    client = EndpointClient(
        url=endpoint.url,
        authorization=endpoint.authorization,
        timeout_seconds=endpoint.timeout_seconds,
        proxy=endpoint.proxy or None,
        ca_file=endpoint.ca_file,
        max_connections=1,
    )
    await client.start()
    try:
        fault = await client.probe()
        yield Finding(f"endpoint {endpoint.url}", fault is None, fault or "reached; nothing was sent")
        if fault is None:
            yield _clock(await client.clock_offset())
    finally:
        await client.close()


def _clock(offset: float | None) -> Finding:
    """The local clock against the endpoint's. That of the brokers can't be asked for."""
    if offset is None:
        return Finding("clock", True, "the endpoint's answers bear no date to compare the local clock with")
    if abs(offset) > Clocks.NEWS_SECONDS:
        return Finding("clock", False, f"{difference('endpoint', offset)}; {what_to_do(CLOCK_DIFFERS)}")
    return Finding("clock", True, "agrees with the endpoint's within a minute")
