from __future__ import annotations

import re
import time

import pytest
from confluent_kafka import Producer

from stream_capi.config.settings import KafkaSection
from stream_capi.errors import CheckFailed, ConfigurationError, KafkaLost, Unavailable
from stream_capi.kafka import group_lag
from stream_capi.kafka.admin import GroupOffset, KafkaAdmin
from stream_capi.model import TopicPartition
from stream_capi.sandbox.embedded_broker import EmbeddedBroker
from tests.kafka.sink import PROTOCOLS, Member, produce
from tests.stack import Broker
from tests.stack.names import Names
from tests.stack.waiting import eventually


def admin_of(bootstrap: str, seconds: float = 10) -> KafkaAdmin:
    return KafkaAdmin(KafkaSection(bootstrap_servers=bootstrap), seconds)


@pytest.mark.real
def test_topics_are_described_and_missing_ones_are_neither_made_nor_an_error(broker: Broker, names: Names) -> None:
    topic, missing = broker.create_topic(names.topic(), 3), names.topic("missing")
    admin = admin_of(broker.bootstrap)
    assert admin.describe([topic, missing]) == {topic: 3, missing: None}
    assert admin.describe([missing]) == {missing: None}
    assert admin.partitions([topic]) == [TopicPartition(topic, number) for number in range(3)]
    with pytest.raises(KafkaLost, match=rf"topic {missing} is missing at {broker.bootstrap}: create it"):
        admin.partitions([topic, missing])


@pytest.mark.real
def test_a_topic_keeps_its_id_until_it_is_made_anew(broker: Broker, names: Names) -> None:
    topic, admin = broker.create_topic(names.topic()), admin_of(broker.bootstrap)
    ids = admin.topic_ids([topic, names.topic("missing")])
    assert list(ids) == [topic]
    assert admin_of(broker.bootstrap).topic_ids([topic]) == ids
    broker.delete_topic(topic)
    assert admin.topic_ids([topic]) == {}
    broker.create_topic(topic)
    assert admin.topic_ids([topic])[topic] not in ("", ids[topic])
    assert admin.topic_ids([]) == {}


@pytest.mark.real
def test_offsets_are_told_by_beginning_end_and_time(broker: Broker, names: Names) -> None:
    # Without this, retention would delete the records, whose timestamps are of 1970.
    topic, admin = broker.create_topic(names.topic(), 3, {"retention.ms": "-1"}), admin_of(broker.bootstrap)
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for partition, times in enumerate([range(1000, 2000, 100), range(1000, 1500, 100), ()]):
        for at in times:
            producer.produce(topic, b"", partition=partition, timestamp=at)
    assert producer.flush(10) == 0
    broker.delete_records(topic, 0, 4)
    first, second, empty = (TopicPartition(topic, number) for number in range(3))
    assert admin.beginning_offsets([topic]) == {first: 4, second: 0, empty: 0}
    assert admin.end_offsets([topic]) == {first: 10, second: 5, empty: 0}
    assert admin.offsets_for_time(topic, 1450) == {first: 5, second: 5, empty: 0}
    assert admin.offsets_for_time(topic, 1) == {first: 4, second: 0, empty: 0}


@pytest.mark.cases(1)
@pytest.mark.real
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_group_is_told_with_its_members_and_reset_only_without_them(
    broker: Broker, names: Names, protocol: str
) -> None:
    topic, group, admin = broker.create_topic(names.topic(), 2), names.group(), admin_of(broker.bootstrap)
    tps = admin.partitions([topic])
    assert admin.group_members(group).members == ()
    assert admin.committed(group, [topic]) == {}
    produce(broker.bootstrap, topic, 0, [b""] * 5)
    async with Member(broker.bootstrap, group, [topic], PROTOCOLS[protocol]) as member:
        await eventually(lambda: member.read == 5, 30, "all records")
        found = admin.group_members(group)
        (only,) = found.members
        assert found.protocol == ("consumer" if protocol == "consumer" else "classic")
        assert (only.client_id, sorted(only.partitions)) == ("stream-capi", tps)
        assert "127.0.0.1" in str(only)
        refusal = f"group {group} has members, stop them first: {only.member_id} at 127"
        with pytest.raises(CheckFailed, match=re.escape(refusal)):
            admin.reset(group, {tps[0]: 1})
        member.metadata = "beyond"
    assert admin.committed(group, [topic]) == {tps[0]: GroupOffset(5, "beyond", 0), tps[1]: GroupOffset(0, "beyond")}
    admin.reset(group, {tps[0]: 2})
    assert admin.committed(group, [topic]) == {tps[0]: GroupOffset(2, ""), tps[1]: GroupOffset(0, "beyond")}


@pytest.mark.real
def test_a_reset_of_what_is_not_there_is_an_error(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic())
    with pytest.raises(KafkaLost, match=r"\[7\] is missing"):
        admin_of(broker.bootstrap).reset(names.group(), {TopicPartition(topic, 7): 0})


