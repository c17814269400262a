"""The parts of the consumer's thread, with a scripted client."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.kafka import commits as module
from stream_capi.kafka.assignment import Reading
from stream_capi.kafka.client_errors import Faults, is_fatal, lost
from stream_capi.kafka.commits import Commits
from stream_capi.kafka.start_offsets import find_places
from stream_capi.model import Commit, CommitResult, TopicPartition
from stream_capi.observe.masking import scrub
from tests.fake_record import FakeRecord
from tests.kafka.sink import RecordedEvents

A, B, C = (TopicPartition("leads", number) for number in range(3))


def message(tp: TopicPartition, offset: int, error: KafkaError | None = None) -> FakeRecord:
    timestamp = (1, 1000 + offset)
    return FakeRecord(str(offset).encode(), place=(*tp, offset), timestamp=timestamp, error=error)


class Client:
    """Returns what a test has set, and records the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.group: dict[TopicPartition, tuple[int, str]] = {}
        self.low: dict[TopicPartition, int] = {}
        self.high: dict[TopicPartition, int] = {}
        self.faults: dict[TopicPartition, int] = {}
        self.messages: list[FakeRecord] = []
        self.in_fetch: Any = None
        self.refuses: KafkaError | None = None

    def consume(self, count: int, seconds: float) -> list[FakeRecord]:
        if self.in_fetch:
            self.in_fetch()
        return self.messages

    def commit(self, offsets: list[ClientPartition], asynchronous: bool) -> None:
        assert asynchronous, "a synchronous commit has no deadline"
        if self.refuses:
            raise KafkaException(self.refuses)
        self.calls.append(("commit", [(at.topic, at.partition, at.offset, at.metadata) for at in offsets]))

    def committed(self, partitions: list[ClientPartition], timeout: float) -> list[ClientPartition]:
        answer = []
        for at in partitions:
            offset, metadata = self.group.get(TopicPartition(at.topic, at.partition), (-1001, ""))
            answer.append(ClientPartition(at.topic, at.partition, offset, metadata=metadata))
        return answer

    def offsets_for_times(self, partitions: list[ClientPartition], timeout: float) -> list[Any]:
        answer = []
        for at in partitions:
            tp = TopicPartition(at.topic, at.partition)
            ends = self.low if at.offset == OFFSET_BEGINNING else self.high
            answer.append(Answer(tp, ends.get(tp, 0), KafkaError(self.faults[tp]) if tp in self.faults else None))
        return answer

    def __getattr__(self, name: str) -> Any:
        def call(given: Any) -> None:
            listed = given if isinstance(given, list) else [given]
            self.calls.append((name, [(at.partition, at.offset) for at in listed]))

        return call

    def called(self, name: str) -> list[Any]:
        return [call[1] for call in self.calls if call[0] == name]


class Answer:
    def __init__(self, tp: TopicPartition, offset: int, error: KafkaError | None) -> None:
        self.topic, self.partition = tp
        self.offset, self.error = offset, error


# Places


def places_of(
    client: Any, *tps: TopicPartition, start: str = "earliest"
) -> dict[TopicPartition, tuple[int, str | None]]:
    return {place.tp: (place.offset, place.stopped) for place in find_places(client, tps, start, 1.0)}


@pytest.mark.parametrize(
    ("committed", "place"),
    [(4, (4, "offset_out_of_range")), (5, (5, None)), (9, (9, None)), (10, (10, None)), (11, (11, "log_truncated"))],
)
def test_reading_starts_at_the_commit_if_the_log_still_has_it(committed: int, place: tuple[int, str | None]) -> None:
    client = Client()
    client.group[A], client.low[A], client.high[A] = (committed, "beyond"), 5, 10
    assert places_of(client, A) == {A: place}


