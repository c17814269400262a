"""What any group has committed, read by a consumer that never joins it.

The admin client's own question kills the process with SIGSEGV where the broker that it asks is not the group's coordinator,
or not yet: it hands the error to a group, which that client doesn't have (librdkafka 2.16). Its question for a group's
members aborts the process where no coordinator is found in time. A consumer has both cases in hand.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.kafka.client_errors import DENIED, error_of, made

# What passes by itself: the coordinator moves, or reads its log.
PASSING = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError._WAIT_COORD,
    }
)
PAUSE_SECONDS = 0.2
_ATTEMPT_SECONDS = 1.0  # after which the consumer's own errors are looked at


class GroupOffsets:
    """Asks with these properties. To be used from any thread."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._properties = properties
        self._last: tuple[str, Consumer] | None = None

    def committed(
        self, group: str, partitions: Sequence[ClientPartition], seconds: float, login: Sequence[str] = ()
    ) -> list[ClientPartition]:
        """The partitions with their offsets and metadata; of none of them, it returns once there is a coordinator.

        ``login``: user and password, where they have changed since the properties were made. Raises KafkaException,
        ConfigurationError.
        """
        consumer = self._consumer(group, login)
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            try:
                return list(consumer.committed(list(partitions), timeout=min(left, _ATTEMPT_SECONDS)))
            except KafkaException as error:
                if error_of(error).code() not in PASSING | {KafkaError._TIMED_OUT} or left <= 0:
                    raise
            self._raise_denial(consumer)
            time.sleep(min(left, PAUSE_SECONDS))

    def _consumer(self, group: str, login: Sequence[str]) -> Consumer:
        """The one that was asked last is kept: who asks for a group asks again."""
        last = self._last
        if last is not None and last[0] == group:
            consumer = last[1]
        else:
            own = {"group.id": group, "enable.auto.commit": False, "isolation.level": "read_uncommitted"}
            consumer = made(Consumer, {**self._properties, **own})
        if login:
            consumer.set_sasl_credentials(*login)
        self._last = group, consumer
        return consumer

    def _raise_denial(self, consumer: Consumer) -> None:
        """Why there is no coordinator comes as an event, where the user may not use the group."""
        while (event := consumer.poll(0)) is not None:
            error = event.error()
            if error is not None and error.code() in DENIED:
                raise KafkaException(error)
