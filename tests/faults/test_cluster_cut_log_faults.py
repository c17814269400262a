"""An unclean election loses events that the group has committed: new events at the same offsets are not skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stream_capi.core.held_reason import HeldReason
from tests.faults.cut_log import commit_what_one_has, cut_and_fill, scene_of_two_replicas
from tests.program import KEY
from tests.scene import Budget
from tests.stack import Cluster, Registry
from tests.stack.waiting import until

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]


def test_a_log_that_was_cut_and_filled_again_is_read_from_where_a_person_says(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Its partitions stop. The budget is what both replicas had: a reset to the beginning sends it again."""
    with scene_of_two_replicas(tmp_path, cluster, registry) as scene:
        kept = commit_what_one_has(scene, cluster)
        scene.ledger.freeze()
        since = cut_and_fill(scene, cluster)
        topics = (scene.leads, scene.views)
        committed = [cluster.committed(scene.group, topic) for topic in topics]
        member = scene.member(ready=False)
        for topic in topics:
            until(lambda t=topic: t in str(member.logged("partition stopped")), 60, f"the stop of {topic}")  # type: ignore[misc]
        assert HeldReason.LOG_TRUNCATED in member.get("/readyz")[1]
        member.terminate()
        assert [cluster.committed(scene.group, topic) for topic in topics] == committed
        assert not {event.event_id for event in since} & set(scene.endpoint.answered())
        reset = [sys.executable, "-m", "stream_capi", "reset", "--config", str(tmp_path / "member-1.toml")]
        env = {**os.environ, "CAPI_TEST_KEY": KEY}
        subprocess.run([*reset, "--to", "earliest", "--execute"], check=True, capture_output=True, timeout=60, env=env)
        scene.member()
        wanted = {event.event_id for event in since}
        until(lambda: wanted <= set(scene.endpoint.answered()), 60, "all that the log has")
        answered = scene.endpoint.answered()
        assert {event for event, times in answered.items() if times > 1} <= {event.event_id for event in kept}
        assert max(answered.values()) == 2
        scene.assert_repeated(
            Budget(len(kept), "what both replicas have kept, sent once more after a reset to the beginning")
        )
