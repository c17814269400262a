"""Where an episode's records are, as the brokers' answers to the producer say."""

from __future__ import annotations

from confluent_kafka import KafkaError

from tests.fake_record import FakeRecord
from tests.soak.history import Entry, Place
from tests.soak.plan import Topic
from tests.soak.traffic import Made, Traffic


def test_a_place_that_the_client_counted_on_from_no_offset_is_unknown() -> None:
    """Found as a sound record that was dead-lettered as another one, which is at the offset 0 that the client named."""
    history: list[Entry] = []
    traffic = Traffic(
        "nowhere:1", "t", Topic("generate_lead", 1, 1, False, False), 1.0, 7, lambda *_: b"", history.append, float
    )
    places: dict[str, Place | None] = {}
    told = {
        name: traffic.told(lambda made, place: places.update({made.event_id: place}), Made(name, b"", None))
        for name in "abcdefg"
    }
    for name, partition, offset in (("a", 0, 5), ("b", 0, 6), ("c", 0, -1), ("d", 0, 0), ("e", 0, 8), ("f", 1, 0)):
        told[name](None, FakeRecord(place=("t", partition, offset)))
    told["g"](KafkaError(KafkaError._MSG_TIMED_OUT), FakeRecord(place=("t", 0, 9)))
    known = {"a": ("t", 0, 5), "b": ("t", 0, 6), "e": ("t", 0, 8), "f": ("t", 1, 0)}
    assert places == {**known, "c": None, "d": None, "g": None}
