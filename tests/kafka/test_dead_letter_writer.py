from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID as NOWHERE
from confluent_kafka import KafkaError, KafkaException

from stream_capi import __version__
from stream_capi.config.settings import KafkaSection
from stream_capi.core.clock import Clocks
from stream_capi.core.flow import Backoff
from stream_capi.errors import ConfigurationError
from stream_capi.kafka import dead_letter_writer
from stream_capi.kafka.dead_letter_writer import DeadLetterWriter
from stream_capi.model import Code, DeadLetter
from tests.fake_record import FakeRecord
from tests.kafka.dead_letters import dead_letter, headers_of, read_back
from tests.stack import Broker, Proxy
from tests.stack.names import Names
from tests.stack.waiting import eventually


class Writing:
    """A writer and what it reported."""

    def __init__(self, bootstrap: str, topic: str, **properties: str) -> None:
        self.reported: list[str | None] = []
        kafka = KafkaSection(bootstrap_servers=bootstrap, properties={"reconnect.backoff.max.ms": 500, **properties})
        self.writer = DeadLetterWriter(kafka, topic, self.reported.append)


@asynccontextmanager
async def writing(bootstrap: str, topic: str, **properties: str) -> AsyncIterator[Writing]:
    w = Writing(bootstrap, topic, **properties)
    w.writer.start()
    try:
        yield w
    finally:
        await w.writer.close(5)


@pytest.mark.real
async def test_a_dead_letter_is_the_record_as_it_was_and_why(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic())
    async with writing(broker.bootstrap, topic) as w:
        await w.writer.write(dead_letter(headers=[("trace", b"\x00\xff"), ("empty", b""), ("null", None)]))
        assert w.reported == []
    (message,) = read_back(broker.bootstrap, topic, 1)
    assert (message.key(), message.value()) == (b"key", b"value")
    assert headers_of(message) == {
        "trace": b"\x00\xff",
        "empty": b"",
        "null": None,
        "capi-error-code": b"refused",
        "capi-error-detail": b"the API answered 400",
        "capi-source-topic": b"leads",
        "capi-source-partition": b"3",
        "capi-source-offset": b"42",
        "capi-source-timestamp": b"1700000000123",
        "capi-attempts": b"7",
        "capi-version": __version__.encode(),
    }


@pytest.mark.real
async def test_a_broker_that_stamps_dead_letters_tells_its_clock(broker: Broker, names: Names) -> None:
    for kind in ("LogAppendTime", "CreateTime"):
        topic = broker.create_topic(names.topic(kind), config={"message.timestamp.type": kind})
        clocks = Clocks(time.monotonic, time.time)
        async with writing(broker.bootstrap, topic) as w:
            w.writer.on_stamped = clocks.brokers_wrote
            await w.writer.write(dead_letter())
        offset = clocks.offset("brokers")
        assert offset == (pytest.approx(0, abs=5) if kind == "LogAppendTime" else None), (
            "only a broker's own stamp tells"
        )


@pytest.mark.real
async def test_what_is_null_or_unknown_stays_so(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic())
    async with writing(broker.bootstrap, topic) as w:
        await w.writer.write(dead_letter(key=None, value=b"", timestamp=(0, 0)))
    (message,) = read_back(broker.bootstrap, topic, 1)
    assert (message.key(), message.value()) == (None, b"")
    assert headers_of(message)["capi-source-timestamp"] == b"-1"


@pytest.mark.real
async def test_the_headers_of_a_former_failure_are_replaced(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic())
    former = [
        ("capi-error-code", b"decode_error"),
        ("capi-by-reference", b"true"),
        ("capi-own", b"theirs"),
        ("a", b"b"),
    ]
    async with writing(broker.bootstrap, topic) as w:
        await w.writer.write(dead_letter(headers=[*former, ("capi-attempts", b"1")]))
    headers = headers_of(read_back(broker.bootstrap, topic, 1)[0])
    assert headers["capi-error-code"] == b"refused"
    assert headers["capi-attempts"] == b"7"
    assert headers["capi-own"] == b"theirs"
    assert "capi-by-reference" not in headers


