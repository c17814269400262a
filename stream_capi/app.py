"""The composition root: builds the parts from the settings, starts them in order and stops them in order.

Start: admin server (so that the probes answer), endpoint client, dead letters, pipeline, consumer. Stop: the intake pauses,
requests in flight are drained, the consumer commits and leaves the group, then the rest is closed. Every wait of the stop
has a deadline, and all of them together fit ``shutdown.drain_seconds``.

Over 400 lines: each part is built, started, watched and stopped here, in an order that is read best in one place.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import structlog

from stream_capi import __version__, last_resort
from stream_capi.avro.schema_sources import SchemaSources
from stream_capi.avro.writer_schema import WriterSchema
from stream_capi.config import KeySource, Settings, SourceSection, open_to_others, password_file, resolve_pixel_id
from stream_capi.core.batch import Batch
from stream_capi.core.held_reason import HeldReason
from stream_capi.endpoint.client import EndpointClient
from stream_capi.errors import ExitCode, StreamCapiError
from stream_capi.events.drift import Drift, mapped_paths
from stream_capi.events.paths import Schema
from stream_capi.events.rules import SourceRules, rules_from
from stream_capi.events.transform import IDENTIFIER_FIELDS, Transform, compile_source
from stream_capi.kafka import group_lag, topic_retention
from stream_capi.kafka.admin import KafkaAdmin
from stream_capi.kafka.consumer import ConsumerThread
from stream_capi.kafka.dead_letter_writer import DeadLetterWriter
from stream_capi.kafka.group_lag import GroupLag
from stream_capi.kafka.properties import consumer_properties, events_bytes
from stream_capi.kafka.read_policy import ReadPolicy, WholeLog
from stream_capi.model import Answer, TopicPartition
from stream_capi.observe import identifier_quality, tracing
from stream_capi.observe.admin_server import AdminServer
from stream_capi.observe.api_words import masked
from stream_capi.observe.health import Health
from stream_capi.observe.identifier_quality import SourceQuality
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.snapshot import Snapshot
from stream_capi.observe.start_line import start_line
from stream_capi.observe.telemetry import Telemetry, summary
from stream_capi.pipeline.configured_sources import source_of
from stream_capi.pipeline.delivery import Clock
from stream_capi.pipeline.delivery_rules import delivery_rules, lanes_of
from stream_capi.pipeline.pipeline import Pipeline
from stream_capi.pipeline.ports import DeadLetters, Intake
from stream_capi.pipeline.source import Source
from stream_capi.pipeline.suppression_list import SuppressionList

logger = structlog.get_logger("stream_capi")

_REGULATE_SECONDS = 0.1
_FILES_SECONDS = 1.0
_TOPICS_SECONDS = 5.0
_RIGHTS_SECONDS = 10.0
_RIGHTS_DEADLINE_SECONDS = 2.0  # the end of the process waits for a query in progress
_SUMMARY_SECONDS = 60.0
_TRACES_SECONDS = 1.0  # for exporting the last spans: they must not make the stop miss its deadline
_ALARM_SECONDS = 3.0  # after shutdown.drain_seconds
_MOST_NAMED = 20  # partitions in a log line
_LEAVE_SHARE = 0.3  # of drain_seconds: kept for the last commit and for leaving the group


class Job(Protocol):
    """Finite work (replay, redrive), done with a member's parts. The job decides what is read; the rest is the same."""

    @property
    def policy(self) -> ReadPolicy:
        """Which records are read."""
        ...

    def intake(self, consumer: Intake) -> Intake:
        """The intake through which the pipeline uses the consumer."""
        ...

    def sources(self, sources: Mapping[str, Source]) -> Mapping[str, Source]:
        """The source of each topic, built from the settings' own sources."""
        ...

    def dead_letters(self, writer: DeadLetters) -> DeadLetters:
        """The writer for events that can't be delivered, built on the member's own."""
        ...

    async def watch(self, app: App) -> None:
        """Run beside the pipeline, and set ``app.stop_asked`` when all is done."""
        ...


