"""Whether this member is alive and ready, what is held, and which faults it reports."""

from __future__ import annotations

from asyncio import Event, Future
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, Protocol

from stream_capi.avro.framing import SchemaKey
from stream_capi.config import KeySource, PasswordFile, Settings
from stream_capi.core.flow import Gate, GateState
from stream_capi.core.held_reason import HeldReason
from stream_capi.errors import is_encrypted
from stream_capi.events.drift import Drift
from stream_capi.events.rejected_field import RejectedRule
from stream_capi.model import Trouble
from stream_capi.observe.commit_words import CommitFault
from stream_capi.observe.identifier_quality import SourceQuality
from stream_capi.observe.metrics import Metrics
from stream_capi.observe.runbook import entry_of
from stream_capi.observe.status_document import NoticeEntry, PausedEntry
from stream_capi.observe.telemetry import Said
from stream_capi.observe.what_to_do import (
    BROKERS_REFUSE,
    BROKERS_SILENT,
    CERTIFICATES_UNREADABLE,
    CLOCK_DIFFERS,
    FIELDS_ENCRYPTED,
    KEY_UNREADABLE,
    NO_SCHEMA_ANSWER,
    PASSWORD_UNREADABLE,
    PAUSE_BLOCKS,
    PAUSED,
    PAUSED_BY_CONFIGURATION,
    RIGHT_MISSING,
    SCHEMA_LACKS_PATH,
    SUPPRESSION_UNREADABLE,
    TOPIC_MISSING,
    dead_letters_reason,
    difference,
    lacks,
    lost_paths,
    what_to_do,
)
from stream_capi.pipeline.pipeline import Pipeline

_NAMED_SCHEMAS = 3


class Consumer(Protocol):
    """The consumer's thread."""

    ended: Future[None] | None

    @property
    def missing_topics(self) -> frozenset[str]: ...
    @property
    def troubles(self) -> Sequence[Trouble]: ...
    @property
    def timeouts(self) -> Mapping[str, int]: ...


class DeadLetterState(Protocol):
    """The dead letters' writer."""

    @property
    def failing(self) -> str: ...


class TrustState(Protocol):
    """The certificates that are trusted."""

    fault: str


class SuppressionState(Protocol):
    """The list of people who asked to be forgotten."""

    fault: str


class GroupLagState(Protocol):
    """What the group had yet to commit when the brokers were last asked."""

    @property
    def lag(self) -> int: ...
    @property
    def partitions(self) -> int: ...
    @property
    def at(self) -> float: ...


class DeadLettersKept(Protocol):
    """How long the dead-letter topic keeps; as text, for people."""

    @property
    def state(self) -> str: ...
    @property
    def seconds(self) -> float | None: ...


class Client(Protocol):
    """The endpoint's client."""

    @property
    def trust(self) -> TrustState: ...


class TelemetryState(Protocol):
    """What the telemetry remembers (implemented by ``Telemetry``)."""

    joined: bool
    cut_off: bool
    refused: str
    lacking: Mapping[str, str]
    group_denied: bool
    said: dict[str, Said]
    detail_of: Callable[[str], str]

    @property
    def commits_fail(self) -> CommitFault | None: ...


class Parts(Protocol):
    """What a snapshot reads (implemented by ``App``)."""

    settings: Settings
    metrics: Metrics
    pipeline: Pipeline
    stop_asked: Event

    @property
    def keys(self) -> Mapping[str, KeySource]: ...
    @property
    def telemetry(self) -> TelemetryState: ...
    @property
    def consumer(self) -> Consumer: ...
    @property
    def dead_letters(self) -> DeadLetterState: ...
    @property
    def client(self) -> Client: ...
    @property
    def drifts(self) -> Sequence[Drift]: ...
    @property
    def suppression(self) -> SuppressionState | None: ...
    def key_form(self, pixel: str) -> str | None: ...
    @property
    def password(self) -> PasswordFile | None: ...
    @property
    def group_lag(self) -> GroupLagState | None: ...
    @property
    def dead_letters_kept(self) -> DeadLettersKept: ...
    @property
    def qualities(self) -> Sequence[SourceQuality]: ...


