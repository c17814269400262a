"""The librdkafka properties of the program's three clients: consumer, dead-letter producer, admin.

The user's ``kafka.properties`` go to all three, each client without what it would only warn about, and come last: what they
may not change is refused when the settings are read (``config.rules.OWNED_PROPERTIES``).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import Any

from stream_capi.config.secrets import password_file
from stream_capi.config.settings import KafkaSection
from stream_capi.kafka import msk_iam
from stream_capi.kafka.property_names import CONSUMER_ONLY, PRODUCER_ONLY

SESSION, HEARTBEAT = "session.timeout.ms", "heartbeat.interval.ms"

# After which an unused connection is closed. NATs and load balancers forget one without telling either end, the first known
# ones after 4 min; the system's keep-alive, which begins after two hours, comes too late for all of them.
_IDLE_MS = 180_000

_COMMON = {
    "client.id": "stream-capi",
    # The defaults give up a silent connection after 60 s, and then try again every 10 s only.
    "socket.timeout.ms": 10_000,
    "socket.keepalive.enable": "true",
    "reconnect.backoff.max.ms": 2000,
    # A producer's default is to make the topics it asks for.
    "allow.auto.create.topics": "false",
}
# Of max_buffered_bytes: what may lie in the client's queue, read and not yet handed over.
_PREFETCH_SHARE = 1 / 8
# A chunk that was handed over is no larger than the queue it came from. While the loop is behind, one waits to be mapped, and
# one more comes out of the queue before the pause takes hold.
_INTAKE_SHARE = 3 * _PREFETCH_SHARE
# What the client keeps of a queued record beside its bytes, which its own byte limit does not count.
_RECORD_OVERHEAD = 512
_MOST_QUEUED, _MOST_QUEUED_KIB = 10_000_000, 2_097_151  # the client refuses more
# Of all partitions in an answer. Not less: answers are filled in the same order after each time the queue was full, so that
# a smaller one would hold the partitions at the end of that order up behind the backlog of the others.
_LARGEST_ANSWER = 8 * 1_048_576
_LEAST_ANSWER = 1_000_000  # the client's default of message.max.bytes, which an answer must not be smaller than
# Within which an answer must have arrived, or it is asked for again from its beginning: by 280 kB/s. Longer, and a connection
# that has gone silent would be kept for as long.
_FETCH_TIMEOUT_MS = 30_000
_LARGEST_BATCH = 524_288  # bytes, compressed: half of a broker's default bound, many times a producer's default
# A member that was killed is replaced within 15 s: the session, and a rebalance that the others learn of by a heartbeat.
_SESSION_MS, _HEARTBEAT_MS = 9000, 1000
# A static member is to come back as the member it was, and a pod takes as long to start again.
STATIC_SESSION_MS = 45_000
_HEARTBEATS = 4  # in a session: one or two that come late cost nothing
_LONGEST_MS = 3_600_000  # the client refuses more
_LARGEST_DEAD_LETTER = 100_000_000  # below what a broker reads as one request (socket.request.max.bytes: 100 MiB)


class ClientLog:
    """Takes librdkafka's own log lines, which would go to stderr as they are.

    They report every attempt to connect; the program reports each change of state once. So they are logged at ``debug``.
    Only a warning about a property without effect is logged as such. The client calls this during a fetch, where an exception
    would discard the fetched records: so it never raises.
    """

    _log = logging.getLogger("stream_capi.librdkafka")

    def log(self, level: int, message: str, *args: object) -> None:
        """The one method that confluent-kafka calls; ``args`` are the facility, the client's name and the text."""
        with contextlib.suppress(Exception):
            self._log.log(logging.WARNING if "CONFWARN" in args else logging.DEBUG, message, *args)


def prefetch_bytes(max_buffered_bytes: int) -> int:
    """The part of the memory budget that the consumer's own queue takes."""
    return int(max_buffered_bytes * _PREFETCH_SHARE)


def events_bytes(max_buffered_bytes: int) -> int:
    """What the intake leaves of the memory budget: for events that are mapped and not resolved."""
    return int(max_buffered_bytes * (1 - _INTAKE_SHARE))


