"""A member's log and status for commits refused because of a rebalance, on a real broker."""

from __future__ import annotations

import socket
import struct
import threading
from pathlib import Path

import pytest

from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from tests.ledger import assert_private
from tests.scene import Budget, Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real

_LEAVE_GROUP = 13


def text(of: str) -> bytes:
    return struct.pack(">h", len(of)) + of.encode()


def remove(bootstrap: str, group: str, member: str) -> None:
    """Send LeaveGroup for a member, which learns of it from the answer to its next group request."""
    host, _, port = bootstrap.rpartition(":")
    body = struct.pack(">hhi", _LEAVE_GROUP, 0, 1) + text("outsider") + text(group) + text(member)
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(body)) + body)
        (size,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
        _, error = struct.unpack(">ih", connection.recv(size, socket.MSG_WAITALL)[:6])
    assert error == 0, f"the broker refused with {error}"


def test_a_member_that_the_group_has_removed_says_so_and_raises_no_alarm(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    # A commit hears of it before a heartbeat does: what a heartbeat hears makes the member join again, and no commit fails.
    rare = {"kafka": {"properties": {"heartbeat.interval.ms": 15_000, "session.timeout.ms": 45_000}}}
    with Scene(tmp_path, broker, registry, partitions=1, sections=rare) as scene:
        member = scene.member()
        over = threading.Event()

        def flow() -> None:
            while not over.wait(0.02):
                scene.produce(2)

        flowing = threading.Thread(target=flow, daemon=True)
        flowing.start()
        try:
            until(lambda: member.metric("stream_capi_commits_total", result="ok") > 5, 60, "commits")
            (of_group,) = KafkaAdmin(KafkaSection(**scene.settings["kafka"])).group_members(scene.group).members
            remove(broker.bootstrap, scene.group, of_group.member_id)
            until(lambda: bool(member.logged("the group removed this member")), 30, "the line")
            until(lambda: bool(member.logged("commits succeed again")), 60, "its end")
        finally:
            over.set()
            flowing.join(30)
        line = member.logged("the group removed this member")[0]
        assert (line["level"], line["reason"]) == ("warning", "UNKNOWN_MEMBER_ID")
        assert "joins again by itself" in line["action"]
        assert not member.logged("commits fail")
        assert member.status()["notices"] == []
        assert member.metric("stream_capi_commits_total", result="UNKNOWN_MEMBER_ID") > 0
        scene.close(duplicates=Budget(100, "in flight when the group removed the member: one batch"))
        assert_private(member.output)
