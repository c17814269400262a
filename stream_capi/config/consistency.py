"""The rules that concern several settings together. Each rule yields the faults it finds, and none stops another."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

from stream_capi.config.settings import TARGETS, KafkaSection, PixelSection, Settings, SourceSection
from stream_capi.config.shape import KeyFault, key_of, meant
from stream_capi.config.values import FieldRule

_COMMITTED = "an offset is committed only when its event has a terminal outcome"
_MEMORY = "it is sized from delivery.max_buffered_bytes, so that memory stays bounded"
_ACKNOWLEDGED = "a dead letter must be written once, and be acknowledged by all replicas in sync"
OWNED_PROPERTIES: Mapping[str, str] = {
    "enable.auto.commit": _COMMITTED,
    "enable.auto.offset.store": _COMMITTED,
    "auto.commit.enable": _COMMITTED,
    "auto.commit.interval.ms": "set kafka.commit_interval_ms",
    "auto.offset.reset": "set kafka.start; an offset out of range must stop the partition, not skip events",
    "bootstrap.servers": "set kafka.bootstrap_servers",
    "metadata.broker.list": "set kafka.bootstrap_servers",
    "group.id": "set kafka.group_id",
    "enable.partition.eof": "the end of a partition is not an event",
    "queued.max.messages.kbytes": _MEMORY,
    "queued.min.messages": _MEMORY,
    "statistics.interval.ms": "the program needs these statistics to notice within 15 s that a broker doesn't answer",
    "allow.auto.create.topics": "a missing topic must be reported, not created",
    "transactional.id": "dead letters are written idempotently, without transactions",
    "enable.idempotence": _ACKNOWLEDGED,
    "acks": _ACKNOWLEDGED,
    "request.required.acks": _ACKNOWLEDGED,
    "plugin.library.paths": "the program loads no code that its settings name",
    "default.topic.config": "write its properties beside the others",
}
CALLBACKS = ("on_commit", "on_delivery", "logger")
REGISTRY_OWNED: Mapping[str, str] = {"url": "set schema_registry.url"}
# With the consumer protocol (KIP-848) librdkafka creates no consumer that sets these: the broker decides them.
_KIP_848_REFUSES = (
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "group.protocol.type",
)
WORKER = "{worker}"  # in group.instance.id: replaced by the worker's number
_LOCAL_SUFFIXES = (".internal", ".local", ".svc", ".localhost", ".test")


def faults_of(settings: Settings, names: Sequence[str] | None, workers: int = 1) -> Iterator[KeyFault]:
    """Yield every fault of settings whose single values are valid, for this number of workers.

    ``names``: the pixels' names as written, invalid ones included. None if a pixel has no name: then no source's pixel is
    checked against them.
    """
    yield from _kafka(settings.kafka, workers)
    yield from _urls(settings)
    yield from _sizes(settings)
    if settings.suppress.file is not None and not os.path.isfile(settings.suppress.file):
        yield KeyFault("suppress.file", "names a file that is not there")
    for section in ("pixels", "sources"):
        if not getattr(settings, section):
            yield KeyFault(section, f"is missing: write at least one [[{section}]]")
    for at, pixel in enumerate(settings.pixels):
        yield from _pixel(f"pixels[{at}]", pixel)
    yield from _twice("pixels", "name", [pixel.name for pixel in settings.pixels])
    yield from _shared_topics(settings.sources)
    for at, source in enumerate(settings.sources):
        key = f"sources[{at}]"
        yield from _routing(key, source, settings, names)
        yield from _schema(key, source, settings)
        yield from _fields(key, source)
        yield from _lead_value(key, source)
        yield from _phone_region(f"{key}.phone_region", source.phone_region)


_MOST_DIGITS = 19  # of any number that librdkafka accepts


def _is_number(value: str | int) -> bool:
    text = str(value)
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS and int(text) > 0


def _numbers(properties: Mapping[str, str | int], unit: str, *names: str) -> Iterator[KeyFault]:
    for name in names:
        if name in properties and not _is_number(properties[name]):
            yield KeyFault(key_of(["kafka", "properties", name]), f"must be a whole number of {unit}")


def _session(properties: Mapping[str, str | int]) -> Iterator[KeyFault]:
    names = ("session.timeout.ms", "heartbeat.interval.ms")
    wrong = list(_numbers(properties, "milliseconds", *names))
    yield from wrong
    given = {name: str(properties[name]) for name in names if name in properties}
    if not wrong and len(given) == 2 and int(given["heartbeat.interval.ms"]) >= int(given["session.timeout.ms"]):
        of = tuple(key_of(["kafka", "properties", name]) for name in given)
        yield KeyFault(of[1], "must be below session.timeout.ms, or each session ends before its heartbeat", of)


def _password_file(properties: Mapping[str, str | int]) -> Iterator[KeyFault]:
    user, password = (key_of(["kafka", "properties", name]) for name in ("sasl.username", "sasl.password"))
    key = "kafka.sasl_password_file"
    if "sasl.password" in properties:
        yield KeyFault(key, f"is set, and {password} is set, too; leave one out", (key, password))
    if not properties.get("sasl.username"):
        yield KeyFault(key, f"needs a user: set {user}", (key, user))


def _kafka(kafka: KafkaSection, workers: int) -> Iterator[KeyFault]:
    kip_848 = str(kafka.properties.get("group.protocol", "")).lower() == "consumer"
    if not kip_848:
        yield from _session(kafka.properties)
    yield from _numbers(kafka.properties, "bytes", "message.max.bytes")
    if kafka.sasl_password_file is not None:
        yield from _password_file(kafka.properties)
    for name in kafka.properties:
        key = key_of(["kafka", "properties", name])
        if name in OWNED_PROPERTIES:
            yield KeyFault(key, f"is the program's own: {OWNED_PROPERTIES[name]}")
        elif name.endswith("_cb") or name in CALLBACKS:
            yield KeyFault(key, "is a callback, which a file can't set")
        elif kip_848 and name in _KIP_848_REFUSES:
            yield KeyFault(
                key, 'is refused with group.protocol = "consumer": the broker decides it there; leave it out'
            )
        elif name == "group.instance.id" and workers > 1 and WORKER not in str(kafka.properties[name]):
            yield KeyFault(key, f'must hold "{WORKER}" with --workers {workers}: each worker needs a name of its own')


def _urls(settings: Settings) -> Iterator[KeyFault]:
    endpoint, registry = settings.endpoint, settings.schema_registry
    parts, why = _split(endpoint.url)
    if parts is None:
        yield KeyFault("endpoint.url", why)
    elif parts.username is not None or parts.query or parts.fragment:
        yield KeyFault(
            "endpoint.url", "must hold no user, query or fragment; the pixel's id and key are added to each request"
        )
    elif parts.scheme == "http" and not _is_local(parts.hostname or ""):
        yield KeyFault(
            "endpoint.url", "is plain http to another host: the key and the events would be sent unencrypted; use https"
        )
    if endpoint.proxy and (fault := _split(endpoint.proxy)[1]):
        yield KeyFault("endpoint.proxy", fault)
    if endpoint.ca_file and not os.path.isfile(endpoint.ca_file):
        yield KeyFault("endpoint.ca_file", "names a file that is not there")
    if registry is None:
        return
    for url in registry.url.split(","):
        parts, why = _split(url)
        if parts is None:
            yield KeyFault("schema_registry.url", why)
        elif parts.username is not None:
            yield KeyFault(
                "schema_registry.url", 'must hold no user or password; set properties."basic.auth.user.info"'
            )
    for name in REGISTRY_OWNED.keys() & registry.properties.keys():
        yield KeyFault(key_of(["schema_registry", "properties", name]), REGISTRY_OWNED[name])


def _split(url: str) -> tuple[SplitResult | None, str]:
    """The parts of an absolute http(s) URL, or what is wrong with it."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound or any(sign.isspace() for sign in url):
        return None, "must be an absolute http or https URL"
    return parts, ""


