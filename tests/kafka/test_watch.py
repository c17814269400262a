"""Which troubles are found in the client's statistics, with a simulated clock."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaError

from stream_capi.kafka.client_errors import Faults
from stream_capi.kafka.watch import StatisticsWatch, named
from stream_capi.model import HANGING_TRANSACTION, NOT_READ, OUT_OF_REACH, REQUESTS_TIME_OUT, TopicPartition
from stream_capi.observe.masking import mask
from tests.kafka.sink import RecordedEvents

LEADS = [TopicPartition("leads", number) for number in range(4)]
STEP = 3


class Client:
    """A client's statistics: two brokers that lead four partitions in turn, and a group that the first one coordinates."""

    def __init__(self) -> None:
        self.reported = RecordedEvents()
        self.now = 1000.0
        self.clock: float | None = None  # of the program; None: that of the statistics
        self.faults = Faults(self.reported, lambda: self.now if self.clock is None else self.clock)
        self.watch = StatisticsWatch(self.faults)
        self.brokers: dict[str, dict[str, Any]] = {
            "kafka-1:9092/1": self.broker(1),
            "kafka-2:9092/2": self.broker(2),
            "GroupCoordinator": {**self.broker(1), "name": "GroupCoordinator", "nodeid": -1, "source": "logical"},
        }
        self.partitions = [self.partition(1 + number % 2) for number in range(4)]
        self.group = {"state": "up", "join_state": "steady"}
        self.assigned, self.paused = list(LEADS), set[TopicPartition]()
        self.ends: dict[TopicPartition, int] = {}

    def broker(self, number: int) -> dict[str, Any]:
        return {
            "name": f"kafka-{number}:9092/{number}",
            "nodeid": number,
            "nodename": f"kafka-{number}:9092",
            "source": "learned",
            "state": "UP",
            "waitresp_cnt": 1,
            "outbuf_cnt": 0,
            "req_timeouts": 0,
            "rxidle": 300_000,
            "rx": 0,
        }

    def partition(self, leader: int) -> dict[str, Any]:
        return {
            "leader": leader,
            "fetch_state": "active",
            "next_offset": 0,
            "app_offset": 0,
            "ls_offset": 0,
            "hi_offset": 0,
            "eof_offset": -1001,
        }

    def pass_by(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.now += STEP
            for broker in self.brokers.values():
                broker["rx"] += not (broker.get("silent") or broker.get("long"))
                if broker.get("silent"):
                    broker["rxidle"] += STEP * 1_000_000
            statistics = {
                "ts": self.now * 1e6,
                "brokers": self.brokers,
                "cgrp": self.group,
                "topics": {"leads": {"partitions": {str(i): at for i, at in enumerate(self.partitions)}}},
            }
            self.watch.judge(orjson.dumps(statistics).decode(), self.assigned, self.paused, self.ends)

    @property
    def troubles(self) -> list[tuple[str, str]]:
        return [(trouble.kind, trouble.subject) for trouble in self.watch.troubles]

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.reported.lines]


@pytest.fixture
def client() -> Client:
    made = Client()
    made.pass_by(30)
    assert made.troubles == []
    assert made.events == []
    return made


@pytest.mark.parametrize("state", ["DOWN", "TRY_CONNECT", "CONNECT", "APIVERSION_QUERY", "INIT"])
def test_a_leader_without_a_connection_is_named_within_fifteen_seconds_and_once(client: Client, state: str) -> None:
    client.brokers["kafka-2:9092/2"]["state"] = state
    client.pass_by(6)
    assert client.troubles == []
    client.pass_by(6)
    assert client.troubles == [(OUT_OF_REACH, "kafka-2:9092/2")]
    assert client.watch.troubles[0].partitions == (LEADS[1], LEADS[3])
    client.pass_by(300)
    assert client.events == ["broker out of reach"]
    assert "leads[1, 3] wait" in str(client.reported.lines[0][1]["detail"])
    client.brokers["kafka-2:9092/2"]["state"] = "UP"
    client.pass_by(3)
    assert client.troubles == []
    assert client.events == ["broker out of reach", "broker in reach again"]


