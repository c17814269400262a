"""Record headers that the client can't decode: no error, no crash, and the lost headers are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message
from confluent_kafka import TopicPartition as ClientPartition

import stream_capi
from stream_capi.record_headers import all_headers, headers_of, lost_headers
from stream_capi.sandbox.embedded_broker import EmbeddedBroker
from tests.fake_record import FakeRecord
from tests.stack.raw_producer import Raw, produce_raw
from tests.stack.waiting import until

NOT_UTF8 = b"\x63\x61\x66\xe9"


@pytest.fixture(scope="module")
def bootstrap() -> Iterator[str]:
    with EmbeddedBroker() as broker:
        yield broker.bootstrap


def read(bootstrap: str, topic: str, count: int) -> list[Message]:
    config = {"bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, "log_level": 0}
    found: list[Message] = []
    with closing(Consumer(config)) as consumer:
        consumer.assign([ClientPartition(topic, 0, OFFSET_BEGINNING)])

        def more() -> bool:
            found.extend(consumer.consume(500, 0.1))
            return len(found) >= count

        until(more, 30, f"{count} records of {topic}")
    return found


def test_a_name_that_is_not_utf8_costs_that_header_alone_however_often_it_is_read(bootstrap: str) -> None:
    spoilt = Raw(headers=[(NOT_UTF8, b"x"), (b"ok", b"y"), (b"null", None), (b"\xff", None)])
    produce_raw(bootstrap, "names", Raw(headers=[(b"a", b"b")]), spoilt, Raw(), spoilt, Raw(headers=[(b"", b"")]))
    messages: Any = read(bootstrap, "names", 5)
    left = [("ok", b"y"), ("null", None)]
    for _ in range(3):
        assert [headers_of(message) for message in messages] == [[("a", b"b")], left, [], left, [("", b"")]]
        assert [lost_headers(message) for message in messages] == ["", "2", "", "2", ""]
    marked = all_headers(messages)
    assert marked[2] is None
    assert [len(headers or ()) for headers in marked] == [1, 3, 0, 3, 1]


def test_the_error_belongs_to_its_own_record_when_a_loop_is_hot(bootstrap: str) -> None:
    """In a hot loop the interpreter returns the list with the exception still set, which is then raised elsewhere."""
    names = [b"good", NOT_UTF8] * 400
    produce_raw(bootstrap, "hot", *(Raw(headers=[(name, b"x")]) for name in names))
    messages: Any = read(bootstrap, "hot", 800)
    assert [lost_headers(message) for message in messages] == ["", "1"] * 400


def test_a_header_of_the_mark_s_own_name_is_no_mark(bootstrap: str) -> None:
    forged = Raw(headers=[(b"capi-headers-lost", b"7")])
    produce_raw(bootstrap, "forged", forged)
    (message,) = read(bootstrap, "forged", 1)
    record: Any = message
    assert lost_headers(record) == ""
    assert headers_of(record) == [("capi-headers-lost", b"7")]


class Broken(FakeRecord):
    def headers(self) -> Any:
        raise SystemError("a text with jane@example.com")


def test_a_record_that_gives_none_at_all_says_so() -> None:
    assert headers_of(Broken()) == []
    assert lost_headers(Broken()) == "all"


def test_nobody_else_asks_a_record_for_its_headers() -> None:
    asking = {file.name for file in Path(stream_capi.__file__).parent.rglob("*.py") if ".headers()" in file.read_text()}
    assert not asking, "use record_headers: a second reading can crash the process"
