"""Identifiers of each source over the last hour and day: their coverage, and suspect values."""

from __future__ import annotations

from typing import Any

import pytest

from stream_capi.events.counts import Counts
from stream_capi.events.fields import IDENTIFIER_FIELDS, RESTRICTED_IDENTIFIERS
from stream_capi.events.transform import compile_source
from stream_capi.model import EventName, Lane
from stream_capi.observe.identifier_quality import SourceQuality, collect, identifiers_entry
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.runbook import page
from stream_capi.observe.status_document import IdentifiersEntry
from tests.events.sources_and_records import LEAD, mapped, rules
from tests.events.test_shared_values import mixed, people

LANE = Lane("main", EventName.GENERATE_LEAD)


class Day:
    """A source with a clock that the test moves."""

    def __init__(self, **source: Any) -> None:
        self.now = 5_000_000.0
        self.begun = self.now
        self.metrics = Metrics(IDENTIFIER_FIELDS)
        self.quality = SourceQuality("leads", rules(**source), self.metrics, b"key", lambda: self.now)

    def count(self, events: int, **identifiers: int) -> None:
        """Count events and identifiers as the transforms do."""
        counts = Counts(self.quality.shared)
        counts.of_lane(LANE).update({"": events, **identifiers})
        counts.drain_into(self.quality)

    def map(self, rows: list[dict[str, Any]]) -> None:
        """Map records as a member does."""
        transform = compile_source(rules(), LEAD, shared=self.quality.shared)
        self.quality.counts.append(transform.counts)
        mapped(transform, rows)
        collect([self.quality])

    @property
    def told(self) -> IdentifiersEntry:
        return identifiers_entry([self.quality], self.now - self.begun)

    @property
    def suspects(self) -> list[tuple[Any, ...]]:
        return [
            (one["field"], one["reason"], *one["hour"].values(), *one["day"].values()) for one in self.told["suspects"]
        ]


def test_the_last_hour_and_the_last_day_are_counted_each_for_itself() -> None:
    day = Day()
    day.count(100, email=90, phone=10)
    day.now += 7200
    day.count(50, email=5)
    (source,) = day.told["sources"]
    assert (source["source"], source["event"]) == ("leads", "generate_lead")
    assert source["hour"]["events"] == 50
    assert source["hour"]["carry"] == dict.fromkeys(IDENTIFIER_FIELDS, 0) | {"email": 5}
    assert source["day"]["events"] == 150
    assert (source["day"]["carry"]["email"], source["day"]["carry"]["phone"]) == (95, 10)
    day.now += 90_000
    (source,) = day.told["sources"]
    assert (source["hour"]["events"], source["day"]["events"]) == (0, 0), "a day later nothing is left"


def test_how_much_of_an_hour_there_is_so_far_is_said() -> None:
    day = Day()
    day.now += 600
    assert (day.told["hour_seconds"], day.told["day_seconds"]) == (600, 600)
    day.now += 6000
    assert (day.told["hour_seconds"], day.told["day_seconds"]) == (3600, 6600)
    day.now += 10**6
    assert day.told["day_seconds"] == 86_400


def test_a_source_without_events_is_not_told_and_a_field_that_is_never_sent_neither() -> None:
    assert Day().told["sources"] == []
    day = Day(pixel="strict")
    counts = Counts()
    counts.of_lane(Lane("strict", EventName.GENERATE_LEAD)).update({"": 3, "user_id": 1})
    counts.drain_into(day.quality)
    (source,) = day.told["sources"]
    assert set(source["hour"]["carry"]) == {"aleid", *RESTRICTED_IDENTIFIERS}


def test_what_is_counted_goes_on_to_the_metrics() -> None:
    day = Day()
    day.map(people(3, user_id="12345", client_ip_address="10.0.0.1", phone="1"))
    assert day.metrics.mapped_counts == {("main", "generate_lead"): 3}
    assert day.metrics.identifier_counts == {("main", "generate_lead", "user_id"): 3}
    assert day.metrics.dropped_counts == {("phone", "digits"): 3}
    assert day.metrics.suspect_counts == {("user_id", "short"): 3, ("client_ip_address", "private"): 3}


def test_suspect_values_are_told_with_their_path_and_of_how_many() -> None:
    day = Day(
        fields={"user_data.user_id": ["account.id", "visitor"], "user_data.client_ip_address": {"const": "10.0.0.1"}}
    )
    day.quality.counts.append(counts := Counts())
    counts.of_lane(LANE).update({"": 200, "user_id": 50})
    counts.suspect["generate_lead", "user_id", "short"] = 20
    counts.suspect["generate_lead", "client_ip_address", "private"] = 200
    collect([day.quality])
    worst, other = day.told["suspects"]
    assert worst == {
        "source": "leads", "event": "generate_lead", "field": "user_data.client_ip_address", "path": "a constant",
        "reason": "private", "why": "a private address", "hour": {"count": 200, "of": 200}, "day": {"count": 200, "of": 200},
        "runbook": "streamcapisuspectaddresses",
    }  # fmt: skip
    assert 'id="streamcapisuspectaddresses"' in page()
    assert f'id="{other["runbook"]}"' in page()
    assert other["path"] == "account.id or visitor"
    assert other["why"] == "fewer than six characters"
    assert other["hour"] == {"count": 20, "of": 50}, "of those that carry it"


def test_one_value_in_a_third_of_the_events_is_told_and_one_in_fewer_is_not() -> None:
    day = Day()
    day.map(mixed(300, 0.5, user_id="canary-account-77"))
    ((field, reason, count, of, *_),) = day.suspects
    assert (field, reason, of) == ("user_data.user_id", "shared", 300)
    assert count == pytest.approx(150, abs=20)
    assert day.metrics.suspect_counts == {("user_id", "shared"): count}
    day.count(5000, user_id=5000)
    assert day.suspects == [], "of all events of the hour it is in few"


def test_what_was_wrong_two_hours_ago_is_told_of_the_day() -> None:
    day = Day()
    day.map(mixed(300, 0.5, user_id="canary-account-77"))
    day.now += 7200
    ((*_, hour, of_hour, count, of),) = day.suspects
    assert (hour, of_hour) == (0, 0)
    assert count > 100
    assert of == 300


def test_a_value_is_named_nowhere() -> None:
    day = Day()
    day.map(mixed(300, 1.0, user_id="canary-account-77", email="canary@mail.example"))
    assert len(day.suspects) == 2
    assert "canary" not in str(day.told)


def test_all_sources_together_look_at_a_bounded_number_of_values() -> None:
    """The cost doesn't grow with the number of topics."""
    allowed: list[float] = []
    days = [Day() for _ in range(50)]
    for day in days:
        day.quality.counts.append(Counts())
        day.quality.shared.allow = allowed.append  # type: ignore[method-assign, assignment]
    collect([day.quality for day in days])
    assert sum(allowed) == pytest.approx(64)
    collect([])
