"""What `check` reports on a cluster that is up: how long dead letters are kept, and how soon a killed member is replaced."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from stream_capi.config.settings import DeliverySection, KafkaSection, PixelSection, Settings, SourceSection
from stream_capi.kafka.admin import Group, KafkaAdmin, Member
from stream_capi.operations import cluster_check
from stream_capi.operations.cluster_check import Finding, cluster_findings


class Cluster(KafkaAdmin):
    """A cluster with all topics and all rights. ``configurations`` are by the kind of resource."""

    configurations: ClassVar[dict[str, dict[str, str]]] = {}
    members = 0

    def __init__(self, kafka: KafkaSection) -> None:
        super().__init__(kafka, seconds=0.1)

    def describe(self, topics: Any) -> dict[str, int | None]:
        return dict.fromkeys(topics, 3)

    def lacking(self, needed: Any, before: Any = ()) -> dict[str, str]:
        return {}

    def may_read(self, group: str, topics: Any) -> bool:
        return True

    def astray(self, topic: str) -> str:
        return ""

    def group_members(self, group: str) -> Group:
        return Group("stable", "classic", tuple(Member(str(number), "", "", "", ()) for number in range(self.members)))

    def a_broker(self) -> str:
        return "1"

    def configuration(self, kind: Any, name: str) -> dict[str, str]:
        return self.configurations.get(kind.name, {})


def findings(
    monkeypatch: pytest.MonkeyPatch,
    configurations: dict[str, dict[str, str]],
    properties: dict[str, str] | None = None,
    max_refusals: int = 0,
) -> dict[str, Finding]:
    monkeypatch.setattr(Cluster, "configurations", configurations)
    monkeypatch.setattr(cluster_check, "KafkaAdmin", Cluster)
    settings = Settings(
        kafka=KafkaSection(bootstrap_servers="127.0.0.1:1", group_id="g", properties=dict(properties or {})),
        pixels=(PixelSection(name="main", pixel_id="1", api_key_env="K"),),
        sources=(SourceSection(topic="leads", event="generate_lead", pixel="main"),),
        delivery=DeliverySection(max_refusals=max_refusals),
    )
    return {finding.subject: finding for finding in cluster_findings(settings)}


@pytest.mark.parametrize(
    ("topic", "passed", "words"),
    [
        ({"retention.ms": "604800000", "cleanup.policy": "delete"}, True, "3 partitions, kept for 7 days"),
        ({"retention.ms": "5400000"}, True, "kept for 90 minutes"),
        ({"retention.ms": "-1", "cleanup.policy": "delete"}, True, "kept forever; warning: dead letters hold records"),
        ({}, True, "kept for a time that is not known to this user"),
        ({"retention.ms": "604800000", "cleanup.policy": "compact"}, False, "cleanup.policy includes compact"),
        ({"retention.ms": "604800000", "cleanup.policy": "compact,delete"}, False, "cleanup.policy includes compact"),
    ],
)  # fmt: skip
def test_how_long_dead_letters_are_kept_is_told(
    monkeypatch: pytest.MonkeyPatch, topic: dict[str, str], passed: bool, words: str
) -> None:
    found = findings(monkeypatch, {"TOPIC": topic})
    line = found["dead-letter topic stream-capi.dead-letters"]
    assert (line.passed, words in line.detail) == (passed, True), line
    assert found["topic leads"].detail == "3 partitions"


@pytest.mark.parametrize(
    ("broker", "properties", "warns"),
    [
        ({"group.consumer.session.timeout.ms": "45000"}, {"group.protocol": "consumer"}, True),
        ({}, {"group.protocol": "consumer"}, True),  # not set at the brokers: 45 s by default
        ({"group.consumer.session.timeout.ms": "9000"}, {"group.protocol": "consumer"}, False),
        ({"group.consumer.session.timeout.ms": "45000"}, {"group.protocol": "consumer", "group.instance.id": "a"}, False),
        ({}, {}, False),
    ],
)  # fmt: skip
def test_a_long_session_of_the_brokers_is_warned_of(
    monkeypatch: pytest.MonkeyPatch, broker: dict[str, str], properties: dict[str, str], warns: bool
) -> None:
    line = findings(monkeypatch, {"BROKER": broker}, properties)["group g"]
    assert line.passed
    assert ("; warning: the partitions of a member that is killed" in line.detail) == warns
    assert ("consumer.session.timeout.ms lowers it" in line.detail) == warns


@pytest.mark.parametrize(("members", "words"), [(0, "80 for the 1 in"), (3, "240 for the 3 in")])
def test_the_limit_of_refusals_is_told_for_all_members_together(
    monkeypatch: pytest.MonkeyPatch, members: int, words: str
) -> None:
    monkeypatch.setattr(Cluster, "members", members)
    line = findings(monkeypatch, {}, max_refusals=80)["delivery.max_refusals"]
    assert line.passed
    assert words in line.detail
    assert "delivery.max_refusals" not in findings(monkeypatch, {})
