"""The whole pipeline on one machine, with nothing installed: broker, generator, endpoint and a member in one process.

The broker is librdkafka's own mock cluster. The endpoint is the strict stand-in, which is set to be as awkward as a real
API: slow, throttling, failing now and then, and refusing whole batches because of one event. Everything between them is the
program as it runs in production. The ledger at the end is read from broker and endpoint, not from the pipeline.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from stream_capi import config, resources
from stream_capi.app import App
from stream_capi.errors import ConfigurationError
from stream_capi.model import EventName
from stream_capi.record_headers import headers_of
from stream_capi.sandbox.embedded_broker import EmbeddedBroker
from stream_capi.sandbox.fault_script import Action, RequestInfo
from stream_capi.sandbox.mock_api import MockEndpoint
from stream_capi.sandbox.sample_producer import SampleProducer, sample_topics

_KEY = "demo-key"
_TOPICS = {EventName.GENERATE_LEAD: "leads", EventName.PAGE_VIEW: "page-views"}
_DEAD_LETTERS = "stream-capi.dead-letters"
_SECONDS = 8.0  # over which the events are produced, so that there is something to watch
_PATIENCE = 60.0  # without a new outcome, after which the events without one count as lost
_PARTITIONS = 4  # of each topic of the mock cluster
_POISON = 1500  # the endpoint refuses one event in this many
_NO_FOLDER = "demo needs a temporary folder that can be written: set TMPDIR to one, or give a container --tmpfs /tmp"

_CONFIGURATION = """
[kafka]
bootstrap_servers = "{bootstrap}"
group_id = "demo"

[endpoint]
url = "{url}"

[[pixels]]
name = "demo"
pixel_id = "demo-pixel"
api_key_env = "DEMO_KEY"

[[sources]]
topic = "leads"
event = "generate_lead"
pixel = "demo"
schema_folder = "schemas"

[[sources]]
topic = "page-views"
event = "page_view"
pixel = "demo"
schema_folder = "schemas"

[batch]
window_ms = 250

[admin]
port = {port}
"""


class DemoProgress(NamedTuple):
    """The figures that are shown while the demo runs, at one moment."""

    seconds: float
    produced: int
    delivered: int
    dead_lettered: int
    answers: dict[str, int]
    in_flight: int
    in_flight_limit: int
    buffered_bytes: int
    status_page: str


class DemoLedger(NamedTuple):
    """What became of every event, read from broker and endpoint."""

    produced: int
    delivered: int
    dead_lettered: dict[str, int]
    delivered_twice: int
    uncommitted: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether every event has its outcome, and its offset is committed."""
        return self.produced == self.delivered + sum(self.dead_lettered.values()) and not self.uncommitted


