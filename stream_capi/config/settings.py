"""The settings' shape, defaults and descriptions. Attribute names are the keys of the file.

The types here check single values; the rules that join several values are in ``consistency``. docs/configuration.md and
the JSON Schema are generated from here: each key has a description and an example, each number a unit. The file is long so
that a key and its description stay together.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator
from pydantic.config import JsonDict

from stream_capi.applovin import MAX_EVENTS, URL
from stream_capi.config.values import (
    REGION_SCHEMA,
    RULE_SCHEMA,
    Amount,
    ClientValue,
    Event,
    FieldRule,
    HostName,
    OrOneAlone,
    Path,
    PixelName,
    Section,
    Text,
    Topic,
    Value,
    field_rule,
    region_rule,
)

USER_FIELDS = (
    "aleid",
    "axwrt",
    "alart",
    "client_id",
    "user_id",
    "email",
    "phone",
    "client_ip_address",
    "client_user_agent",
    "esi",
    "country_code",
    "zip",
    "os",
    "sid",
    "ifa",
    "idfv",
)
TARGETS = (
    "event_id",
    "event_time",
    "event_source_url",
    "dedupe_id",
    "data.currency",
    "data.value",
    *(f"user_data.{name}" for name in USER_FIELDS),
)
PIXEL_ID_TO_REPLACE = "your-axon-event-key"  # used in examples and by ``init``
_MS: JsonDict = {"unit": "ms"}
_SECONDS: JsonDict = {"unit": "s"}
_BYTES: JsonDict = {"unit": "bytes"}
_EVENTS: JsonDict = {"unit": "events"}
_REQUESTS: JsonDict = {"unit": "requests"}
_REQUESTS_A_SECOND: JsonDict = {"unit": "requests/s"}
_REFUSALS: JsonDict = {"unit": "answers"}
_SHARE: JsonDict = {"unit": "share"}
_CURRENCY: JsonDict = {"unit": "units of the lead's currency"}


def _entries(given: Any) -> Any:
    """Accept a single table in place of a list of one."""
    return [given] if isinstance(given, dict) else given


class KafkaSection(Section):
    """The brokers and the consumer group. ``properties`` may hold a password: no repr and no message shows its values."""

    bootstrap_servers: Text = Field(
        "localhost:9092",
        description="Brokers to connect to first, separated by commas.",
        examples=["kafka-1:9092,kafka-2:9092"],
    )
    group_id: Text = Field(
        "stream-capi", description="Consumer group that all members share.", examples=["stream-capi-eu"]
    )
    start: Literal["earliest", "latest", "error"] = Field(
        "earliest",
        description="Where reading starts in a partition without a committed offset; `error` stops the partition.",
        examples=["latest"],
    )
    commit_interval_ms: int = Field(
        500,
        strict=True,
        ge=50,
        le=60_000,
        description="How often offsets are committed.",
        examples=[1000],
        json_schema_extra=_MS,
    )
    properties: dict[str, ClientValue] = Field(
        {},
        repr=False,
        description="Any librdkafka property. Those that the program must own (`enable.auto.commit` and others) are "
        "refused with the reason. With `--workers`, `group.instance.id` holds `{worker}`.",
        examples=[{"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}],
    )
    sasl_password_file: Text | None = Field(
        None,
        description="File that holds the SASL password; read again when it changes.",
        examples=["/run/secrets/kafka-password"],
    )

    @property
    def client_id(self) -> str:
        """The client id that the brokers see."""
        return str(self.properties.get("client.id", "stream-capi"))


class SchemaRegistrySection(Section):
    """A registry with Confluent's REST API. Leave this section out if no source needs a registry."""

    url: Text = Field(
        "http://localhost:8081",
        description="Address of the registry; separate several addresses by commas.",
        examples=["https://registry.example.com"],
    )
    properties: dict[str, Value] = Field(
        {},
        repr=False,
        description="Authentication and TLS, named as confluent-kafka's registry client names them.",
        examples=[{"ssl.ca.location": "/etc/ssl/registry-ca.pem"}],
    )


