"""A topic with several sources, one per record type: where their events go, and which source is held for bad events."""

from __future__ import annotations

from typing import Any

from stream_capi.avro.framing import FILE_KEY
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.model import Code, Lane, Rejection, Skipped, Table, Transformed
from stream_capi.observe.oldest_unresolved import oldest_events
from stream_capi.pipeline.source import Branches, Codec, SharedTopic, TopicSource
from tests.avro.one_schema import OneSchema
from tests.avro.records import schema
from tests.pipeline.given import P0, names
from tests.simulation import LEADS, VIEWS, Line, always, held, simulated

TYPES = ("Lead", "View", "Tick")
UNION = schema(
    ["null"] + [{"type": "record", "name": name, "fields": [{"name": "id", "type": "string"}]} for name in TYPES]
)
LEAD_SOURCE, VIEW_SOURCE = "leads (Lead)", "leads (View)"


class ById:
    """A mapping whose event is the record's id; ids that begin with ``bad`` can't be mapped."""

    paths = frozenset({"id"})

    def apply(self, table: Table, *_: Any) -> list[Transformed]:
        bad = Rejection(Code.MISSING_FIELD, "email")
        return [bad if text.startswith("bad") else f'"{text}"'.encode() for text in table.columns["id"]]


def compiled(_: WriterSchema) -> ById:
    return ById()


def shared(view_window: float = 1.0, view_ratio: float | None = None, paused: str = "") -> SharedTopic:
    def source(record: str, lane: Lane, window: float = 1.0, max_ratio: float | None = None) -> TopicSource:
        return TopicSource(
            "leads", "raw", OneSchema(UNION), compiled, lane, lane.pixel, window, max_ratio, record, record in paused
        )

    return SharedTopic([source("Lead", LEADS), source("View", VIEWS, view_window, view_ratio)], 0.5)


class SharedLine(Line):
    """A line with one topic of two sources. ``Tick`` records belong to neither."""

    def __init__(self, **source: Any) -> None:
        self.given = source
        super().__init__(always(200), topics={}, max_buffered_bytes=2**24)

    def _new_pipeline(self) -> None:
        self.sources = {"leads": shared(**self.given)}
        super()._new_pipeline()

    def lanes_of(self, source: Any) -> list[Lane]:
        return [LEADS, VIEWS]

    def has_outcome(self, value: bytes | None) -> bool:
        if value is None or value[:1] in (b"\0", b"\6"):
            return True
        return value[2:].decode() in self.accepted or value.decode() in self.dead_letters

    def take(self, kind: str, *ids: str) -> None:
        branch = 2 * (1 + TYPES.index(kind))
        self.append(P0, *(bytes([branch, 2 * len(text)]) + text.encode() for text in ids))

    def dead_lettered_count(self) -> int:
        return sum(self.dead_letters.values())


@simulated
async def test_each_record_goes_the_way_of_its_own_source_and_the_rest_is_counted() -> None:
    line = SharedLine()
    skipped: list[tuple[str, str, int]] = []
    line.skipped = lambda *args: skipped.append(args)  # type: ignore[attr-defined]
    for at in range(40):
        line.take("Lead", f"l{at}")
        line.take("View", f"v{at}")
        line.take("Tick", f"t{at}")
    line.append(P0, b"\0", None)
    line.assign(P0)
    await line.run_for(10)
    assert line.lag == 0
    assert line.accepted == dict.fromkeys([*names("l", 40), *names("v", 40)], 1)
    by_lane = {lane: sum(len(ids) for _, _, ids, _ in line.requests if ids[0][0] == sign)
               for lane, sign in ((LEADS, "l"), (VIEWS, "v"))}  # fmt: skip
    assert by_lane == {LEADS: 40, VIEWS: 40}
    assert all(len({text[0] for text in ids}) == 1 for _, _, ids, _ in line.requests), "a batch is of one lane"
    counts: dict[str, int] = {}
    for topic, reason, n in skipped:
        assert topic == "leads"
        counts[reason] = counts.get(reason, 0) + n
    assert counts == {"unrouted": 40, "tombstone": 2}


@simulated
async def test_a_source_keeps_its_own_window() -> None:
    line = SharedLine(view_window=3600.0)
    line.take("Lead", "l1")
    line.take("View", "v1")
    line.assign(P0)
    await line.run_for(10)
    assert list(line.accepted) == ["l1"]
    (oldest,) = oldest_events(line.pipeline).values()
    assert oldest.wait.state == "window"


@simulated
async def test_a_source_that_fails_for_all_is_held_however_good_the_other_one_is() -> None:
    """A guard for the whole topic would see one bad event in twenty, and let every lead become a dead letter."""
    line = SharedLine()
    for at in range(200):
        line.take("Lead", f"bad{at}")
        line.take("View", *(f"v{at}-{n}" for n in range(19)))
    line.assign(P0)
    await line.run_for(60)
    assert len(line.accepted) == 200 * 19
    assert line.dead_lettered_count() < 100
    assert list(line.pipeline.quarantined_since) == [LEAD_SOURCE]
    (one,) = held(line.pipeline)
    assert (one.pixel, one.subject, one.reason) == ("main", LEAD_SOURCE, "dead_letter_ratio")
    line.take("Lead", *names("l", 300))
    await line.run_for(30)
    assert (line.lag, line.dead_lettered_count(), held(line.pipeline)) == (0, 200, [])


@simulated
async def test_a_sources_own_ratio_is_for_its_own_events() -> None:
    line = SharedLine(view_ratio=1.0)
    line.take("View", *names("bad", 600))
    line.take("Lead", *names("badl", 600))
    line.assign(P0)
    await line.run_for(60)
    assert list(line.pipeline.quarantined_since) == [LEAD_SOURCE]
    assert 600 <= line.dead_lettered_count() < 700


@simulated
async def test_what_belongs_to_no_source_is_held_for_the_topic_by_its_share_in_all_events() -> None:
    line = SharedLine()
    line.append(P0, *(f"\t-{at}".encode() for at in range(300)))  # of a union branch that doesn't exist
    line.assign(P0)
    await line.run_for(20)
    assert list(line.pipeline.quarantined_since) == ["leads"]
    line.take("Lead", *names("l", 200))
    line.take("View", *names("v", 200))
    await line.run_for(30)
    assert not line.pipeline.quarantined_since, "good events of both sources have come"


def test_the_sources_codecs_say_whose_they_are() -> None:
    topic = shared()
    assert (topic.name, topic.lane, topic.pixel) == ("leads", None, "main")
    coded = topic.codec(FILE_KEY)
    assert isinstance(coded, Branches)
    assert coded is topic.codec(FILE_KEY), "it is made once"
    whose = [codec.source.name if isinstance(codec, Codec) and codec.source else codec for codec in coded.codecs]
    assert whose == [Skipped("tombstone"), LEAD_SOURCE, VIEW_SOURCE, Skipped("unrouted")]


def test_a_source_alone_on_its_topic_may_be_for_one_record_type() -> None:
    topic = TopicSource("leads", "raw", OneSchema(UNION), compiled, LEADS, "main", 1.0, record="View")
    coded = topic.codec(FILE_KEY)
    assert isinstance(coded, Branches)
    unrouted = Skipped("unrouted")
    assert [codec if isinstance(codec, Skipped) else "view" for codec in coded.codecs] == [
        Skipped("tombstone"),
        unrouted,
        "view",
        unrouted,
    ]
    assert topic.name == "leads"
