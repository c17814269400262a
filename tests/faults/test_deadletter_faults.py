"""Faults of the dead-letter topic: an event whose dead letter can't be written waits, no commit passes it, others go on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from confluent_kafka.admin._acl import AclBinding, AclBindingFilter, AclOperation, AclPermissionType
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

from stream_capi.model import Code
from tests.faults.answers import await_dead_letters_waiting, await_progress, notices
from tests.faults.crafted_records import Made, Maker, poison_in_the_first
from tests.program import Program
from tests.scene import Scene
from tests.stack import Broker, Proxy, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real

_SECONDS = 15.0


class _Guarded(NamedTuple):
    broker: Broker
    proxy: Proxy


@pytest.fixture(scope="module")
def guarded() -> Iterator[_Guarded]:
    """A broker for this module only, with a proxy in front of it. Its authorizer allows everything that no ACL denies."""
    own = Broker(
        {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "true",
        }
    )
    with Proxy("127.0.0.1", own.via_port) as proxy:
        own.listener_via(proxy.port)
        try:
            yield _Guarded(own.start(), proxy)
        finally:
            own.stop()


def test_without_the_topic_the_partition_waits_and_goes_on_when_it_is_made_and_a_dead_letter_too_large_for_it_goes_by_reference(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=2, dead_letters=False) as scene:
        maker = Maker(scene)
        poison_in_the_first(maker)
        large = Made(
            b"canary@example.com" + random.Random(2).randbytes(60_000), Code.DECODE_ERROR, key=b"large", partition=0
        )
        maker.put([large])
        member = scene.member()
        scene.produce(200)
        await_dead_letters_waiting(scene, member)
        broker.create_topic(scene.dead, config={"max.message.bytes": "16384"})
        await_progress(scene)
        scene.close(duplicates=0)
        dead_letters = {dead_letter.code: dead_letter for dead_letter in scene.ledger.dead_letters()}
        assert dead_letters["missing_field"].value
        assert (dead_letters["decode_error"].key, dead_letters["decode_error"].value) == (b"large", b"")
        assert dead_letters["decode_error"].headers["capi-by-reference"] == b"true"


@pytest.mark.repeat(
    of="test_without_the_topic_the_partition_waits_and_goes_on_when_it_is_made_and_a_dead_letter_too_large_for_it_goes_by_reference"
)
def test_while_writing_to_the_topic_is_denied_the_partition_waits_and_goes_on_when_it_is_allowed(
    tmp_path: Path, guarded: _Guarded, registry: Registry
) -> None:
    broker = guarded.broker
    with Scene(tmp_path, broker, registry, partitions=2) as scene:
        rules = [_rule(scene.dead, AclOperation.ALL, AclPermissionType.ALLOW), _denied(scene.dead)]
        for done in broker.admin.create_acls(rules).values():
            done.result(_SECONDS)
        maker = Maker(scene)
        poison_in_the_first(maker)
        member = scene.member()
        scene.produce(200)
        await_dead_letters_waiting(scene, member)
        lifted = AclBindingFilter(
            ResourceType.TOPIC,
            scene.dead,
            ResourcePatternType.LITERAL,
            None,  # type: ignore[arg-type]  # any principal
            None,  # type: ignore[arg-type]  # any host
            AclOperation.WRITE,
            AclPermissionType.DENY,
        )
        broker.admin.delete_acls([lifted])[lifted].result(_SECONDS)
        await_progress(scene)
        scene.close(duplicates=0)


def _rule(topic: str, operation: AclOperation, permission: AclPermissionType) -> AclBinding:
    return AclBinding(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:ANONYMOUS", "*", operation, permission
    )


def _denied(topic: str) -> AclBinding:
    return _rule(topic, AclOperation.WRITE, AclPermissionType.DENY)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_dead_letters_that_a_broker_is_slow_to_take_and_then_does_not_answer_are_each_written_once(
    tmp_path: Path, guarded: _Guarded, registry: Registry
) -> None:
    broker, proxy = guarded
    # Longer than the silence: a member that loses its partitions leaves their dead letters to the next owner.
    patient = {"kafka": {"properties": {"session.timeout.ms": 45_000}}}
    with Scene(tmp_path, broker, registry, partitions=2, bootstrap=proxy.address, sections=patient) as scene:
        member = scene.member()
        scene.produce(400)
        scene.ledger.await_all(60)
        proxy.slow(2.0)
        try:
            produced = scene.produce(400, bad=40)
            until(lambda: _dead_letters_under_way(member), 60, "letters on their way")
            proxy.half_open()
            until(lambda: "no_acknowledgement" in notices(member), 60, "a word on the silence")
        finally:
            proxy.heal()
        await_progress(scene)
        scene.close(duplicates=0)
        written = [dead_letter.source for dead_letter in scene.ledger.dead_letters()]
        assert sorted(written) == sorted(event[:3] for event in produced if event.bad_code)


def _dead_letters_under_way(member: Program) -> bool:
    places = member.status()["partitions"]
    return any(place["oldest"] and place["oldest"]["state"] == "dead_letter" for place in places)