class Held(NamedTuple):
    """Something that waits for a person: a pixel, a lane, a source or a partition.

    ``pixel`` is empty for a source whose records name their pixels. ``since``: how many seconds it has lasted, where known.
    ``next_probe``: in how many seconds it is tried again, None where it isn't tried automatically. ``rules``: the rules that
    rejected events broke, where they are the reason.
    """

    pixel: str
    subject: str
    reason: str
    since: float | None
    next_probe: float | None
    rules: Counter[RejectedRule] | None = None


class Health:
    """Looks at the parts of an app. All of it is called on the event loop."""

    def __init__(self, app: Parts) -> None:
        self._app = app

    def held(self) -> list[Held]:
        """Everything that waits for a person."""
        return list(self._held())

    def _held(self) -> Iterator[Held]:
        pipeline = self._app.pipeline
        now = pipeline.clock.now()
        delivery = pipeline.delivery
        gates: list[tuple[str, str, Gate]] = [(pixel, pixel, gate) for pixel, gate in delivery.pixel_gates.items()]
        gates += [(lane.pixel, str(lane), line.gate) for lane, line in delivery.lanes.items()]
        for pixel, subject, gate in gates:
            if gate.held:
                yield Held(pixel, subject, gate.reason, now - gate.since, max(0.0, gate.opens_at - now))
        for name, since in pipeline.quarantined_since.items():
            pixel = pipeline.quarantine.source(name).pixel or ""
            rules = pipeline.quarantine.rules(name)
            yield Held(pixel, name, HeldReason.DEAD_LETTER_RATIO, now - since, None, rules)
        for partition in pipeline.partitions.values():
            if partition.stopped:
                yield Held(partition.source.pixel or "", str(partition.tp), partition.stopped, None, None)

    def paused(self) -> list[PausedEntry]:
        """The sources and pixels that are paused by configuration. Nothing is wrong with them."""
        settings = self._app.settings
        subjects = [f"source {source.name}" for source in settings.sources if source.paused]
        subjects += [f"pixel {pixel.name}" for pixel in settings.pixels if pixel.paused]
        reason, action = PAUSED_BY_CONFIGURATION, what_to_do(PAUSED)
        return [
            {"subject": subject, "reason": reason, "what_to_do": action, "runbook": entry_of(PAUSED)}
            for subject in subjects
        ]

    def notices(self) -> list[NoticeEntry]:
        """Faults that hold nothing: they end by themselves, or somebody should look soon."""
        return [
            {"subject": subject, "reason": reason, "what_to_do": what_to_do(key), "runbook": entry_of(key)}
            for subject, reason, key in self._notices()
        ]

    def _notices(self) -> Iterator[tuple[str, str, str]]:
        app, delivery = self._app, self._app.pipeline.delivery
        gates = [*delivery.pixel_gates.items(), *((str(lane), line.gate) for lane, line in delivery.lanes.items())]
        for subject, gate in gates:
            if gate.state is GateState.TRIPPED:
                detail = app.telemetry.detail_of(gate.reason)
                yield subject, f"the endpoint fails: {gate.reason}{f' ({detail})' if detail else ''}", gate.reason
            elif gate.state is GateState.THROTTLED:
                yield subject, f"throttled: {gate.reason}", gate.reason
        for topic, count in app.pipeline.waiting_schemas.items():
            waiting_for = app.pipeline.source(topic).waiting_for
            encrypted = {key: why for key, why in waiting_for.items() if is_encrypted(why)}
            if encrypted:
                yield topic, _without_schemas(len(encrypted), encrypted), FIELDS_ENCRYPTED
            if unanswered := {key: why for key, why in waiting_for.items() if key not in encrypted}:
                yield topic, _without_schemas(count - len(encrypted), unanswered), NO_SCHEMA_ANSWER
        for drift in app.drifts:
            if lost := drift.lacking:
                yield drift.topic, f"the newest schema lacks mapped paths: {lost_paths(lost)}", SCHEMA_LACKS_PATH
        for partition in app.pipeline.partitions.values():
            if partition.is_blocked_by_pause:
                yield str(partition.tp), "events that are paused by configuration fill its memory", PAUSE_BLOCKS
        if app.dead_letters.failing:
            yield (
                app.settings.dead_letter.topic,
                f"dead letters wait: {app.dead_letters.failing}",
                dead_letters_reason(app.dead_letters.failing),
            )
        for pixel, source_of_key in app.keys.items():
            if source_of_key.fault:
                yield pixel, f"the key file {source_of_key.fault}", KEY_UNREADABLE
        if app.password is not None and app.password.fault:
            yield "kafka.sasl_password_file", f"the setting {app.password.fault}", PASSWORD_UNREADABLE
        if app.client.trust.fault:
            yield "endpoint.ca_file", f"the file {app.client.trust.fault}", CERTIFICATES_UNREADABLE
        if app.suppression is not None and app.suppression.fault:
            yield "suppress.file", f"the setting {app.suppression.fault}", SUPPRESSION_UNREADABLE
        for topic in sorted(app.consumer.missing_topics):
            yield topic, "the topic is missing", TOPIC_MISSING
        for of in sorted(app.pipeline.clocks.differing):
            if (offset := app.pipeline.clocks.offset(of)) is not None:
                yield "clock", difference(of, offset), CLOCK_DIFFERS
        for topic, right in app.telemetry.lacking.items():
            yield topic, lacks(right, "topic"), RIGHT_MISSING
        if app.telemetry.group_denied:
            yield app.settings.kafka.group_id, lacks("READ", "group"), RIGHT_MISSING
        if app.telemetry.refused:
            yield app.settings.kafka.group_id, app.telemetry.refused, BROKERS_REFUSE
        elif app.telemetry.cut_off:
            yield app.settings.kafka.group_id, "the brokers don't answer", BROKERS_SILENT
        for trouble in app.consumer.troubles:
            yield trouble.subject, trouble.text, trouble.kind
        if fault := app.telemetry.commits_fail:
            yield app.settings.kafka.group_id, *fault

    def not_ready(self) -> list[str]:
        """Why this member isn't ready; empty when it is."""
        app = self._app
        reasons = []
        if app.stop_asked.is_set() or app.pipeline.stopping:
            reasons.append("stopping")
        if not self.alive:
            reasons.append("the Kafka consumer has ended")
        elif not app.pipeline.partitions:
            group = app.settings.kafka.group_id
            reasons += [f"the topic {topic} is missing" for topic in sorted(app.consumer.missing_topics)]
            reasons.append(
                f"idle: group {group} has no partition for this member; it has as many members as partitions, or more"
                if app.telemetry.joined
                else f"joining group {group}: no partitions assigned yet"
            )
        reasons += [f"{held.subject} is held: {held.reason}" for held in self._held()]
        return reasons

    @property
    def alive(self) -> bool:
        """Whether the consumer's thread runs, or hasn't begun yet, or has ended because it was asked to."""
        ended = self._app.consumer.ended
        return ended is None or not ended.done() or self._app.stop_asked.is_set()


def _without_schemas(count: int, waiting_for: Mapping[SchemaKey, str]) -> str:
    """Which schemas a topic's records wait for; of thousands, a few are named."""
    named = list(islice(waiting_for, _NAMED_SCHEMAS))
    more = f" and {count - len(named)} more" if count > len(named) else ""
    return f"records wait for {', '.join(map(str, named))}{more}: {waiting_for[named[0]]}"