@pytest.mark.real
async def test_dead_letters_of_one_partition_stay_in_order_and_none_is_there_twice(
    broker: Broker, names: Names
) -> None:
    topic = broker.create_topic(names.topic())
    async with writing(broker.bootstrap, topic) as w, asyncio.TaskGroup() as group:
        for offset in range(3000):
            group.create_task(w.writer.write(dead_letter(offset)))
    offsets = [int(headers_of(message)["capi-source-offset"]) for message in read_back(broker.bootstrap, topic, 3000)]
    assert offsets == list(range(3000))


@pytest.mark.real
async def test_a_record_too_large_for_the_topic_is_written_by_reference(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic(), config={"max.message.bytes": "20000"})
    async with writing(broker.bootstrap, topic) as w:
        await w.writer.write(dead_letter(value=os.urandom(30_000), headers=[("trace", b"1")]))
        await w.writer.write(
            dead_letter(value=os.urandom(30_000), headers=[("trace", os.urandom(5000))], key=os.urandom(5000))
        )
        await w.writer.write(
            dead_letter(value=os.urandom(20_000_000))
        )  # more than a batch, or a producer by default, may hold
        assert w.reported == []
    small, large, huge = read_back(broker.bootstrap, topic, 3)
    for message in (small, large, huge):
        assert message.value() == b""  # in a compacted topic a null would delete the records with the same key
        assert headers_of(message)["capi-by-reference"] == b"true"
        assert headers_of(message)["capi-source-offset"] == b"42"
    assert (small.key(), headers_of(small)["trace"]) == (b"key", b"1")
    assert large.key() is None
    assert "trace" not in headers_of(large)


@pytest.mark.real
async def test_records_that_are_too_large_only_together_are_written_whole(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic(), config={"max.message.bytes": "20000"})
    properties = {"linger.ms": "200", "compression.type": "none"}
    async with writing(broker.bootstrap, topic, **properties) as w, asyncio.TaskGroup() as group:
        for offset in range(20):
            group.create_task(w.writer.write(dead_letter(offset, value=os.urandom(8000))))
    messages = read_back(broker.bootstrap, topic, 20)
    assert len(messages) == 20
    assert {len(message.value() or b"") for message in messages} == {8000}


@pytest.mark.repeat(of="test_dead_letters_of_one_partition_stay_in_order_and_none_is_there_twice")
@pytest.mark.real
async def test_a_missing_topic_is_told_once_and_waited_for(broker: Broker, names: Names) -> None:
    topic = names.topic()
    async with writing(broker.bootstrap, topic) as w:
        dead_letters = [asyncio.create_task(w.writer.write(dead_letter(offset))) for offset in range(3)]
        await eventually(lambda: bool(w.reported), 60, "the word of it")
        assert "TOPIC" in w.writer.failing
        assert not any(task.done() for task in dead_letters)
        broker.create_topic(topic)
        async with asyncio.timeout(60):
            await asyncio.gather(*dead_letters)
        assert w.reported[-1] is None
        assert len(w.reported) == 2
        assert w.writer.failing == ""
    assert len(read_back(broker.bootstrap, topic, 3)) == 3


