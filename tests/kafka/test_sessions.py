"""How a group's session time-out is found, also if the user may not query the brokers' configuration."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.sessions import session_of, session_of_stopped


class Denied(KafkaAdmin):
    """A cluster that describes only the configurations given here, by the kind of resource, and denies all others."""

    def __init__(self, **configurations: dict[str, str]) -> None:
        super().__init__(KafkaSection(bootstrap_servers="127.0.0.1:1"), seconds=0.1)
        self.configurations = configurations

    def a_broker(self) -> str:
        return "7"

    def configuration(self, kind: Any, name: str) -> dict[str, str]:
        assert name == {"BROKER": "7", "GROUP": "leads"}[kind.name]
        return self.configurations.get(kind.name, {})


CONSUMER = KafkaSection(group_id="leads", properties={"group.protocol": "consumer"})


def test_a_session_of_the_brokers_that_may_not_be_asked_for_is_said_to_be_its_default() -> None:
    session = session_of(Denied(), CONSUMER)
    assert session.what == (
        "session time-out set by the broker (group.protocol=consumer), 45 s by Kafka's default; this user may not read it"
    )
    assert (session.seconds, session.fault) == (None, "")
    assert session_of_stopped(Denied(), CONSUMER, "consumer") is None


def test_of_group_and_broker_the_one_that_may_be_asked_for_is_told() -> None:
    broker, group = {"group.consumer.session.timeout.ms": "50000"}, {"consumer.session.timeout.ms": "46000"}
    assert session_of(Denied(BROKER=broker), CONSUMER).seconds == 50
    assert session_of(Denied(BROKER=broker, GROUP=group), CONSUMER).seconds == 46
    # An older broker has no configuration of groups.
    assert session_of(Denied(BROKER=broker, GROUP={}), CONSUMER).seconds == 50


def test_without_the_brokers_bounds_a_session_of_the_members_own_passes() -> None:
    session = session_of(Denied(), KafkaSection(group_id="leads"))
    assert session == (9, "session time-out 9 s, heartbeat 1 s", "")


@pytest.mark.parametrize(("least", "most", "good"), [(9000, 9000, True), (9001, 60_000, False), (1000, 8999, False)])
def test_a_session_out_of_the_brokers_bounds_is_a_fault(least: int, most: int, good: bool) -> None:
    bounds = {"group.min.session.timeout.ms": str(least), "group.max.session.timeout.ms": str(most)}
    assert bool(session_of(Denied(BROKER=bounds), KafkaSection(group_id="leads")).fault) is not good


def test_a_group_is_waited_for_by_the_protocol_it_has_not_the_one_that_is_set() -> None:
    admin = Denied(GROUP={"consumer.session.timeout.ms": "46000"})
    static = KafkaSection(group_id="leads", properties={"group.instance.id": "pod-0"})
    assert session_of_stopped(admin, static, "classic") == 45
    assert session_of_stopped(admin, static, "consumer") == 46
    assert session_of_stopped(admin, CONSUMER, "classic") is None


def test_an_unreachable_broker_is_no_error_here() -> None:
    admin = KafkaAdmin(KafkaSection(bootstrap_servers="127.0.0.1:1"), seconds=0.3)
    assert admin.a_broker() == ""
    assert session_of(admin, CONSUMER).seconds is None
