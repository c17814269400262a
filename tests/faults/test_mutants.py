"""Mutants, each of which breaks one promise: the ledger must detect every one.

If the ledger never failed, all other rows would be worthless.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.faults.answers import always, requests_of
from tests.faults.crafted_records import Maker, written
from tests.faults.foreign_metadata import commit_of_a_release_to_come
from tests.faults.mutants import (
    aborted_records_read,
    any_metadata_believed,
    commit_on_dispatch,
    no_ownership_check,
    redirects_followed,
)
from tests.faults.stray_origin import Elsewhere
from tests.program import Program
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real


def _await_fault(scene: Scene, text: str) -> None:
    scene.ledger.patience = 1.0  # there are no dead letters to wait for
    # Longer than a commit may wait for its answer, since the wrong commit may have to wait for the one before.
    until(lambda: any(text in fault for fault in scene.ledger.faults), 100, f"a fault in the books: {text}")


def test_a_program_that_commits_on_dispatch_is_found_out(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, answer=always(delay_seconds=4.0)) as scene:
        scene.produce(300)
        scene.member(module=commit_on_dispatch.__name__)
        _await_fault(scene, "is unanswered")


@pytest.mark.repeat(of="test_a_program_that_commits_on_dispatch_is_found_out")
def test_a_program_that_follows_redirects_is_found_out(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Elsewhere() as elsewhere, Scene(tmp_path, broker, registry) as scene:
        scene.endpoint.answer(always(status=301, headers={"Location": f"{elsewhere.url}/v1/event"}))
        scene.produce(300)
        scene.member(module=redirects_followed.__name__)
        _await_fault(scene, "is unanswered")
        assert elsewhere.seen
        assert scene.ledger.tally().lost > 0


@pytest.mark.repeat(of="test_a_program_that_commits_on_dispatch_is_found_out")
def test_a_program_that_believes_the_metadata_of_any_release_is_found_out(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, 1) as scene:
        scene.produce(200)
        commit_of_a_release_to_come(scene)
        scene.member(module=any_metadata_believed.__name__)
        _await_fault(scene, "is unanswered")
        assert scene.ledger.tally().lost > 0


def test_a_program_that_reads_aborted_records_is_found_out(tmp_path: Path, broker: Broker, registry: Registry) -> None:
    with Scene(tmp_path, broker, registry, 1) as scene:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": scene.group, "log_level": 0})
        producer.init_transactions(30)
        producer.begin_transaction()
        maker = Maker(scene)
        aborted = {event.event_id for event in written(producer, scene.leads, [maker.lead() for _ in range(20)])}
        producer.abort_transaction(30)
        scene.member(module=aborted_records_read.__name__)
        until(lambda: aborted <= set(scene.endpoint.answered()), 60, "deliveries of what was aborted")


@pytest.mark.repeat(of="test_a_program_that_commits_on_dispatch_is_found_out")
@pytest.mark.timeout(300)
def test_a_program_that_commits_what_it_no_longer_owns_is_found_out(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    """Its requests are answered long after their partitions moved to another member, which has committed beyond them."""
    late = asyncio.Event()
    # Room for all of about twenty requests: if some of a lane were answered at once, just its partitions might move. The
    # key's form is given: if it had to be found, requests would go one at a time until the first is delivered.
    sections: dict[str, dict[str, object]] = {
        "batch": {"max_events": 10},
        "delivery": {"max_in_flight": 24},
        "endpoint": {"authorization": "bearer"},
    }
    with Scene(tmp_path, broker, registry, answer=always(until=late), sections=sections) as scene:
        scene.produce(200)
        mutant = no_ownership_check.__name__
        scene.member(module=mutant, shutdown={"drain_seconds": 1}, endpoint={"timeout_seconds": 120})
        # Wait until the endpoint has read all requests: one that it reads later would be answered at once.
        until(lambda: sum(record.n_events for record in requests_of(scene)) == 200, 30, "all requests at the endpoint")
        scene.endpoint.answer(None)
        second = scene.member(ready=False)
        until(lambda: len(second.status()["partitions"]) == 4, 60, "half of the partitions")
        scene.produce(400)
        until(lambda: _all_committed(scene, second), 60, "commits beyond what the former owner has read")
        scene.endpoint.release(late)
        _await_fault(scene, "went back")


def _all_committed(scene: Scene, member: Program) -> bool:
    """Whether a member's partitions are committed to their ends."""
    mine = {(place["topic"], place["partition"]) for place in member.status()["partitions"]}
    ends = {place[:2]: place[2] + 1 for place in sorted(scene.ledger.produced) if place[:2] in mine}
    return all(scene.ledger.committed.get(tp, 0) == end for tp, end in ends.items())
