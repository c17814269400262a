"""The hot path leaves no reference cycles; that is why the program runs the cyclic garbage collector so seldom."""

from __future__ import annotations

import asyncio
import gc

import pytest

from benchmarks import inside

pytestmark = pytest.mark.slow


def test_an_event_leaves_no_garbage_that_only_a_search_for_cycles_frees() -> None:
    few, many = inside.fetched(1_000), inside.fetched(11_000)
    asyncio.run(inside.whole(few))  # fill the caches, which are not counted
    counts = []
    gc.collect()
    gc.disable()
    try:
        for chunks in (few, many):
            asyncio.run(inside.whole(chunks))
            counts.append(gc.collect())
    finally:
        gc.enable()
    assert counts[1] - counts[0] < 100, (
        f"{counts[1] - counts[0]} objects of ten thousand events' processing lie in cycles"
    )
