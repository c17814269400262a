"""A commit of a future release: its metadata has a version that this release doesn't know."""

from __future__ import annotations

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from stream_capi.config.settings import KafkaSection
from stream_capi.core.offset_metadata import METADATA_LIMIT, Resolved, encode_outcomes
from stream_capi.kafka.admin import KafkaAdmin
from tests.scene import Scene

_OPEN = Resolved(10, 60, leader_epoch=0)


def commit_of_a_release_to_come(scene: Scene) -> None:
    """Commit the beginning of the leads' first partition, with metadata of a later version.

    Decoded as this release's version, the text would say of fifty open events that they have an outcome.
    """
    admin = KafkaAdmin(KafkaSection(bootstrap_servers=scene.broker.bootstrap))
    own = encode_outcomes(0, [_OPEN], METADATA_LIMIT, admin.topic_ids([scene.leads])[scene.leads])
    text = own.replace("capi2", "capi3")
    assert text != own
    place = ConsumerGroupTopicPartitions(scene.group, [TopicPartition(scene.leads, 0, 0, metadata=text)])
    scene.broker.admin.alter_consumer_group_offsets([place])[scene.group].result(15)
