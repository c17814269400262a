"""An episode is fully drawn before it runs: the same seed gives the same one, and faults can be left out."""

from __future__ import annotations

from collections import Counter

from tests.soak import plan as plans
from tests.soak.plan import KINDS, Fault, draw, kept, whose
from tests.soak.weather import FAULTS

SEEDS = range(100)
DRAWN = [draw(seed) for seed in SEEDS]


def test_the_same_seed_draws_the_same_episode() -> None:
    assert [draw(seed) for seed in SEEDS] == DRAWN


def test_another_seed_draws_another() -> None:
    assert len({plan._replace(seed=0) for plan in DRAWN}) == len(DRAWN)


def test_a_longer_episode_has_the_same_members_topics_and_settings() -> None:
    assert [draw(seed, 20)._replace(seconds=60, faults=()) for seed in SEEDS] == [
        plan._replace(faults=()) for plan in DRAWN
    ]


def test_what_is_printed_of_an_episode_is_the_episode() -> None:
    """So that it can be pasted into a test as a row."""
    names = {"Plan": plans.Plan, "Topic": plans.Topic, "Fault": plans.Fault}
    assert [eval(repr(plan), {}, names) for plan in DRAWN[:20]] == DRAWN[:20]  # noqa: S307 -- what this test drew


def test_every_episode_can_be_run() -> None:
    for plan in DRAWN:
        assert plan.faults == tuple(sorted(plan.faults))
        assert {topic.event for topic in plan.topics} == {"generate_lead", "page_view"}
        assert overlapping(plan.faults) == []
        for fault in plan.faults:
            assert fault.at + fault.seconds <= plan.seconds + 0.1
            of, target = KINDS[fault.kind].of, fault.target
            assert of != "transactions" or plan.topics[int(target)].transactional
            assert of != "topic" or int(target) < len(plan.topics)
            assert of not in ("member", "worker") or plan.workers[int(target)] > (of == "worker")


def overlapping(faults: tuple[Fault, ...]) -> list[tuple[Fault, Fault]]:
    """Pairs of faults that overlap on the same target."""
    same = [(one, other) for one in faults for other in faults
            if one is not other and whose(KINDS[one.kind].of, one.target) == whose(KINDS[other.kind].of, other.target)]  # fmt: skip
    return [(one, other) for one, other in same if one.at <= other.at < one.at + one.seconds]


def test_every_kind_of_fault_and_setting_is_drawn() -> None:
    assert Counter(fault.kind for plan in DRAWN for fault in plan.faults).keys() == KINDS.keys()
    assert {plan.protocol for plan in DRAWN} == set(plans.PROTOCOLS)
    assert {plan.static for plan in DRAWN} == {True, False}
    assert {len(plan.workers) for plan in DRAWN} == {1, 2, 3}
    assert {max(plan.workers) for plan in DRAWN} == {1, 2}
    assert {len(plan.topics) for plan in DRAWN} == {2, 3}
    assert {(topic.transactional, topic.compacted) for plan in DRAWN for topic in plan.topics} == {
        (one, other) for one in (True, False) for other in (True, False)
    }


def test_every_kind_of_fault_can_be_brought_about() -> None:
    assert FAULTS.keys() == KINDS.keys()


def test_one_member_alone_brings_more_than_comes() -> None:
    assert all(plan.max_events * plan.max_in_flight * 1000 >= 3 * plan.rate * plan.latency_ms for plan in DRAWN)
    assert {plan.latency_ms for plan in DRAWN} >= {20, 100, 400}


def test_kept_is_the_same_episode_with_some_of_its_faults() -> None:
    plan = DRAWN[0]
    assert kept(plan, (0, 2)) == plan._replace(faults=(plan.faults[0], plan.faults[2]))
    assert kept(plan, tuple(range(len(plan.faults)))) == plan