def _is_local(host: str) -> bool:
    host = host.rstrip(".")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_SUFFIXES)


def _sizes(settings: Settings) -> Iterator[KeyFault]:
    delivery, batch = settings.delivery, settings.batch
    if delivery.backoff_initial_ms > delivery.backoff_max_ms:
        of = ("delivery.backoff_initial_ms", "delivery.backoff_max_ms")
        yield KeyFault(of[0], "is larger than delivery.backoff_max_ms", of)
    if delivery.max_buffered_bytes < 2 * batch.max_bytes:
        of = ("delivery.max_buffered_bytes", "batch.max_bytes")
        yield KeyFault(of[0], "must be at least twice batch.max_bytes, or no batch could fill", of)


def _pixel(key: str, pixel: PixelSection) -> Iterator[KeyFault]:
    ids, keys = ("pixel_id", "pixel_id_env", "pixel_id_file"), ("api_key_env", "api_key_file")
    yield from _exactly_one(key, pixel, ids)
    yield from _exactly_one(key, pixel, keys)


def _exactly_one(key: str, table: PixelSection | SourceSection, names: Sequence[str]) -> Iterator[KeyFault]:
    given = [name for name in names if getattr(table, name) is not None]
    if len(given) != 1:
        choice = f"{', '.join(names[:-1])} and {names[-1]}"
        has = " and ".join(given) or "none"
        yield KeyFault(
            key, f"must have exactly one of {choice}; it has {has}", tuple(f"{key}.{name}" for name in names)
        )


