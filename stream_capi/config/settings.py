"""The settings' shape and defaults. Attribute names are the keys of the file.

What a single value must be is said by its type here; what several values must be together is in ``rules``.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from stream_capi.applovin import MAX_EVENTS, URL
from stream_capi.config.values import (
    Amount,
    ClientValue,
    Event,
    FieldRule,
    HostName,
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


def _entries(given: Any) -> Any:
    """One table stands for a list of one."""
    return [given] if isinstance(given, dict) else given


class KafkaSection(Section):
    """``[kafka]``. ``properties`` may hold a password: it is in no repr, and no message shows its values."""

    bootstrap_servers: Text = "localhost:9092"
    group_id: Text = "stream-capi"
    start: Literal["earliest", "latest", "error"] = "earliest"
    commit_interval_ms: int = Field(500, strict=True, ge=50, le=60_000)
    properties: dict[str, ClientValue] = Field({}, repr=False)


class SchemaRegistrySection(Section):
    """``[schema_registry]``."""

    url: Text = "http://localhost:8081"
    properties: dict[str, Value] = Field({}, repr=False)


class EndpointSection(Section):
    """``[endpoint]``. ``proxy`` is used only when it is written here; the environment's never is."""

    url: Text = URL
    authorization: Literal["bearer", "raw"] = "bearer"
    timeout_seconds: float = Field(10, strict=True, gt=0, le=300)
    proxy: str = Field("", repr=False)
    ca_file: str = ""


Framing = Literal["confluent", "apicurio", "single_object", "raw", "auto"]


class PixelSection(Section):
    """One of ``[[pixels]]``. Its API key is no setting; ``KeySource`` reads it."""

    name: PixelName
    pixel_id: Text | None = None
    pixel_id_env: Text | None = None
    pixel_id_file: Text | None = None
    api_key_env: Text | None = None
    api_key_file: Text | None = None
    profile: Literal["lead_gen", "restricted"] = "lead_gen"


class Where(Section):
    """A condition on a record: ``field`` equals a value, is one of some, or is there at all."""

    field: Path
    equals: Value | None = None
    one_of: tuple[Value, ...] | None = Field(None, alias="in")
    present: Annotated[bool, Field(strict=True)] | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(given is not None for given in (self.equals, self.one_of, self.present)) != 1:
            raise ValueError("must have exactly one of equals, in and present")
        return self


class ValueRule(Section):
    """``[sources.values]``: a lead's value by what another field says."""

    field: Path
    table: dict[str, Amount]
    default: Amount | None = None


class SourceSection(Section):
    """One of ``[[sources]]``. ``schema_file`` is a file or a folder; the latter may be written as ``schema_folder``.

    ``max_ratio`` overrides ``dead_letter.max_ratio``. ``record`` is the full name of the one record type that it is for.
    """

    topic: Topic
    record: Text | None = None
    event: Event | None = None
    event_field: Path | None = None
    events: dict[str, Literal["generate_lead", "page_view", "skip"]] = Field({})
    pixel: str | None = None
    pixel_field: Path | None = None
    framing: Framing = "confluent"
    apicurio_id: Literal["content", "global"] | None = None
    schema_file: Text | None = None
    schema_folder: Text | None = None
    window_ms: int | None = Field(None, strict=True, ge=1, le=600_000)
    max_ratio: float | None = Field(None, strict=True, ge=0, le=1)
    where: Annotated[tuple[Where, ...], BeforeValidator(_entries)] = ()
    consent_field: Path | None = None
    consent_purposes: tuple[Text, ...] = ()
    without_consent: Literal["skip", "strip"] = "skip"
    values: ValueRule | None = None
    default_currency: Text | None = None
    phone_region: Annotated[FieldRule | None, BeforeValidator(region_rule)] = None
    fields: dict[str, Annotated[FieldRule, BeforeValidator(field_rule)]] = Field({})

    @model_validator(mode="before")
    @classmethod
    def _one_place(cls, given: Any) -> Any:
        """Readers look in ``schema_file`` alone."""
        if isinstance(given, dict) and isinstance(given.get("schema_folder"), str):
            return {"schema_file": given["schema_folder"]} | given
        return given

    def is_for(self, record: str) -> bool:
        """Whether records of this type are its."""
        return self.record in (None, record)

    @property
    def wire_format(self) -> str:
        """The framing, with the kind of id where that is not said by the bytes."""
        return f"apicurio {self.apicurio_id or 'content'}" if self.framing == "apicurio" else self.framing

    @property
    def has_folder(self) -> bool:
        """Whether ``schema_file`` is a folder of schemas."""
        return self.schema_file is not None and os.path.isdir(self.schema_file)


class BatchSection(Section):
    """``[batch]``."""

    max_events: int = Field(MAX_EVENTS, strict=True, ge=1, le=MAX_EVENTS)
    max_bytes: int = Field(1_048_576, strict=True, ge=4096, le=64 * 1_048_576)
    window_ms: int = Field(1000, strict=True, ge=1, le=600_000)


class DeliverySection(Section):
    """``[delivery]``. ``max_buffered_bytes`` bounds what is read and not yet resolved, prefetch included."""

    max_in_flight: int = Field(16, strict=True, ge=1, le=1000)
    private_ip: Literal["deliver", "refuse"] = "deliver"
    hash: Literal["local", "passthrough"] = "local"
    max_age_seconds: int = Field(0, strict=True, ge=0)
    max_future_seconds: int = Field(600, strict=True, ge=0)
    backoff_initial_ms: int = Field(500, strict=True, ge=1, le=600_000)
    backoff_max_ms: int = Field(60_000, strict=True, ge=1, le=3_600_000)
    max_split_requests: int = Field(64, strict=True, ge=1, le=10_000)
    probe_seconds: float = Field(30, strict=True, gt=0, le=3600)
    max_buffered_bytes: int = Field(67_108_864, strict=True, ge=1_048_576, le=1 << 44)


class DeadLetterSection(Section):
    """``[dead_letter]``."""

    topic: Topic = "stream-capi.dead-letters"
    max_ratio: float = Field(0.5, strict=True, ge=0, le=1)


class SuppressSection(Section):
    """``[suppress]``: the people who asked to be forgotten."""

    file: Text | None = None


class ShutdownSection(Section):
    """``[shutdown]``."""

    drain_seconds: float = Field(25, strict=True, gt=0, le=3600)


class AdminSection(Section):
    """``[admin]``. ``hosts`` are the names by which the status may be asked for, besides addresses and localhost."""

    host: Text = "127.0.0.1"
    port: int = Field(9464, strict=True, ge=0, le=65_535)
    hosts: tuple[HostName, ...] = ()


class LogSection(Section):
    """``[log]``."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(Section):
    """The whole file."""

    kafka: KafkaSection = KafkaSection()
    schema_registry: SchemaRegistrySection | None = None
    endpoint: EndpointSection = EndpointSection()
    pixels: Annotated[tuple[PixelSection, ...], BeforeValidator(_entries)] = ()
    sources: Annotated[tuple[SourceSection, ...], BeforeValidator(_entries)] = ()
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

    def pixel(self, name: str) -> PixelSection:
        """The pixel of a name that the rules have checked."""
        return next(pixel for pixel in self.pixels if pixel.name == name)