@pytest.mark.parametrize("connected", ["kafka-1:9092/1", "GroupCoordinator"])
def test_the_brokers_answer_again_when_a_connected_one_sends_something_also_to_an_idle_member(
    client: Client, connected: str
) -> None:
    for broker in client.brokers.values():
        broker.update(state="DOWN", silent=True)
    client.faults.report_error(KafkaError(KafkaError._SSL, "ssl://kafka-1:9092/1: certificate verify failed: x"))
    client.pass_by(30)
    assert "brokers answer again" not in client.events
    client.brokers[connected]["state"] = "UP"
    client.pass_by(30)
    assert "brokers answer again" not in client.events, "what it sent was before the error"
    client.brokers[connected].update(silent=False, rxidle=300_000)
    client.pass_by(30)
    assert client.events.count("brokers answer again") == 1


def test_statistics_from_before_an_error_that_are_handed_over_after_it_are_no_answer(client: Client) -> None:
    """As when a drain keeps the thread for seconds: they come at once then, and what they tell of was before."""
    client.faults.report_error(KafkaError(KafkaError._TRANSPORT))
    client.clock = client.now
    client.pass_by(6 * STEP)
    assert client.events == ["brokers unreachable"]
    client.clock = None
    client.pass_by(3 * STEP)
    assert client.events == ["brokers unreachable", "brokers answer again"]


def test_a_leader_that_says_nothing_is_named(client: Client) -> None:
    client.brokers["kafka-1:9092/1"]["silent"] = True
    client.pass_by(12)
    assert client.troubles == [(OUT_OF_REACH, "kafka-1:9092/1")]


def test_a_broker_that_was_idle_and_is_asked_something_is_not_silent(client: Client) -> None:
    broker = client.brokers["kafka-1:9092/1"]
    client.paused = {LEADS[0], LEADS[2]}
    broker |= {"waitresp_cnt": 0, "silent": True}
    client.pass_by(60)
    broker["waitresp_cnt"] = 1
    client.pass_by(3)
    assert client.troubles == []


def test_a_broker_that_nothing_is_wanted_of_may_be_away(client: Client) -> None:
    client.assigned = [LEADS[0], LEADS[2]]
    client.brokers["kafka-2:9092/2"]["state"] = "DOWN"
    client.pass_by(30)
    assert client.troubles == []


def test_an_idle_connection_to_the_leader_of_paused_partitions_may_be_closed(client: Client) -> None:
    client.paused = {LEADS[1], LEADS[3]}
    client.brokers["kafka-2:9092/2"]["state"] = "INIT"
    client.pass_by(30)
    assert client.troubles == []


def test_a_coordinator_is_named_by_its_address_and_with_its_partitions_in_one_trouble(client: Client) -> None:
    client.brokers["GroupCoordinator"]["silent"] = True
    client.brokers["kafka-1:9092/1"]["silent"] = True
    client.pass_by(12)
    assert client.troubles == [(OUT_OF_REACH, "kafka-1:9092/1")]
    assert "commits and assignments wait" in client.watch.troubles[0].text
    assert "leads[0, 2] wait" in client.watch.troubles[0].text


def test_a_coordinator_that_the_client_gave_up_is_still_named(client: Client) -> None:
    client.brokers["GroupCoordinator"] |= {"nodename": "", "state": "INIT"}
    client.group |= {"state": "query-coord", "join_state": "init"}
    client.pass_by(12)
    assert client.troubles == [(OUT_OF_REACH, "kafka-1:9092/1")]
    client.assigned = []
    client.brokers["kafka-2:9092/2"]["state"] = "DOWN"
    client.pass_by(30)
    assert client.troubles == [(OUT_OF_REACH, "kafka-2:9092/2"), (OUT_OF_REACH, "kafka-1:9092/1")]


def test_a_coordinator_that_waits_for_the_other_members_is_well(client: Client) -> None:
    client.brokers["GroupCoordinator"]["silent"] = True
    client.group["join_state"] = "wait-join"
    client.pass_by(60)
    assert client.troubles == []


