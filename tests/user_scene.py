"""A scene on the cluster whose members connect through the proxies over SASL_SSL, as a user with least rights."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tests.faults.budgets import SMALL, steady
from tests.program import Program
from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.users import Right, grant, on_group, on_topic
from tests.stack.waiting import until

PASSWORD = "canary-of-a-kafka-user"


class Rights(NamedTuple):
    """The rights that a member needs by docs/connect.md, and no others."""

    leads: Right
    views: Right
    dead_letters: Right
    group: Right


class UserScene(Scene):
    """A scene whose user has the group's name and is granted ``rights``. At most ``AT_ONCE`` events are in flight."""

    def __init__(self, folder: Path, cluster: Cluster, registry: Registry) -> None:
        super().__init__(folder, cluster, registry, 2, steady, bootstrap=cluster.bootstrap_users, sections=SMALL)
        self.secrets.append(PASSWORD)
        self.cluster, self.user = cluster, self.group
        self.settings["kafka"]["properties"] |= cluster.users.add(cluster.admin, self.user, PASSWORD)
        self.rights = Rights(
            on_topic("READ", self.leads),
            on_topic("READ", self.views),
            on_topic("WRITE", self.dead),
            on_group("READ", self.group),
        )
        grant(cluster.admin, self.user, *self.rights)

    def busy_member(self) -> Program:
        """Start a member, and wait until it has delivered some of its events."""
        self.produce(1000, bad=4)
        member = self.member()
        until(lambda: sum(self.endpoint.answered().values()) > 200, 30, "deliveries")
        return member
