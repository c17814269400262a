"""Each commit says from which offset on members have resolved everything, also after hand-overs, but not after a reset."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stream_capi.core.offset_metadata import resolved_since
from stream_capi.model import Answer, TopicPartition
from tests.simulation import Line, simulate

P0 = TopicPartition("leads", 0)


def two_owners(first: tuple[int, str] | None, between: Callable[[Line], None] = lambda line: None) -> list[int | None]:
    """The offsets that the last commits of two owners state, each after 100 events; the first starts at ``first``."""

    async def run() -> list[int | None]:
        line = Line(lambda pixel, ids, now: (0.05, Answer(200)))
        line.ids = {"leads": "log-1"}
        line.produce("leads", 0, *[None] * 40, *(f"a{number}" for number in range(60)))  # None: tombstones
        if first is not None:
            line.store[P0] = first
        said = []
        for of_owner in ("b", "c"):
            line.assign(P0)
            await line.run_for(20)
            offset, metadata = line.store[P0]
            assert offset == line.logs[P0].end
            said.append(resolved_since(metadata, offset, "log-1"))
            await line.revoke(P0)
            between(line)
            line.produce("leads", 0, *(f"{of_owner}{number}" for number in range(100)))
        return said

    return simulate(run())


def test_the_first_owner_says_where_it_began_and_the_next_one_keeps_it() -> None:
    assert two_owners(None) == [0, 0]


@pytest.mark.parametrize("metadata", ["", "capi2:log-1:40:", "somebody else's", "capi1:log-1:40:JslzC3Mlyj0R"])
def test_what_somebody_else_has_set_is_where_it_begins(metadata: str) -> None:
    """A reset, another program's commit, or the commit of a release without this statement."""
    assert two_owners((40, metadata)) == [40, 40]


def test_a_reset_between_two_owners_begins_anew() -> None:
    def reset(line: Line) -> None:
        line.store[P0] = (70, "")

    assert two_owners(None, reset) == [0, 70]