@pytest.mark.parametrize(
    ("start", "place"), [("earliest", (5, None)), ("latest", (10, None)), ("error", (5, "no_committed_offset"))]
)
def test_without_a_commit_it_starts_as_configured(start: str, place: tuple[int, str | None]) -> None:
    client = Client()
    client.low[A], client.high[A] = 5, 10
    assert places_of(client, A, start=start) == {A: place}


def test_a_partition_added_to_a_topic_that_the_group_reads_is_not_skipped_by_latest() -> None:
    client = Client()
    client.group[A] = (7, "")
    client.high |= {A: 10, B: 10}
    assert places_of(client, B, start="latest") == {B: (0, None)}
    assert places_of(client, A, B, start="latest") == {A: (7, None), B: (0, None)}


@pytest.mark.parametrize("fault", [KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_a_partition_that_is_gone_or_denied_has_no_place_and_another_fault_gives_none_at_all(fault: int) -> None:
    client = Client()
    client.faults[B] = fault
    assert places_of(client, A, B) == {A: (0, None)}
    client.offsets_for_times = lambda *args, **kwargs: [Answer(A, -1, KafkaError(KafkaError.LEADER_NOT_AVAILABLE))]  # type: ignore[method-assign]
    with pytest.raises(KafkaException):
        places_of(client, A)


# Commits


class Committing:
    def __init__(self) -> None:
        self.client: Any = Client()
        self.owned = {A, B}
        self.results: list[list[CommitResult]] = []
        self.time = 0.0
        self.commits = Commits(
            lambda commit: TopicPartition(commit.topic, commit.partition) in self.owned,
            lambda results: self.results.append(list(results)),
            lambda: self.time,
        )

    def send(self, *commits: Commit) -> None:
        self.commits.send(self.client, commits)

    def answer(self, *commits: Commit, error: KafkaError | None = None) -> None:
        offsets = [ClientPartition(c.topic, c.partition, c.offset) for c in commits]
        self.commits.answered(self.client, error, offsets)


def commit(tp: TopicPartition, offset: int, metadata: str = "m") -> Commit:
    return Commit(*tp, 1, offset, metadata)


def test_a_commit_is_answered_by_partition() -> None:
    it = Committing()
    it.send(commit(A, 5), commit(B, 6))
    assert it.results == []
    it.answer(commit(B, 6), commit(A, 5))
    assert it.results == [[CommitResult(commit(A, 5), None), CommitResult(commit(B, 6), None)]]


def test_what_is_not_owned_is_fenced_and_told_with_the_rest() -> None:
    it = Committing()
    it.send(commit(C, 1), commit(A, 5))
    assert it.client.called("commit") == [[("leads", 0, 5, "m")]]
    it.answer(commit(A, 5))
    assert it.results == [[CommitResult(commit(A, 5), None), CommitResult(commit(C, 1), "fenced")]]
    it.send(commit(C, 1))
    assert it.results[1] == [CommitResult(commit(C, 1), "fenced")]


def test_a_second_commit_waits_for_the_end_of_the_first_and_for_its_ownership() -> None:
    it = Committing()
    it.send(commit(A, 5))
    it.send(commit(A, 6), commit(B, 1))
    assert len(it.client.called("commit")) == 1
    it.owned = {B}
    it.answer(commit(A, 5))
    assert it.client.called("commit")[1] == [("leads", 1, 1, "m")]


def test_a_commit_never_answered_is_given_up_and_its_late_answer_is_nobodys() -> None:
    it = Committing()
    it.send(commit(A, 5))
    it.time = module.ANSWER_SECONDS
    it.commits.expire(it.client)
    assert it.results == []
    it.time += 1
    it.commits.expire(it.client)
    assert it.results == [[CommitResult(commit(A, 5), "timeout")]]
    it.send(commit(A, 6))
    it.answer(commit(A, 5))
    assert len(it.results) == 1
    it.answer(commit(A, 6))
    assert it.results[1] == [CommitResult(commit(A, 6), None)]


def test_a_commit_that_the_client_refuses_is_told_at_once() -> None:
    it = Committing()
    it.client.refuses = KafkaError(KafkaError._STATE)
    it.send(commit(A, 5))
    assert it.results == [[CommitResult(commit(A, 5), "_STATE")]]
    it.client.refuses = None
    it.send(commit(A, 5))
    assert len(it.client.called("commit")) == 1


def test_an_error_is_told_by_its_name() -> None:
    it = Committing()
    it.send(commit(A, 5))
    it.answer(commit(A, 5), error=KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE))
    assert it.results == [[CommitResult(commit(A, 5), "OFFSET_METADATA_TOO_LARGE")]]


@pytest.mark.parametrize("code", [KafkaError.UNKNOWN_MEMBER_ID, KafkaError.STALE_MEMBER_EPOCH])
def test_after_an_answer_for_an_unknown_member_commits_let_a_heartbeat_go_first(code: int) -> None:
    it = Committing()
    it.send(commit(A, 5))
    it.send(commit(A, 6))
    it.answer(commit(A, 5), error=KafkaError(code))
    assert len(it.results) == 1
    for it.time in (0.5, 1.0, 1.5):
        it.commits.expire(it.client)
        it.send(commit(A, 7), commit(B, 1))
    assert len(it.client.called("commit")) == 1, "each commit puts the client's heartbeat off by up to a second"
    it.time, it.owned = 2.0, {B}
    it.commits.expire(it.client)
    assert it.client.called("commit")[1:] == [[("leads", 1, 1, "m")]]
    it.answer(commit(B, 1))
    it.send(commit(B, 2))
    assert len(it.client.called("commit")) == 3


def test_waiting_for_a_commit_ends_when_the_broker_has_it_or_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Committing()

    def pass_time(seconds: float) -> None:
        it.time += 1.0 if seconds else 0.0
        if it.time == 2.0:
            it.client.group |= {A: (5, "m"), B: (6, "older")}

    monkeypatch.setattr("time.sleep", pass_time)
    it.commits.wait_for(it.client, [commit(A, 5), commit(C, 1)], 10.0)
    assert it.results == [[CommitResult(commit(C, 1), "fenced"), CommitResult(commit(A, 5), None)]]
    assert it.time == 2.0
    assert len(it.client.called("commit")) > 1, "a broker refuses commits while it completes a rebalance"
    it.commits.wait_for(it.client, [commit(A, 5), commit(B, 6)], 10.0)
    assert it.results[1] == [CommitResult(commit(A, 5), None), CommitResult(commit(B, 6), "timeout")]
    assert it.time == 12.0


# Reading


def reading(client: Any) -> Reading:
    it = Reading(True, lambda message: client.calls.append(("fault", message.error())))
    places = find_places(client, [A, B], "earliest", 1.0)
    it.assign(client, [A, B], places, 1)
    for place in places:
        it.own(place)
    client.calls.clear()
    return it


def test_reading_again_says_where_since_the_client_may_remember_another_place() -> None:
    client: Any = Client()
    client.group[A], client.high[A] = (5, ""), 50
    it = reading(client)
    it.fetch(client, 500, 0)
    client.messages = [message(A, 5), message(A, 6), message(B, 0), message(A, 9)]
    assert [(c.partition, c.epoch, len(c.records)) for c in it.fetch(client, 500, 0)] == [
        (0, 1, 2),
        (1, 1, 1),
        (0, 1, 1),
    ]
    client.messages = [message(A, 10), message(A, 12)]
    (chunk,) = it.fetch(client, 500, 0)
    assert (chunk.columns.offsets, chunk.columns.timestamps, chunk.values) == ([10, 12], [1010, 1012], [b"10", b"12"])
    it.pause(client, [A])
    it.resume(client, [A, B])
    assert client.called("seek") == [[(0, 13)], [(1, 1)]]
    assert client.calls[-1][0] == "resume"


def test_latest_waits_where_it_is_not_known_whether_lower_partitions_have_a_commit() -> None:
    """Skipped because they are denied, they would count as without a commit, and the new partition would start at its end."""
    client: Any = Client()
    client.group[A] = (7, "")
    client.high |= {A: 10, B: 10}
    ask, asked = client.committed, []

    def committed(partitions: list[Any], timeout: float) -> list[Any]:
        asked.append(partitions)
        if len(asked) == 1:
            return list(ask(partitions, timeout))
        return [
            Answer(type(A)(at.topic, at.partition), -1001, KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
            for at in partitions
        ]

    client.committed = committed
    with pytest.raises(KafkaException):
        places_of(client, B, start="latest")


def test_many_partitions_are_resumed_in_one_call_and_one_whose_seek_is_refused_waits() -> None:
    """Each call waits for the client's thread: with a thousand partitions such calls would take most of a start."""

    class Slow(Client):
        def seek(self, at: ClientPartition) -> None:
            if at.partition in self.refused:
                raise KafkaException(KafkaError(KafkaError._STATE))
            self.calls.append(("seek", [(at.partition, at.offset)]))

        refused: Any = (500,)

    client: Any = Slow()
    every = [TopicPartition("leads", number) for number in range(1000)]
    it = Reading(True, lambda message: None)
    places = find_places(client, every, "earliest", 1.0)
    it.assign(client, every, places, 1)
    for place in places:
        it.own(place)
    it.resume(client, every)
    assert len(client.called("seek")) == 999
    assert [len(call) for call in client.called("resume")] == [999]
    client.refused = ()
    it.fetch(client, 500, 0)
    assert client.called("resume")[1:] == [[(500, -1001)]]
    assert [len(client.called(call)) for call in ("incremental_assign", "pause")] == [1, 1]


def test_a_record_fetched_together_with_its_assignment_is_fetched_again() -> None:
    """It may belong to the former assignment, and the offsets between the commit and this record would never be read."""
    client: Any = Client()
    client.group |= {A: (5, ""), B: (7, "")}
    client.high |= {A: 50, B: 50}
    it = reading(client)
    it.disown([A])
    client.messages = [message(A, 30), message(B, 7), message(A, 31)]

    def assigned_anew() -> None:
        places = find_places(client, [A], "earliest", 1.0)
        it.assign(client, [A], places, 2)
        it.own(places[0])

    client.in_fetch = assigned_anew
    assert [(c.partition, c.epoch) for c in it.fetch(client, 500, 0)] == [(1, 1)]
    assert client.called("seek") == [[(0, 5)]]
    client.in_fetch, client.messages = None, [message(A, 5)]
    assert [(c.partition, c.epoch) for c in it.fetch(client, 500, 0)] == [(0, 2)]


def test_records_before_the_place_where_reading_goes_on_are_left_out_and_the_place_is_sought_again() -> None:
    """The client may undo a seek: it then reads from an offset that it asked for before."""
    client: Any = Client()
    client.group |= {A: (5, ""), B: (7, "")}
    client.high |= {A: 50, B: 50}
    it = reading(client)
    client.messages = [message(A, 0), message(B, 7), message(A, 1), message(A, 6)]
    assert [(c.partition, c.columns.offsets) for c in it.fetch(client, 500, 0)] == [(1, [7])]
    assert client.called("seek") == [[(0, 5)]]
    client.messages = [message(A, 5), message(B, 7), message(A, 6)]
    assert [(c.partition, c.columns.offsets) for c in it.fetch(client, 500, 0)] == [(0, [5]), (0, [6])]
    assert client.called("seek") == [[(0, 5)], [(1, 8)]]


def test_a_paused_partition_is_not_sought_for_records_before_its_place() -> None:
    client: Any = Client()
    client.group[A], client.high[A] = (5, ""), 50
    it = reading(client)
    it.pause(client, [A])
    client.messages = [message(A, 0)]
    assert it.fetch(client, 500, 0) == []
    assert client.called("seek") == []


def test_an_end_fetched_together_with_its_assignment_is_asked_for_again() -> None:
    """It may belong to the former assignment: the records between the commit and this end would then be taken for gaps."""
    client: Any = Client()
    client.group[A], client.high[A] = (5, ""), 50
    it = reading(client)
    it.disown([A])
    end = KafkaError(KafkaError._PARTITION_EOF)
    client.messages = [message(A, 50, end)]

    def assigned_anew() -> None:
        places = find_places(client, [A], "earliest", 1.0)
        it.assign(client, [A], places, 2)
        it.own(places[0])

    client.in_fetch = assigned_anew
    assert it.fetch(client, 500, 0) == []
    assert client.called("fault") == []
    assert client.called("seek") == [[(0, 5)]], "without a seek the client does not report the end again"
    client.in_fetch = None
    it.fetch(client, 500, 0)
    assert client.calls[-1] == ("fault", end)


def test_a_record_of_a_partition_that_has_left_is_nobodys_and_moves_nothing() -> None:
    client: Any = Client()
    it = reading(client)
    it.disown([A])
    client.messages = [message(A, 3), message(B, 0, KafkaError(KafkaError._TRANSPORT))]
    assert [c.epoch for c in it.fetch(client, 500, 0)] == [-1]
    assert client.calls == [("fault", KafkaError(KafkaError._TRANSPORT))]


def test_what_has_no_place_yet_is_assigned_but_not_read() -> None:
    client: Any = Client()
    it = Reading(True, lambda message: None)
    it.assign(client, [A, B], find_places(client, [B], "earliest", 1.0), 1)
    assert client.called("incremental_assign") == [[(0, 0), (1, 0)]], "no offset that the client must ask for"
    assert client.called("pause") == [[(0, -1001), (1, -1001)]], "what has a place is read after its seek"
    assert it.owned == {}
    assert it.unplaced == {A: 1, B: 1}


def test_without_increments_the_whole_assignment_is_said() -> None:
    client: Any = Client()
    Reading(False, lambda message: None).assign(client, [A], find_places(client, [A], "earliest", 1.0), 1)
    assert client.called("assign") == [[(0, 0)]]
    assert client.called("incremental_assign") == []


# Faults


def test_a_complaint_is_told_once_a_minute_and_again_after_it_was_mended() -> None:
    reported, now = RecordedEvents(), [0.0]
    faults = Faults(reported, lambda: now[0])
    for _ in range(3):
        faults.report_error(KafkaError(KafkaError._TRANSPORT))
        faults.report_error(KafkaError(KafkaError._ALL_BROKERS_DOWN), "leads", 0)
    assert reported.count("brokers unreachable") == 1
    now[0] = 60.0
    faults.report_error(KafkaError(KafkaError._TRANSPORT))
    assert reported.count("brokers unreachable") == 2
    faults.answered()
    faults.answered()
    assert reported.count("brokers answer again") == 1
    faults.report_error(KafkaError(KafkaError._RESOLVE))
    assert reported.count("brokers unreachable") == 3


@pytest.mark.parametrize(
    ("code", "text", "told"),
    [
        (KafkaError._SSL, "sasl_ssl://h:1/bootstrap: SSL handshake failed: certificate verify failed: x (after 5ms in state"
         " SSL_HANDSHAKE)", "h:1: its certificate is not from an authority that is trusted here"),
        (KafkaError._TRANSPORT, "sasl_ssl://h:1/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 5ms in"
         " state SSL_HANDSHAKE)", "h:1: its certificate is not from an authority that is trusted here"),
        (KafkaError._AUTHENTICATION, "sasl_ssl://h:1/1: SASL authentication error: Authentication failed during "
         "authentication due to invalid credentials with SASL mechanism SCRAM-SHA-256 (after 5ms in state AUTH_REQ)",
         "h:1: the login is refused"),
    ],
    ids=["TLS", "TLS as a lost connection", "login"],
)  # fmt: skip
def test_a_connection_that_is_refused_is_told_in_words_until_the_brokers_answer(
    code: int, text: str, told: str
) -> None:
    reported = RecordedEvents()
    faults = Faults(reported)
    faults.report_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    for _ in range(3):
        faults.report_error(KafkaError(code, text))
    assert [event for event, _ in reported.lines] == ["brokers unreachable", "no connection to the brokers"]
    detail = str(reported.lines[1][1]["detail"])
    assert detail.startswith(told)
    assert scrub(detail) == detail, "the log masks a part of it"
    faults.answered()
    faults.answered()
    assert reported.count("brokers answer again") == 1
    faults.report_error(KafkaError(code, text))
    assert reported.count("no connection to the brokers") == 2


def test_a_refusal_for_another_reason_is_told_at_once_and_another_id_in_the_answer_is_no_reason() -> None:
    reported = RecordedEvents()
    faults = Faults(reported)
    in_state = "(after 5ms in state SSL_HANDSHAKE)"
    faults.report_error(KafkaError(KafkaError._SSL, f"ssl://h:1/1: SSL handshake failed: Disconnected: x {in_state}"))
    faults.report_error(KafkaError(KafkaError._SSL, f"ssl://h:1/1: certificate verify failed: x {in_state}"))
    faults.report_error(KafkaError(KafkaError._AUTHENTICATION, "Failed to acquire SASL OAUTHBEARER token: away"))
    for number in range(3):
        text = f"SASL authentication error: [{number}]: Access denied (after 5ms in state AUTH_REQ)"
        faults.report_error(KafkaError(KafkaError._AUTHENTICATION, f"ssl://h:1/1: {text}"))
    details = [str(details["detail"]) for _, details in reported.lines]
    assert len(details) == 4
    for detail, why in zip(details, ("TLS", "trusted here", "no token", "login is refused"), strict=True):
        assert why in detail
    faults.answered()
    assert reported.count("brokers answer again") == 1


def test_missing_topics_are_told_each_and_forgotten_when_found() -> None:
    reported = RecordedEvents()
    faults = Faults(reported)
    for topic in ("leads", "views", "leads"):
        faults.report_error(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), topic)
    assert [details["topic"] for _, details in reported.lines] == ["leads", "views"]
    assert faults.missing == {"leads", "views"}
    faults.found("leads")
    assert faults.missing == {"views"}
    faults.report_error(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), "leads")
    assert reported.count("topic missing") == 3


