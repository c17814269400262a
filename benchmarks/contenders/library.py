"""The same mapping as a pipeline of a stream library (Quix Streams), with its own batching sink: at least once, committed by
its checkpoints. Runs in an environment of its own, because it needs an older Kafka client."""

# mypy: disable-error-code="import-not-found, misc"
# The library is installed only in that other environment, which isn't type-checked.

from __future__ import annotations

from typing import Any

import requests
from quixstreams import Application
from quixstreams.models.serializers.avro import AvroDeserializer
from quixstreams.models.serializers.schema_registry import SchemaRegistryClientConfig
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.contenders.plain import body, mapping_of
from benchmarks.contenders.setup import BATCH, SetUp, set_up


class _Endpoint(BatchingSink):
    """Posts the events of a checkpoint, a hundred at a time."""

    def __init__(self, setup: SetUp) -> None:
        super().__init__()
        self._setup = setup
        self._session = requests.Session()

    def write(self, batch: SinkBatch) -> None:
        for chunk in batch.iter_chunks(BATCH):
            data = body([item.value for item in chunk])
            answer = self._session.post(self._setup.target, data=data, headers=self._setup.headers, timeout=10)
            answer.raise_for_status()


def _run(setup: SetUp) -> None:
    app = Application(
        broker_address=setup.bootstrap,
        consumer_group=setup.group,
        auto_offset_reset="earliest",
        commit_interval=0.5,  # as often as the program
        loglevel="WARNING",
    )
    sink = _Endpoint(setup)
    registry = SchemaRegistryClientConfig(url=setup.registry)
    for topic_name, event in setup.names.items():
        values = AvroDeserializer(schema_registry_client_config=registry)
        topic = app.topic(topic_name, value_deserializer=values, key_deserializer="bytes")
        frame: Any = app.dataframe(topic)
        frame.apply(mapping_of(setup.shape, event)).sink(sink)
    app.run()


if __name__ == "__main__":
    _run(set_up())
