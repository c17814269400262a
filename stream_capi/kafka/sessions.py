"""The session time-out of a group: from the settings, or from the broker.

Blocks, as KafkaAdmin does.
"""

from __future__ import annotations

from typing import NamedTuple

from confluent_kafka.admin import ResourceType  # type: ignore[attr-defined]  # its own docs say so

from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.properties import HEARTBEAT, SESSION, session_properties, uses_new_protocol

_BROKERS_DEFAULT = "45 s by Kafka's default"


class Session(NamedTuple):
    """``seconds`` is None where the broker decides and doesn't let this user know. ``fault`` is empty where it is good."""

    seconds: float | None
    what: str
    fault: str = ""


def session_of(admin: KafkaAdmin, kafka: KafkaSection) -> Session:
    """The session time-out of a member with these settings."""
    if uses_new_protocol(kafka.properties):
        return _brokers(admin, kafka.group_id)
    session, heartbeat = (int(session_properties(kafka.properties)[name]) / 1000 for name in (SESSION, HEARTBEAT))
    static = " (static member)" if "group.instance.id" in kafka.properties else ""
    what = f"session time-out {session:g} s, heartbeat {heartbeat:g} s{static}"
    found = admin.configuration(ResourceType.BROKER, admin.a_broker())
    least, most = (_seconds(found.get(f"group.{bound}.session.timeout.ms")) for bound in ("min", "max"))
    if least is None or most is None or least <= session <= most:
        return Session(session, what)
    fault = f'the broker allows {least:g} to {most:g} s; set kafka.properties."session.timeout.ms"'
    return Session(session, what, fault)


def session_of_stopped(admin: KafkaAdmin, kafka: KafkaSection, protocol: str) -> float | None:
    """How long a static member stays in a group of this protocol after it was stopped."""
    if protocol == "consumer":
        return _brokers(admin, kafka.group_id).seconds
    return int(session_properties(kafka.properties).get(SESSION, 0)) / 1000 or None


def _brokers(admin: KafkaAdmin, group: str) -> Session:
    """What the group has, or the broker. Each needs a right of its own."""
    seconds = _seconds(admin.configuration(ResourceType.GROUP, group).get("consumer.session.timeout.ms"))
    if seconds is None:
        found = admin.configuration(ResourceType.BROKER, admin.a_broker())
        seconds = _seconds(found.get("group.consumer.session.timeout.ms"))
    length = "" if seconds is None else f" {seconds:g} s,"
    unknown = f", {_BROKERS_DEFAULT}; this user may not read it" if seconds is None else ""
    return Session(seconds, f"session time-out{length} set by the broker (group.protocol=consumer){unknown}")


def _seconds(milliseconds: str | None) -> float | None:
    return int(milliseconds) / 1000 if milliseconds else None
