"""Histograms that are filled a batch at a time, and sums over a recent period."""

from __future__ import annotations

import random
from bisect import bisect_left

import prometheus_client as prometheus
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import HistogramMetricFamily

from stream_capi.observe.histogram import AgeHistogram, RecentSums, Rolling, quantile

BOUNDS = (10, 20, 50, 100)
SECONDS = (0.01, 0.02, 0.05, 0.1)


def exposed(histogram: AgeHistogram) -> dict[str, float]:
    family = HistogramMetricFamily("seconds", "text")
    histogram.add_to(family)
    return {sample.name + sample.labels.get("le", ""): sample.value for sample in family.samples}


@pytest.mark.slow
@given(st.lists(st.lists(st.integers(0, 130), max_size=20), max_size=10))
def test_a_batch_is_exposed_as_the_library_exposes_its_values_one_by_one(batches: list[list[int]]) -> None:
    whole, single = AgeHistogram(BOUNDS), prometheus.Histogram("seconds", "text", buckets=SECONDS, registry=None)
    for batch in batches:
        whole.observe_all(batch)
        for value in batch:
            single.observe(value / 1000)
    (family,) = single.collect()
    library = {sample.name + sample.labels.get("le", ""): sample.value for sample in family.samples}
    assert exposed(whole) == pytest.approx(library)


@pytest.mark.parametrize(("value", "place"), [(0, 0), (10, 0), (11, 1), (100, 3), (101, 4)])
def test_a_bound_belongs_to_what_is_below_it(value: int, place: int) -> None:
    histogram = AgeHistogram(BOUNDS)
    histogram.observe_all([value])
    assert histogram.counts.index(1) == place


def test_it_is_exposed_cumulated_and_in_seconds() -> None:
    histogram = AgeHistogram((500, 1000))
    histogram.observe_all([400, 900, 5000])
    assert exposed(histogram) == {
        "seconds_bucket0.5": 1,
        "seconds_bucket1.0": 2,
        "seconds_bucket+Inf": 3,
        "seconds_count": 3,
        "seconds_sum": 6.3,
    }


def test_a_quantile_lies_between_the_bounds_that_hold_it() -> None:
    rnd = random.Random(3)
    histogram = AgeHistogram(BOUNDS)
    values = sorted(rnd.randrange(101) for _ in range(1000))
    histogram.observe_all(values)
    for share in (0.01, 0.5, 0.9, 0.99):
        found, true = quantile(SECONDS, histogram.counts, share), values[int(share * 1000) - 1] / 1000
        assert found is not None
        assert bisect_left(SECONDS, found) == bisect_left(SECONDS, true)


def test_a_quantile_of_nothing_is_none_and_of_what_is_above_all_bounds_the_last_one() -> None:
    assert quantile(BOUNDS, [0, 0, 0, 0, 0], 0.5) is None
    assert quantile(BOUNDS, [0, 0, 0, 0, 1], 0.5) == 100


def test_a_rolling_histogram_forgets_what_is_older_than_its_while() -> None:
    counts = [0] * 5
    rolling = Rolling(BOUNDS, lambda: counts, seconds=60, step=5)
    for now in range(300):
        rolling.roll(now)
        counts[0 if now < 100 else 1] += 1
    assert rolling.counts(299)[0] == 0
    assert 60 <= rolling.counts(299)[1] <= 66
    assert rolling.counts(1000) == [0, 0, 0, 0, 0]


def test_a_rolling_histogram_that_nobody_has_read_for_long_tells_only_of_the_last_while() -> None:
    counts = [0] * 5
    rolling = Rolling(BOUNDS, lambda: counts)
    rolling.roll(0)
    counts[0] += 100
    rolling.roll(5000)
    counts[0] += 1
    assert sum(rolling.counts(5001)) == 1


def test_the_sums_of_each_second_come_oldest_first_without_the_one_that_runs() -> None:
    per_second = RecentSums(5)
    for now, n in ((10.0, 1), (10.9, 2), (12.5, 4), (13.0, 8), (14.2, 16)):
        per_second.add(n, now)
    assert per_second.series(14.9) == [3, 0, 4, 8]
    assert per_second.series(15.0) == [0, 4, 8, 16]
    assert per_second.series(1000.0) == [0, 0, 0, 0]
    per_second.add(1, 1000.5)
    assert per_second.series(1001.0) == [0, 0, 0, 1]


def test_a_total_has_the_span_that_runs_and_all_whole_ones_before_it() -> None:
    of_an_hour = RecentSums(61, 60.0)
    for now, n in ((0.0, 1), (59.0, 2), (60.0, 4), (3599.0, 8), (3600.0, 16)):
        of_an_hour.add(n, now)
    assert of_an_hour.total(3659.9) == 31
    assert of_an_hour.total(3660.0) == 28, "the first minute is gone"
    assert of_an_hour.total(7199.0) == 24
    assert of_an_hour.total(1e6) == 0
