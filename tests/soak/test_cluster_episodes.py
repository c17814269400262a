"""Episodes of the soak on three brokers: fixed seeds, and episodes that once failed. `make soak CLUSTER=1` runs new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.cluster import Beds
from tests.soak.plan import Plan, draw
from tests.stack import Cluster, Registry

pytestmark = [pytest.mark.matrix, pytest.mark.real]

_SECONDS = 15
_FIRST, *_MORE = (draw(seed, _SECONDS) for seed in (35, 88, 95))  # classic, range and consumer; each with few processes
ROWS: tuple[Plan, ...] = ()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "plan", [_FIRST, *(pytest.param(plan, marks=pytest.mark.repeat) for plan in (*_MORE, *ROWS))],
    ids=lambda plan: f"seed {plan.seed}, {len(plan.faults)} faults",
)  # fmt: skip
def test_every_promise_is_kept_through(plan: Plan, tmp_path: Path, cluster: Cluster, registry: Registry) -> None:
    assert Beds(tmp_path, cluster, registry).run(plan).findings == ()