def test_brokers_that_the_client_forgot_are_named_by_what_was_known(client: Client) -> None:
    configured = {**client.broker(1), "name": "kafka:9092/bootstrap", "nodeid": -1, "source": "configured"}
    client.brokers = {
        "kafka:9092/bootstrap": configured | {"state": "INIT"},
        "GroupCoordinator": client.brokers["GroupCoordinator"] | {"nodename": "", "state": "INIT"},
    }
    client.group["state"] = "query-coord"
    client.partitions = [at | {"leader": -1} for at in client.partitions]
    client.pass_by(12)
    assert {subject for _, subject in client.troubles} == {"kafka-1:9092/1", "kafka-2:9092/2"}
    assert client.events == ["broker out of reach"], "one line for all"
    shown = mask(None, "warning", {"event": "broker out of reach", **client.reported.lines[0][1]})
    assert "kafka-1:9092/1: no answer" in shown["detail"]
    assert "kafka-2:9092/2: no answer" in shown["detail"]
    assert "withheld" not in shown


def test_brokers_that_never_answered_are_named_by_the_settings() -> None:
    client = Client()
    configured = {**client.broker(1), "name": "kafka:9092/bootstrap", "nodeid": -1, "source": "configured"}
    client.brokers = {"kafka:9092/bootstrap": configured | {"state": "CONNECT", "waitresp_cnt": 0}}
    client.group["state"] = "init"
    client.assigned = []
    client.pass_by(15)
    assert client.troubles == [(OUT_OF_REACH, "kafka:9092/bootstrap")]


def test_requests_that_time_out_are_counted_and_told_for_a_minute(client: Client) -> None:
    for _ in range(10):
        client.brokers["kafka-1:9092/1"]["req_timeouts"] += 1
        client.pass_by(12)
    assert client.troubles == [(REQUESTS_TIME_OUT, "kafka-1:9092/1")]
    assert client.watch.timeouts == {"kafka-1:9092/1": 10}
    client.pass_by(60)
    assert client.troubles == []
    assert client.events == ["requests to a broker time out", "requests are answered in time"]


def test_a_broker_out_of_reach_is_not_told_of_its_requests_besides(client: Client) -> None:
    client.brokers["kafka-1:9092/1"] |= {"state": "CONNECT", "req_timeouts": 1}
    client.pass_by(12)
    assert client.troubles == [(OUT_OF_REACH, "kafka-1:9092/1")]


def test_partitions_that_are_behind_and_stand_still_are_named(client: Client) -> None:
    client.ends = dict.fromkeys(LEADS, 100)
    client.pass_by(12)
    assert client.troubles == [(NOT_READ, "leads at kafka-1:9092/1"), (NOT_READ, "leads at kafka-2:9092/2")]
    assert client.events == ["behind, and nothing is read"]
    client.pass_by(300)
    assert len(client.events) == 1
    for at in client.partitions:
        at["next_offset"] = 50
    client.pass_by(3)
    assert client.troubles == []
    assert client.events[1:] == ["read again"]


@pytest.mark.parametrize("where", ["paused", "at its end", "handed over from the queue"])
def test_partitions_that_need_not_be_read_are_not_named(client: Client, where: str) -> None:
    client.ends = dict.fromkeys(LEADS, 100)
    if where == "paused":
        client.paused = set(LEADS)
    for _ in range(20):
        for at in client.partitions:
            at["next_offset"] = 100 if where == "at its end" else 50
            at["app_offset"] += 1 if where.startswith("handed") else 0
        client.pass_by(3)
    assert client.troubles == []


def test_a_partition_behind_the_backlog_of_others_waits_for_its_turn(client: Client) -> None:
    client.ends = dict.fromkeys(LEADS, 100)
    for _ in range(20):
        client.partitions[0]["next_offset"] += 1
        client.partitions[1]["next_offset"] += 1
        client.pass_by(3)
    assert client.troubles == []