class EndpointSection(Section):
    """The API that events are sent to. The only proxy used is ``proxy``: variables like HTTPS_PROXY are ignored."""

    url: Text = Field(
        URL,
        description="URL that events are posted to. Plain http is accepted only for a local or private address.",
        examples=["http://localhost:8080/v1/event"],
    )
    authorization: Literal["auto", "bearer", "raw"] = Field(
        "auto",
        description=(
            "`bearer` sends `Authorization: Bearer KEY`, `raw` the key alone. `auto` begins with `bearer`, tries the other "
            "form once after a 401, and keeps the form that the API accepts."
        ),
        examples=["bearer"],
    )
    timeout_seconds: float = Field(
        10,
        strict=True,
        gt=0,
        le=300,
        description="Time limit of a whole request.",
        examples=[20],
        json_schema_extra=_SECONDS,
    )
    proxy: str = Field(
        "",
        repr=False,
        description="HTTP proxy for requests to the API; no proxy from the environment is used.",
        examples=["http://proxy.example.com:3128"],
    )
    ca_file: str = Field(
        "",
        description="PEM file of certificates that are trusted in addition to the system's.",
        examples=["/etc/ssl/proxy-ca.pem"],
    )


Framing = Literal["confluent", "apicurio", "single_object", "raw", "auto"]


class PixelSection(Section):
    """A pixel. Its id and its API key each come from exactly one place; a key that is written into the file is refused."""

    name: PixelName = Field(description="Name of the pixel in sources, metrics and messages.", examples=["main"])
    pixel_id: Text | None = Field(
        None, description="Axon Event Key, sent as `?pixel_id=`.", examples=[PIXEL_ID_TO_REPLACE]
    )
    pixel_id_env: Text | None = Field(
        None, description="Environment variable that holds the id.", examples=["AXON_PIXEL_ID"]
    )
    pixel_id_file: Text | None = Field(
        None, description="File that holds the id.", examples=["/run/secrets/stream-capi/pixel-id"]
    )
    api_key_env: Text | None = Field(
        None, description="Environment variable that holds the Conversion API key.", examples=["AXON_API_KEY"]
    )
    api_key_file: Text | None = Field(
        None,
        description="File that holds the Conversion API key; read again when it changes.",
        examples=["/run/secrets/stream-capi/api-key"],
    )
    paused: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="If true, nothing is sent for the pixel and its events wait uncommitted. Read at the start only.",
        examples=[True],
    )
    profile: Literal["lead_gen", "restricted"] = Field(
        "lead_gen",
        description="`restricted` sends only the fields and identifiers that the restricted flow allows.",
        examples=["restricted"],
    )


class Where(Section):
    """A condition on a record: ``field`` equals a value, is one of several, or is present. Give exactly one of the three."""

    field: Path = Field(description="Path of the value to compare.", examples=["env"])
    equals: Value | None = Field(None, description="The value that it must have.", examples=["prod"])
    one_of: tuple[Value, ...] | None = Field(
        None, alias="in", description="The values of which it must have one.", examples=[["ios", "web"]]
    )
    present: Annotated[bool, Field(strict=True)] | None = Field(
        None, description="`true`: it must be present (not null); `false`: it must be absent.", examples=[True]
    )

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(given is not None for given in (self.equals, self.one_of, self.present)) != 1:
            raise ValueError("must have exactly one of equals, in and present")
        return self


class ValueRule(Section):
    """A lead's value, looked up in a table by another field."""

    field: Path = Field(description="Path of the value to look up in `table`.", examples=["quality"])
    table: dict[str, Amount] = Field(
        description="The lead's value for each value of the field.", examples=[{"high": 120, "low": 10}]
    )
    default: Amount | None = Field(
        None,
        description="The lead's value if the table has no entry; without it, `data.value` is used.",
        examples=[20],
        json_schema_extra=_CURRENCY,
    )