@pytest.mark.repeat(of="test_dead_letters_of_one_partition_stay_in_order_and_none_is_there_twice")
@pytest.mark.real
async def test_a_frozen_broker_is_told_and_waited_for_without_doubling(
    own_broker: Broker, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = own_broker.create_topic(names.topic())
    async with writing(own_broker.bootstrap, topic, **{"socket.timeout.ms": "2000"}) as w:
        await w.writer.write(dead_letter(0))
        monkeypatch.setattr(dead_letter_writer, "_SILENCE_SECONDS", 1.0)
        own_broker.freeze()
        try:
            waiting = [asyncio.create_task(w.writer.write(dead_letter(offset))) for offset in range(1, 4)]
            await eventually(lambda: w.reported == ["no_acknowledgement"], 30, "the word of it")
            await asyncio.sleep(4)  # requests time out and are retried
        finally:
            own_broker.thaw()
        async with asyncio.timeout(60):
            await asyncio.gather(*waiting)
        assert w.reported == ["no_acknowledgement", None]
    offsets = [int(headers_of(message)["capi-source-offset"]) for message in read_back(own_broker.bootstrap, topic, 4)]
    assert offsets == [0, 1, 2, 3]


@pytest.mark.repeat(of="test_dead_letters_of_one_partition_stay_in_order_and_none_is_there_twice")
@pytest.mark.real
async def test_a_dead_letter_after_a_silence_that_a_nat_did_not_outlast_is_written_at_once(
    own_broker: Broker, own_proxy: Proxy, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client closes an idle connection before a NAT drops it: after minutes, shortened to seconds here."""
    monkeypatch.setattr("stream_capi.kafka.properties._IDLE_MS", 1500)
    topic = own_broker.create_topic(names.topic())
    own_proxy.forget_idle(4)
    try:
        async with writing(own_proxy.address, topic) as w:
            await w.writer.write(dead_letter(0))
            await asyncio.sleep(6)
            begun = asyncio.get_running_loop().time()
            await w.writer.write(dead_letter(1))
            assert asyncio.get_running_loop().time() - begun < 4
            assert w.reported == []
    finally:
        own_proxy.heal()


@pytest.mark.repeat(of="test_dead_letters_of_one_partition_stay_in_order_and_none_is_there_twice")
@pytest.mark.real
async def test_a_broker_that_dies_and_comes_back_gets_every_dead_letter_once(own_broker: Broker, names: Names) -> None:
    topic = own_broker.create_topic(names.topic())
    async with writing(own_broker.bootstrap, topic) as w:
        await w.writer.write(dead_letter(0))
        own_broker.kill()
        waiting = [asyncio.create_task(w.writer.write(dead_letter(offset))) for offset in range(1, 4)]
        await asyncio.sleep(1)
        own_broker.restart()
        async with asyncio.timeout(90):
            await asyncio.gather(*waiting)
    offsets = [int(headers_of(message)["capi-source-offset"]) for message in read_back(own_broker.bootstrap, topic, 4)]
    assert offsets == [0, 1, 2, 3]


@pytest.mark.real
async def test_closing_ends_in_time_while_the_broker_is_frozen(own_broker: Broker, names: Names) -> None:
    topic = own_broker.create_topic(names.topic())
    w = Writing(own_broker.bootstrap, topic)
    w.writer.start()
    await w.writer.write(dead_letter(0))
    own_broker.freeze()
    try:
        waiting = asyncio.create_task(w.writer.write(dead_letter(1)))
        await asyncio.sleep(0.5)
        begun = asyncio.get_running_loop().time()
        await w.writer.close(1)
        assert asyncio.get_running_loop().time() - begun < 15
        assert not waiting.done()
    finally:
        own_broker.thaw()
    waiting.cancel()


@pytest.mark.real
async def test_a_producer_that_ends_with_a_fatal_error_is_replaced(broker: Broker, names: Names) -> None:
    topic = broker.create_topic(names.topic())
    async with writing(broker.bootstrap, topic) as w:
        await w.writer.write(dead_letter(0))
        spent = w.writer._producer
        w.writer._on_error(KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "a gap", fatal=True))
        await eventually(lambda: w.writer._producer is not spent, 10, "another producer")
        await w.writer.write(dead_letter(1))
    assert len(read_back(broker.bootstrap, topic, 2)) == 2


class Refusing:
    """A producer that fails with each of the faults in turn, before it accepts the dead letter."""

    def __init__(self, *faults: Exception | KafkaError) -> None:
        self.faults = list(faults)
        self.produced = 0

    def produce(self, topic: str, value: bytes, key: bytes, headers: object, on_delivery: object) -> None:
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        self.produced += 1
        on_delivery(fault, FakeRecord())  # type: ignore[operator]  # the callback

    def poll(self, seconds: float) -> int:
        return 0

    def flush(self, seconds: float) -> int:
        return 0


@pytest.mark.parametrize(
    "fault",
    [
        BufferError("queue full"),
        KafkaException(KafkaError(KafkaError._FATAL)),
        KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED),
        KafkaError(KafkaError._MSG_TIMED_OUT),
        KafkaError(KafkaError._PURGE_QUEUE),
        KafkaError(KafkaError.INVALID_RECORD),
    ],
    ids=lambda fault: fault.name() if isinstance(fault, KafkaError) else type(fault).__name__,
)
async def test_whatever_goes_wrong_the_dead_letter_is_tried_again(
    fault: Exception | KafkaError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letter_writer, "_BACKOFF", Backoff(0.001, 0.001))
    w = Writing("127.0.0.1:1", "letters")
    producer = Refusing(fault, fault)
    monkeypatch.setattr(w.writer, "_made", lambda: producer)
    w.writer.start()
    await w.writer.write(dead_letter())
    assert producer.faults == []
    assert len(w.reported) == 2
    assert w.reported[1] is None
    await w.writer.close(0)


@pytest.mark.parametrize(("offsets", "written"), [([NOWHERE, 7], 2), ([NOWHERE, NOWHERE, 7], 3), ([NOWHERE] * 9, 3)])
async def test_an_acknowledgement_without_an_offset_is_not_believed(
    offsets: list[int], written: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the dead letter is written again. But the third such acknowledgement is accepted: some brokers give no offsets."""

    class Unplaced(Refusing):
        def produce(self, topic: str, value: bytes, key: bytes, headers: object, on_delivery: object) -> None:
            self.produced += 1
            on_delivery(None, FakeRecord(place=("letters", 0, offsets.pop(0))))  # type: ignore[operator]  # the callback

    w = Writing("127.0.0.1:1", "letters")
    producer = Unplaced()
    monkeypatch.setattr(w.writer, "_made", lambda: producer)
    w.writer.start()
    await w.writer.write(dead_letter())
    assert (producer.produced, w.reported) == (written, [])
    await w.writer.close(0)


async def test_one_dead_letter_that_fails_is_not_healed_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    w = Writing("127.0.0.1:1", "letters")
    producer = Refusing(*[KafkaError(KafkaError._MSG_TIMED_OUT)])
    monkeypatch.setattr(w.writer, "_made", lambda: producer)
    w.writer.start()
    failing = asyncio.create_task(w.writer.write(dead_letter(1)))
    await eventually(lambda: bool(w.reported), 10, "the failure")
    await w.writer.write(dead_letter(2))
    assert w.reported == ["_MSG_TIMED_OUT"]
    failing.cancel()
    await asyncio.wait([failing])
    assert w.reported == ["_MSG_TIMED_OUT", None]
    await w.writer.close(0)


async def test_what_is_in_the_client_at_once_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent(Refusing):
        def produce(self, *args: object, **kwargs: object) -> None:
            self.produced += 1

    w = Writing("127.0.0.1:1", "letters")
    producer = Silent()
    monkeypatch.setattr(w.writer, "_made", lambda: producer)
    w.writer.start()
    tasks = [asyncio.create_task(w.writer.write(dead_letter(value=b"x" * 1_048_576))) for _ in range(20)]
    await eventually(lambda: producer.produced > 0, 10, "the first ones")
    await asyncio.sleep(0)
    assert producer.produced == 7
    tasks[0].cancel()
    tasks[19].cancel()
    await eventually(lambda: producer.produced == 8, 10, "the next one in the first one's room")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await w.writer.close(0)


async def test_a_property_that_the_client_refuses_is_a_fault_of_the_configuration() -> None:
    w = Writing("127.0.0.1:1", "letters", **{"no.such.property": "1"})
    with pytest.raises(ConfigurationError, match=r'kafka\.properties\."no\.such\.property": unknown property'):
        w.writer.start()


def test_no_form_of_a_dead_letter_shows_what_is_in_it() -> None:
    secret = dead_letter(value=b"canary", key=b"canary", headers=[("canary", b"canary")])
    assert "canary" not in repr(secret) + repr(dead_letter_writer.whole(secret)) + repr(
        dead_letter_writer.reference(secret)
    )
    assert isinstance(secret, DeadLetter)


class Unreadable(FakeRecord):
    """A record of which only topic, partition and offset can be read."""

    def headers(self) -> Any:
        raise SystemError("not UTF-8")

    key = value = headers


@pytest.mark.real
async def test_a_dead_letter_by_reference_asks_its_record_for_nothing_but_its_place(
    broker: Broker, names: Names
) -> None:
    topic = broker.create_topic(names.topic())
    bare = DeadLetter(Unreadable(), Code.INTERNAL_ERROR, "SystemError at \ud800", place_only=True)
    async with writing(broker.bootstrap, topic) as w:
        await w.writer.write(bare)
    (message,) = read_back(broker.bootstrap, topic, 1)
    assert (message.key(), message.value()) == (None, b"")
    headers = headers_of(message)
    assert headers["capi-by-reference"] == b"true"
    assert headers["capi-error-code"] == b"internal_error"
    assert headers["capi-source-offset"] == b"42"
