"""Preflight: is everything there that the settings name? Sends no event and commits nothing (contract, section 2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence, Set
from contextlib import suppress

from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.config import Settings, SourceSection
from stream_capi.config.settings import PIXEL_ID_TO_REPLACE
from stream_capi.core.clock import Clocks
from stream_capi.endpoint.client import EndpointClient
from stream_capi.errors import ConfigurationError, StreamCapiError
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
from stream_capi.limits import descriptors
from stream_capi.model import Record, Rejection
from stream_capi.observe.listening import listening_fault
from stream_capi.observe.what_to_do import CLOCK_DIFFERS, difference, what_to_do
from stream_capi.operations.cluster_check import Finding, cluster_findings
from stream_capi.operations.group_status import addresses, ask_member
from stream_capi.operations.recent_records import key_of, recent_records, unreadable
from stream_capi.operations.refused import kafka_faults, registry_faults

_EVENT_KEY_IS_MISSING = "it is the placeholder of init and the examples; replace it with the Axon Event Key"
_MOST_SCHEMAS = 20  # of recent records


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Look at everything, one thing after the other; nothing that is wrong keeps the rest from being looked at."""
    for source in settings.sources:
        yield Finding("configuration", True, f"source {_named(source)}: {source.event or 'event by field'}")
    for at, pixel in enumerate(settings.pixels):
        if pixel.pixel_id == PIXEL_ID_TO_REPLACE:
            yield Finding("configuration", False, f"pixels[{at}].pixel_id: TODO: {_EVENT_KEY_IS_MISSING}")
    for topic in filter(settings.has_paused, settings.topics):
        yield Finding("configuration", True, _pause(settings, topic))
    if settings.suppress.file is not None:
        yield _suppression(settings.suppress.file)
    files = descriptors(settings.delivery.max_in_flight)
    yield Finding(
        "open files", not files.fault, files.fault or f"{files.needed} needed at most, {files.allowed} allowed"
    )
    yield await _admin(settings)
    for finding in await asyncio.to_thread(lambda: list(_clients(settings))):
        yield finding
    of_kafka = await asyncio.to_thread(lambda: list(cluster_findings(settings)))
    for finding in of_kafka:
        yield finding
    async for finding in schema_findings(settings, {finding.subject for finding in of_kafka if finding.passed}):
        yield finding
    async for finding in _endpoint(settings):
        yield finding


def _clients(settings: Settings) -> Iterator[Finding]:
    """Whether the clients that ``run`` makes can be made. The registry's is looked at with the schemas."""
    faults = kafka_faults(settings)
    for fault in faults:
        yield Finding("kafka properties", False, fault)
    if not faults:
        yield Finding("kafka properties", True, "consumer, producer and admin client accept them")


async def _admin(settings: Settings) -> Finding:
    """Whether a member can listen there. One of this group that does so already is no fault: `check` is run beside it."""
    host, port = settings.admin.host, settings.admin.port
    fault = await listening_fault(host, port)
    for address in addresses(settings) if fault else []:
        answer = await asyncio.to_thread(ask_member, address, settings.kafka.group_id)
        if answer.status is not None:
            return Finding(f"admin port {port}", True, f"a member of this group listens on {host}")
    return Finding(f"admin port {port}", not fault, fault or f"free on {host}")


def _named(source: SourceSection) -> str:
    return source.topic if source.record is None else f"{source.topic} ({source.record})"


def _pause(settings: Settings, topic: str) -> str:
    """What a pause means for a topic."""
    if all(map(settings.is_paused, settings.sources_of(topic))):
        return f"{settings.why_paused(topic)}: nothing of {topic} is read or committed; the topic's retention still applies"
    return (
        f"{settings.why_paused(topic)}: its events in {topic} wait; the others there go on, but wait as "
        "well if those fill a partition's memory"
    )


def _suppression(file: str) -> Finding:
    """What a list is made of shows whether it is what it should be. What reads it is imported with it alone."""
    from stream_capi.pipeline.suppression_list import SuppressionList

    try:
        people = SuppressionList(file)
    except ConfigurationError as error:
        return Finding("suppression list", False, str(error))
    return Finding("suppression list", True, f"{people.hashes} hashes, {people.user_ids} user ids")


async def schema_findings(settings: Settings, passed: Set[str] = frozenset()) -> AsyncIterator[Finding]:
    """Whether each source's mapping fits the schemas that its next records have.

    ``passed``: the subjects that are good so far. Only topics among them are read from.
    """
    looked_at = settings
    if faults := registry_faults(settings):
        looked_at = settings.model_copy(update={"schema_registry": None})
        for fault in faults:
            yield Finding("schema registry", False, fault)
    sources, recent = SchemaSources(looked_at), dict[str, list[Record]]()
    try:
        for source in settings.sources:
            topic = source.topic
            if faults and source.schema_file is None:
                continue  # its schemas are the registry's
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
        advice = "" if "; check " in str(error) else "; check schema_registry.url and that the registry runs"
        yield Finding(subject, False, f"{error}{advice}")
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
        return Finding(subject, True, "there is no record yet to look at")
    fault = await unreadable(source, rules_from(source, settings), sources.for_source(source), recent)
    return Finding(subject, fault is None, fault or f"have the framing {source.framing}")


async def _endpoint(settings: Settings) -> AsyncIterator[Finding]:
    endpoint = settings.endpoint
    try:
        client = EndpointClient.of(endpoint, max_connections=1)
    except ConfigurationError as error:
        yield Finding(f"endpoint {endpoint.url}", False, str(error))
        return
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
        return Finding("clock", True, "the endpoint's answers have no Date header to compare the local clock with")
    if abs(offset) > Clocks.NEWS_SECONDS:
        return Finding("clock", False, f"{difference('endpoint', offset)}; {what_to_do(CLOCK_DIFFERS)}")
    return Finding("clock", True, "agrees with the endpoint's within a minute")