class Demo:
    """A demo run of ``events`` events. ``show`` is called a few times a second."""

    def __init__(self, events: int, show: Callable[[DemoProgress], None], admin_port: int = 0) -> None:
        self._events = events
        self._show = show
        self._admin_port = admin_port
        self._random = random.Random(5)
        self._begun = time.monotonic()
        self._is_over = False

    async def run(self, keep_running: bool = False, settled: Callable[[DemoLedger], None] | None = None) -> DemoLedger:
        """Produce, deliver, and return the ledger; with ``keep_running`` go on with a trickle of events until cancelled."""
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(_folder())
            broker = stack.enter_context(EmbeddedBroker())
            self._endpoint = MockEndpoint(keys={"demo-pixel": _KEY})
            self._endpoint.answer = self._answer
            await stack.enter_async_context(self._endpoint)
            text = _CONFIGURATION.format(bootstrap=broker.bootstrap, url=self._endpoint.url, port=self._admin_port)
            (folder / "demo.toml").write_text(text)
            environ = {"DEMO_KEY": _KEY}
            self._settings = config.load(folder / "demo.toml", environ)
            self._producer = SampleProducer(self._settings, sample_topics(self._settings), bad_share=0.01)
            await asyncio.to_thread(self._make_topics)
            self._app = App(self._settings, environ)
            self._app.dead_letters.on_stamped = None  # the mock cluster stamps all with the same second of 1970
            running = asyncio.create_task(self._app.run())
            try:
                await self._deliver_all(running)
                ledger = await asyncio.to_thread(self._ledger)
                if settled is not None:
                    settled(ledger)
                if keep_running:
                    await self._trickle(running)
            finally:
                self._app.stop_asked.set()
                await running
            return ledger

    def _answer(self, request: RequestInfo) -> Action:
        """Answer as an API with trouble does: slowly, with 503 and 429 now and then, and 400 for a batch with poison."""
        delay = self._random.uniform(0.02, 0.12)
        if any(int(name.split("-")[1]) % _POISON == 7 for name in request.dedupe_ids):
            return Action(status=400, delay_seconds=delay)
        chance = self._random.random()
        if chance < 0.03:
            return Action(status=503, delay_seconds=delay)
        if chance < 0.04:
            return Action(status=429, headers={"Retry-After": "1"}, delay_seconds=delay)
        return Action(delay_seconds=delay)

    def _make_topics(self) -> None:
        """Request metadata of each topic until it has partitions: with that the mock cluster creates it."""
        reader = Consumer({"bootstrap.servers": self._settings.kafka.bootstrap_servers, "group.id": "demo-topics",
                           "allow.auto.create.topics": True})  # fmt: skip
        for topic in (*_TOPICS.values(), _DEAD_LETTERS):
            while not reader.list_topics(topic, timeout=5).topics[topic].partitions:
                time.sleep(0.05)
        reader.close()

    async def _deliver_all(self, running: asyncio.Task[int]) -> None:
        producing = asyncio.create_task(asyncio.to_thread(self._produce))
        try:
            outcomes, since = 0, time.monotonic()
            while not (producing.done() and self._settled()):
                self._report()
                await asyncio.wait([running], timeout=0.1)
                if running.done():
                    return  # its own error is raised where it is awaited
                if producing.done():
                    producing.result()
                if self._outcomes() > outcomes or not producing.done():
                    outcomes, since = self._outcomes(), time.monotonic()
                elif time.monotonic() > since + _PATIENCE:
                    return
            self._report()
        finally:  # end the thread before its broker: after that, the last flush would wait until its deadline
            self._is_over = True
            await producing

    def _produce(self) -> None:
        begun, rate = time.monotonic(), self._events / _SECONDS
        for done in self._producer.produce(self._events):
            if self._is_over:
                break
            ahead = begun + done / rate - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
        self._producer.flush()

    def _outcomes(self) -> int:
        delivered, dead = self._app.metrics.delivered_counts, self._app.metrics.dead_letter_counts
        return sum(delivered.values()) + sum(dead.values())

    def _settled(self) -> bool:
        if self._outcomes() < self._produced:
            return False
        return all(
            p.committed is not None and p.committed[0] == p.offsets.position
            for p in self._app.pipeline.partitions.values()
        )

    async def _trickle(self, running: asyncio.Task[int]) -> None:
        for _ in self._producer.produce(10**9):
            await asyncio.wait([running], timeout=0.02)
            if running.done():
                return

    @property
    def _produced(self) -> int:
        return sum(self._producer.acknowledged.values())

    def _report(self) -> None:
        delivery = self._app.pipeline.delivery
        self._show(
            DemoProgress(
                time.monotonic() - self._begun,
                self._produced,
                sum(self._app.metrics.delivered_counts.values()),
                sum(self._app.metrics.dead_letter_counts.values()),
                dict(self._endpoint.counts.statuses),
                delivery.in_flight,
                delivery.in_flight_limit,
                self._app.pipeline.buffered_bytes,
                f"http://127.0.0.1:{self._app.admin.port}/",
            )
        )

    def _ledger(self) -> DemoLedger:
        delivered = self._endpoint.times_accepted()
        dead_letters, uncommitted = self._read_back()
        twice = sum(count - 1 for count in delivered.values())
        return DemoLedger(
            self._produced, len(delivered), dead_letters, twice, uncommitted, time.monotonic() - self._begun
        )

    def _read_back(self) -> tuple[dict[str, int], int]:
        """From the broker: the dead letters by code, and the number of events from the committed offsets to the end."""
        group = {"bootstrap.servers": self._settings.kafka.bootstrap_servers, "group.id": self._settings.kafka.group_id}
        reader = Consumer({**group, "enable.auto.commit": False})
        try:
            uncommitted = 0
            places = [TopicPartition(topic, number) for topic in _TOPICS.values() for number in range(_PARTITIONS)]
            for place in reader.committed(places, timeout=10):
                low, high = reader.get_watermark_offsets(place, timeout=10)
                uncommitted += high - (place.offset if place.offset >= 0 else low)
            codes: Counter[str] = Counter()
            for number in range(_PARTITIONS):
                place = TopicPartition(_DEAD_LETTERS, number, 0)
                _, high = reader.get_watermark_offsets(place, timeout=10)
                reader.assign([place])
                at = 0
                while at < high:
                    for message in reader.consume(high - at, 5):
                        at += 1
                        codes[(dict(headers_of(message))["capi-error-code"] or b"").decode()] += 1
            return dict(codes), uncommitted
        finally:
            reader.close()


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder with the schemas, named by the ids that the events carry, in place of a registry."""
    with ExitStack() as stack:
        try:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stream-capi-demo-")))
            (folder / "schemas").mkdir()
            for number, document in enumerate(resources.EVENT_SCHEMAS.values(), 1):
                schema = json.loads(resources.read_shipped(document))
                (folder / f"schemas/{number}.avsc").write_text(json.dumps(schema))
        except OSError as error:
            raise ConfigurationError([f"{_NO_FOLDER} ({error.strerror})"]) from None
        yield folder
