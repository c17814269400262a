"""Every property of Kafka's and the registry's clients that is refused: those of all clients that ``run`` makes, at once."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.schema_registry import AsyncSchemaRegistryClient

from stream_capi.avro.refused_registry_properties import refusals as refused_by_registry
from stream_capi.config import Settings
from stream_capi.kafka.client_errors import refused
from stream_capi.kafka.properties import admin_properties, consumer_properties, producer_properties


def property_faults(settings: Settings) -> list[str]:
    """A line for each property that is refused."""
    return [*kafka_faults(settings), *registry_faults(settings)]


def kafka_faults(settings: Settings) -> list[str]:
    """A line for each of ``kafka.properties`` that one of the three clients refuses."""
    kafka = settings.kafka
    faults = [
        *refused(Consumer, consumer_properties(kafka, settings.delivery.max_buffered_bytes)),
        *refused(Producer, producer_properties(kafka)),
        *refused(AdminClient, admin_properties(kafka)),
    ]
    return list(dict.fromkeys(faults))


def registry_faults(settings: Settings) -> list[str]:
    """A line for each of ``schema_registry.properties`` that the registry's client refuses."""
    registry = settings.schema_registry
    return refused_by_registry(AsyncSchemaRegistryClient, registry.url, registry.properties) if registry else []