def consumer_properties(kafka: KafkaSection, max_buffered_bytes: int) -> dict[str, Any]:
    """The group's member. What its queue may hold is a share of ``max_buffered_bytes``."""
    prefetch = prefetch_bytes(max_buffered_bytes)
    properties: dict[str, Any] = {
        **_COMMON,
        "socket.timeout.ms": _FETCH_TIMEOUT_MS,
        "group.id": kafka.group_id,
        "isolation.level": "read_committed",
        # Partitions that were added are seen this late; the default is five minutes.
        "topic.metadata.refresh.interval.ms": 30_000,
        # No more than bytes and count allow, whichever is reached first; asked again soon after, not a second later.
        "queued.max.messages.kbytes": min(prefetch // 1024, _MOST_QUEUED_KIB),
        "queued.min.messages": min(max(100, prefetch // (2 * _RECORD_OVERHEAD)), _MOST_QUEUED),
        # Of one partition in an answer, which has one of each: compressed, so that they may be ten times as much in memory.
        # Yet not less than producers put into one batch. A batch that is larger is given only to the partition that is
        # asked for first, and the backlog of one topic is then read to its end before another topic's is begun.
        "fetch.message.max.bytes": max(16 * 1024, min(_LARGEST_BATCH, prefetch // 4)),
        "fetch.max.bytes": max(
            min(_LARGEST_ANSWER, prefetch), _LEAST_ANSWER, int(kafka.properties.get("message.max.bytes", 0))
        ),
        "fetch.queue.backoff.ms": 20,
        "logger": ClientLog(),
    }
    if not uses_new_protocol(kafka.properties):
        properties["partition.assignment.strategy"] = "cooperative-sticky"
    properties |= session_properties(kafka.properties)
    return _with_users(properties, kafka, PRODUCER_ONLY)


def uses_new_protocol(properties: Mapping[str, Any]) -> bool:
    """Whether these properties ask for the group protocol of KIP-848, which is incremental and knows no strategies."""
    return str(properties.get("group.protocol", "")).lower() == "consumer"


def session_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The session time-out and the heartbeat: the user's, and the program's where the user sets only one or none.

    Empty under ``group.protocol=consumer``, where the broker decides both and the client refuses them.
    """
    if uses_new_protocol(properties):
        return {}
    given = {name: properties[name] for name in (SESSION, HEARTBEAT) if name in properties}
    default = STATIC_SESSION_MS if "group.instance.id" in properties else _SESSION_MS
    session, heartbeat = int(given.get(SESSION, default)), int(given.get(HEARTBEAT, _HEARTBEAT_MS))
    return {
        SESSION: min(_LONGEST_MS, max(default, _HEARTBEATS * heartbeat)),
        HEARTBEAT: min(_HEARTBEAT_MS, max(1, session // _HEARTBEATS)),
        **given,
    }


def producer_properties(kafka: KafkaSection) -> dict[str, Any]:
    """The dead letters' producer: idempotent, and patient without end, so that an outage makes no duplicates."""
    properties: dict[str, Any] = {
        **_COMMON,
        "acks": "all",
        "enable.idempotence": "true",
        # A dead letter that the client gave up may be in the topic nevertheless; written again it would be there twice.
        "delivery.timeout.ms": 0,
        "linger.ms": 5,
        "compression.type": "lz4",
        # Whether a record is too large is the topic's to say.
        "message.max.bytes": _LARGEST_DEAD_LETTER,
        # How soon a missing topic is reported.
        "topic.metadata.propagation.max.ms": 5000,
        "logger": ClientLog(),
    }
    return _with_users(properties, kafka, CONSUMER_ONLY)


def admin_properties(kafka: KafkaSection) -> dict[str, Any]:
    """For queries and resets. Without log lines, which would pile up, since nobody polls this client."""
    return _with_users(dict(_COMMON), kafka, CONSUMER_ONLY | PRODUCER_ONLY) | {"log_level": 0}


def _with_users(properties: dict[str, Any], kafka: KafkaSection, others: frozenset[str]) -> dict[str, Any]:
    given = {name: value for name, value in kafka.properties.items() if name not in others}
    if msk_iam.is_meant(given):
        given = msk_iam.as_oauthbearer(given, kafka.bootstrap_servers)
    password = password_file(kafka)
    return {
        "bootstrap.servers": kafka.bootstrap_servers,
        "connections.max.idle.ms": _IDLE_MS,
        **properties,
        **given,
        **({"sasl.password": password.login[1]} if password is not None else {}),
    }
