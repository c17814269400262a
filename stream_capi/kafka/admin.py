"""Queries to the cluster, and the two changes that the program makes there: setting a group's offsets, deleting records.

Every method blocks, but no longer than its deadline: for ``asyncio.to_thread`` and for commands. Errors are for people:
Unavailable if asking again may help, KafkaLost if it won't.

Over 400 lines: every query uses the same client, deadline, changing password and error texts, so that a second file would
have to reach into this one for all of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from copy import copy
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
)
from confluent_kafka import (
    TopicPartition as ClientPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its own docs say so
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from stream_capi.config.secrets import password_file
from stream_capi.config.settings import KafkaSection
from stream_capi.errors import CheckFailed, ConfigurationError, KafkaLost, StreamCapiError, Unavailable
from stream_capi.kafka.client_errors import DENIED, MISSING, OUT_OF_RANGE, UNREACHABLE, error_of, made
from stream_capi.kafka.connection_faults import ConnectionFaults
from stream_capi.kafka.group_offsets import PASSING, PAUSE_SECONDS, GroupOffsets
from stream_capi.kafka.properties import admin_properties
from stream_capi.model import NO_LEADER_EPOCH, TopicPartition, epoch_number

_SECONDS = 10.0
_ANSWER_SECONDS = 2.0
_IDS_SECONDS = 1.0  # asked on the consumer's thread, which polls nothing meanwhile

# What a broker answers that deletes no records at all.
_DELETES_NOTHING = frozenset(
    {KafkaError._UNSUPPORTED_FEATURE, KafkaError._NOT_IMPLEMENTED, KafkaError.UNSUPPORTED_VERSION}
)

# What the broker answers to a reset while the group has members, each protocol in its own way.
_IN_USE = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.STALE_MEMBER_EPOCH})

_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]

Answer = TypeVar("Answer")


class GroupOffset(NamedTuple):
    """What a group has committed for a partition: the next offset to read, the commit's metadata, and the leader epoch
    that validates the offset.
    """

    offset: int
    metadata: str
    leader_epoch: int = NO_LEADER_EPOCH


class Member(NamedTuple):
    """A member of a group; ``instance_id`` is empty for one that is not static."""

    member_id: str
    client_id: str
    host: str
    instance_id: str
    partitions: tuple[TopicPartition, ...]

    def __str__(self) -> str:
        return f"{self.instance_id or self.member_id} at {self.host.removeprefix('/')}"


class Group(NamedTuple):
    """A consumer group: ``state`` and ``protocol`` (classic or consumer) in the broker's words, in lower case."""

    state: str
    protocol: str
    members: tuple[Member, ...]


def _interruptible(ask: Callable[[], Answer]) -> Answer:
    """Run a query that blocks in the client's C code on another thread; return or raise what it does.

    Signal handlers run only while the main thread runs Python: inside the client, Ctrl-C would wait for the deadline.
    """
    if threading.current_thread() is not threading.main_thread():
        return ask()
    answer: Future[Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, name="question to the brokers", daemon=True).start()
    return answer.result()