class App:
    """One member of the group, from start to stop; or a job in a group of its own, without an admin server."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        job: Job | None = None,
        leave_for_good: bool = False,
        worker: int = 0,
    ) -> None:
        """Build every part; nothing is started. Raises ConfigurationError.

        :param leave_for_good: whether a static member that is stopped leaves the group at once. One that crashes never does.
        :param worker: a worker's number, otherwise 0. A worker's start line gives only that: the supervisor has the page.
        """
        self.settings = settings
        self._job = job
        self._leave_for_good = leave_for_good
        self._worker = worker
        self.metrics = Metrics(IDENTIFIER_FIELDS)
        self.telemetry = Telemetry(self.metrics)
        self.telemetry.group = settings.kafka.group_id
        self.stop_asked = asyncio.Event()
        self.on_end: Callable[[], None] = lambda: None  # called as the end begins, on every way out and from any thread
        self.password = password_file(settings.kafka)
        self.keys = {pixel.name: KeySource(pixel, environ) for pixel in settings.pixels}
        self._pixel_ids = {pixel.name: resolve_pixel_id(pixel, environ) for pixel in settings.pixels}
        self.suppression = SuppressionList(settings.suppress.file) if settings.suppress.file else None
        self.drifts: list[Drift] = []
        self.group_lag: GroupLag | None = None
        self.dead_letters_kept = topic_retention.NOT_KNOWN
        self.qualities: list[SourceQuality] = []
        self._key_of_values = os.urandom(16)  # for the hashes of shared values, which never leave this process
        self._schemas = SchemaSources(settings)
        self._tracer = tracing.from_environment(environ)
        self.client = EndpointClient.of(settings.endpoint, settings.delivery.max_in_flight)
        names = {pixel_id: pixel for pixel, pixel_id in self._pixel_ids.items()}
        self.client.key_forms.on_taken = lambda pixel_id, form: self.telemetry.key_taken(names[pixel_id], form)
        self.telemetry.detail_of = lambda reason: self.client.tls_reason if reason == "tls" else ""
        self.kafka_admin = KafkaAdmin(settings.kafka)
        self.dead_letters = DeadLetterWriter(
            settings.kafka, settings.dead_letter.topic, self.telemetry.dead_letters_unwritten
        )
        self.consumer = self._consumer()
        self.consumer.on_leave = lambda: self.on_end()
        sources = {
            topic: source_of(settings, topic, self._schemas.for_source, self._compile_for, settings.is_paused)
            for topic in settings.topics
        }
        self.pipeline = Pipeline(
            job.sources(sources) if job else sources,
            lanes_of(settings),
            delivery_rules(settings),
            self._tracer.around(self._post) if self._tracer else self._post,
            job.intake(self.consumer) if job else self.consumer,
            job.dead_letters(self.dead_letters) if job else self.dead_letters,
            self.telemetry,
            Clock(time.monotonic, time.time, random.random),
            events_bytes(settings.delivery.max_buffered_bytes),
        )
        self.pipeline.delivery.key_of = lambda pixel: self.keys[pixel].read()
        self.dead_letters.on_stamped = self.pipeline.clocks.brokers_wrote
        self.health = Health(self)
        self.snapshot = Snapshot(self, self.health)
        self.admin = AdminServer(
            settings.admin.host, settings.admin.port, self.metrics, self.snapshot, settings.admin.hosts
        )
        self.metrics.gauges = self.snapshot.gauges

    def _consumer(self) -> ConsumerThread:
        settings = self.settings
        return ConsumerThread(
            consumer_properties(settings.kafka, settings.delivery.max_buffered_bytes),
            self._job.policy if self._job else WholeLog(settings.topics, settings.kafka.start),
            self.kafka_admin.topic_ids,
            self.telemetry,
            min(settings.shutdown.drain_seconds, settings.endpoint.timeout_seconds + 5),
        )

    def _compile_for(self, source: SourceSection) -> Callable[[WriterSchema], Transform]:
        rules = replace(rules_from(source, self.settings), paused=self.settings.paused_pixels)
        drift = Drift(source.topic)
        self.drifts.append(drift)
        quality = SourceQuality(self.settings.name_of(source), rules, self.metrics, self._key_of_values, time.monotonic)
        self.qualities.append(quality)

        def compile_for(schema: WriterSchema) -> Transform:
            self._look_for_drift(drift, rules, schema)
            transform = compile_source(rules, schema.raw, schema.name, people=self.suppression, shared=quality.shared)
            quality.counts.append(transform.counts)
            return transform

        return compile_for

    def _look_for_drift(self, drift: Drift, rules: SourceRules, schema: WriterSchema) -> None:
        found = mapped_paths(rules, Schema(schema.raw, schema.name))
        if lost := drift.seen(schema.name, *schema.key, found):
            self.telemetry.schema_lacks(drift.topic, str(schema.key), lost)

    def key_form(self, pixel: str) -> str | None:
        """The form in which the API accepts a pixel's key; None until that is known."""
        return self.client.key_forms.taken(self._pixel_ids[pixel])

    async def _post(self, batch: Batch) -> Answer:
        pixel = batch.lane.pixel
        key, body = self.keys[pixel].read().reveal(), batch.body()
        answer = await self.client.post(self._pixel_ids[pixel], key, body)
        return answer if answer.said is None else answer._replace(said=masked(answer.said, body, key))

    async def run(self) -> int:
        """Run until asked to stop. Returns the exit code: 0; 4 if requests were cut off, 3 if the last commit failed.

        Raises KafkaLost if the client can't go on, ConfigurationError if something that is configured can't be used. Any
        other exception is a bug.
        """
        try:
            return await self._run()
        except BaseExceptionGroup as several:  # the first one is the cause of the others
            raise _first(several) from None

    async def _run(self) -> int:
        async with AsyncExitStack() as stack:
            try:
                await self._start(stack)
                return await self._work()
            finally:
                self.on_end()

    async def _start(self, stack: AsyncExitStack) -> None:
        if self._job is None:  # the live member has the port
            await self.admin.start()
            stack.push_async_callback(self.admin.stop)
        await self.client.start()
        stack.push_async_callback(self.client.close)
        self.dead_letters.start()
        stack.push_async_callback(self.dead_letters.close, 1.0)
        stack.push_async_callback(self._schemas.aclose)
        if self._tracer is not None:
            stack.push_async_callback(self._tracer.close, _TRACES_SECONDS)
        kafka = self.settings.kafka
        where = {"worker": self._worker} if self._worker else start_line(self.settings, self.admin.port)
        logger.info("started", version=__version__, group=kafka.group_id, client=kafka.client_id, **where)
        for key in open_to_others(self.settings):
            logger.warning("key file open to others", subject=key, action="Let only this user (and its group) read it.")
        for paused in self.health.paused():
            logger.warning(paused["reason"], subject=paused["subject"], action=paused["what_to_do"])
        if self.suppression is not None:
            self.telemetry.suppression_read(self.suppression.hashes, self.suppression.user_ids)

    async def _work(self) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(self.pipeline.run()),
                group.create_task(self._keep()),
                group.create_task(self._watch_files()),
                group.create_task(self._watch_topics()),
                *([] if self._job else [group.create_task(self._watch_group())]),
                *([] if self._job else [group.create_task(self._watch_retention())]),
                *([] if self._job else [group.create_task(self._watch_rights())]),
                group.create_task(self._summarise()),
                *([group.create_task(self._job.watch(self))] if self._job else []),
            ]
            ended = self.consumer.start(self.pipeline)
            stopping = group.create_task(self.stop_asked.wait())
            waited: list[asyncio.Future[Any]] = [ended, stopping, *tasks]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            self.on_end()
            code = await self._stop() if self.stop_asked.is_set() else 0
            for task in [*tasks, stopping]:
                task.cancel()
        if ended.done():
            ended.result()
        return code

    async def _stop(self) -> int:
        seconds = self.settings.shutdown.drain_seconds
        begun = time.monotonic()
        logger.info("stopping")
        self.consumer.rest()
        whole = await self.pipeline.drain(seconds * (1 - _LEAVE_SHARE))
        unsent = self.pipeline.unresolved
        self.consumer.leave_for_good = self._leave_for_good
        left = await self.consumer.stop(seconds - (time.monotonic() - begun))
        return self._exit_code(whole, left, unsent, round(time.monotonic() - begun, 3))

    def _exit_code(self, whole: bool, left: bool, unsent: int, seconds: float) -> int:
        """The exit code of a stop. What was answered but not committed will be sent again."""
        if not whole:
            logger.error(
                "stopped at the deadline with work in flight; what has no outcome stays uncommitted", seconds=seconds
            )
            return ExitCode.CUT_OFF
        if owed := self.pipeline.unconfirmed:
            logger.error(
                "stopped without the last commit: the brokers did not confirm it",
                seconds=seconds,
                uncommitted=[f"{TopicPartition(*commit[:2])} up to {commit.offset}" for commit in owed[:_MOST_NAMED]],
                count=len(owed),
                action="The next owner sends again what was answered since the last confirmed commit.",
            )
            return ExitCode.LOST
        if not left:
            logger.warning("stopped; the brokers did not confirm that this member has left the group", seconds=seconds)
        logger.info("stopped", seconds=seconds, left_to_next_owner=unsent)
        return ExitCode.DONE

    # Periodic tasks beside the pipeline

    async def _keep(self) -> None:
        """Regulate the intake; commit offsets and collect counts at their interval."""
        interval = self.settings.kafka.commit_interval_ms / 1000
        committed_at = time.monotonic()
        while True:
            await asyncio.sleep(_REGULATE_SECONDS)
            self.pipeline.regulate()
            if time.monotonic() - committed_at >= interval:
                committed_at = time.monotonic()
                self.pipeline.commit()
                self.collect_counts()

    async def _watch_files(self) -> None:
        while True:
            await asyncio.sleep(_FILES_SECONDS)
            for pixel, key in self.keys.items():
                before = key.fault
                if key.changed():
                    logger.info("key changed", pixel=pixel)
                    self.pipeline.delivery.probe_at_once(pixel)
                self.telemetry.file_fault("key file", pixel, before, key.fault)
            before = self.client.trust.fault
            if await asyncio.to_thread(self.client.trust.changed):
                logger.info("certificates changed", subject="endpoint.ca_file")
            self.telemetry.file_fault("certificates", "endpoint.ca_file", before, self.client.trust.fault)
            self._look_at_password()
            await self._look_at_suppression()

    def _look_at_password(self) -> None:
        password = self.password
        if password is None:
            return
        before = password.fault
        if password.changed():
            logger.info("password changed", subject="kafka.sasl_password_file")
            self.consumer.log_in_as(*password.login)
            self.dead_letters.log_in_as(*password.login)
        self.telemetry.file_fault("password file", "kafka.sasl_password_file", before, password.fault)

    async def _look_at_suppression(self) -> None:
        people = self.suppression
        if people is None:
            return
        before = people.fault
        if await asyncio.to_thread(people.changed):
            self.telemetry.suppression_read(people.hashes, people.user_ids)
        self.telemetry.file_fault("suppression list", "suppress.file", before, people.fault)

    async def _watch_topics(self) -> None:
        """Stop the partitions of a recreated topic: it has another id, and the committed offsets don't apply to it."""
        while True:
            await asyncio.sleep(_TOPICS_SECONDS)
            topics = sorted({tp.topic for tp in self.pipeline.partitions})
            ids = await asyncio.to_thread(self.kafka_admin.topic_ids, topics) if topics else {}
            for tp, partition in list(self.pipeline.partitions.items()):
                now = ids.get(tp.topic, "")
                if partition.topic_id and now and now != partition.topic_id:
                    self.pipeline.stop_partition(tp, HeldReason.TOPIC_RECREATED)

    async def _watch_group(self) -> None:
        """For the status: query the brokers for the whole group's lag; this member knows only its own partitions."""
        kafka = self.settings.kafka
        while True:
            begun = time.monotonic()
            # Without an answer the last lag stays, and is shown with its age.
            self.group_lag = (
                await asyncio.to_thread(
                    group_lag.look,
                    self.kafka_admin,
                    kafka.group_id,
                    self.settings.topics,
                    kafka.start,
                    self.stop_asked.is_set,
                )
                or self.group_lag
            )
            await asyncio.sleep(group_lag.pause_after(time.monotonic() - begun))

    async def _watch_retention(self) -> None:
        """For the status: query how long the dead-letter topic keeps records; its configuration may change."""
        topic, is_over = self.settings.dead_letter.topic, self.stop_asked.is_set
        while True:
            found = await asyncio.to_thread(topic_retention.look, self.kafka_admin, topic, is_over)
            known = found != topic_retention.NOT_KNOWN
            if known:  # without an answer the last value stays
                self.dead_letters_kept = found
            await asyncio.sleep(topic_retention.LOOK_SECONDS if known else topic_retention.AGAIN_SECONDS)

    async def _watch_rights(self) -> None:
        """Query this user's rights, which can be revoked: the client reports that once only, or not before it needs them."""
        settings = self.settings
        needed = dict.fromkeys(settings.topics, "READ") | {settings.dead_letter.topic: "WRITE"}
        while True:
            with suppress(StreamCapiError):  # the next round asks again
                admin = self.kafka_admin.within(_RIGHTS_DEADLINE_SECONDS)
                self.telemetry.rights(await asyncio.to_thread(admin.lacking, needed, self.telemetry.lacking))
            await asyncio.sleep(_RIGHTS_SECONDS)

    async def _summarise(self) -> None:
        delivered = 0
        while True:
            await asyncio.sleep(_SUMMARY_SECONDS)
            held = [f"{held.pixel}: {held.reason}" for held in self.health.held()]
            delivered = summary(self.metrics, delivered, _SUMMARY_SECONDS, held)

    def collect_counts(self) -> None:
        """Add what the transforms counted to the metrics. Called periodically, not for each event."""
        identifier_quality.collect(self.qualities)


def _first(several: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = several
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def stop_signals() -> list[signal.Signals]:
    """The signals that stop the program in order; without SIGHUP if it is ignored, as under nohup."""
    all_of_them = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    return [number for number in all_of_them if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


def stop_on_signals(app: App) -> None:
    """Stop in order at SIGTERM, SIGINT or SIGHUP. A second signal doesn't shorten the stop; only the deadline does.

    After this call the process ends with the app: if it hangs, an alarm kills it shortly after the deadline.
    """
    last_resort.prepare()
    app.on_end = partial(last_resort.arm, app.settings.shutdown.drain_seconds + _ALARM_SECONDS)

    def stop() -> None:
        app.on_end()
        app.stop_asked.set()

    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, stop)
