"""Tests of the secured broker: which passwords, tokens and certificates it accepts, and what their users may do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from confluent_kafka import Producer

from tests.stack import SecuredBroker
from tests.stack.names import Names
from tests.stack.records import acknowledged
from tests.stack.secured import REAUTHENTICATE_SECONDS
from tests.stack.tokens import SECRET_OF_CLIENTS
from tests.stack.users import CERTIFIED, grant, on_topic

pytestmark = [pytest.mark.real, pytest.mark.repeat]

Way = Callable[[SecuredBroker, str], tuple[str, str, Mapping[str, Any]]]  # name -> address, user, properties

WAYS: Mapping[str, Way] = {
    "scram-256": lambda broker, name: (broker.sasl, name, broker.scram(name, "canary-1", "SCRAM-SHA-256")),
    "scram-512": lambda broker, name: (broker.sasl, name, broker.scram(name, "canary-1")),
    "plain": lambda broker, _: (broker.sasl, "accounting", broker.plain_user()),
    "oauthbearer": lambda broker, name: (broker.sasl, name, broker.oidc(name)),
    "mtls": lambda broker, _: (broker.mtls, CERTIFIED, broker.certified()),
}


def _writes(at: str, topic: str, properties: Mapping[str, Any], seconds: float = 3) -> bool:
    return acknowledged(at, topic, seconds, **{name.replace(".", "_"): value for name, value in properties.items()})


@pytest.mark.parametrize("way", WAYS)
def test_who_is_let_in_may_do_what_was_granted(secured_broker: SecuredBroker, names: Names, way: str) -> None:
    topic = secured_broker.create_topic(names.topic())
    at, user, properties = WAYS[way](secured_broker, names.prefix)
    assert not _writes(at, topic, properties)
    grant(secured_broker.admin, user, on_topic("WRITE", topic))
    assert _writes(at, topic, properties, 15)


def test_a_wrong_password_secret_authority_or_no_certificate_is_refused(
    secured_broker: SecuredBroker, names: Names
) -> None:
    topic = secured_broker.create_topic(names.topic())
    for user in (names.prefix, "accounting", CERTIFIED):
        grant(secured_broker.admin, user, on_topic("WRITE", topic))
    right = secured_broker.scram(names.prefix, "canary-1")
    assert _writes(secured_broker.sasl, topic, right, 15)
    mtls = secured_broker.certified()
    for at, wrong in (
        (secured_broker.sasl, {**right, "sasl.password": "another"}),
        (secured_broker.sasl, {**right, "ssl.ca.location": str(secured_broker.other_ca)}),
        (secured_broker.sasl, secured_broker.plain_user("another")),
        (secured_broker.sasl, secured_broker.oidc(names.prefix, "another")),
        (secured_broker.mtls, {name: mtls[name] for name in ("security.protocol", "ssl.ca.location")}),
    ):
        assert not _writes(at, topic, wrong, 2)


def test_a_connection_proves_itself_again(secured_broker: SecuredBroker, names: Names) -> None:
    topic = secured_broker.create_topic(names.topic())
    grant(secured_broker.admin, names.prefix, on_topic("WRITE", topic))
    before = secured_broker.tokens.asked
    with_token = {**secured_broker.oidc(names.prefix, SECRET_OF_CLIENTS), "log_level": 0}
    producer = Producer({"bootstrap.servers": secured_broker.sasl, **with_token})
    ends = time.monotonic() + 3 * REAUTHENTICATE_SECONDS
    failed: list[object] = []
    while time.monotonic() < ends:
        producer.produce(topic, b"one", on_delivery=lambda error, _: failed.append(error) if error else None)
        assert producer.flush(5) == 0
        time.sleep(0.2)
    assert not failed
    assert secured_broker.tokens.asked > before
