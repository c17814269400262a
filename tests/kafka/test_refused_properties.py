"""Properties that the client refuses are all reported, each with its key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from stream_capi.config.consistency import OWNED_PROPERTIES
from stream_capi.config.settings import KafkaSection
from stream_capi.errors import ConfigurationError
from stream_capi.kafka.client_errors import made
from stream_capi.kafka.properties import admin_properties, consumer_properties, producer_properties
from stream_capi.kafka.property_names import CONSUMER_ONLY, PRODUCER_ONLY, SHARED

SECRET = "canary-password"
SCRAM = {"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512"}


def faults(properties: Mapping[str, Any], kind: Any = Consumer) -> list[str]:
    kafka = KafkaSection(bootstrap_servers="127.0.0.1:1", properties=dict(properties))
    of = {Consumer: lambda: consumer_properties(kafka, 1 << 26), Producer: lambda: producer_properties(kafka)}
    try:
        client = made(kind, of.get(kind, lambda: admin_properties(kafka))())
    except ConfigurationError as error:
        return [fault.removeprefix("kafka.properties") for fault in error.faults]
    if kind is Consumer:
        client.close()
    return []


@pytest.mark.parametrize(
    ("properties", "wanted"),
    [
        ({"sesion.timeout.ms": 1}, ['."sesion.timeout.ms": unknown property; did you mean "session.timeout.ms"?']),
        ({"session.timeout.ms": 9_999_999}, ['."session.timeout.ms": must be between 1 and 3600000']),
        (
            {"session.timeout.ms": 400_000},
            ['."session.timeout.ms": `max.poll.interval.ms`must be >= `session.timeout.ms`'],
        ),
        ({"max.poll.interval.ms": 5000}, None),
        ({"retry.backoff.ms": 10_000_000}, ['."retry.backoff.ms": must be between 1 and 300000']),
        ({"compression.typ": "lz4"}, ['."compression.typ": unknown property; did you mean "compression.type"?']),
        ({"debug": "nonsense"}, [".debug: has a value that the client doesn't know"]),
        ({"fetch.max.bytes": 1}, None),
        ({"opaque": "x"}, [".opaque: can be set by a program, not by a file"]),
        (
            {"sasl.jaas.config": f"password={SECRET};"},
            ['."sasl.jaas.config": is a property of Java clients: set sasl.mechanism'],
        ),
        (SCRAM, ['."sasl.username": the login is incomplete']),
        (SCRAM | {"sasl.usernam": "u", "sasl.password": SECRET}, ['."sasl.usernam": unknown property; did you mean']),
        ({"security.protocol": "SASL_SSL"}, ['."sasl.mechanism": GSSAPI (Kerberos)']),
        (SCRAM | {"sasl.mechanism": "GSSAPI"}, ['."sasl.mechanism": GSSAPI (Kerberos)']),
        (SCRAM | {"sasl.mechanism": "FOO"}, ['."sasl.mechanism": the client has no such mechanism']),
        (
            {"security.protocol": "SSL", "ssl.ca.location": "/nonsuch"},
            ['."ssl.ca.location": names a file that is not there'],
        ),
        (
            {"security.protocol": "SSL", "ssl.certificate.location": __file__},
            ['."ssl.certificate.location": names a file that doesn\'t hold what it should'],
        ),
        (
            SCRAM | {"ssl.ca.location": "/nonsuch", "session.timeout.ms": 400_000, "client.idd": "x", "debug": "x"},
            [
                '."client.idd": unknown',
                ".debug: has",
                '."sasl.username": ',
                '."ssl.ca.location": ',
                '."session.timeout',
            ],
        ),
        ({"partition.assignment.strategy": "foo"}, ['."partition.assignment.strategy": Unsupported']),
    ],
)
def test_each_is_told_with_its_key_and_no_consequence_of_it(
    properties: dict[str, Any], wanted: list[str] | None
) -> None:
    found = faults(properties)
    starts = [f'."{name}": ' for name in properties] if wanted is None else wanted
    assert len(found) == len(starts), found
    assert all(any(fault.startswith(start) for fault in found) for start in starts), found
    assert SECRET not in str(found)
    assert "recompile" not in str(found)


def test_what_is_good_is_not_refused() -> None:
    for kind in (Consumer, Producer, AdminClient):
        assert faults({"client.id": "theirs", "sasl.username": "u", "linger.ms": 3}, kind) == []


_WRONG: tuple[str | int, ...] = ("", "canary-value", -1, 2**62)


@pytest.mark.repeat(of="test_each_is_told_with_its_key_and_no_consequence_of_it")
@pytest.mark.slow
@pytest.mark.parametrize("kind", [Consumer, Producer, AdminClient], ids=lambda kind: kind.__name__)
def test_no_property_ends_in_anything_but_a_line_that_names_it(kind: Any) -> None:
    for name in sorted((CONSUMER_ONLY | PRODUCER_ONLY | SHARED) - OWNED_PROPERTIES.keys()):
        for value in _WRONG:
            try:
                found = faults({"security.protocol": "SSL", name: value}, kind)
            except ValueError:
                assert name in ("message.max.bytes", "session.timeout.ms", "heartbeat.interval.ms")  # reported before
                continue
            assert not found or any(name in fault for fault in found), (name, value, found)
            if any(word in name for word in ("password", "secret", "pem", "key", "passphrase", "config")):
                assert "canary" not in str(found), (name, value, found)
