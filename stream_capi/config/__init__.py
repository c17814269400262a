"""The settings (contract, section 3): one TOML file, the environment over it, every fault at once."""

from stream_capi.config.load import load
from stream_capi.config.secrets import KeySource, Secret, open_to_others, resolve_pixel_id
from stream_capi.config.settings import (
    Batch,
    DeadLetter,
    Delivery,
    Endpoint,
    Kafka,
    Pixel,
    SchemaRegistry,
    Settings,
    Shutdown,
    Source,
    ValueRule,
    Where,
)
from stream_capi.config.values import FieldRule

__all__ = [
    "Batch",
    "DeadLetter",
    "Delivery",
    "Endpoint",
    "FieldRule",
    "Kafka",
    "KeySource",
    "Pixel",
    "SchemaRegistry",
    "Secret",
    "Settings",
    "Shutdown",
    "Source",
    "ValueRule",
    "Where",
    "load",
    "open_to_others",
    "resolve_pixel_id",
]
