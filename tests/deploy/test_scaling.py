"""Recomputes the tables of docs/scaling.md: each figure must follow from the page's own formulas."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import pytest

from stream_capi.config.settings import BatchSection, DeliverySection
from stream_capi.core.batch import Batcher
from stream_capi.core.offsets import PartitionOffsets
from stream_capi.kafka.properties import events_bytes
from stream_capi.model import Columns, EventName, Lane
from tests.deploy import pages
from tests.deploy.program import ROOT

TEXT = (ROOT / "docs/scaling.md").read_text()
FULL = BatchSection().max_events
EVENTS_A_CORE, IN_USE, WINDOW, EVENT_BYTES = 30_000, 0.6, 1.0, 550
LANES = (0.2, 0.8)  # leads, page views
RECORD_BYTES = 300


class Plan(NamedTuple):
    """The resources that a rate needs."""

    members: int
    partitions: int
    requests: float
    mbit: float

    def in_flight(self, seconds: float) -> float:
        """Requests in flight, by Little's law."""
        return self.requests * seconds


def batch(rate: float) -> float:
    """Events in a batch of a lane, at ``rate`` events a second in one member."""
    in_window = rate * WINDOW
    return float(FULL) if in_window >= FULL else 1 + in_window**2 / FULL


def plan(rate: float) -> Plan:
    members = max(2, math.ceil(rate / (EVENTS_A_CORE * IN_USE)))
    lanes = [rate * share / members for share in LANES]
    requests = members * sum(lane / batch(lane) for lane in lanes)
    return Plan(members, 3 * members, requests, rate * EVENT_BYTES * 8 / 1e6)


def rows(heading: str, columns: int) -> list[list[float]]:
    """The numeric rows of a section's tables with so many columns."""
    found = []
    for row in pages.rows(pages.section(TEXT, heading)):
        cells = [cell.replace(",", "").split(" ")[0] for cell in row]
        if len(cells) == columns and all(re.fullmatch(r"[\d.]+", cell) for cell in cells):
            found.append([float(cell) for cell in cells])
    return found


def shown(value: float) -> float:
    """A figure as the table rounds it: to a whole number of at least one."""
    return float(max(1, round(value)))


@pytest.mark.parametrize("row", rows("Worked", 9), ids=lambda row: f"{row[0]:g} a second")
def test_a_worked_row_follows_from_the_formulas(row: list[float]) -> None:
    rate, members, partitions, requests, *in_flight, in_one, mbit = row
    needed = plan(rate)
    assert (members, partitions) == (needed.members, needed.partitions)
    assert requests == shown(needed.requests)
    assert in_flight == [shown(needed.in_flight(seconds)) for seconds in (0.05, 0.2, 1.0)]
    assert in_one == shown(needed.in_flight(0.2) / needed.members)
    assert mbit == pytest.approx(needed.mbit, rel=0.1)


def test_the_worked_table_goes_up_to_a_million() -> None:
    assert [row[0] for row in rows("Worked", 9)] == [100, 1_000, 10_000, 50_000, 100_000, 250_000, 1_000_000]


def test_what_requests_in_flight_carry_follows_from_littles_law() -> None:
    table = rows("Worked", 4)
    assert table[0][0] == DeliverySection().max_in_flight
    for limit, *carried in table:
        assert carried == [pytest.approx(limit * FULL / seconds) for seconds in (0.05, 0.2, 1.0)]


def test_the_memory_of_a_busy_member_is_what_the_page_says() -> None:
    rate = EVENTS_A_CORE * IN_USE
    lanes = [rate * share for share in LANES]
    open_bytes = sum(lane * (0.2 + batch(lane) / lane) * (2 * RECORD_BYTES + 1024) for lane in lanes)
    assert open_bytes < 10 * 1_048_576 < events_bytes(DeliverySection().max_buffered_bytes) / 2
    assert events_bytes(64) / 2 == 64 * 5 / 16


@pytest.mark.parametrize("rate", [3, 10, 30, 60, 99])
def test_a_quiet_lanes_batches_are_of_the_size_that_the_model_says(rate: int) -> None:
    """The program's batcher with evenly spaced events, in simulated time: within a third, since events are whole."""
    lane = Lane("main", EventName.PAGE_VIEW)
    batcher, owner = Batcher(lane, FULL, BatchSection().max_bytes), PartitionOffsets("page-views", 0, 1, 0)
    travelling = Columns([None], [0], [0])  # type: ignore[list-item]  # its content isn't used
    sizes = []
    for at in range(60 * rate):
        now = at / rate
        early = batcher.early()
        if early is not None and early <= now and (sent := batcher.flush()):
            sizes.append(len(sent))
        batcher.add([b"{}"], travelling, owner, now, WINDOW)
    settled = sizes[len(sizes) // 2 :]
    assert sum(settled) / len(settled) == pytest.approx(batch(rate), rel=0.34)
