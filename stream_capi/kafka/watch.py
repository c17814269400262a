"""Silence, by the client's own statistics: which broker doesn't answer, which requests time out, what is behind and not read.

The client says nothing of a single broker that it can't reach, and nothing of an answer that never ends. Its statistics have
both, every ``STATISTICS_MS``; 128 partitions cost it a millisecond of processor time each. Used on the consumer's thread,
but for ``troubles`` and ``timeouts``, which are read from anywhere.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from stream_capi.kafka.client_errors import Faults
from stream_capi.model import HANGING_TRANSACTION, NOT_READ, OUT_OF_REACH, REQUESTS_TIME_OUT, TopicPartition, Trouble

STATISTICS_MS = 3000
_PATIENCE_SECONDS = 8.0  # with up to two statistics and a poll, it is reported within 15 s
_LATE_SECONDS = 60.0  # for which requests that timed out are worth a notice
_REPEAT_SECONDS = 60.0
_MOST_NAMED = 5
_FLOWING_MICROSECONDS = 1_500_000
_JOINING = frozenset({"wait-join", "wait-sync"})  # the coordinator answers when all members have come

_EVENTS = {
    OUT_OF_REACH: ("broker out of reach", "broker in reach again"),
    REQUESTS_TIME_OUT: ("requests to a broker time out", "requests are answered in time"),
    NOT_READ: ("behind, and nothing is read", "read again"),
    HANGING_TRANSACTION: ("an open transaction holds records back", "nothing is held back by a transaction"),
}


class _Broker(NamedTuple):
    """``waits``: connected, with a request under way. ``idle`` seconds since a byte came, -1 where none has."""

    name: str
    state: str
    waits: bool
    idle: float
    timeouts: int


class _Partition(NamedTuple):
    leader: int
    fetching: bool
    position: tuple[int, int]  # the next offset to fetch, the next to hand over
    end: int  # of what may be read
    held_back: int  # records behind the last stable offset, where all before it was fetched


class StatisticsWatch:
    """Judges each statistics of the client. ``troubles`` are those of the last one, ``timeouts`` requests by broker."""

    def __init__(self, faults: Faults) -> None:
        self.troubles: tuple[Trouble, ...] = ()
        self.timeouts: Counter[str] = Counter()
        self.busy = False  # an answer is under way since the statistics before: a question behind it would time out
        self._faults = faults
        self._answers: dict[str, int] = {}  # received from each broker that owes one
        self._at = 0.0
        self._coordinator = ""
        self._names: dict[int, str] = {}
        self._led: dict[int, list[TopicPartition]] = {}  # by leader
        self._needed: set[int] = set()  # those leaders that are read from
        self._heard: dict[str, float] = {}  # when each broker was last heard
        self._counted: dict[str, int] = {}  # requests that had timed out
        self._late: dict[str, float] = {}  # when requests of a broker last timed out
        # Where each partition stands, and since when.
        self._still: dict[TopicPartition, tuple[tuple[int, int], float]] = {}
        # The last stable offset of each partition that has records behind it, and since when it stands.
        self._stable: dict[TopicPartition, tuple[int, float]] = {}
        self._moved: dict[int, float] = {}  # when a partition of each leader last moved
        self._reported: set[tuple[str, str]] = set()  # begun and not ended, by kind and subject
        self._reported_at: dict[tuple[str, str], float] = {}

    def judge(
        self,
        statistics: str,
        assigned: Collection[TopicPartition],
        paused: Collection[TopicPartition],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        """Take in one statistics. ``ends`` are the logs' ends as far as they are known."""
        document: dict[str, Any] = orjson.loads(statistics)
        self._at = document["ts"] / 1e6
        brokers = {int(b["nodeid"]): _broker(b) for b in document["brokers"].values() if b["nodeid"] >= 0}
        self._names.update({number: broker.name for number, broker in brokers.items()})
        partitions = {
            tp: _partition(document["topics"][tp.topic]["partitions"][str(tp.partition)])
            for tp in assigned
            if str(tp.partition) in document["topics"].get(tp.topic, {}).get("partitions", {})
        }
        self._notice_long_answers(document["brokers"].values())
        connected = (b["rxidle"] for b in document["brokers"].values() if b["state"] == "UP" and b["rxidle"] >= 0)
        self._faults.heard(self._at - min(connected, default=document["ts"]) / 1e6, self._at)
        read = [tp for tp in partitions if tp not in paused]
        led: dict[int, list[TopicPartition]] = defaultdict(list)
        for tp, partition in partitions.items():
            led[partition.leader].append(tp)
        coordinator = self._coordinator_silence(document)
        # Cut off from its coordinator, a member loses its partitions, and their leaders may be out of reach as before.
        # Cut off from all brokers, the client forgets them and starts over with the addresses of the settings.
        if brokers and (led or coordinator[1] < _PATIENCE_SECONDS / 2):
            self._led = dict(led)
            self._needed = {partitions[tp].leader for tp in read}
        silent = self._silent(brokers, *coordinator) if self._names else self._bootstrap(document)
        names = {trouble.subject for trouble in silent}
        late = [trouble for trouble in self._timed_out(brokers, led) if trouble.subject not in names]
        deaf = {number for number, broker in brokers.items() if broker.name in names}
        fetched = {tp: partitions[tp] for tp in read if partitions[tp].leader not in deaf}
        unread = self._unread(fetched, brokers, ends)
        self._report((*silent, *late, *unread, *self._unstable(fetched)))

    # Brokers

    def _notice_long_answers(self, brokers: Collection[Mapping[str, Any]]) -> None:
        """Bytes come from a broker, and yet no answer has ended since the statistics before."""
        answers = {broker["name"]: broker["rx"] for broker in brokers if broker["waitresp_cnt"]}
        flowing = {broker["name"] for broker in brokers if 0 <= broker["rxidle"] < _FLOWING_MICROSECONDS}
        self.busy = any(self._answers.get(name) == answers[name] for name in answers.keys() & flowing)
        self._answers = answers

    def _silent(self, brokers: Mapping[int, _Broker], coordinator: str, seconds: float) -> list[Trouble]:
        """Those that lead partitions of this member, and the group's coordinator, which was silent for so long."""
        waiting: dict[str, list[str]] = defaultdict(list)
        silence: dict[str, float] = {}
        for number, partitions in self._led.items():
            broker = brokers.get(number) or _Broker(self._names.get(number, ""), "DOWN", False, -1.0, 0)
            if broker.name and self._deaf(broker, idle_is_well=number not in self._needed):
                silence[broker.name] = self._at - self._heard[broker.name]
                waiting[broker.name].append(f"{named(partitions)} wait")
        if seconds >= _PATIENCE_SECONDS:
            silence[coordinator] = max(seconds, silence.get(coordinator, 0.0))
            waiting[coordinator].append("it coordinates the group: commits and assignments wait")
        of_name = {self._names.get(number, ""): tuple(led) for number, led in self._led.items()}
        return [
            Trouble(OUT_OF_REACH, at, f"no answer for {silence[at]:.0f} s: {'; '.join(what)}", of_name.get(at, ()))
            for at, what in waiting.items()
        ]

    def _coordinator_silence(self, document: Mapping[str, Any]) -> tuple[str, float]:
        group, found = document.get("cgrp"), document["brokers"].get("GroupCoordinator")
        if group is None or found is None or group["state"] == "term":
            return "", 0.0
        if found["nodename"]:
            nodes = {name.rpartition("/")[0]: name for name in self._names.values()}
            self._coordinator = nodes.get(found["nodename"], found["nodename"])
        if group["state"] == "up":
            broker = _broker(found)
            joins = group["join_state"] in _JOINING and broker.state == "UP"
            self._hear(broker._replace(waits=broker.waits and not joins), idle_is_well=False)
        since = self._heard.setdefault("GroupCoordinator", self._at)
        return self._coordinator or "GroupCoordinator", self._at - since

    def _bootstrap(self, document: Mapping[str, Any]) -> list[Trouble]:
        """No broker has answered since the start: the addresses of the settings are all that is known."""
        given = [_broker(b) for b in document["brokers"].values() if b["source"] == "configured"]
        silent = [broker.name for broker in given if self._deaf(broker, idle_is_well=False)]
        if len(silent) < len(given):
            return []
        return [Trouble(OUT_OF_REACH, name, "no answer since the start") for name in silent]

    def _deaf(self, broker: _Broker, idle_is_well: bool) -> bool:
        self._hear(broker, idle_is_well)
        return self._at - self._heard[broker.name] >= _PATIENCE_SECONDS

    def _hear(self, broker: _Broker, idle_is_well: bool) -> None:
        """Note when the broker was last heard. Where nothing is asked of it, it is well."""
        heard = self._heard.setdefault(broker.name, self._at)
        if (broker.state == "UP" and not broker.waits) or (broker.state == "INIT" and idle_is_well):
            heard = self._at
        elif broker.state == "UP" and broker.idle >= 0:
            heard = max(heard, self._at - broker.idle)
        self._heard[broker.name] = heard

    def _timed_out(self, brokers: Mapping[int, _Broker], led: Mapping[int, list[TopicPartition]]) -> list[Trouble]:
        troubles = []
        for number, broker in brokers.items():
            new = broker.timeouts - self._counted.get(broker.name, 0)
            self._counted[broker.name] = broker.timeouts
            if new > 0:
                self.timeouts[broker.name] += new
                self._late[broker.name] = self._at
            if self._at - self._late.get(broker.name, -_LATE_SECONDS) < _LATE_SECONDS:
                text = f"requests time out: {named(led.get(number, ())) or 'metadata'} may wait"
                troubles.append(Trouble(REQUESTS_TIME_OUT, broker.name, text, tuple(led.get(number, ()))))
        return troubles

    # Partitions

    def _unread(
        self,
        partitions: Mapping[TopicPartition, _Partition],
        brokers: Mapping[int, _Broker],
        ends: Mapping[TopicPartition, int],
    ) -> list[Trouble]:
        """Those that are behind their log's end and stand still.

        One that stands still while others of its broker move may only wait for its turn, behind their backlog.
        """
        for tp in self._still.keys() - partitions.keys():
            del self._still[tp]
        for tp, at in partitions.items():
            before, _ = self._still.get(tp, (at.position, 0.0))
            if before != at.position:
                self._moved[at.leader] = self._at
            end = at.end if at.held_back else max(at.end, ends.get(tp, -1))
            if tp not in self._still or before != at.position or at.position[0] >= end:
                self._still[tp] = (at.position, self._at)
        waiting: dict[tuple[str, str], list[TopicPartition]] = defaultdict(list)
        for tp, at in partitions.items():
            stuck = at.leader < 0 or not at.fetching
            quiet = self._at - self._moved.get(at.leader, 0.0) >= _PATIENCE_SECONDS
            if self._at - self._still[tp][1] >= _PATIENCE_SECONDS and (stuck or quiet):
                broker = brokers.get(at.leader)
                waiting[tp.topic, broker.name if broker else ""].append(tp)
        return [
            Trouble(
                NOT_READ,
                f"{topic} at {broker}" if broker else f"{topic}, which has no leader",
                f"behind, and nothing is read for {_PATIENCE_SECONDS:.0f} s or more: {named(behind)}",
                tuple(behind),
            )
            for (topic, broker), behind in waiting.items()
        ]

    def _unstable(self, partitions: Mapping[TopicPartition, _Partition]) -> list[Trouble]:
        """By topic, the partitions that an open transaction keeps from being read on: their last stable offset stands."""
        stable = {tp: at.end for tp, at in partitions.items() if at.held_back}
        self._stable = {
            tp: self._stable[tp] if self._stable.get(tp, (-1, 0.0))[0] == offset else (offset, self._at)
            for tp, offset in stable.items()
        }
        waiting: dict[str, list[TopicPartition]] = defaultdict(list)
        for tp, (_, since) in self._stable.items():
            if self._at - since >= _PATIENCE_SECONDS:
                waiting[tp.topic].append(tp)
        return [
            Trouble(
                HANGING_TRANSACTION,
                topic,
                f"the last stable offset stands still for {max(self._at - self._stable[tp][1] for tp in held):.0f} s: "
                f"{named(held)}; {sum(partitions[tp].held_back for tp in held)} records behind it can't be read",
                tuple(held),
            )
            for topic, held in waiting.items()
        ]

    # Words

    def _report(self, troubles: tuple[Trouble, ...]) -> None:
        """One line for all of a kind that begin, one for all that end; what comes and goes is reported once a minute."""
        self.troubles = troubles
        for kind, (begins, ends) in _EVENTS.items():
            present = {trouble.subject: trouble.text for trouble in troubles if trouble.kind == kind}
            ended = [subject for of, subject in self._reported if of == kind and subject not in present]
            begun = [
                subject
                for subject in present
                if (kind, subject) not in self._reported
                and self._at - self._reported_at.get((kind, subject), -_REPEAT_SECONDS) >= _REPEAT_SECONDS
            ]
            for subject in begun:
                self._reported_at[kind, subject] = self._at
                self._reported.add((kind, subject))
            self._reported -= {(kind, subject) for subject in ended}
            if begun:
                self._faults.report(begins, reason=kind, detail=_first([f"{at}: {present[at]}" for at in begun], "; "))
            if ended:
                self._faults.report(ends, detail=_first(ended))


def _first(names: Sequence[str], between: str = ", ") -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return between.join(names[:_MOST_NAMED]) + more


def _broker(statistics: Mapping[str, Any]) -> _Broker:
    waits = bool(statistics["waitresp_cnt"] or statistics["outbuf_cnt"])
    return _Broker(
        statistics["name"], statistics["state"], waits, statistics["rxidle"] / 1e6, statistics["req_timeouts"]
    )


def _partition(statistics: Mapping[str, Any]) -> _Partition:
    stable = statistics["ls_offset"]
    end = max(stable, statistics["eof_offset"])
    position = statistics["next_offset"], statistics["app_offset"]
    held_back = max(0, statistics["hi_offset"] - stable) if position[0] >= stable >= 0 else 0
    return _Partition(statistics["leader"], statistics["fetch_state"] == "active", position, end, held_back)


def named(partitions: Iterable[TopicPartition]) -> str:
    """Partitions by topic, as ``leads[0, 3, 6]``; of many, the first."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for topic, number in sorted(partitions):
        numbers[topic].append(number)
    texts = []
    for topic, all_of_it in numbers.items():
        texts.append(f"{topic}[{_first([str(number) for number in all_of_it])}]")
    return ", ".join(texts)
