"""A scene on the cluster whose members come over SASL_SSL, through the proxies, as a user of least rights."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.program import Program
from tests.scene import Scene
from tests.stack import Cluster, Registry
from tests.stack.users import Right, grant, on_group, on_topic
from tests.stack.waiting import until

PASSWORD = "canary-of-a-kafka-user"
# Small, so that what is in flight when something goes wrong is little, and there is something in flight.
_SMALL = {"batch": {"max_events": 20}, "delivery": {"max_in_flight": 4}}
IN_FLIGHT = 20 * 4


class Rights(NamedTuple):
    """What docs/connect.md asks for to run a member, and nothing else."""

    leads: Right
    views: Right
    dead_letters: Right
    group: Right


class UserScene(Scene):
    """The user has the group's name. ``rights`` are granted. Of the events, at most ``IN_FLIGHT`` are in flight."""

    def __init__(self, folder: Path, cluster: Cluster, registry: Registry) -> None:
        super().__init__(folder, cluster, registry, 2, _steady, bootstrap=cluster.bootstrap_users, sections=_SMALL)
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
        """A member in the midst of its work."""
        self.produce(1000, bad=4)
        member = self.member()
        until(lambda: sum(self.endpoint.answered().values()) > 200, 30, "deliveries")
        return member


def _steady(request: RequestInfo) -> Action:
    return Action(delay_seconds=0.05)