class SourceSection(Section):
    """A source: a topic, or one record type of it, and how its records become events.

    ``schema_file`` is a file or a folder; ``schema_folder`` is another name for a folder.
    """

    topic: Topic = Field(description="Topic to read.", examples=["leads"])
    record: Text | None = Field(
        None,
        description="Full name of the one record type of this source. Several sources may share a topic if each names its "
        "record; records of other types are skipped as `unrouted`.",
        examples=["com.acme.Lead"],
    )
    event: Event | None = Field(
        None, description="Event name of every record; or use `event_field` with `events`.", examples=["generate_lead"]
    )
    event_field: Path | None = Field(
        None, description="Path of the value that `events` translates to an event name.", examples=["type"]
    )
    events: dict[str, Literal["generate_lead", "page_view", "skip"]] = Field(
        {},
        description="The event for each value of `event_field`: `generate_lead`, `page_view` or `skip`; `*` is any other.",
        examples=[{"Lead Submitted": "generate_lead", "*": "skip"}],
    )
    pixel: str | None = Field(
        None, description="Name of the pixel that all events are sent for; or use `pixel_field`.", examples=["main"]
    )
    pixel_field: Path | None = Field(None, description="Path of the pixel's name in each record.", examples=["brand"])
    paused: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="If true, nothing of the source is sent and its events wait uncommitted. Read at the start only.",
        examples=[True],
    )
    framing: Framing = Field(
        "confluent",
        description="How a record names its schema: `confluent` (prefix or header), `apicurio` (8-byte or header id), "
        "`single_object`, `raw` (not at all) or `auto`.",
        examples=["single_object"],
    )
    apicurio_id: Literal["content", "global"] | None = Field(
        None,
        description='Kind of the 8-byte id before the payload; `content` if left out. Only with `framing = "apicurio"`.',
        examples=["global"],
    )
    schema_file: Text | None = Field(
        None,
        description="The .avsc file of a `raw` source's records; or a folder of .avsc files, in place of a registry.",
        examples=["leads.avsc"],
    )
    schema_folder: Text | None = Field(
        None, description="Another name for a `schema_file` that is a folder.", examples=["schemas"]
    )
    window_ms: int | None = Field(
        None,
        strict=True,
        ge=1,
        le=600_000,
        description="Replaces `batch.window_ms` for this source.",
        examples=[200],
        json_schema_extra=_MS,
    )
    max_ratio: float | None = Field(
        None,
        strict=True,
        ge=0,
        le=1,
        description="Replaces `dead_letter.max_ratio` for this source.",
        examples=[1.0],
        json_schema_extra=_SHARE,
    )
    where: Annotated[tuple[Where, ...], BeforeValidator(_entries), OrOneAlone()] = Field(
        (),
        description="Conditions that must all hold; other records are skipped and counted.",
        examples=[[{"field": "env", "equals": "prod"}]],
    )
    consent_field: Path | None = Field(
        None,
        description="Path of the consent: yes or no, or the purposes that were agreed to.",
        examples=["context.consent"],
    )
    consent_purposes: tuple[Text, ...] = Field(
        (), description="Purposes that must all be among those agreed to.", examples=[["ads"]]
    )
    without_consent: Literal["skip", "strip"] = Field(
        "skip",
        description="`skip` skips an event without consent; `strip` sends it without the fields that identify the person.",
        examples=["strip"],
    )
    values: ValueRule | None = Field(
        None,
        description="A lead's value, looked up in a table by another field.",
        examples=[{"field": "quality", "table": {"high": 120, "low": 10}, "default": 20}],
    )
    default_currency: Text | None = Field(
        None, description="Currency of leads whose record has none: three letters of ISO 4217.", examples=["USD"]
    )
    phone_region: Annotated[FieldRule | None, BeforeValidator(region_rule), WithJsonSchema(REGION_SCHEMA)] = Field(
        None,
        description="Country of phone numbers without a country code: its two-letter code, or the path of one.",
        examples=["US", {"path": "country"}],
    )
    fields: dict[str, Annotated[FieldRule, BeforeValidator(field_rule), WithJsonSchema(RULE_SCHEMA)]] = Field(
        {},
        description="Where each field of an event comes from; by default the same name at the top level of the record.",
        examples=[{"user_data.email": "customer.contact.email", "data.currency": {"const": "USD"}}],
    )

    @model_validator(mode="before")
    @classmethod
    def _one_place(cls, given: Any) -> Any:
        """Copy ``schema_folder`` into ``schema_file``, the only key that other code has to read."""
        if isinstance(given, dict) and isinstance(given.get("schema_folder"), str):
            return {"schema_file": given["schema_folder"]} | given
        return given

    def is_for(self, record: str) -> bool:
        """Whether the source takes records of this type."""
        return self.record in (None, record)

    @property
    def name(self) -> str:
        """The topic, with the record type if the source is for one."""
        return self.topic if self.record is None else f"{self.topic} ({self.record})"

    @property
    def wire_format(self) -> str:
        """The framing, with the kind of id where the bytes don't say it, and whether raw records are expected."""
        if self.framing == "apicurio":
            return f"apicurio {self.apicurio_id or 'content'}"
        of_one_file = self.schema_file is not None and not self.has_folder
        return "auto or raw" if self.framing == "auto" and of_one_file else self.framing

    @property
    def has_folder(self) -> bool:
        """Whether ``schema_file`` is a folder of schemas."""
        return self.schema_file is not None and os.path.isdir(self.schema_file)


