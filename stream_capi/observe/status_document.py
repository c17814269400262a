"""The document of ``/status`` (contract, section 9): names out of the settings, numbers, and reasons, as JSON's types.

Seconds and bytes; None where something is not known, or nothing is there to measure.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class RuleEntry(TypedDict):
    """A rule that so many events were rejected by: the code, the field, and the paths where its value was looked for.

    ``field`` and ``source`` are empty where no field is at fault.
    """

    code: str
    field: str
    source: str
    count: int


class HeldEntry(TypedDict):
    """Something that waits for a person. ``runbook``: the anchor of its entry in the runbook, here and below.

    ``rejected``: by which rules the last events failed, where that is why; ``detail`` says the first of them in words.
    """

    pixel: str
    subject: str
    reason: str
    since_seconds: float | None
    next_probe_seconds: float | None
    detail: str
    rejected: list[RuleEntry]
    what_to_do: str
    runbook: str


class PausedEntry(TypedDict):
    """A source or pixel that is paused by configuration."""

    subject: str
    reason: str
    what_to_do: str
    runbook: str


class NoticeEntry(TypedDict):
    """Something that goes wrong without anything being held."""

    subject: str
    reason: str
    what_to_do: str
    runbook: str


class TotalsEntry(TypedDict):
    """Events since the start."""

    consumed: int
    delivered: int
    dead_lettered: int
    skipped: int


class ThroughputEntry(TypedDict):
    """Delivered events: a second at present, and in each of the last ``seconds``."""

    per_second: float
    seconds: int
    series: list[int]


class QuantilesEntry(TypedDict):
    """Of the last while, by ``count`` measurements."""

    p50: float | None
    p99: float | None
    count: int


class LatencyEntry(TypedDict):
    """From Kafka's timestamp to the answer, and of a request."""

    recent_seconds: float
    end_to_end_seconds: QuantilesEntry
    request_seconds: QuantilesEntry


class FreshnessEntry(TypedDict):
    """Which share was delivered soon enough to be merged with the pixel's own event."""

    within_seconds: int
    share: float | None
    recent_share: float | None


class RequestsEntry(TypedDict):
    """Requests that run, and how many may."""

    in_flight: int
    limit: int


class BufferedEntry(TypedDict):
    """Memory of events that have no outcome."""

    bytes: int
    budget: int


class OldestEntry(TypedDict):
    """A partition's oldest event without an outcome: ``state`` for programs, ``why`` for people."""

    offset: int
    seconds: float | None
    state: str
    why: str


class WaitEntry(TypedDict):
    """What a partition's lag waits for: ``state`` for programs, ``why`` for people."""

    state: str
    why: str


class PartitionEntry(TypedDict):
    """A partition that this member owns.

    ``waits`` is there wherever there is a lag or an open event: of the oldest event, or of records that are not read yet.
    ``paused``: it is not read at present. ``paused_by_configuration``: ``all`` of its events wait, ``some`` of them, or
    ``full``: some fill its memory, so that the others wait as well.
    """

    topic: str
    partition: int
    lag: int | None
    committed: int | None
    position: int
    open_events: int
    paused: bool
    paused_by_configuration: str | None
    stopped: str | None
    oldest: OldestEntry | None
    waits: WaitEntry | None


class DeadLetterEntry(TypedDict):
    """How many events of a topic became dead letters, by code, and the most frequent of the rules."""

    topic: str
    code: str
    count: int
    rules: list[RuleEntry]


class SkippedEntry(TypedDict):
    """How many records of a topic were passed over on purpose, by reason."""

    topic: str
    reason: str
    count: int


class LeftOutEntry(TypedDict):
    """How often an optional field was wrong and left out of its event, by reason."""

    field: str
    reason: str
    count: int


class UntimedEntry(TypedDict):
    """How many delivered events have a Kafka timestamp that gives no age, by reason: they are in no latency."""

    reason: str
    count: int


