"""The program's parts in a plain loop, without any of its guarantees.

The same consumer properties, decoder, mapping and HTTP library, a hundred events in a request. Nothing is tracked, committed,
checked, retried, counted or limited: an error is ignored, or ends the process.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path

import aiohttp
import tomli_w
from confluent_kafka import Consumer

from benchmarks.contenders.setup import BATCH, SetUp, set_up
from benchmarks.mapping import mapping_of
from benchmarks.settings import settings_of
from stream_capi import config
from stream_capi.config import Settings
from stream_capi.kafka.properties import consumer_properties

_CHUNK = 500
_PREFIX = 5  # bytes of the framing


def loaded(setup: SetUp) -> Settings:
    """The program's own settings for this set-up."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "bench.toml")
        file.write_text(tomli_w.dumps(settings_of(setup)))
        return config.load(file, {**os.environ, "BENCH_KEY": setup.key})


async def _run(setup: SetUp) -> None:
    settings = loaded(setup)
    now_ms = 1 << 45  # any time will do: no age is checked
    mapped = {source.topic: mapping_of(settings, at, setup.shape, now_ms) for at, source in enumerate(settings.sources)}
    properties = consumer_properties(settings.kafka, settings.delivery.max_buffered_bytes)
    consumer = Consumer({**properties, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    consumer.subscribe(list(mapped))
    open_batches: dict[str, list[bytes]] = {topic: [] for topic in mapped}
    async with aiohttp.ClientSession(headers=setup.headers) as session:

        async def post(events: list[bytes]) -> None:
            async with session.post(setup.target, data=b'{"events":[' + b",".join(events) + b"]}") as answer:
                await answer.read()

        while True:
            messages = consumer.consume(_CHUNK, 0.2)
            for topic, batch in open_batches.items():
                payloads = [message.value()[_PREFIX:] for message in messages if message.topic() == topic]  # type: ignore[index]
                batch += mapped[topic](payloads)  # type: ignore[arg-type]
                whole = len(batch) - len(batch) % BATCH if messages else len(batch)
                full = [batch[start : start + BATCH] for start in range(0, whole, BATCH)]
                del batch[:whole]
                await asyncio.gather(*map(post, full))


if __name__ == "__main__":
    asyncio.run(_run(set_up()))
