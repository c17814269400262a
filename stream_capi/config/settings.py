"""The settings' shape and defaults. Attribute names are the keys of the file.

What a single value must be is said by its type here; what several values must be together is in ``rules``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

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

Text = Annotated[str, Field(min_length=1)]
Event = Literal["generate_lead", "page_view"]
Property = str | int | float | bool


class Section(BaseModel):
    """A table of the file: no key beyond the known ones, and no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Kafka(Section):
    """``[kafka]``."""

    bootstrap_servers: Text = "localhost:9092"
    group_id: Text = "stream-capi"
    start: Literal["earliest", "latest", "error"] = "earliest"
    commit_interval_ms: int = Field(500, ge=50, le=60_000)
    properties: dict[str, Property] = {}


class SchemaRegistry(Section):
    """``[schema_registry]``."""

    url: Text = "http://localhost:8081"
    properties: dict[str, Property] = {}


class Endpoint(Section):
    """``[endpoint]``. ``proxy`` is used only when it is written here; the environment's never is."""

    url: Text = "https://b.applovin.com/v1/event"
    authorization: Literal["bearer", "raw"] = "bearer"
    timeout_seconds: float = Field(10, gt=0, le=300)
    proxy: str = ""
    ca_file: str = ""


class Pixel(Section):
    """One of ``[[pixels]]``."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
    pixel_id: str | None = None
    pixel_id_env: str | None = None
    pixel_id_file: str | None = None
    api_key_env: str | None = None
    api_key_file: str | None = None
    profile: Literal["lead_gen", "restricted"] = "lead_gen"


class FieldRule(Section):
    """Where a field comes from: the first of ``paths`` that is not null, or a constant."""

    paths: tuple[str, ...] = ()
    const: Any = None
    has_const: bool = False
    unit: Literal["s", "ms", "us"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        """The four ways to write it: "path", ["path", …], {path = …, unit = …} and {const = …}."""
        if isinstance(given, str):
            return {"paths": (given,)}
        if isinstance(given, list):
            return {"paths": given}
        if isinstance(given, dict) and set(given) == {"const"}:
            return {"const": given["const"], "has_const": True}
        if isinstance(given, dict) and "path" in given and set(given) <= {"path", "unit"}:
            path = given["path"]
            return {"paths": path if isinstance(path, list) else (path,), "unit": given.get("unit")}
        if isinstance(given, dict) and set(given) <= {"paths", "const", "has_const", "unit"} and given:
            return given
        raise ValueError('write "path", ["first", "second"], {path = "…", unit = "s"} or {const = …}')

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if not self.has_const and not (self.paths and all(self.paths)):
            raise ValueError("no path is given")
        return self


class Where(Section):
    """A condition on a record: ``field`` equals a value, is one of some, or is there at all."""

    field: Text
    equals: str | int | float | bool | None = None
    one_of: tuple[str | int | float | bool, ...] | None = Field(None, alias="in")
    present: bool | None = None

    @model_validator(mode="after")
    def _one_condition(self) -> Self:
        if sum(given is not None for given in (self.equals, self.one_of, self.present)) != 1:
            raise ValueError('write exactly one of "equals", "in" and "present"')
        return self


class ValueRule(Section):
    """``[sources.values]``: a lead's value by what another field says."""

    field: Text
    table: dict[str, Annotated[float, Field(ge=0)]] = Field(min_length=1)
    default: float | None = Field(None, ge=0)


class Source(Section):
    """One of ``[[sources]]``."""

    topic: Text
    event: Event | None = None
    event_field: str | None = None
    events: dict[str, Literal["generate_lead", "page_view", "skip"]] = {}
    pixel: str | None = None
    pixel_field: str | None = None
    framing: Literal["confluent", "single_object", "raw", "auto"] = "confluent"
    schema_file: str | None = None
    window_ms: int | None = Field(None, ge=0, le=600_000)
    where: tuple[Where, ...] = ()
    consent_field: str | None = None
    consent_purposes: tuple[str, ...] = ()
    without_consent: Literal["skip", "strip"] = "skip"
    values: ValueRule | None = None
    default_currency: str | None = None
    fields: dict[str, FieldRule] = {}

    @field_validator("where", mode="before")
    @classmethod
    def _one_or_many(cls, given: Any) -> Any:
        return [given] if isinstance(given, dict) else given


class Batch(Section):
    """``[batch]``."""

    max_events: int = Field(100, ge=1, le=100)
    max_bytes: int = Field(1_048_576, ge=4096, le=64 * 1_048_576)
    window_ms: int = Field(1000, ge=0, le=600_000)


class Delivery(Section):
    """``[delivery]``. ``max_buffered_bytes`` bounds what is read and not yet resolved, prefetch included."""

    max_in_flight: int = Field(16, ge=1, le=1000)
    private_ip: Literal["deliver", "refuse"] = "deliver"
    hash: Literal["local", "passthrough"] = "local"
    max_age_seconds: int = Field(0, ge=0)
    max_future_seconds: int = Field(600, ge=0)
    backoff_initial_ms: int = Field(500, ge=1, le=600_000)
    backoff_max_ms: int = Field(60_000, ge=1, le=3_600_000)
    max_split_requests: int = Field(64, ge=1, le=10_000)
    probe_seconds: float = Field(30, gt=0, le=3600)
    max_buffered_bytes: int = Field(67_108_864, ge=1_048_576)


class DeadLetter(Section):
    """``[dead_letter]``."""

    topic: Text = "stream-capi.dead-letters"
    max_ratio: float = Field(0.5, ge=0, le=1)


class Shutdown(Section):
    """``[shutdown]``."""

    drain_seconds: float = Field(25, gt=0, le=3600)


class Admin(Section):
    """``[admin]``."""

    host: Text = "127.0.0.1"
    port: int = Field(9464, ge=0, le=65_535)


class Log(Section):
    """``[log]``."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "console", "json"] = "auto"


class Settings(Section):
    """The whole file."""

    kafka: Kafka = Kafka()
    schema_registry: SchemaRegistry | None = None
    endpoint: Endpoint = Endpoint()
    pixels: tuple[Pixel, ...] = Field(min_length=1)
    sources: tuple[Source, ...] = Field(min_length=1)
    batch: Batch = Batch()
    delivery: Delivery = Delivery()
    dead_letter: DeadLetter = DeadLetter()
    shutdown: Shutdown = Shutdown()
    admin: Admin = Admin()
    log: Log = Log()

    def pixel(self, name: str) -> Pixel:
        """The pixel of a name that the rules have checked."""
        return next(pixel for pixel in self.pixels if pixel.name == name)