class BatchSection(Section):
    """When a batch is sent: at its maximum of events or bytes, or when its window ends, whichever comes first."""

    max_events: int = Field(
        MAX_EVENTS,
        strict=True,
        ge=1,
        le=MAX_EVENTS,
        description="Maximum number of events in a request.",
        examples=[50],
        json_schema_extra=_EVENTS,
    )
    max_bytes: int = Field(
        1_048_576,
        strict=True,
        ge=4096,
        le=64 * 1_048_576,
        description="Maximum size of a request's body.",
        examples=[262_144],
        json_schema_extra=_BYTES,
    )
    window_ms: int = Field(
        1000,
        strict=True,
        ge=1,
        le=600_000,
        description="How long a batch waits for more events, from its first one.",
        examples=[200],
        json_schema_extra=_MS,
    )


class DeliverySection(Section):
    """Requests and retries; what happens to events that are too old, in the future or from a private address."""

    max_in_flight: int = Field(
        16,
        strict=True,
        ge=1,
        le=1000,
        description="Maximum number of requests in flight in each member, all pixels together.",
        examples=[64],
        json_schema_extra=_REQUESTS,
    )
    max_requests_per_second: int = Field(
        0,
        strict=True,
        ge=0,
        le=10_000,
        description="Maximum rate of requests of each member, all pixels together; 0: no limit.",
        examples=[50],
        json_schema_extra=_REQUESTS_A_SECOND,
    )
    max_refusals: int = Field(
        0,
        strict=True,
        ge=0,
        le=10_000,
        description="If one key gets this many answers of 400, 413 and 422 within five minutes, its pixels pause. Each "
        "member counts its own answers; 0: no limit.",
        examples=[80],
        json_schema_extra=_REFUSALS,
    )
    private_ip: Literal["deliver", "refuse"] = Field(
        "deliver",
        description="`deliver` sends events whose `client_ip_address` is private, and counts them; `refuse` dead-letters "
        "them as `invalid_field`.",
        examples=["refuse"],
    )
    hash: Literal["local", "passthrough"] = Field(
        "local",
        description="`local` sends the SHA-256 of emails and phones; `passthrough` sends them unhashed: the API hashes them.",
        examples=["passthrough"],
    )
    max_age_seconds: int = Field(
        0,
        strict=True,
        ge=0,
        description="Events that are older are dead-lettered as `too_old`; 0: no limit.",
        examples=[604_800],
        json_schema_extra=_SECONDS,
    )
    max_future_seconds: int = Field(
        600,
        strict=True,
        ge=0,
        description="Events further in the future are dead-lettered as `in_future`. The endpoint's clock decides; before its "
        "first answer, an event must be ahead of both this machine's clock and the record's timestamp.",
        examples=[60],
        json_schema_extra=_SECONDS,
    )
    backoff_initial_ms: int = Field(
        500,
        strict=True,
        ge=1,
        le=600_000,
        description="Upper limit of the random wait before the first retry of a request; it doubles with each further retry.",
        examples=[1000],
        json_schema_extra=_MS,
    )
    backoff_max_ms: int = Field(
        60_000,
        strict=True,
        ge=1,
        le=3_600_000,
        description="Highest limit of the random wait before any retry.",
        examples=[120_000],
        json_schema_extra=_MS,
    )
    max_split_requests: int = Field(
        64,
        strict=True,
        ge=1,
        le=10_000,
        description="Maximum number of requests to find the refused events of one batch; beyond it the lane is held.",
        examples=[32],
        json_schema_extra=_REQUESTS,
    )
    probe_seconds: float = Field(
        30,
        strict=True,
        gt=0,
        le=3600,
        description="How often a held pixel is probed.",
        examples=[60],
        json_schema_extra=_SECONDS,
    )
    max_buffered_bytes: int = Field(
        67_108_864,
        strict=True,
        ge=1_048_576,
        le=1 << 44,
        description="Memory of each member for records that were read and have no outcome yet, including prefetched "
        "ones; at least twice `batch.max_bytes`.",
        examples=[134_217_728],
        json_schema_extra=_BYTES,
    )


class DeadLetterSection(Section):
    """The topic for events that can't be delivered."""

    topic: Topic = Field(
        "stream-capi.dead-letters",
        description="Topic that dead letters are written to.",
        examples=["leads.dead-letters"],
    )
    max_ratio: float = Field(
        0.5,
        strict=True,
        ge=0,
        le=1,
        description="If more than this share of at least 100 recent events is rejected, they are held, not dead-lettered.",
        examples=[0.2],
        json_schema_extra=_SHARE,
    )