class KafkaAdmin:
    """Asks the cluster of these settings. ``seconds`` is the deadline of each question. To be used from any thread."""

    def __init__(self, kafka: KafkaSection, seconds: float = _SECONDS) -> None:
        self._bootstrap = kafka.bootstrap_servers
        self._properties = admin_properties(kafka)
        self._protocol = str(kafka.properties.get("security.protocol", "plaintext")).lower()
        self._seconds = seconds
        self._password = password_file(kafka)
        self._lock = threading.Lock()
        self._made: AdminClient | None = None
        self._faults = ConnectionFaults()
        self._groups = GroupOffsets(self._properties)

    def within(self, seconds: float) -> KafkaAdmin:
        """The same client with another deadline."""
        self._client()
        other = copy(self)
        other._seconds = seconds
        return other

    def topic_ids(self, topics: Sequence[str]) -> dict[str, str]:
        """The ids of the topics: a recreated topic has another id. Never raises, and takes some four seconds at most.

        An id that isn't known in time is left out. The client asks the node that its last metadata named as the controller.
        If that node has failed since, new metadata name another one, which is asked once.
        """
        try:
            ids = self._topic_ids(topics)
            if ids is None and self._answers(self._client()):
                ids = self._topic_ids(topics)
        except (KafkaException, ConfigurationError, ValueError):
            return {}
        return ids or {}

    def _topic_ids(self, topics: Sequence[str]) -> dict[str, str] | None:
        """None if there is no answer. Raises KafkaException, ConfigurationError, ValueError."""
        ids: dict[str, str] = {}
        silent = False
        asked = self._client().describe_topics(TopicCollection(list(topics)), request_timeout=_IDS_SECONDS)
        for topic, future in asked.items():
            try:
                described = future.result(_IDS_SECONDS + 0.5)
            except (KafkaException, FutureTimeout) as error:
                silent |= isinstance(error, FutureTimeout) or error_of(error).code() in UNREACHABLE
                continue
            if described.topic_id is not None:
                ids[topic] = str(described.topic_id)
        self._client().poll(0)  # otherwise the client's callbacks pile up
        return None if silent else ids

    def describe(self, topics: Iterable[str]) -> dict[str, int | None]:
        """The count of each topic's partitions; None for a topic that is missing. Raises Unavailable, KafkaLost."""
        counts: dict[str, int | None] = {}
        for topic in topics:
            try:
                client = self._client()
                found = _interruptible(partial(client.list_topics, topic, timeout=self._seconds)).topics[topic]
                if found.error is not None and found.error.code() not in MISSING:
                    raise KafkaException(found.error)
            except KafkaException as error:
                raise self._error_for(f"topic {topic}", error_of(error)) from None
            counts[topic] = None if found.error is not None else len(found.partitions)
        return counts

    def partitions(self, topics: Iterable[str]) -> list[TopicPartition]:
        """Every partition of these topics. Raises KafkaLost where one is missing, Unavailable."""
        found: list[TopicPartition] = []
        for topic, count in self.describe(topics).items():
            if count is None:
                raise KafkaLost(f"topic {topic} is missing at {self._bootstrap}: create it, or correct its name")
            found += [TopicPartition(topic, number) for number in range(count)]
        return found

    def partitions_at_once(self, topics: Sequence[str]) -> list[TopicPartition]:
        """Every partition of those of the topics that are there, by one question. Raises Unavailable, KafkaLost."""
        asked = TopicCollection(list(topics))
        futures = self._futures(lambda admin: admin.describe_topics(asked, request_timeout=self._seconds))
        found: list[TopicPartition] = []
        for topic, future in futures.items():
            try:
                count = len(future.result(self._seconds + 1).partitions)
            except KafkaException as error:
                if error_of(error).code() in MISSING:
                    continue
                raise self._error_for(f"topic {topic}", error_of(error)) from None
            except FutureTimeout:
                raise self._error_for(f"topic {topic}", KafkaError(KafkaError._TIMED_OUT)) from None
            found += [TopicPartition(topic, number) for number in range(count)]
        return found

    def first_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The first offset of each of these partitions. Raises Unavailable, KafkaLost."""
        return self._offsets(partitions, _EARLIEST)

    def log_ends(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The end of each log, an open transaction's records included, as a member's lag has it."""
        return self._offsets(partitions, _LATEST, IsolationLevel.READ_UNCOMMITTED)

    def beginning_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """The first offset that retention has left in each partition. Raises Unavailable, KafkaLost."""
        return self._offsets(self.partitions(topics), _EARLIEST)

    def end_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """The offset behind the last readable record of each partition: an open transaction's are not readable yet."""
        return self._offsets(self.partitions(topics), _LATEST)

    def written_offsets(self, topics: Iterable[str]) -> dict[TopicPartition, int]:
        """The offset behind the last record of each partition, those of open transactions included."""
        return self._offsets(self.partitions(topics), _LATEST, IsolationLevel.READ_UNCOMMITTED)

    def offsets_for_time(self, topic: str, milliseconds: int) -> dict[TopicPartition, int]:
        """The first offset of each partition whose record is no older than this epoch time; else the partition's end."""
        partitions = self.partitions([topic])
        at = self._offsets(partitions, OffsetSpec.for_timestamp(milliseconds))
        late = [tp for tp in partitions if at[tp] < 0]
        return at | (self._offsets(late, _LATEST) if late else {})

    def committed(self, group: str, topics: Iterable[str]) -> dict[TopicPartition, GroupOffset]:
        """What the group has committed, of the partitions for which it has. Raises Unavailable, KafkaLost."""
        return self.committed_of(group, self.partitions(topics))

    def committed_of(self, group: str, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, GroupOffset]:
        """What the group has committed of these partitions. Raises Unavailable, KafkaLost."""
        what = f"the offsets of group {group}"
        found = self._of_group(what, group, _client_partitions(partitions))
        committed: dict[TopicPartition, GroupOffset] = {}
        for at in found:
            if at.error is not None:
                raise self._error_for(what, at.error)
            if at.offset >= 0:
                committed[TopicPartition(at.topic, at.partition)] = GroupOffset(
                    at.offset, at.metadata or "", epoch_number(at.leader_epoch)
                )
        return committed

    def group_members(self, group: str) -> Group:
        """The group's state and members; one that was never used is "dead" and has none. Raises Unavailable, KafkaLost."""
        what = f"group {group}"
        self._of_group(what, group, [])
        found = self._patiently(
            what, lambda admin: admin.describe_consumer_groups([group], request_timeout=self._seconds)[group]
        )
        members = tuple(
            Member(
                member.member_id,
                member.client_id or "",
                member.host or "",
                member.group_instance_id or "",
                tuple(TopicPartition(at.topic, at.partition) for at in member.assignment.topic_partitions),
            )
            for member in found.members
        )
        return Group(found.state.name.lower(), found.type.name.lower(), members)

    def lacking(self, needed: Mapping[str, str], before: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """Of the operations that are needed on topics (READ, WRITE), those that this user may not do.

        Without an answer of the brokers, what was lacking ``before`` still is. What they don't report counts as allowed.
        Raises Unavailable, KafkaLost.
        """
        asked = TopicCollection(list(needed))
        futures = self._futures(
            lambda admin: admin.describe_topics(
                asked, include_authorized_operations=True, request_timeout=self._seconds
            )
        )
        return {
            topic: right
            for topic, right in needed.items()
            if not self._allowed(futures[topic], right, unanswered=topic not in before)
        }

    def may_read(self, group: str, topics: Iterable[str]) -> bool:
        """Whether this user may be a member of the group; True if the brokers don't report it. Raises Unavailable."""
        try:
            self.committed(group, topics)
        except KafkaLost:
            return False
        futures = self._futures(
            lambda admin: admin.describe_consumer_groups(
                [group], include_authorized_operations=True, request_timeout=self._seconds
            )
        )
        return self._allowed(futures[group], "READ")

    def _of_group(self, what: str, group: str, partitions: Sequence[ClientPartition]) -> list[ClientPartition]:
        """What the group has committed; of no partitions, it waits until the group has a coordinator."""
        client = self._client()  # it learns why no connection comes about
        login = self._password.login if self._password is not None else ()
        try:
            return self._groups.committed(group, partitions, self._seconds, login)
        except KafkaException as error:
            fault = error_of(error)
            if fault.code() in PASSING | {KafkaError._TIMED_OUT} and self._answers(client):
                raise Unavailable(
                    f"{what}: the brokers answer, but no coordinator of the group does ({fault.name()}): check the topic "
                    "__consumer_offsets. It can't be created with fewer brokers than offsets.topic.replication.factor"
                ) from None
            raise self._error_for(what, fault) from None

    def _answers(self, client: AdminClient) -> bool:
        """Whether any broker answers; from its metadata the client learns which brokers there are now."""
        try:
            client.list_topics("__consumer_offsets", timeout=_ANSWER_SECONDS)
        except KafkaException:
            return False
        return True

    def _allowed(self, described: Future[Any], right: str, unanswered: bool = True) -> bool:
        try:
            found = described.result(self._seconds + 1).authorized_operations
        except KafkaException as error:
            code = error_of(error).code()
            return code in MISSING or (unanswered and code not in DENIED)  # a right on what isn't there is no fault
        except FutureTimeout:
            return unanswered
        return not found or any(operation.name == right for operation in found)

    def astray(self, topic: str) -> str:
        """The brokers that don't answer at their advertised addresses, as a sentence; empty if all do.

        Raises Unavailable, KafkaLost where none of the bootstrap servers answers.
        """
        try:
            brokers = self._client().list_topics(topic, timeout=self._seconds).brokers
        except KafkaException as error:
            raise self._error_for("the brokers", error_of(error)) from None
        asked = {ConfigResource(ResourceType.BROKER, str(number)): at for number, at in brokers.items()}
        answers = self._futures(
            lambda admin: {
                resource: admin.describe_configs([resource], request_timeout=self._seconds)[resource]
                for resource in asked
            }
        )
        silent = [asked[resource] for resource, answer in answers.items() if not self._reached(answer)]
        self._client().poll(0)
        whys = [
            str(self._faults.at(f"{at.host}:{at.port}") or f"{at.host}:{at.port}: it does not answer") for at in silent
        ]
        if not whys:
            return ""
        first = f"{whys[0]} ({len(whys)} of {len(brokers)} brokers)" if len(brokers) > 1 else whys[0]
        return (
            f"{self._bootstrap} answers, but redirects clients to {first}. That address is in advertised.listeners of the "
            "broker: correct it there, or set kafka.bootstrap_servers to the listener for this network"
        )

    def _reached(self, answer: Future[Any]) -> bool:
        """Whether a broker itself has answered; a refusal is an answer, too."""
        try:
            answer.result(self._seconds + 1)
        except KafkaException as error:
            return error_of(error).code() not in UNREACHABLE
        except FutureTimeout:
            return False
        return True

    def a_broker(self) -> str:
        """The id of one of the brokers, empty where none answers."""
        try:
            found = self._ask("the brokers", lambda admin: admin.describe_cluster(request_timeout=self._seconds))
        except StreamCapiError:
            return ""
        return found.nodes[0].id_string if found.nodes else ""

    def configuration(self, kind: ResourceType, name: str) -> dict[str, str]:
        """What a broker or a group is configured with; empty where this user can't have it. Never raises."""
        if not name:
            return {}
        resource = ConfigResource(kind, name)
        try:
            found = self._ask(
                f"{kind.name} {name}",
                lambda admin: admin.describe_configs([resource], request_timeout=self._seconds)[resource],
            )
        except StreamCapiError:
            return {}
        return {key: entry.value for key, entry in found.items() if entry.value is not None}

    def reset(
        self, group: str, offsets: Mapping[TopicPartition, int], metadata: Mapping[TopicPartition, str] | None = None
    ) -> None:
        """Set the group's committed offsets. The outcomes beyond the old ones are dropped with them.

        Raises CheckFailed, with the members' names, while the group has any; Unavailable, KafkaLost.
        """
        if members := self.group_members(group).members:
            raise CheckFailed(f"group {group} has members, stop them first: {', '.join(map(str, members))}")
        if not offsets:
            return
        texts = metadata or {}
        places = [ClientPartition(*tp, at, texts.get(tp, "")) for tp, at in offsets.items()]
        asked = ConsumerGroupTopicPartitions(group, places)
        what = f"the reset of group {group}"
        done = self._ask(
            what, lambda admin: admin.alter_consumer_group_offsets([asked], request_timeout=self._seconds)[group]
        )
        for at in done.topic_partitions:
            if at.error is not None and at.error.code() in _IN_USE:
                raise CheckFailed(f"group {group} has members again: stop them first")
            if at.error is not None:
                raise self._error_for(f"{what}, {at.topic}[{at.partition}]", at.error)

    def delete_before(self, offsets: Mapping[TopicPartition, int]) -> dict[TopicPartition, int | StreamCapiError]:
        """Delete the records before these offsets. The new beginning of each partition, or why it keeps the old one.

        An offset that retention has passed already changes nothing. Raises Unavailable, KafkaLost.
        """
        places = [ClientPartition(*tp, at) for tp, at in offsets.items()]
        futures = self._futures(
            lambda admin: admin.delete_records(places, request_timeout=self._seconds, operation_timeout=self._seconds)
        )
        found: dict[TopicPartition, int | StreamCapiError] = {}
        for at, future in futures.items():
            tp = TopicPartition(at.topic, at.partition)
            try:
                found[tp] = future.result(self._seconds + 1).low_watermark
            except KafkaException as error:
                found[tp] = self._not_deleted(tp, offsets[tp], error_of(error))
            except FutureTimeout:
                found[tp] = self._error_for(f"deleting records of {tp}", KafkaError(KafkaError._TIMED_OUT))
        return found

    def _not_deleted(self, tp: TopicPartition, offset: int, error: KafkaError) -> StreamCapiError:
        if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            return KafkaLost(f"this user lacks DELETE on topic {tp.topic}; grant it with an ACL")
        if error.code() == KafkaError.POLICY_VIOLATION:
            return CheckFailed(f"{tp}: the brokers delete no records of a topic whose cleanup.policy is compact")
        if error.code() in _DELETES_NOTHING:
            return CheckFailed(
                f"{tp}: the brokers don't offer to delete records ({error.name()}): leave it to retention.ms of the topic"
            )
        if error.code() in OUT_OF_RANGE:
            return CheckFailed(f"{tp}: its log ends before offset {offset}: it was truncated after it was read")
        return self._error_for(f"deleting records of {tp}", error)

    # How it asks

    def _offsets(
        self,
        partitions: Sequence[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        asked = dict.fromkeys(_client_partitions(partitions), spec)
        futures = self._futures(
            lambda admin: admin.list_offsets(asked, isolation_level=isolation, request_timeout=self._seconds)
        )
        return {
            TopicPartition(at.topic, at.partition): self._result(f"{at.topic}[{at.partition}]", future).offset
            for at, future in futures.items()
        }

    def _patiently(self, what: str, question: Any) -> Any:
        """Ask again while the group's coordinator moves, or reads its log."""
        deadline = time.monotonic() + self._seconds
        while True:
            try:
                return self._futures(question).result(self._seconds + 1)
            except KafkaException as error:
                if error_of(error).code() not in PASSING or time.monotonic() >= deadline:
                    raise self._error_for(what, error_of(error)) from None
            except FutureTimeout:
                raise self._error_for(what, KafkaError(KafkaError._TIMED_OUT)) from None
            time.sleep(PAUSE_SECONDS)

    def _ask(self, what: str, question: Any) -> Any:
        return self._result(what, self._futures(question))

    def _futures(self, question: Any) -> Any:
        try:
            return question(self._client())
        except KafkaException as error:
            raise self._error_for("the cluster", error_of(error)) from None

    def _result(self, what: str, future: Future[Answer]) -> Answer:
        try:
            return future.result(self._seconds + 1)
        except KafkaException as error:
            raise self._error_for(what, error_of(error)) from None
        except FutureTimeout:
            raise self._error_for(what, KafkaError(KafkaError._TIMED_OUT)) from None

    def _client(self) -> AdminClient:
        with self._lock:
            if self._made is None:
                self._made = made(AdminClient, {**self._properties, "error_cb": self._faults.add})
            elif self._password is not None and self._password.changed():
                self._made.set_sasl_credentials(*self._password.login)
            return self._made

    def _error_for(self, what: str, error: KafkaError) -> StreamCapiError:
        """The error as a sentence for people. Only the client's error callback knows why no connection comes about."""
        if error.code() in DENIED:
            return KafkaLost(f"{what}: {self._bootstrap} denies it ({error.str()}): check the user and its rights")
        if error.code() in MISSING:
            return KafkaLost(f"{what} is missing at {self._bootstrap}")
        if error.code() in UNREACHABLE:
            self._client().poll(0)
            why = self._faults.why(self._protocol)
            return Unavailable(
                f"{what}: no answer from {self._bootstrap} within {self._seconds:g} s{f': {why}' if why else ''}"
            )
        return Unavailable(f"{what}: {self._bootstrap} answers {error.name()}: {error.str()}")


def _client_partitions(partitions: Iterable[TopicPartition]) -> list[ClientPartition]:
    return [ClientPartition(*tp) for tp in partitions]
