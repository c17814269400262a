"""What ``check`` asks of the cluster: brokers, topics, this user's rights, and the group. Blocks, as KafkaAdmin does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from stream_capi.config import Settings
from stream_capi.errors import ConfigurationError, KafkaLost, StreamCapiError
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.properties import uses_new_protocol
from stream_capi.kafka.sessions import Session, session_of
from stream_capi.kafka.topic_retention import Retention, retention_of

_GRANT = "grant it with an ACL"
_SOON_SECONDS = 15.0  # within which a member that was killed is replaced by default
_BROKERS_DEFAULT = 45.0
_WITHOUT_END = "dead letters hold records as they came, personal data included. Set retention.ms of the topic"
_COMPACTED = (
    "cleanup.policy includes compact: Kafka then refuses dead letters without a key, and keeps only the newest of each key; "
    "set it to delete"
)


class Finding(NamedTuple):
    """One line: what was looked at, whether it is good, and what was found."""

    subject: str
    passed: bool
    detail: str


class Kept(NamedTuple):
    """How long a topic keeps its records, as the end of a line."""

    what: str = ""
    fault: str = ""


def cluster_findings(settings: Settings) -> Iterator[Finding]:
    """Brokers, topics, rights and the group. A client that can't be made is another finding's to report."""
    admin = KafkaAdmin(settings.kafka)
    needed = {**dict.fromkeys(settings.topics, "READ"), settings.dead_letter.topic: "WRITE"}
    try:
        if astray := admin.astray(settings.dead_letter.topic):
            yield Finding("brokers", False, astray)
            return
        partitions, lacking = _topics(admin, needed)
    except ConfigurationError:
        return
    except StreamCapiError as error:
        yield Finding("brokers", False, str(error))
        return
    yield Finding("brokers", True, settings.kafka.bootstrap_servers)
    for topic in needed:
        subject = "dead-letter topic" if topic == settings.dead_letter.topic else "topic"
        count = partitions.get(topic)
        if topic in lacking:
            yield Finding(f"{subject} {topic}", False, f"this user lacks {lacking[topic]} on it; {_GRANT}")
        elif count is None:
            what = "is not there, or this user may not describe it; create it, or grant DESCRIBE"
            yield Finding(f"{subject} {topic}", False, what)
        else:
            kept = _kept(retention_of(admin, topic)) if topic == settings.dead_letter.topic else Kept()
            what = f"{count} partitions{kept.what}{kept.fault}"
            yield Finding(f"{subject} {topic}", not kept.fault, what)
    readable = [topic for topic, right in needed.items() if right == "READ" and partitions.get(topic)]
    yield from _group(admin, settings, readable)


def _group(admin: KafkaAdmin, settings: Settings, readable: list[str]) -> Iterator[Finding]:
    """Whether a member may join, how long the group waits for one, and what the limits of all members come to."""
    group = settings.kafka.group_id
    subject = f"group {group}"
    try:
        if readable and not admin.may_read(group, readable):
            yield Finding(subject, False, f"this user lacks READ on it; {_GRANT}")
            return
    except StreamCapiError as error:
        yield Finding(subject, False, str(error))
        return
    session = session_of(admin, settings.kafka)
    fault = f": {session.fault}" if session.fault else _slow(session, settings)
    yield Finding(subject, not session.fault, f"{session.what}{fault}")
    if settings.delivery.max_refusals:
        yield _refusals(admin, group, settings.delivery.max_refusals)


def _refusals(admin: KafkaAdmin, group: str, most: int) -> Finding:
    """What the limit of each member comes to: the API counts what all of them send with one key."""
    try:
        members = max(1, len(admin.group_members(group).members))
    except StreamCapiError as error:
        what = f"{most} in five minutes for each member; how many members there are is not known: {error}"
        return Finding("delivery.max_refusals", True, what)
    return Finding(
        "delivery.max_refusals",
        True,
        f"{most} in five minutes for each member: {most * members} for the {members} in the group, more with more members",
    )


def _slow(session: Session, settings: Settings) -> str:
    """A warning where a member that was killed is replaced late and the user's own properties can't change that."""
    seconds = session.seconds or _BROKERS_DEFAULT
    static = "group.instance.id" in settings.kafka.properties
    if static or not uses_new_protocol(settings.kafka.properties) or seconds <= _SOON_SECONDS:
        return ""
    return (
        "; warning: the partitions of a member that is killed are not read for that long. The group's "
        "consumer.session.timeout.ms lowers it, not below the brokers' group.consumer.min.session.timeout.ms"
    )


def _kept(retention: Retention) -> Kept:
    """How long the dead letters are kept, records with personal data as they came."""
    if retention.state == "compacted":
        return Kept("", f": {_COMPACTED}")
    warning = f"; warning: {_WITHOUT_END}" if retention.state == "without_end" else ""
    return Kept(f", {retention}{warning}")


def _topics(admin: KafkaAdmin, needed: Mapping[str, str]) -> tuple[dict[str, int | None], dict[str, str]]:
    """How many partitions each topic has, of those that may be described; and the rights that are lacking."""
    try:
        return admin.describe(needed), admin.lacking(needed)
    except KafkaLost:
        lacking = admin.lacking(needed)
        if not lacking:
            raise
        return admin.describe(topic for topic in needed if topic not in lacking), lacking
