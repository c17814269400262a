"""The mapping of one configuration in a dry run: the outcomes of chunks, and what happens without a schema."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from stream_capi.avro.framing import SchemaKey
from stream_capi.config import Settings
from stream_capi.core.batch import TOO_LARGE
from stream_capi.errors import FieldsEncrypted, RegistryUnavailable
from stream_capi.model import Code, Records, Rejection, Skipped
from stream_capi.operations import dry_run_mapper
from stream_capi.operations.dry_run_mapper import ENCRYPTED, NO_SOURCE, DryRunMapper, Outcome
from stream_capi.operations.dry_run_tally import DryRunTally
from stream_capi.pipeline.source import Coded, TopicSource
from tests.events.real_topic import encoded
from tests.events.sources_and_records import LEAD, PIXELS, SCHEMAS, lead
from tests.fake_record import FakeRecord

NOW = int(time.time() * 1000)
KEY = SchemaKey("id", 1)


def settings(**sections: Any) -> Settings:
    source = {"topic": "leads", "event": "generate_lead", "pixel": "main", "framing": "raw"}
    source["schema_file"] = str(SCHEMAS / "lead.avsc")
    return Settings.model_validate({"pixels": PIXELS, "sources": [source], **sections})


def value(**fields: Any) -> bytes:
    return encoded(LEAD, lead(event_time=NOW - 1000, **fields))


async def outcomes(
    values: Sequence[bytes | None], of: Settings | None = None, topic: str = "leads"
) -> tuple[dict[int, Outcome], DryRunMapper]:
    """Map values as one chunk; their outcomes by index."""
    mapper = DryRunMapper(of or settings(), ["leads", "others"], NOW, waited.append)
    records: list[Any] = [FakeRecord(one, place=(topic, 0, at)) for at, one in enumerate(values)]
    try:
        parts = await mapper.map(Records(topic, 0, 0, records))
    finally:
        await mapper.aclose()
    return dict(sorted(pair for part in parts for pair in zip(part.offsets, part.outcomes, strict=True))), mapper


waited: list[str] = []


async def test_each_record_has_its_outcome() -> None:
    found, _ = await outcomes([value(), None, b"", value(esi="web", currency="no money"), value(), None])
    assert found[1] == found[5] == Skipped("tombstone")
    assert isinstance(found[0], bytes)
    assert isinstance(found[4], bytes)
    assert [one.code for one in found.values() if isinstance(one, Rejection)] == [
        Code.DECODE_ERROR,
        Code.INVALID_FIELD,
    ]
    assert len(found) == 6


async def test_an_event_that_is_too_large_alone_is_rejected() -> None:
    found, _ = await outcomes([value(), value(client_user_agent="x" * 4000)], settings(batch={"max_bytes": 4096}))
    assert found[1] == TOO_LARGE
    assert isinstance(found[0], bytes)


async def test_a_topic_without_a_source_has_none() -> None:
    found, _ = await outcomes([b"any", None], topic="others")
    assert list(found.values()) == [NO_SOURCE, NO_SOURCE]


async def test_what_is_ahead_of_this_clock_but_not_of_its_record_is_in_time() -> None:
    ahead = encoded(LEAD, lead(event_time=NOW + 3_600_000))
    mapper = DryRunMapper(settings(), ["leads"], NOW, waited.append)
    stamps = NOW + 3_600_000, NOW
    records: list[Any] = [
        FakeRecord(ahead, place=("leads", 0, at), timestamp=(1, stamp)) for at, stamp in enumerate(stamps)
    ]
    (part,) = await mapper.map(Records("leads", 0, 0, records))
    await mapper.aclose()
    assert isinstance(part.outcomes[0], bytes)
    assert isinstance(part.outcomes[1], Rejection)
    assert part.outcomes[1].code is Code.IN_FUTURE


async def test_suspect_values_are_counted_over_the_whole_range_with_the_paths_that_they_come_from() -> None:
    of = settings()
    mapper, tally = DryRunMapper(of, ["leads"], NOW, waited.append), DryRunTally()
    for start in range(0, 900, 300):
        rows = [value(user_id="12345" if at % 3 else f"account-{at}") for at in range(start, start + 300)]
        records: list[Any] = [FakeRecord(one, place=("leads", 0, start + at)) for at, one in enumerate(rows)]
        await mapper.map(Records("leads", 0, 0, records))
        mapper.drain_into(tally.of_source)
    mapper.tell_shared(tally.of_source)
    await mapper.aclose()
    found = {(key.field, key.source, key.reason): n for key, n in tally.suspect.items()}
    assert found["user_id", "user_id", "short"] == 600
    assert found["user_id", "user_id", "shared"] == pytest.approx(600, abs=60)
    assert found["client_ip_address", "client_ip_address", "shared"] == 900
    assert "12345" not in repr(tally.suspect)


def loading(monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
    """Let the first attempts to load a schema raise these errors; with a single error, all attempts."""
    left, load = list(errors), TopicSource.load

    async def failing(self: TopicSource, key: SchemaKey) -> Coded:
        if left:
            raise left.pop(0) if len(errors) > 1 else left[0]
        return await load(self, key)

    monkeypatch.setattr(TopicSource, "load", failing)
    monkeypatch.setattr(TopicSource, "codec", lambda self, key: None)
    monkeypatch.setattr(dry_run_mapper, "_REST_SECONDS", 0.01)
    monkeypatch.setattr(dry_run_mapper, "_PATIENCE_SECONDS", 0.1)
    waited.clear()


async def test_records_whose_fields_are_encrypted_would_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    loading(monkeypatch, FieldsEncrypted("the registry's rules encrypt email"))
    found, mapper = await outcomes([value(), value()])
    assert list(found.values()) == [ENCRYPTED, ENCRYPTED]
    assert list(mapper.notes) == ["leads: the registry's rules encrypt email; its records would wait"]


async def test_a_registry_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    loading(monkeypatch, RegistryUnavailable("asked for schema id 1: no answer"), RegistryUnavailable("again"))
    found, _ = await outcomes([value()])
    assert isinstance(found[0], bytes)
    assert waited == ["asked for schema id 1: no answer; asking again", "again; asking again", ""]


async def test_a_registry_that_stays_away_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loading(monkeypatch, RegistryUnavailable("no answer"))
    with pytest.raises(RegistryUnavailable, match="no answer"):
        await outcomes([value()])


async def test_a_schema_that_raises_what_nobody_foresaw_is_the_records_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    loading(monkeypatch, ValueError("of canary@example.com"))
    found, _ = await outcomes([value()])
    assert isinstance(found[0], Rejection)
    assert found[0].code is Code.INTERNAL_ERROR
    assert "canary" not in found[0].detail


async def test_a_pause_changes_nothing() -> None:
    paused: Mapping[str, Any] = {"pixels": [{**PIXELS[0], "paused": True}]}
    found, _ = await outcomes([value()], settings(**paused))
    assert isinstance(found[0], bytes)