@pytest.mark.slow
@pytest.mark.parametrize("question", ["describe", "end_offsets", "beginning_offsets"])
def test_an_unreachable_broker_is_one_line_within_the_deadline(question: str) -> None:
    begun = time.monotonic()
    with pytest.raises(Unavailable) as error:
        getattr(admin_of("127.0.0.1:1", seconds=1), question)(["topic"])
    assert time.monotonic() - begun < 10
    assert "no answer from 127.0.0.1:1 within 1 s" in str(error.value)
    assert "refused" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_an_unreachable_broker_makes_no_id_and_no_error() -> None:
    assert admin_of("127.0.0.1:1").topic_ids(["topic"]) == {}


@pytest.mark.slow
def test_groups_of_an_unreachable_broker_are_unavailable() -> None:
    admin = admin_of("127.0.0.1:1", seconds=1)
    with pytest.raises(Unavailable, match="group leads: no answer"):
        admin.group_members("leads")
    with pytest.raises(Unavailable, match="group leads: no answer"):
        admin.reset("leads", {TopicPartition("topic", 0): 0})


def test_a_property_that_the_client_refuses_is_a_fault_of_the_configuration() -> None:
    admin = KafkaAdmin(KafkaSection(properties={"no.such.property": "1"}))
    with pytest.raises(ConfigurationError, match=r'kafka\.properties\."no\.such\.property": unknown property'):
        admin.describe(["topic"])


@pytest.mark.slow
def test_the_embedded_broker_answers_what_it_can() -> None:
    with EmbeddedBroker() as embedded:
        produce(embedded.bootstrap, "topic", 0, [b""] * 3)
        admin = admin_of(embedded.bootstrap)
        assert admin.describe(["topic", "missing"]) == {"topic": 4, "missing": None}
        assert admin.end_offsets(["topic"])[TopicPartition("topic", 0)] == 3
        assert admin.topic_ids(["topic"]) == {}


@pytest.mark.real
async def test_the_lag_of_a_group_is_that_of_all_its_partitions(broker: Broker, names: Names) -> None:
    one, two = broker.create_topic(names.topic("one"), 2), broker.create_topic(names.topic("two"))
    group = names.group()
    admin, topics = admin_of(broker.bootstrap), [one, two, names.topic("missing")]
    produce(broker.bootstrap, one, 0, [b""] * 5)
    produce(broker.bootstrap, one, 1, [b""] * 7)
    produce(broker.bootstrap, two, 0, [b""] * 11)

    def found(start: str = "earliest") -> tuple[int, int]:
        seen = group_lag.look(admin, group, topics, start)
        assert seen is not None
        return seen.lag, seen.partitions

    assert found() == (23, 3)
    assert found("latest") == (0, 3), "nothing is committed, and the group would begin at the end"
    admin.reset(group, {TopicPartition(one, 0): 2})
    assert found() == (21, 3)
    assert found("latest") == (3, 3)
    assert group_lag.look(admin, group, topics, "earliest", is_over=lambda: True) is None


def test_brokers_that_do_not_answer_tell_no_lag_and_are_asked_briefly() -> None:
    begun = time.monotonic()
    assert group_lag.look(admin_of("127.0.0.1:1"), "g", ["t"], "earliest") is None
    assert time.monotonic() - begun < 6
    assert group_lag.pause_after(0.1) == 30
    assert group_lag.pause_after(4) == 80


def test_brokers_that_delete_no_records_are_named_as_such() -> None:
    with EmbeddedBroker() as broker:
        produce(broker.bootstrap, "dead", 0, [b"one", b"two"])
        tp = TopicPartition("dead", 0)
        (error,) = admin_of(broker.bootstrap, 5).delete_before({tp: 1}).values()
        assert isinstance(error, CheckFailed)
        assert re.fullmatch(
            r"dead\[0\]: the brokers don't offer to delete records \(_UNSUPPORTED_FEATURE\): leave it to retention.ms of "
            "the topic",
            str(error),
        )


@pytest.mark.real
def test_records_are_deleted_up_to_an_offset_and_no_further(broker: Broker, names: Names) -> None:
    topic, admin = broker.create_topic(names.topic(), 2), admin_of(broker.bootstrap)
    produce(broker.bootstrap, topic, 1, [b"value"] * 10)
    tp = TopicPartition(topic, 1)
    assert admin.delete_before({tp: 2}) == {tp: 2}
    assert admin.beginning_offsets([topic])[tp] == 2
    assert admin.delete_before({tp: 1}) == {tp: 2}, "what is gone already is no fault"
    missing = TopicPartition(names.topic("missing"), 0)
    found = admin.within(3).delete_before({tp: 11, missing: 1})
    assert str(found[tp]) == f"{tp}: its log ends before offset 11: it was truncated after it was read"
    assert isinstance(found[missing], KafkaLost | Unavailable)
