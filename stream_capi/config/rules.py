"""What the settings must be together. Each rule yields faults as (key, what is wrong and what to do)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stream_capi.config.settings import TARGETS, Kafka, Pixel, Settings, Source

Fault = tuple[str, str]

_MEMORY = "it is sized from delivery.max_buffered_bytes, so that memory stays bounded"
OWNED_PROPERTIES: Mapping[str, str] = {
    "enable.auto.commit": "an offset is committed only when its event has a terminal outcome",
    "enable.auto.offset.store": "an offset is committed only when its event has a terminal outcome",
    "auto.commit.interval.ms": "set kafka.commit_interval_ms",
    "auto.offset.reset": "set kafka.start; an offset out of range must stop the partition, not skip events",
    "bootstrap.servers": "set kafka.bootstrap_servers",
    "metadata.broker.list": "set kafka.bootstrap_servers",
    "group.id": "set kafka.group_id",
    "enable.partition.eof": "the program doesn't use it",
    "queued.max.messages.kbytes": _MEMORY,
    "queued.min.messages": _MEMORY,
    "allow.auto.create.topics": "a topic that is missing is a fault to be told, not a topic to be made",
    "transactional.id": "dead letters are written idempotently, without transactions",
    "enable.idempotence": "dead letters are always written idempotently",
    "acks": "dead letters always wait for all replicas",
    "request.required.acks": "dead letters always wait for all replicas",
    "plugin.library.paths": "the program loads no code that the configuration names",
}
_KIP_848_REFUSES = (
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "group.protocol.type",
)
_LOCAL_SUFFIXES = (".internal", ".local", ".svc", ".localhost", ".test")


def faults_of(settings: Settings) -> Iterator[Fault]:
    """Every fault of a file whose single values are right."""
    yield from _kafka(settings.kafka)
    yield from _endpoint(settings)
    for at, pixel in enumerate(settings.pixels):
        yield from _pixel(f"pixels[{at}]", pixel)
    yield from _twice("pixels", "name", [pixel.name for pixel in settings.pixels])
    yield from _twice("sources", "topic", [source.topic for source in settings.sources])
    for at, source in enumerate(settings.sources):
        yield from _source(f"sources[{at}]", source, settings)


def nearest(name: str, known: Any) -> str:
    """A hint at the nearest known name, or nothing."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


def _kafka(kafka: Kafka) -> Iterator[Fault]:
    for name in kafka.properties:
        key = f'kafka.properties."{name}"'
        if name in OWNED_PROPERTIES:
            yield key, f"is the program's own: {OWNED_PROPERTIES[name]}"
        elif name.endswith("_cb"):
            yield key, "is a callback, which a file can't give"
        elif kafka.properties.get("group.protocol") == "consumer" and name in _KIP_848_REFUSES:
            yield key, 'is an error with group.protocol = "consumer": the broker decides it there; leave it out'


def _endpoint(settings: Settings) -> Iterator[Fault]:
    url = settings.endpoint.url
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        yield "endpoint.url", "is not a URL"
        return
    if parts.scheme not in ("http", "https") or not host:
        yield "endpoint.url", "must be an absolute http or https URL"
    elif parts.username or parts.password:
        yield "endpoint.url", "must hold no user or password; the key goes into the Authorization header"
    elif parts.scheme == "http" and not _is_local(host):
        yield (
            "endpoint.url",
            "is plain http to another network: the key and the events would travel in clear; use https",
        )
    delivery = settings.delivery
    if delivery.backoff_initial_ms > delivery.backoff_max_ms:
        yield "delivery.backoff_initial_ms", "is larger than delivery.backoff_max_ms"
    if delivery.max_buffered_bytes < 2 * settings.batch.max_bytes:
        yield "delivery.max_buffered_bytes", "must be at least twice batch.max_bytes, or no batch could fill"


def _is_local(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_SUFFIXES)
    return address.is_loopback or address.is_private


def _pixel(key: str, pixel: Pixel) -> Iterator[Fault]:
    ids = [name for name in ("pixel_id", "pixel_id_env", "pixel_id_file") if getattr(pixel, name)]
    if len(ids) != 1:
        yield key, f"must have exactly one of pixel_id, pixel_id_env and pixel_id_file; it has {_listed(ids)}"
    keys = [name for name in ("api_key_env", "api_key_file") if getattr(pixel, name)]
    if len(keys) != 1:
        yield key, f"must have exactly one of api_key_env and api_key_file; it has {_listed(keys)}"


def _listed(names: list[str]) -> str:
    return " and ".join(names) or "none"


def _twice(section: str, key: str, names: list[str]) -> Iterator[Fault]:
    for at, name in enumerate(names):
        if name in names[:at]:
            yield f"{section}[{at}].{key}", f'"{name}" is there already, as {section}[{names.index(name)}]'


def _source(key: str, source: Source, settings: Settings) -> Iterator[Fault]:
    if (source.pixel is None) == (source.pixel_field is None):
        yield key, "must have exactly one of pixel and pixel_field"
    names = [pixel.name for pixel in settings.pixels]
    if source.pixel is not None and source.pixel not in names:
        yield f"{key}.pixel", f'"{source.pixel}" is not a pixel of this file{nearest(source.pixel, names)}'
    if (source.event is None) == (source.event_field is None):
        yield key, "must have exactly one of event and event_field"
    if source.event_field is not None and not source.events:
        yield f"{key}.events", "is missing: a table from the field's values to generate_lead, page_view or skip"
    if source.events and source.event_field is None:
        yield f"{key}.events", "is of use only with event_field"
    if source.consent_purposes and source.consent_field is None:
        yield f"{key}.consent_purposes", "is of use only with consent_field"
    if source.topic == settings.dead_letter.topic:
        yield f"{key}.topic", "is the dead-letter topic: each dead letter would come round again"
    yield from _schema(key, source, settings)
    yield from _fields(key, source)


def _schema(key: str, source: Source, settings: Settings) -> Iterator[Fault]:
    file = source.schema_file
    if file is not None and not Path(file).exists():
        yield f"{key}.schema_file", f"{file} is not there"
    elif file is not None and source.framing == "raw" and Path(file).is_dir():
        yield (
            f"{key}.schema_file",
            "is a folder; a raw source needs the one .avsc file that its records were written with",
        )
    elif file is None and source.framing == "raw":
        yield f"{key}.schema_file", "is missing: a raw record doesn't say which schema wrote it"
    elif file is None and source.framing == "single_object":
        yield f"{key}.schema_file", "is missing: the folder of .avsc files that the fingerprints are looked up in"
    elif file is None and settings.schema_registry is None:
        yield f"{key}.framing", f'"{source.framing}" needs [schema_registry] url, or a folder of schemas as schema_file'


def _fields(key: str, source: Source) -> Iterator[Fault]:
    for target, rule in source.fields.items():
        where = f'{key}.fields."{target}"'
        if target not in TARGETS:
            yield where, f"is not a field of an event{nearest(target, TARGETS)}"
        elif target.startswith("data.") and source.event == "page_view":
            yield where, "is of no use: a page view has no data"
        elif rule.unit is not None and target != "event_time":
            yield where, "has a unit, which only event_time takes"
    if source.event == "page_view" and (source.values or source.default_currency):
        yield key, "has rules for a lead's value, and a page view has none"
