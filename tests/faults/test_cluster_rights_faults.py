"""Rights are revoked under traffic and granted again: what needs them waits and says so, the rest goes on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation  # type: ignore[attr-defined]  # its own docs say so

from tests.faults.answers import notices
from tests.program import Program
from tests.scene import Budget
from tests.stack import Cluster, Registry
from tests.stack.users import Right, grant, take_away
from tests.stack.waiting import until
from tests.user_scene import UserScene

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]

NOTICED = 30.0  # seconds within which a member names a missing right, and goes on when it has the right again


def lacks(right: Right) -> str:
    return f"this user lacks {right.operation.name} on the {right.kind.name.lower()}"


def await_word(member: Program, right: Right) -> None:
    """Wait until ``/status`` and the log name the right and the resource, and say what to do."""

    def told() -> bool:
        found = [notice for notice in member.status()["notices"] if notice["reason"] == lacks(right)]
        return [notice["subject"] for notice in found] == [right.name] and "ACL" in found[0]["what_to_do"]

    until(told, NOTICED, f"the notice that it lacks {right}")
    until(lambda: bool(member.logged("a right is missing")), NOTICED, "its line")
    (line,) = member.logged("a right is missing")
    assert line["subject"] == right.name
    assert line["reason"] == lacks(right)
    assert "ACL" in line["action"]


def await_back(member: Program, right: Right) -> None:
    """Wait until the notice is gone. Assert that the log says that the right is back."""
    until(lambda: "lacks" not in notices(member), NOTICED, "the end of the notice")
    assert [line["subject"] for line in member.logged("a right is granted again")] == [right.name]
    assert member.is_ready()


@pytest.mark.parametrize(
    ("protocol", "describes"),
    [("classic", False), ("consumer", True),
     pytest.param("classic", True, marks=pytest.mark.repeat), pytest.param("consumer", False, marks=pytest.mark.repeat)],
)  # fmt: skip
def test_without_the_right_to_read_one_topic_the_other_goes_on(
    protocol: str, describes: bool, tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """No duplicate: what was answered and could not be committed is remembered by the member."""
    with UserScene(tmp_path, cluster, registry) as scene:
        scene.settings["kafka"]["properties"] |= {"group.protocol": protocol}
        right = scene.rights.leads
        member = scene.busy_member()
        if describes:
            grant(cluster.admin, scene.user, right._replace(operation=AclOperation.DESCRIBE))
        take_away(cluster.admin, scene.user, right)
        scene.produce(400, bad=4)
        await_word(member, right)
        until(lambda: scene.ledger.lag(scene.views) == 0, NOTICED, "the other topic's commits")
        assert scene.ledger.lag(scene.leads) > 0
        grant(cluster.admin, scene.user, right)
        scene.close(60, duplicates=0)
        await_back(member, right)


def test_a_member_that_comes_while_one_topic_is_denied_reads_the_other(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Of partitions that move to the second member, it repeats what the first one delivered but could not commit."""
    with UserScene(tmp_path, cluster, registry) as scene:
        right = scene.rights.leads
        member = scene.busy_member()
        grant(cluster.admin, scene.user, right._replace(operation=AclOperation.DESCRIBE))
        take_away(cluster.admin, scene.user, right)
        uncommitted = Budget(
            scene.ledger.lag(scene.leads), "had no commit when the right went, and another member reads them"
        )
        other = scene.member()
        scene.produce(400, bad=4)
        await_word(other, right)
        until(lambda: scene.ledger.lag(scene.views) == 0, NOTICED, "the other topic's commits")
        assert {place.topic for place in (*member.owned(), *other.owned())} >= {scene.views}
        grant(cluster.admin, scene.user, right)
        scene.close(60, duplicates=uncommitted)
        await_back(other, right)


def test_without_the_right_to_read_the_group_a_classic_member_waits_and_goes_on(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """No duplicate: what was answered and could not be committed is remembered by the member."""
    with UserScene(tmp_path, cluster, registry) as scene:
        right = scene.rights.group
        member = scene.busy_member()
        take_away(cluster.admin, scene.user, right)
        scene.produce(400, bad=4)
        await_word(member, right)
        assert scene.ledger.lag() > 0
        grant(cluster.admin, scene.user, right)
        scene.close(60, duplicates=0)
        await_back(member, right)


def test_without_the_right_to_read_the_group_a_member_of_the_newer_protocol_ends_or_waits_and_another_goes_on(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    """Repeated is what the first member delivered after its last commit: at most what was uncommitted at the revocation."""
    with UserScene(tmp_path, cluster, registry) as scene:
        scene.settings["kafka"]["properties"] |= {"group.protocol": "consumer"}
        right = scene.rights.group
        member = scene.busy_member()
        take_away(cluster.admin, scene.user, right)
        uncommitted = Budget(scene.ledger.lag(), "had no commit when the right went, and another member reads them")
        with suppress(AssertionError):
            member.wait(NOTICED)
        if (
            member.running
        ):  # it was looking for its coordinator when the right went: that is refused, and no heartbeat is
            await_word(member, right)
        else:
            assert member.wait(0) == 3
            assert member.output.splitlines()[-1] == (
                f"stream-capi: this user lacks READ on group {scene.group}: grant it with an ACL, then start the member again"
            )
        grant(cluster.admin, scene.user, right)
        scene.member()
        scene.close(60, duplicates=uncommitted)


def test_without_the_right_to_write_dead_letters_only_what_needs_one_waits(
    tmp_path: Path, cluster: Cluster, registry: Registry
) -> None:
    with UserScene(tmp_path, cluster, registry) as scene:
        right = scene.rights.dead_letters
        member = scene.busy_member()
        take_away(cluster.admin, scene.user, right)
        before = len(scene.ledger.dead_letters())
        produced = scene.produce(400, bad=8)
        good = {event.event_id for event in produced if event.bad_code is None}
        await_word(member, right)
        until(lambda: good <= set(scene.endpoint.answered()), NOTICED, "all that can be delivered")
        until(lambda: f"{scene.dead}: dead letters wait" in notices(member), NOTICED, "a word on the dead letters")
        assert len(scene.ledger.dead_letters()) <= before + 4
        assert member.is_ready()
        grant(cluster.admin, scene.user, right)
        scene.close(60, duplicates=0)
        await_back(member, right)