def _twice(section: str, name: str, values: Sequence[str]) -> Iterator[KeyFault]:
    for at, value in enumerate(values):
        first = values.index(value)
        if first < at:
            of = (f"{section}[{first}].{name}", f"{section}[{at}].{name}")
            yield KeyFault(of[1], f'"{value}" is already used by {section}[{first}]', of)


_OF_A_TOPIC = ("framing", "schema_file")  # decide what a record's type is, so they must agree


def _shared_topics(sources: Sequence[SourceSection]) -> Iterator[KeyFault]:
    """Several sources of one topic: each record must belong to one of them at most."""
    for at, source in enumerate(sources):
        key = f"sources[{at}]"
        for before, other in enumerate(sources[:at]):
            if other.topic != source.topic:
                continue
            first = f"sources[{before}]"
            if source.record is None or other.record is None:
                why = "several sources of one topic must each name their record"
                at_both = tuple(f"{one}.{name}" for one in (first, key) for name in ("topic", "record"))
                yield KeyFault(f"{key}.topic", f'"{source.topic}" is already the topic of {first}; {why}', at_both)
            elif source.record == other.record:
                of = (f"{first}.record", f"{key}.record")
                yield KeyFault(of[1], f'"{source.record}" of this topic is already the record of {first}', of)
            else:
                for name in _OF_A_TOPIC:
                    if getattr(source, name) != getattr(other, name):
                        of = (f"{first}.{name}", f"{key}.{name}")
                        yield KeyFault(of[1], f"must be the same as in {first}, which has the same topic", of)
            break


def _routing(key: str, source: SourceSection, settings: Settings, names: Sequence[str] | None) -> Iterator[KeyFault]:
    yield from _exactly_one(key, source, ("pixel", "pixel_field"))
    yield from _exactly_one(key, source, ("event", "event_field"))
    if source.pixel is not None and names is not None and source.pixel not in names:
        yield KeyFault(
            f"{key}.pixel", f'"{source.pixel}" is not the name of one of the pixels{meant(source.pixel, names)}'
        )
    if source.event_field is not None and not source.events:
        yield KeyFault(
            f"{key}.events", "is missing: a table from the field's values to generate_lead, page_view or skip"
        )
    if source.events and source.event_field is None:
        yield KeyFault(f"{key}.events", "has no effect without event_field", (f"{key}.event_field",))
    for name in ("consent_purposes", "without_consent"):
        if name in source.model_fields_set and source.consent_field is None:
            yield KeyFault(f"{key}.{name}", "has no effect without consent_field", (f"{key}.consent_field",))
    if source.topic == settings.dead_letter.topic:
        of = (f"{key}.topic", "dead_letter.topic")
        yield KeyFault(of[0], "is the dead-letter topic: each dead letter would be read again as an event", of)


def _schema(key: str, source: SourceSection, settings: Settings) -> Iterator[KeyFault]:
    framing, place = source.framing, source.schema_file
    name = "schema_folder" if source.schema_folder is not None else "schema_file"
    of = tuple(f"{key}.{other}" for other in ("framing", "schema_file", "schema_folder"))
    if framing == "apicurio":
        yield from _apicurio(key, source, settings)
        return
    if source.apicurio_id is not None:
        yield KeyFault(f"{key}.apicurio_id", 'has no effect without framing = "apicurio"', of[:1])
    if place is None:
        if framing == "raw":
            yield KeyFault(f"{key}.schema_file", "is missing: a raw record doesn't say which schema wrote it", of)
        elif framing == "single_object":
            yield KeyFault(f"{key}.schema_file", "is missing: the folder of .avsc files with the writers' schemas", of)
        elif settings.schema_registry is None:
            why = f'"{framing}" needs [schema_registry], or a folder of schemas as schema_file'
            yield KeyFault(f"{key}.framing", why, (*of, "schema_registry"))
        return
    folder = os.path.isdir(place)
    if source.schema_folder not in (None, place):
        yield KeyFault(key, "must have only one of schema_file and schema_folder; it has both", of[1:])
    elif not os.path.exists(place):
        yield KeyFault(f"{key}.{name}", f"{place} is not there")
    elif name == "schema_folder" and not folder:
        yield KeyFault(f"{key}.{name}", f"{place} is not a folder")
    elif framing == "raw" and folder:
        yield KeyFault(
            f"{key}.{name}", "is a folder; a raw source needs the one file with the schema of its records", of
        )
    elif framing == "single_object" and not folder:
        yield KeyFault(
            f"{key}.{name}", "is a file; a single_object source needs the folder that the .avsc files are in", of
        )
    elif framing == "confluent" and not folder and settings.schema_registry is None:
        why = "is a file, but an id can be looked up only in a registry or a folder; give [schema_registry] or a folder"
        yield KeyFault(f"{key}.{name}", why, (*of, "schema_registry"))


