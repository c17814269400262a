"""Queries about a group whose coordinator moves or does not exist: they end with an answer or an error, never in a crash."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from stream_capi.config.settings import DeliverySection, KafkaSection, PixelSection, Settings, SourceSection
from stream_capi.errors import Unavailable
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.operations.cluster_check import cluster_findings
from tests.kafka.mock_errors import FIND_COORDINATOR, OFFSET_FETCH
from tests.stack import Broker

# In a separate process, since a regression would crash the client's library.
ASKS = """
import sys
from confluent_kafka import KafkaError, Producer
from stream_capi.config.settings import KafkaSection
from stream_capi.kafka.admin import KafkaAdmin
from tests.kafka.mock_errors import answer_with
holder = Producer({"test.mock.num.brokers": 1, "log_level": 0})
(at,) = holder.list_topics(timeout=20).brokers.values()
holder.produce("leads", b"x")
assert holder.flush(20) == 0
admin = KafkaAdmin(KafkaSection(bootstrap_servers=f"{at.host}:{at.port}"), 20)
for error in ("COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE", "NOT_COORDINATOR"):
    for request in map(int, sys.argv[1:]):
        answer_with(holder, request, [getattr(KafkaError, error)] * 2)
    assert admin.committed(f"group-{error}", ["leads"]) == {}
    print(error)
"""


@pytest.mark.cases(1)
@pytest.mark.slow
@pytest.mark.parametrize("requests", [[OFFSET_FETCH], [FIND_COORDINATOR], [OFFSET_FETCH, FIND_COORDINATOR]])
def test_what_passes_by_itself_is_asked_for_again(requests: list[int]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", ASKS, *map(str, requests)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr[-2000:]) == (0, "")
    assert len(done.stdout.split()) == 3


@pytest.mark.repeat(of="test_what_passes_by_itself_is_asked_for_again")
@pytest.mark.real
def test_a_cluster_that_can_have_no_coordinator_is_told_in_words() -> None:
    broker = Broker({"offsets.topic.replication.factor": "3"}).start()
    try:
        for topic in ("leads", "stream-capi.dead-letters"):
            broker.create_topic(topic)
        settings = Settings(
            kafka=KafkaSection(bootstrap_servers=broker.bootstrap, group_id="g"),
            pixels=(PixelSection(name="main", pixel_id="1", api_key_env="K"),),
            sources=(SourceSection(topic="leads", event="generate_lead", pixel="main"),),
            delivery=DeliverySection(max_refusals=80),
        )
        began = time.monotonic()
        found = {one.subject: one for one in cluster_findings(settings)}
        assert time.monotonic() - began < 30
        assert found["brokers"].passed
        assert found["topic leads"].passed
        assert not found["group g"].passed
        for words in ("no coordinator of the group", "__consumer_offsets", "offsets.topic.replication.factor"):
            assert words in found["group g"].detail
        with pytest.raises(Unavailable, match="no coordinator of the group"):
            KafkaAdmin(settings.kafka, 2).group_members("g")
    finally:
        broker.stop()