@pytest.mark.parametrize("stuck", [{"leader": -1}, {"fetch_state": "validate-epoch-wait"}])
def test_a_partition_that_is_not_even_asked_for_is_named_though_others_move(
    client: Client, stuck: dict[str, Any]
) -> None:
    client.ends = dict.fromkeys(LEADS, 100)
    client.partitions[2] |= stuck
    for _ in range(5):
        client.partitions[0]["next_offset"] += 1
        client.partitions[1]["next_offset"] += 1
        client.pass_by(3)
    assert [trouble.partitions for trouble in client.watch.troubles] == [(LEADS[2],)]


def opened(client: Client, *numbers: int) -> None:
    """Open a transaction at offset 50 of these partitions: the records before it were read, and more come after it."""
    for number in numbers:
        at = client.partitions[number]
        at |= {"ls_offset": 50, "next_offset": 50, "app_offset": 50, "hi_offset": max(at["hi_offset"], 60) + 1}
        client.ends[LEADS[number]] = at["hi_offset"]


def test_a_last_stable_offset_that_stands_still_is_named_as_such_and_not_as_lag(client: Client) -> None:
    opened(client, 0, 2)
    client.pass_by(6)
    assert client.troubles == []
    for _ in range(20):
        opened(client, 0, 2)
        client.pass_by(3)
        assert client.troubles in ([], [(HANGING_TRANSACTION, "leads")])
    (trouble,) = client.watch.troubles
    assert trouble.partitions == (LEADS[0], LEADS[2])
    assert "the last stable offset stands still for 63 s: leads[0, 2]" in trouble.text
    assert "62 records" in trouble.text
    assert client.events == ["an open transaction holds records back"]
    for number in (0, 2):
        client.partitions[number] |= {"ls_offset": 90, "next_offset": 90, "app_offset": 90, "hi_offset": 90}
    client.pass_by(3)
    assert client.troubles == []
    assert client.events[1:] == ["nothing is held back by a transaction"]


def test_it_is_named_within_fifteen_seconds(client: Client) -> None:
    opened(client, 1)
    client.pass_by(12)
    assert client.troubles == [(HANGING_TRANSACTION, "leads")]


@pytest.mark.parametrize("what", ["transactions that end", "not all is read", "paused", "no transaction"])
def test_a_last_stable_offset_that_holds_nothing_back_is_not_named(client: Client, what: str) -> None:
    if what == "paused":
        client.paused = {LEADS[1]}
    for turn in range(20):
        opened(client, 1)
        at = client.partitions[1]
        if what == "transactions that end":
            at |= {"ls_offset": 50 + turn, "next_offset": 50 + turn}
        elif what == "not all is read":
            at["next_offset"] = turn
        elif what == "no transaction":
            at |= {"ls_offset": at["hi_offset"], "next_offset": at["hi_offset"]}
        client.pass_by(3)
    assert client.troubles == []


def test_a_leader_out_of_reach_is_not_told_of_its_transactions_besides(client: Client) -> None:
    opened(client, 1)
    client.pass_by(12)
    client.brokers["kafka-2:9092/2"]["state"] = "DOWN"
    client.pass_by(12)
    assert client.troubles == [(OUT_OF_REACH, "kafka-2:9092/2")]


def test_what_comes_and_goes_is_told_at_most_once_a_minute(client: Client) -> None:
    for _ in range(50):
        client.brokers["kafka-2:9092/2"]["state"] = "DOWN"
        client.pass_by(9)
        client.brokers["kafka-2:9092/2"]["state"] = "UP"
        client.pass_by(3)
    assert 8 <= client.events.count("broker out of reach") <= 11
    assert len(client.events) <= 22


def test_a_broker_whose_answer_is_long_is_busy_and_one_that_says_nothing_is_not(client: Client) -> None:
    assert [client.watch.busy] == [False]
    client.brokers["kafka-1:9092/1"]["long"] = True
    client.pass_by(3)
    assert [client.watch.busy] == [True]
    client.pass_by(60)
    assert client.troubles == []
    client.brokers["kafka-1:9092/1"]["silent"] = True
    client.pass_by(3)
    assert [client.watch.busy] == [False]


def test_many_partitions_are_named_by_the_first() -> None:
    assert named([TopicPartition("leads", n) for n in range(128)]) == "leads[0, 1, 2, 3, 4 and 123 more]"