def _apicurio(key: str, source: SourceSection, settings: Settings) -> Iterator[KeyFault]:
    registry = settings.schema_registry
    if registry is None:
        yield KeyFault(f"{key}.framing", '"apicurio" needs [schema_registry]', ("schema_registry",))
    elif source.apicurio_id == "global" and "/apis/ccompat/" not in registry.url:
        why = (
            "must be that of Apicurio's Confluent-compatible API (…/apis/ccompat/v7): global ids are read from "
            "Apicurio's own API beside it"
        )
        yield KeyFault("schema_registry.url", why, (f"{key}.apicurio_id",))
    if source.schema_file is not None:
        yield KeyFault(f"{key}.schema_file", 'has no effect with framing = "apicurio"', (f"{key}.framing",))


def _fields(key: str, source: SourceSection) -> Iterator[KeyFault]:
    for target, rule in source.fields.items():
        where = f"{key}.fields.{key_of([target])}"
        if target not in TARGETS:
            yield KeyFault(where, f"is not a field of an event{meant(target, TARGETS)}")
        elif target.startswith("data.") and source.event == "page_view":
            yield KeyFault(where, "has no effect: a page view has no data", (where, f"{key}.event"))
        elif rule.unit is not None and target != "event_time":
            yield KeyFault(where, "has a unit, which only event_time takes")
        elif rule.unit is not None and rule.map is not None:
            yield KeyFault(where, "has a unit beside a map, whose times are epoch milliseconds")
        else:
            yield from _constants(where, target, rule)


def _phone_region(key: str, rule: FieldRule | None) -> Iterator[KeyFault]:
    """Report a country that the phone-number library doesn't know: with it no number could be completed."""
    if rule is not None and rule.has_const:
        from phonenumbers import SUPPORTED_REGIONS  # loaded only where it is configured

        if rule.const not in SUPPORTED_REGIONS:
            yield KeyFault(key, f"is not a country with phone numbers{meant(rule.const, SUPPORTED_REGIONS)}")


def _constants(where: str, target: str, rule: FieldRule) -> Iterator[KeyFault]:
    """Report constants of the mapping that can't be the field's value."""
    if rule.has_const and (why := _OF_EACH_EVENT.get(target) or _const(target, rule.const)):
        yield KeyFault(where, why)
    for key, value in (rule.map or {}).items():
        if why := _const(target, value):
            yield KeyFault(f"{where}.map.{key_of([key])}", why)


# Why these fields can't have one value, or one default, for all events; a map may still look their values up.
_OF_EACH_EVENT = {
    "event_time": "can't be a constant: each event has its own time",
    "event_id": "can't be a constant: all events but the first would be dropped as its duplicates",
    "dedupe_id": "can't be a constant: all events but the first would be dropped as its duplicates",
}


def _const(target: str, const: Any) -> str:
    """Why a constant can't be this field's value; empty if it can."""
    checks: Mapping[str, tuple[Callable[[Any], bool], str]] = {
        "event_time": (_is_time, "must be a time in epoch milliseconds"),
        "data.currency": (_is_currency, "must be a currency code of three letters"),
        "data.value": (_is_amount, "must be a number of 0 or more"),
        "user_data.esi": (lambda const: const in ("web", "app"), "must be web or app"),
        "user_data.os": (lambda const: const in ("ios", "android", "desktop_os"), "must be ios, android or desktop_os"),
    }
    fits, why = checks.get(target, (lambda const: isinstance(const, str) and bool(const), "must be text"))
    return "" if fits(const) else why


def _is_time(value: Any) -> bool:
    return type(value) is int and 10**11 <= value < 10**14


def _is_currency(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 3 and value.isascii() and value.isalpha()


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _lead_value(key: str, source: SourceSection) -> Iterator[KeyFault]:
    for name in ("values", "default_currency"):
        if getattr(source, name) is not None and source.event == "page_view":
            yield KeyFault(
                f"{key}.{name}", "has no effect: a page view has no value", (f"{key}.{name}", f"{key}.event")
            )
    if source.default_currency is not None and not _is_currency(source.default_currency):
        yield KeyFault(f"{key}.default_currency", "must be a currency code of three letters")
    if source.values is not None and not source.values.table:
        yield KeyFault(f"{key}.values.table", "is empty")
