"""A pipeline in simulated time, observed by the program's own telemetry."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from stream_capi.config import KeySource, Settings
from stream_capi.core.flow import Gate
from stream_capi.events.rules import rules_from
from stream_capi.kafka.topic_retention import NOT_KNOWN
from stream_capi.model import TopicPartition
from stream_capi.observe.health import Health
from stream_capi.observe.identifier_quality import SourceQuality
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.snapshot import Snapshot
from stream_capi.observe.telemetry import Telemetry
from tests.simulation import Answering, Line

P0, P1, V0 = TopicPartition("leads", 0), TopicPartition("leads", 1), TopicPartition("views", 0)

SETTINGS = Settings.model_validate(
    {
        "pixels": [{"name": "main", "pixel_id": "id", "api_key_env": "KEY"}],
        "sources": [
            {"topic": "leads", "event": "generate_lead", "pixel": "main"},
            {"topic": "views", "event": "page_view", "pixel": "main"},
        ],
    }
)


class Watched(Line):
    """A ``Line`` with the program's own telemetry and snapshot; ``app`` stands in for the App."""

    def __init__(self, answering: Answering, **rules: Any) -> None:
        self.metrics = Metrics(("email", "phone"), asyncio.get_running_loop().time)
        self.telemetry = Telemetry(self.metrics)
        super().__init__(answering, **rules)
        clock = asyncio.get_running_loop().time
        self.qualities = [
            SourceQuality(source.topic, rules_from(source, SETTINGS), self.metrics, b"key", clock)
            for source in SETTINGS.sources
        ]
        self.app = SimpleNamespace(
            settings=SETTINGS,
            metrics=self.metrics,
            telemetry=self.telemetry,
            pipeline=self.pipeline,
            keys={"main": KeySource(SETTINGS.pixels[0], {"KEY": "k"})},
            stop_asked=asyncio.Event(),
            consumer=SimpleNamespace(ended=None, missing_topics=frozenset(), troubles=(), timeouts={}),
            dead_letters=SimpleNamespace(failing=""),
            client=SimpleNamespace(trust=SimpleNamespace(fault="")),
            suppression=None,
            key_form=lambda pixel: None,
            password=None,
            drifts=[],
            group_lag=None,
            dead_letters_kept=NOT_KNOWN,
            qualities=self.qualities,
        )
        self.snapshot = Snapshot(self.app, Health(self.app))
        self.metrics.gauges = self.snapshot.gauges

    def __getattr__(self, name: str) -> Any:
        if name in ("consumed", "delivered", "dead_lettered", "skipped", "request", "batch", "registry", "intake_held"):
            return getattr(self.telemetry, name)
        if name in ("partition_stopped", "internal_error", "hold_over", "clock_differs", "api_said", "pause_blocks"):
            return getattr(self.telemetry, name)
        return super().__getattr__(name)

    def gate_changed(self, subject: str, gate: Gate) -> None:
        self.telemetry.gate_changed(subject, gate)

    def commit(self, commits: Any) -> None:
        if isinstance(commits, str):
            self.telemetry.commit(commits)
        else:
            super().commit(commits)

    def assign(self, *partitions: TopicPartition) -> None:
        super().assign(*partitions)
        self.telemetry.kafka("assigned", count=len(partitions))
        self.report_ends()

    def report_ends(self) -> None:
        """Report the ends of the partitions, as the consumer does each second."""
        self.pipeline.watermarks({tp: self.logs[tp].end for tp in self.pipeline.partitions})

    async def run_for(self, seconds: float) -> None:
        """Let the line run for some seconds without stopping it, to look at it while it works."""
        if not self._running:
            self._running = [asyncio.create_task(self.pipeline.run()), asyncio.create_task(self.feed())]
        done, _ = await asyncio.wait(self._running, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    _running: Sequence[asyncio.Task[None]] = ()
    later: asyncio.Future[None] | None = None  # a task that acts while the line runs

    @property
    def status(self) -> Any:
        return self.snapshot.status()

    def oldest(self, partition: TopicPartition = P0) -> dict[str, Any]:
        """The status's entry for a partition's oldest open event."""
        of = {(entry["topic"], entry["partition"]): entry for entry in self.status["partitions"]}
        found: dict[str, Any] = of[partition]["oldest"]
        return found
