"""Mutants that can be detected only on a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cut_log import commit_what_one_has, cut_and_fill, scene_of_two_replicas
from tests.faults.mutants import commit_without_epoch
from tests.stack import Cluster, Registry
from tests.stack.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]


def test_a_program_that_commits_without_the_leader_epoch_is_found_out(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """It reads on at its offset in the changed log, and skips the new events before it."""
    with scene_of_two_replicas(tmp_path, cluster, registry) as scene:
        commit_what_one_has(scene, cluster, commit_without_epoch.__name__)
        cut_and_fill(scene, cluster)
        scene.member(module=commit_without_epoch.__name__)
        until(lambda: scene.ledger.lag() == 0, 60, "commits behind all events")
        assert scene.ledger.tally().lost > 0
