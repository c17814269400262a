"""The client's errors as sentences for people, each at most once a minute: the client repeats them with every attempt."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from confluent_kafka import KafkaError, KafkaException

from stream_capi.core.held_reason import HeldReason
from stream_capi.errors import ConfigurationError, KafkaLost
from stream_capi.kafka.connection_faults import fault_of
from stream_capi.kafka.msk_iam import MskToken
from stream_capi.kafka.refused_properties import refusals
from stream_capi.limits import no_threads

MISSING = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
    }
)
DENIED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,
    }
)
# Answers to a question that a rebalance overtook; it is asked again.
_OVERTAKEN = frozenset(
    {
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)
UNREACHABLE = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._SSL,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
    }
)
# A connection that is not taken: the client's text says why, and what is to be mended does not mend itself.
_REFUSED = frozenset({KafkaError._SSL, KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED})
_OPENSSL = "SSL routines:"  # in its own words, which may come with the code of a lost connection
OUT_OF_RANGE = frozenset({KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE})
_DIVERGENCE = ("truncation", "No epoch found")  # what the client's text says where the leader's log is another one

_GROUP_DENIED = KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED).str()
_NO_CONNECTION = "no connection to the brokers"
_CUT_OFF = (_NO_CONNECTION, "brokers unreachable")
# The answer to the first heartbeat of a member of the newer protocol, as the client's fatal error has it.
_NOT_TAKEN_OVER = "ConsumerGroupHeartbeat fatal error: Broker: The group id does not exist"

_REPEAT_SECONDS = 60.0
# Statistics that were written before an error come soon after it, and a question that times out is asked again after 5 s.
_QUIET_SECONDS = 6.0
_STS = "sasl.oauthbearer.metadata.authentication.type"
_STS_ADVICE = (
    f'kafka.properties."{_STS}": aws_iam is for tokens of AWS STS and needs sasl.oauthbearer.method = "oidc", '
    "sasl.oauthbearer.config with region and audience, and confluent-kafka[oauthbearer-aws]; for Amazon MSK set "
    '"sasl.mechanism" = "AWS_MSK_IAM" instead, and install stream-capi[aws]'
)


class Events(Protocol):
    """Where it is reported, for logs and metrics. Called on the consumer's thread."""

    def kafka(self, event: str, **details: object) -> None: ...


class Faults:
    """Reports the client's errors. ``missing`` are the topics that it did not find when it last looked."""

    def __init__(self, events: Events, now: Callable[[], float] = time.monotonic) -> None:
        self.missing: frozenset[str] = frozenset()
        self._events = events
        self._now = now
        self._reported_at: dict[tuple[str, str | None], float] = {}
        self._failed_by: float | None = None  # when a connection last failed, or later, by the clock of the statistics
        self._failed_at = 0.0  # the same by ``now``
        self._unvalidated: set[str] = set()

    def report_error(self, error: KafkaError, topic: str | None = None, partition: int | None = None) -> None:
        """Report an error, unless it was reported within the last minute.

        Two refusals are the same error if the same is to be done: what a broker answers may hold a new id each time.
        """
        event = _event(error)
        if event in _CUT_OFF:
            self._failed_by, self._failed_at = None, self._now()
        if event == "topic missing" and topic is not None:
            self.missing |= {topic}
        fault = fault_of(error) if event == _NO_CONNECTION else None
        key = (event, fault.do if fault else topic if error.code() in MISSING | DENIED else None)
        if self._now() - self._reported_at.get(key, -_REPEAT_SECONDS) >= _REPEAT_SECONDS:
            self._reported_at[key] = self._now()
            where = {"topic": topic, "partition": partition} if topic is not None else {}
            self._events.kafka(event, reason=error.name(), detail=str(fault or error.str()), **where)

    def report(self, event: str, **details: str) -> None:
        """Report a change of state; the caller limits how many there are."""
        self._events.kafka(event, **details)

    def answered(self) -> None:
        """A broker has answered: clear the warning. Not called for a record, which may have been fetched long ago."""
        reported = [key for key in self._reported_at if key[0] in _CUT_OFF]
        for key in reported:
            del self._reported_at[key]
        if reported:
            self._events.kafka("brokers answer again")

    def heard(self, heard_at: float, at: float) -> None:
        """Clear the warning if a connected broker has sent something since. Both times are by the clock of the statistics."""
        if self._now() - self._failed_at < _QUIET_SECONDS:
            return
        if self._failed_by is None:
            self._failed_by = at
        elif heard_at > self._failed_by:
            self.answered()

    def unvalidated(self, topic: str) -> None:
        """Report once for each topic that a committed offset has no leader epoch, so that nobody can validate it."""
        if topic not in self._unvalidated:
            self._unvalidated.add(topic)
            self._events.kafka("committed offset without a leader epoch", topic=topic)

    def found(self, topic: str) -> None:
        """The topic is there."""
        self.missing -= {topic}
        self._reported_at.pop(("topic missing", topic), None)


