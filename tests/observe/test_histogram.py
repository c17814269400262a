"""Distributions filled a batch at a time."""

from __future__ import annotations

import random
from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.core import HistogramMetricFamily

from stream_capi.observe.histogram import Histogram, PerSecond, Rolling

BOUNDS = (10, 20, 50, 100)


@given(st.lists(st.lists(st.integers(0, 130), max_size=20), max_size=10))
def test_a_batch_is_counted_as_its_values_one_by_one(batches: list[list[int]]) -> None:
    whole, single = Histogram(BOUNDS), Histogram(BOUNDS)
    for batch in batches:
        whole.observe_all(batch)
        for value in batch:
            single.observe(value)
    assert (whole.counts, whole.sum, whole.count) == (single.counts, single.sum, sum(map(len, batches)))


@pytest.mark.parametrize(("value", "place"), [(0, 0), (10, 0), (11, 1), (100, 3), (101, 4)])
def test_a_bound_belongs_to_what_is_below_it(value: int, place: int) -> None:
    histogram = Histogram(BOUNDS)
    histogram.observe(value)
    assert histogram.counts.index(1) == place


def test_it_is_exposed_cumulated_and_in_its_unit() -> None:
    histogram = Histogram((500, 1000), unit=1000)
    histogram.observe_all([400, 900, 5000])
    family = HistogramMetricFamily("seconds", "text")
    histogram.add_to(family)
    assert [(sample.name, sample.labels, sample.value) for sample in family.samples] == [
        ("seconds_bucket", {"le": "0.5"}, 1),
        ("seconds_bucket", {"le": "1.0"}, 2),
        ("seconds_bucket", {"le": "+Inf"}, 3),
        ("seconds_count", {}, 3),
        ("seconds_sum", {}, 6.3),
    ]


def test_a_quantile_lies_between_the_bounds_that_hold_it() -> None:
    rnd = random.Random(3)
    histogram = Histogram(BOUNDS)
    values = sorted(rnd.uniform(0, 100) for _ in range(1000))
    histogram.observe_all(values)
    for share in (0.01, 0.5, 0.9, 0.99):
        found, true = histogram.quantile(share, histogram.counts), values[int(share * 1000) - 1]
        assert found is not None
        assert bisect_left(BOUNDS, found) == bisect_left(BOUNDS, true)


def test_a_quantile_of_nothing_is_none_and_of_what_is_above_all_bounds_the_last_one() -> None:
    histogram = Histogram(BOUNDS)
    assert histogram.quantile(0.5, histogram.counts) is None
    histogram.observe(10_000)
    assert histogram.quantile(0.5, histogram.counts) == 100


def test_a_rolling_histogram_forgets_what_is_older_than_its_while() -> None:
    rolling = Rolling(Histogram(BOUNDS), seconds=60, step=5)
    for now in range(300):
        rolling.roll(now)
        rolling.histogram.observe(5 if now < 100 else 15)
    assert rolling.histogram.count == 300
    assert rolling.counts(299)[0] == 0
    assert 60 <= rolling.counts(299)[1] <= 66
    assert rolling.counts(1000) == [0, 0, 0, 0, 0]


def test_a_rolling_histogram_that_nobody_has_read_for_long_tells_only_of_the_last_while() -> None:
    rolling = Rolling(Histogram(BOUNDS))
    rolling.roll(0)
    rolling.histogram.observe_all([5] * 100)
    rolling.roll(5000)
    rolling.histogram.observe(5)
    assert sum(rolling.counts(5001)) == 1


def test_the_sums_of_each_second_come_oldest_first_without_the_one_that_runs() -> None:
    per_second = PerSecond(5)
    for now, n in ((10.0, 1), (10.9, 2), (12.5, 4), (13.0, 8), (14.2, 16)):
        per_second.add(n, now)
    assert per_second.series(14.9) == [3, 0, 4, 8]
    assert per_second.series(15.0) == [0, 4, 8, 16]
    assert per_second.series(1000.0) == [0, 0, 0, 0]
    per_second.add(1, 1000.5)
    assert per_second.series(1001.0) == [0, 0, 0, 1]