def test_denied_access_and_late_polls_have_words_of_their_own() -> None:
    reported = RecordedEvents()
    faults = Faults(reported)
    faults.report_error(KafkaError(KafkaError._AUTHENTICATION))
    faults.report_error(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), "leads")
    faults.report_error(KafkaError(KafkaError._MAX_POLL_EXCEEDED))
    faults.report_error(KafkaError(KafkaError.INVALID_RECORD))
    assert [event.partition(";")[0] for event, _ in reported.lines] == [
        "no connection to the brokers",
        "brokers deny access",
        "polled too late",
        "kafka error",
    ]


@pytest.mark.parametrize("code", [KafkaError._FATAL, KafkaError.GROUP_AUTHORIZATION_FAILED])
def test_a_member_that_ends_without_the_right_to_its_group_says_so(code: int) -> None:
    text = "Fatal error: Broker: Group authorization failed: ConsumerGroupHeartbeat fatal error"
    assert str(lost(KafkaError(code, text), "leads")).startswith("this user lacks READ on group leads: grant it")


def test_an_error_is_fatal_by_its_mark_or_by_its_code() -> None:
    assert is_fatal(KafkaError(KafkaError._FATAL))
    assert is_fatal(KafkaError(KafkaError.FENCED_INSTANCE_ID, "fenced", fatal=True))
    assert not is_fatal(KafkaError(KafkaError._TRANSPORT))
