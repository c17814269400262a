"""The settings (contract, section 3): one TOML file, overridden by the environment; all faults are reported at once."""

from stream_capi.config.load import load
from stream_capi.config.secrets import KeySource, PasswordFile, Secret, open_to_others, password_file, resolve_pixel_id
from stream_capi.config.settings import (
    BatchSection,
    DeadLetterSection,
    DeliverySection,
    EndpointSection,
    KafkaSection,
    PixelSection,
    SchemaRegistrySection,
    Settings,
    ShutdownSection,
    SourceSection,
    ValueRule,
    Where,
)
from stream_capi.config.values import FieldRule

__all__ = [
    "BatchSection",
    "DeadLetterSection",
    "DeliverySection",
    "EndpointSection",
    "FieldRule",
    "KafkaSection",
    "KeySource",
    "PasswordFile",
    "PixelSection",
    "SchemaRegistrySection",
    "Secret",
    "Settings",
    "ShutdownSection",
    "SourceSection",
    "ValueRule",
    "Where",
    "load",
    "open_to_others",
    "password_file",
    "resolve_pixel_id",
]
