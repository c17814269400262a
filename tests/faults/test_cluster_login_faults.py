"""Passwords and certificates of the brokers change under traffic, correctly or not: no event is lost, errors are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from stream_capi.observe.masking import HIDDEN
from tests.faults.answers import notices
from tests.faults.budgets import AT_ONCE
from tests.program import Program
from tests.scene import Budget, Scene
from tests.stack import Cluster, Registry
from tests.stack.users import certificate_of
from tests.stack.waiting import until
from tests.user_scene import PASSWORD, UserScene

pytestmark = [pytest.mark.matrix, pytest.mark.real, pytest.mark.timeout(240)]

SECOND = "canary second password"
NOTICED = 30.0


@pytest.fixture
def scene(tmp_path: Path, cluster: Cluster, registry: Registry) -> Iterator[UserScene]:
    """A scene whose user has the password in one file and the certificate authority in another."""
    with UserScene(tmp_path, cluster, registry) as scene:
        properties = scene.settings["kafka"]["properties"]
        del properties["sasl.password"], properties["ssl.ca.pem"]
        properties["ssl.ca.location"] = str(trusting(scene, cluster.users.authority))
        scene.settings["kafka"]["sasl_password_file"] = "kafka-password"
        (tmp_path / "kafka-password").write_text(PASSWORD)
        scene.secrets.append(SECOND)
        yield scene


@pytest.fixture
def nodes(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster; at the end its nodes get their first certificate back."""
    yield cluster
    for node in cluster.nodes:
        node.present()


def trusting(scene: Scene, *authorities: trustme.CA) -> Path:
    file = scene.folder / "ca.pem"
    file.write_bytes(b"".join(authority.cert_pem.bytes() for authority in authorities))
    return file


def await_refusal(member: Program, why: str) -> None:
    """Wait for one log line and one notice that say why there is no connection."""
    until(lambda: why in notices(member), NOTICED, f"a notice that {why}")
    until(lambda: bool(refusals(member, why)), NOTICED, "its line")
    (detail,) = refusals(member, why)
    assert HIDDEN not in detail


def refusals(member: Program, why: str) -> list[str]:
    """Lines with this reason. A connection that is cut while it comes about may have one more, with another reason."""
    return [line["detail"] for line in member.logged("no connection to the brokers") if why in line["detail"]]


def close(scene: Scene, member: Program) -> None:
    """Assert that all is well again. If partitions were lost, events that were in flight then may be repeated."""
    scene.produce(200)
    lost = Budget(AT_ONCE, "in flight when partitions were lost")
    scene.close(60, duplicates=lost if member.logged("lost") else Budget(0, "no partition was lost"))
    until(lambda: not member.status()["notices"], NOTICED, "the end of the notices")
    assert member.is_ready()


@pytest.mark.parametrize("first", ["brokers", "file"])
def test_a_password_that_is_right_on_one_side_alone_stops_nothing_for_longer_than_that(
    first: str, scene: UserScene, cluster: Cluster
) -> None:
    """Open connections don't need the password. So all are cut between the two changes, and must log in again."""
    changes: Mapping[str, Callable[[], Any]] = {
        "brokers": lambda: cluster.users.add(cluster.admin, scene.user, SECOND),
        "file": lambda: (scene.folder / "kafka-password").write_text(SECOND),
    }
    member = scene.busy_member()
    changes[first]()
    if first == "file":
        until(lambda: bool(member.logged("password changed")), NOTICED, "word of the password")
    cluster.reconnect_users()
    await_refusal(member, "the login is refused")
    scene.produce(200, bad=4)
    changes["file" if first == "brokers" else "brokers"]()
    close(scene, member)
    assert len(member.logged("password changed")) == 1


def test_certificates_renewed_by_the_same_authority_are_taken_without_a_word(scene: UserScene, nodes: Cluster) -> None:
    member = scene.busy_member()
    for node in nodes.nodes:
        node.present(certificate_of(nodes.users.authority))
        node.users.cut()
        node.users.heal()
        scene.produce(200, bad=4)
    close(scene, member)
    assert member.logged("no connection to the brokers") == []


def test_another_authority_is_taken_node_by_node_where_both_are_trusted(scene: UserScene, nodes: Cluster) -> None:
    other = trustme.CA()
    trusting(scene, nodes.users.authority, other)
    member = scene.busy_member()
    for node in nodes.nodes:
        node.present(certificate_of(other))
        node.users.cut()
        node.users.heal()
        scene.produce(200, bad=4)
    close(scene, member)
    assert member.logged("no connection to the brokers") == []


@pytest.mark.parametrize("wrong", ["expired", pytest.param("of another authority", marks=pytest.mark.repeat)])
def test_certificates_that_are_wrong_stop_the_member_with_a_word_until_they_are_right(
    wrong: str, scene: UserScene, nodes: Cluster
) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        certificate_of(nodes.users.authority, not_after=yesterday)
        if wrong == "expired"
        else certificate_of(trustme.CA())
    )
    member = scene.busy_member()
    for node in nodes.nodes:
        node.present(certificate)
    nodes.reconnect_users()
    await_refusal(member, "its certificate is not from an authority that is trusted here, has expired")
    scene.produce(200, bad=4)
    for node in nodes.nodes:
        node.present()
    close(scene, member)