class LagEntry(TypedDict):
    """Records not committed: this ``member``'s, in so many partitions, and the whole ``group``'s.

    The brokers are asked for the group's now and then, ``group_seconds_ago`` the last time. None: not known.
    """

    member: int | None
    partitions: int
    group: int | None
    group_partitions: int | None
    group_seconds_ago: float | None


class DeadLetterTopicEntry(TypedDict):
    """The topic of the dead letters and how long it keeps them, ``kept`` for people.

    ``retention`` is limited (then ``retention_seconds``), without_end, compacted, or not_known: not asked yet, or not told.
    """

    topic: str
    retention: str
    retention_seconds: float | None
    kept: str


class SaidEntry(TypedDict):
    """The API's own words of an answer that was no 200, masked; empty where it gave none."""

    status: str
    error_code: str
    error_message: str
    trace_id: str
    seconds_ago: float


class PixelEntry(TypedDict):
    """The state of a pixel's gate, where its key comes from, and in which form the API has taken it.

    ``held_by``: its lanes, topics and partitions that are held. ``partly_held``: some are, while its gate is not.
    """

    pixel: str
    state: str
    held_by: list[str]
    key: str
    key_fault: str | None
    authorization: str | None
    api_said: SaidEntry | None


class LaneEntry(TypedDict):
    """How fresh a lane's events were delivered, and which share of them has each identifier."""

    pixel: str
    event: str
    delivered: int
    fresh_share: float | None
    mapped: int
    coverage: dict[str, float | None]


class CarriedEntry(TypedDict):
    """How many events were mapped, and how many of them carry each identifier that they may have."""

    events: int
    carry: dict[str, int]


class SourceEntry(TypedDict):
    """What a source's events of one name carried over the last hour and the last day."""

    source: str
    event: str
    hour: CarriedEntry
    day: CarriedEntry


class PartEntry(TypedDict):
    """How many, of those that carry the field."""

    count: int
    of: int


class SuspectEntry(TypedDict):
    """Values of a field that are sent and look wrong. ``path``: where the mapping takes them from; ``why``: for people.

    Of the reason ``shared`` the counts are estimates, and 0 where too few events have the value.
    """

    source: str
    event: str
    field: str
    path: str
    reason: str
    why: str
    hour: PartEntry
    day: PartEntry
    runbook: str


class IdentifiersEntry(TypedDict):
    """The quality of the identifiers. ``hour_seconds`` and ``day_seconds``: how much of an hour and a day there is so far."""

    hour_seconds: float
    day_seconds: float
    sources: list[SourceEntry]
    suspects: list[SuspectEntry]


class WorkerEntry(TypedDict):
    """Whether a worker answers its supervisor: what it holds is not known while it doesn't."""

    worker: int
    answers: bool


class StatusDocument(TypedDict):
    """All of it. ``clients``: the client ids of the members that it speaks of.

    ``workers`` is there under ``run --workers N`` alone.
    """

    version: str
    group: str
    clients: list[str]
    uptime_seconds: float
    tasks: int
    alive: bool
    ready: bool
    reasons: list[str]
    held: list[HeldEntry]
    paused: list[PausedEntry]
    notices: list[NoticeEntry]
    totals: TotalsEntry
    throughput: ThroughputEntry
    latency: LatencyEntry
    untimed: list[UntimedEntry]
    freshness: FreshnessEntry
    lag: LagEntry
    requests: RequestsEntry
    buffered: BufferedEntry
    partitions: list[PartitionEntry]
    dead_letters: list[DeadLetterEntry]
    dead_letter_topic: DeadLetterTopicEntry | None
    skipped: list[SkippedEntry]
    left_out: list[LeftOutEntry]
    pixels: list[PixelEntry]
    lanes: list[LaneEntry]
    identifiers: IdentifiersEntry
    workers: NotRequired[list[WorkerEntry]]
