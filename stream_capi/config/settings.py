"""The settings' shape, defaults and descriptions. Attribute names are the keys of the file.

A value's type here says what it must be; the rules over several values are in ``consistency``. docs/configuration.md and
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
        description="Brokers to begin with, separated by commas.",
        examples=["kafka-1:9092,kafka-2:9092"],
    )
    group_id: Text = Field(
        "stream-capi", description="Consumer group that all members share.", examples=["stream-capi-eu"]
    )
    start: Literal["earliest", "latest", "error"] = Field(
        "earliest",
        description="Where a partition without a committed offset begins; `error` stops it.",
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
    """A registry with Confluent's REST API; leave it out where no source needs one."""

    url: Text = Field(
        "http://localhost:8081",
        description="Its address; several are separated by commas.",
        examples=["https://registry.example.com"],
    )
    properties: dict[str, Value] = Field(
        {},
        repr=False,
        description="Authentication and TLS, named as confluent-kafka's registry client names them.",
        examples=[{"ssl.ca.location": "/etc/ssl/registry-ca.pem"}],
    )


class EndpointSection(Section):
    """The API. ``proxy`` is used only when it is written here; the environment's never is."""

    url: Text = Field(
        URL,
        description="Where events are posted; plain http only to this machine or network.",
        examples=["http://localhost:8080/v1/event"],
    )
    authorization: Literal["auto", "bearer", "raw"] = Field(
        "auto",
        description=(
            "`bearer` sends `Authorization: Bearer KEY`, `raw` the key alone; `auto` begins with `bearer`, tries the other "
            "form once at a 401, and keeps the one that is taken."
        ),
        examples=["bearer"],
    )
    timeout_seconds: float = Field(
        10, strict=True, gt=0, le=300, description="Of a request as a whole.", examples=[20], json_schema_extra=_SECONDS
    )
    proxy: str = Field(
        "",
        repr=False,
        description="The only proxy that is used: the environment's never are.",
        examples=["http://proxy.example.com:3128"],
    )
    ca_file: str = Field(
        "",
        description="Certificates that are trusted besides the system's, as PEM.",
        examples=["/etc/ssl/proxy-ca.pem"],
    )


Framing = Literal["confluent", "apicurio", "single_object", "raw", "auto"]


class PixelSection(Section):
    """A pixel. Its id and its API key each come from exactly one place; a key that is written into the file is refused."""

    name: PixelName = Field(description="Name by which sources, metrics and messages call it.", examples=["main"])
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
        description="Nothing is sent to it; its events wait uncommitted. Read at the start.",
        examples=[True],
    )
    profile: Literal["lead_gen", "restricted"] = Field(
        "lead_gen",
        description="`restricted` sends only the fields and identifiers that the restricted flow allows.",
        examples=["restricted"],
    )


class Where(Section):
    """A condition on a record: ``field`` equals a value, is one of some, or is there at all. Exactly one of the three."""

    field: Path = Field(description="Path of the value that is looked at.", examples=["env"])
    equals: Value | None = Field(None, description="The value it must be.", examples=["prod"])
    one_of: tuple[Value, ...] | None = Field(
        None, alias="in", description="The values of which it must be one.", examples=[["ios", "web"]]
    )
    present: Annotated[bool, Field(strict=True)] | None = Field(
        None, description="Whether it must be there (not null) or must be absent.", examples=[True]
    )

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(given is not None for given in (self.equals, self.one_of, self.present)) != 1:
            raise ValueError("must have exactly one of equals, in and present")
        return self