class SuppressSection(Section):
    """The people who asked to be forgotten: their events are skipped, in replay and redrive too."""

    file: Text | None = Field(
        None,
        description="File with one entry a line: the SHA-256 of a normalised email or phone, or a `user_id`. Read again when "
        "it changes.",
        examples=["forgotten.txt"],
    )


class ShutdownSection(Section):
    """How the process stops."""

    drain_seconds: float = Field(
        25,
        strict=True,
        gt=0,
        le=3600,
        description="Time limit of a stop. It cuts off requests still in flight; the next owner sends their events again.",
        examples=[60],
        json_schema_extra=_SECONDS,
    )


class AdminSection(Section):
    """The server of metrics, health and status. It listens on ``host``; the status answers to the names in ``hosts``."""

    host: Text = Field(
        "127.0.0.1",
        description="Address to listen on; `::` means all addresses, also those of IPv4. The image's default is `::`.",
        examples=["::"],
    )
    port: int = Field(
        9464,
        strict=True,
        ge=0,
        le=65_535,
        description="Port to listen on; 0: any that is free.",
        examples=[8080],
    )
    hosts: tuple[HostName, ...] = Field(
        (),
        description="Host names that `/` and `/status` answer to, besides IP addresses and localhost.",
        examples=[["capi.example.com"]],
    )


class LogSection(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The lowest level that is written.", examples=["warning"]
    )
    format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto` is `console` on a terminal, else `json`.", examples=["json"]
    )


class Settings(Section):
    """The whole file."""

    kafka: KafkaSection = KafkaSection()
    schema_registry: SchemaRegistrySection | None = None
    endpoint: EndpointSection = EndpointSection()
    pixels: Annotated[tuple[PixelSection, ...], BeforeValidator(_entries), OrOneAlone()] = ()
    sources: Annotated[tuple[SourceSection, ...], BeforeValidator(_entries), OrOneAlone()] = ()
    batch: BatchSection = BatchSection()
    delivery: DeliverySection = DeliverySection()
    dead_letter: DeadLetterSection = DeadLetterSection()
    suppress: SuppressSection = SuppressSection()
    shutdown: ShutdownSection = ShutdownSection()
    admin: AdminSection = AdminSection()
    log: LogSection = LogSection()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics of all sources, each once."""
        return tuple(dict.fromkeys(source.topic for source in self.sources))

    @property
    def names(self) -> frozenset[str]:
        """What this file gives names to in Kafka and in log lines: topics, the group, pixels."""
        return frozenset(
            {*self.topics, self.dead_letter.topic, self.kafka.group_id, *(one.name for one in self.pixels)}
        )

    def sources_of(self, topic: str) -> tuple[SourceSection, ...]:
        """The sources of a topic: one, or several that each name their record."""
        return tuple(source for source in self.sources if source.topic == topic)

    def name_of(self, source: SourceSection) -> str:
        """A source's name: its topic, and its record type if the topic has several sources."""
        return source.topic if len(self.sources_of(source.topic)) == 1 else f"{source.topic} ({source.record})"

    @property
    def paused_pixels(self) -> frozenset[str]:
        """The names of the paused pixels."""
        return frozenset(pixel.name for pixel in self.pixels if pixel.paused)

    def is_paused(self, source: SourceSection) -> bool:
        """Whether all events of a source wait: the source is paused, or every pixel that it may send for."""
        pixels = {source.pixel} if source.pixel else {pixel.name for pixel in self.pixels}
        return source.paused or pixels <= self.paused_pixels

    def has_paused(self, topic: str) -> bool:
        """Whether some events of a topic may wait because a source or a pixel of theirs is paused."""
        routed = any(source.pixel_field is not None for source in self.sources_of(topic))
        return any(map(self.is_paused, self.sources_of(topic))) or (routed and bool(self.paused_pixels))

    def why_paused(self, topic: str) -> str:
        """Which sources and pixels of a topic are paused, for people; empty if none."""
        if not self.has_paused(topic):
            return ""
        named = [f"source {source.name}" for source in self.sources_of(topic) if source.paused]
        reached = {source.pixel for source in self.sources_of(topic)}
        named += [f"pixel {name}" for name in sorted(self.paused_pixels) if name in reached or None in reached]
        return f"{' and '.join(named)} {'is' if len(named) == 1 else 'are'} paused by configuration"

    def pixel(self, name: str) -> PixelSection:
        """The pixel of this name, which must exist."""
        return next(pixel for pixel in self.pixels if pixel.name == name)