def is_fatal(error: KafkaError) -> bool:
    """Whether the client has ended for good. As a record's error, it comes without the mark that the callback's has."""
    return error.fatal() or error.code() == KafkaError._FATAL


def why_out_of_range(error: KafkaError) -> HeldReason:
    """Why a position is not in the log. The client has one code for both reasons; only its text distinguishes them."""
    text = error.str()
    return HeldReason.LOG_TRUNCATED if any(sign in text for sign in _DIVERGENCE) else HeldReason.OFFSET_OUT_OF_RANGE


def lost(error: KafkaError, group: str) -> KafkaLost:
    """Why a member's client has ended, for people."""
    if _GROUP_DENIED in error.str():  # the code may be that of any fatal error
        return KafkaLost(f"this user lacks READ on group {group}: grant it with an ACL, then start the member again")
    if error.code() in (KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID):
        return KafkaLost(
            f"another member has taken this group.instance.id ({error.str()}): give each member an id of its own"
        )
    if _NOT_TAKEN_OVER in error.str():
        return KafkaLost(
            f"the brokers can't convert this group to group.protocol = consumer ({error.str()}) while its members "
            "use cooperative-sticky, the default of the classic protocol, or if group.consumer.migration.policy forbids it; "
            'stop all members first (docs/operations.md, "Change the group protocol")'
        )
    return KafkaLost(f"the Kafka client can't go on: {error.str()}")


Client = TypeVar("Client")


def made(client: Callable[[dict[str, Any]], Client], properties: Mapping[str, Any]) -> Client:
    """A client of Kafka with these properties. Raises ConfigurationError, with every one that it refuses."""
    token = properties.get("oauth_cb")
    if isinstance(token, MskToken):
        token()  # fails at once and in words; the client would wait 10 s, and not say why
    try:
        return client(dict(properties))
    except Exception as error:  # some come from what the Python client reads by itself
        if _STS in properties and not isinstance(error, KafkaException):
            raise ConfigurationError([_STS_ADVICE]) from None
        if faults := refused(client, properties):
            raise ConfigurationError(faults) from None
        if isinstance(error, KafkaException):
            raise not_made(error_of(error)) from None
        raise ConfigurationError([f"kafka.properties: {type(error).__name__} from the client"]) from None


def refused(client: Callable[[dict[str, Any]], Any], properties: Mapping[str, Any]) -> list[str]:
    """What ``made`` would say of the properties; empty where the client takes them. Nothing is connected."""
    try:
        return refusals(client, properties)
    except KafkaException as error:
        return list(not_made(error_of(error)).faults)


def error_of(exception: KafkaException) -> KafkaError:
    """The client's error inside its exception."""
    error: KafkaError = exception.args[0]
    return error


def _event(error: KafkaError) -> str:
    if error.code() in MISSING:
        return "topic missing"
    if error.code() in _REFUSED or _OPENSSL in error.str():
        return _NO_CONNECTION
    if error.code() in DENIED:
        return "brokers deny access"
    if error.code() in UNREACHABLE:
        return "brokers unreachable"
    if error.code() in _OVERTAKEN:
        return "the group is rebalancing"
    if error.code() == KafkaError._MAX_POLL_EXCEEDED:
        return "polled too late; the group removed this member, which joins again"
    if error.code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL:
        return "the group uses another assignment strategy"
    return "kafka error"


def not_made(error: KafkaError) -> ConfigurationError:
    """Why the client could not be made: a property that it refuses, or threads that the system has not left."""
    if error.code() == KafkaError._CRIT_SYS_RESOURCE:
        return ConfigurationError([f"the Kafka client can't be started: {no_threads()}"])
    text = error.str()
    if "OAuth token not set" in text:
        return ConfigurationError(["kafka.properties: no token for OAUTHBEARER; check sasl.oauthbearer.*"])
    return ConfigurationError([f"kafka.properties: {text}"])