class ValueRule(Section):
    """A lead's value by what another field says."""

    field: Path = Field(description="Path of the value that is looked up.", examples=["quality"])
    table: dict[str, Amount] = Field(
        description="A lead's value for each value of the field.", examples=[{"high": 120, "low": 10}]
    )
    default: Amount | None = Field(
        None,
        description="The value for what is not in the table; without it `data.value` is taken.",
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
        description="Full name of the one record type that this source is for. Several sources may share a topic if each "
        "names its record; another type is skipped as `unrouted`.",
        examples=["com.acme.Lead"],
    )
    event: Event | None = Field(
        None, description="What each record is; or `event_field` with `events`.", examples=["generate_lead"]
    )
    event_field: Path | None = Field(
        None, description="Path of the value by which `events` says what a record is.", examples=["type"]
    )
    events: dict[str, Literal["generate_lead", "page_view", "skip"]] = Field(
        {},
        description="The event for each value of `event_field`: `generate_lead`, `page_view` or `skip`; `*` is any other.",
        examples=[{"Lead Submitted": "generate_lead", "*": "skip"}],
    )
    pixel: str | None = Field(
        None, description="Name of the pixel that all events go to; or `pixel_field`.", examples=["main"]
    )
    pixel_field: Path | None = Field(None, description="Path of the pixel's name in each record.", examples=["brand"])
    paused: Annotated[bool, Field(strict=True)] = Field(
        False,
        description="Nothing of it is sent; its events wait uncommitted. Read at the start.",
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
        description='What an 8-byte id before the payload is; `content` if left out. Only with `framing = "apicurio"`.',
        examples=["global"],
    )
    schema_file: Text | None = Field(
        None,
        description="The .avsc file that a `raw` source is written with; or a folder of .avsc files, in place of a registry.",
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
        description="In place of `batch.window_ms` for this source.",
        examples=[200],
        json_schema_extra=_MS,
    )
    max_ratio: float | None = Field(
        None,
        strict=True,
        ge=0,
        le=1,
        description="In place of `dead_letter.max_ratio` for this source.",
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
        description="`strip` sends the event without what tells who the person is.",
        examples=["strip"],
    )
    values: ValueRule | None = Field(
        None,
        description="A lead's value by another field.",
        examples=[{"field": "quality", "table": {"high": 120, "low": 10}, "default": 20}],
    )
    default_currency: Text | None = Field(
        None, description="Currency of leads whose record has none: three letters of ISO 4217.", examples=["USD"]
    )
    phone_region: Annotated[FieldRule | None, BeforeValidator(region_rule), WithJsonSchema(REGION_SCHEMA)] = Field(
        None,
        description="Country of phone numbers without a country code: two letters, or the path of a value that holds them.",
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
    """When a batch goes: at its number of events, its bytes or its window's end, whichever is first."""

    max_events: int = Field(
        MAX_EVENTS,
        strict=True,
        ge=1,
        le=MAX_EVENTS,
        description="Events of a request.",
        examples=[50],
        json_schema_extra=_EVENTS,
    )
    max_bytes: int = Field(
        1_048_576,
        strict=True,
        ge=4096,
        le=64 * 1_048_576,
        description="Size of a request's body.",
        examples=[262_144],
        json_schema_extra=_BYTES,
    )
    window_ms: int = Field(
        1000,
        strict=True,
        ge=1,
        le=600_000,
        description="How long a batch waits for more, from its first event.",
        examples=[200],
        json_schema_extra=_MS,
    )


class DeliverySection(Section):
    """Requests, retries and what is done with events at the edges."""

    max_in_flight: int = Field(
        16,
        strict=True,
        ge=1,
        le=1000,
        description="Requests at once, all pixels together, of each member.",
        examples=[64],
        json_schema_extra=_REQUESTS,
    )
    max_requests_per_second: int = Field(
        0,
        strict=True,
        ge=0,
        le=10_000,
        description="Of each member, all pixels together; 0 is no limit.",
        examples=[50],
        json_schema_extra=_REQUESTS_A_SECOND,
    )
    max_refusals: int = Field(
        0,
        strict=True,
        ge=0,
        le=10_000,
        description="Answers of 400, 413 and 422 for one key within five minutes, of each member, at which its pixels pause; "
        "0 is no limit.",
        examples=[80],
        json_schema_extra=_REFUSALS,
    )
    private_ip: Literal["deliver", "refuse"] = Field(
        "deliver",
        description="What is done with an event whose `client_ip_address` is a private one: it is delivered and counted, "
        "or dead-lettered as `invalid_field`.",
        examples=["refuse"],
    )
    hash: Literal["local", "passthrough"] = Field(
        "local",
        description="`local` sends SHA-256 of emails and phones; `passthrough` sends them as they are, and the API hashes.",
        examples=["passthrough"],
    )
    max_age_seconds: int = Field(
        0,
        strict=True,
        ge=0,
        description="Older events are dead-lettered as `too_old`; 0 is no limit.",
        examples=[604_800],
        json_schema_extra=_SECONDS,
    )
    max_future_seconds: int = Field(
        600,
        strict=True,
        ge=0,
        description="Events that are further ahead are dead-lettered as `in_future`; ahead of the endpoint's clock, and "
        "before its first answer of this machine's clock and the record's timestamp.",
        examples=[60],
        json_schema_extra=_SECONDS,
    )
    backoff_initial_ms: int = Field(
        500,
        strict=True,
        ge=1,
        le=600_000,
        description="First wait before a request is sent again.",
        examples=[1000],
        json_schema_extra=_MS,
    )
    backoff_max_ms: int = Field(
        60_000,
        strict=True,
        ge=1,
        le=3_600_000,
        description="Longest wait before a request is sent again.",
        examples=[120_000],
        json_schema_extra=_MS,
    )
    max_split_requests: int = Field(
        64,
        strict=True,
        ge=1,
        le=10_000,
        description="Requests that finding the refused events of one batch may take; past it the pixel is held.",
        examples=[32],
        json_schema_extra=_REQUESTS,
    )
    probe_seconds: float = Field(
        30,
        strict=True,
        gt=0,
        le=3600,
        description="How often a held pixel is tried.",
        examples=[60],
        json_schema_extra=_SECONDS,
    )
    max_buffered_bytes: int = Field(
        67_108_864,
        strict=True,
        ge=1_048_576,
        le=1 << 44,
        description="What is read and has no outcome yet, prefetch included, of each member; at least twice "
        "`batch.max_bytes`.",
        examples=[134_217_728],
        json_schema_extra=_BYTES,
    )


class DeadLetterSection(Section):
    """What can't be delivered."""

    topic: Topic = Field(
        "stream-capi.dead-letters", description="Topic that takes dead letters.", examples=["leads.dead-letters"]
    )
    max_ratio: float = Field(
        0.5,
        strict=True,
        ge=0,
        le=1,
        description="Above this share of at least 100 recent events, what would be dead-lettered is held instead.",
        examples=[0.2],
        json_schema_extra=_SHARE,
    )


class SuppressSection(Section):
    """The people who asked to be forgotten: their events are skipped, in replay and redrive too."""

    file: Text | None = Field(
        None,
        description="A line each: the SHA-256 of a normalised email or phone, or a `user_id`. Read again when it changes.",
        examples=["forgotten.txt"],
    )


class ShutdownSection(Section):
    """The end of the process."""

    drain_seconds: float = Field(
        25,
        strict=True,
        gt=0,
        le=3600,
        description="Bound of a stop: what is in flight then is cut off, and sent again by the next owner.",
        examples=[60],
        json_schema_extra=_SECONDS,
    )


class AdminSection(Section):
    """The server of metrics, health and status. ``hosts`` does not bind: it says whom the status answers."""

    host: Text = Field(
        "127.0.0.1",
        description="Address to listen at; `::` is all of them, of IPv4 too. The image's default is `::`.",
        examples=["::"],
    )
    port: int = Field(
        9464,
        strict=True,
        ge=0,
        le=65_535,
        description="Port to listen at; 0 takes any.",
        examples=[8080],
    )
    hosts: tuple[HostName, ...] = Field(
        (),
        description="Names by which `/` and `/status` may be asked for, besides IP addresses and localhost.",
        examples=[["capi.example.com"]],
    )


class LogSection(Section):
    """The log, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is written.", examples=["warning"]
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
        """Whether all events of a source wait: the source is paused, or every pixel that it may send to."""
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
