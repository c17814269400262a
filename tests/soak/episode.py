"""Runs an episode on the cluster: members, traffic and faults by plan. At the end all is healed and the history is judged."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

import psutil
from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]  # its own docs say so

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.endpoint_thread import Endpoint
from tests.ledger import DeadLetterReader, assert_private
from tests.program import KEY, Program, configuration
from tests.soak.faults import has_poison
from tests.soak.history import (
    GAVE_UP,
    Aborted,
    Acknowledged,
    Committed,
    DeadLettered,
    Delivered,
    Entry,
    Finding,
    Struck,
    judge,
    repeats,
)
from tests.soak.plan import KINDS, Fault, Plan, whose
from tests.soak.traffic import COMPACTED, Traffic
from tests.soak.weather import FAULTS
from tests.stack import Cluster, Registry
from tests.stack.asking import asker
from tests.stack.names import Names
from tests.stack.process import ServerFailed
from tests.stack.produce import encoder
from tests.stack.waiting import until

_SAMPLED_EVERY = 0.2
_HEALED_WITHIN = 240.0
_ENDS_WITHIN = 90.0
# Exit codes of a member that is stopped amid faults: clean, without Kafka, with a request cut off, before it handles SIGTERM.
_CUT_OFF = (0, 3, 4, -signal.SIGTERM)
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_PROTOCOLS: dict[str, dict[str, Any]] = {
    "classic": {},
    "range": {"partition.assignment.strategy": "range"},
    "consumer": {"group.protocol": "consumer"},
}


class Report(NamedTuple):
    """How an episode ended, and its figures."""

    plan: Plan
    findings: tuple[str, ...]
    broken: frozenset[str]
    acknowledged: int
    aborted: int
    delivered: int
    dead_lettered: int
    lost: int
    repeated: int
    faults: Counter[str]
    not_done: int  # faults that could not begin, most of them because their target had another fault
    restarts: int  # of members that had ended by themselves
    seconds: float
    load: float


class Episode:
    """One run of a plan. ``module`` is run instead of the program."""

    def __init__(
        self, plan: Plan, folder: Path, cluster: Cluster, registry: Registry, module: str = "stream_capi"
    ) -> None:
        names = Names()
        self.plan, self.cluster, self.registry = plan, cluster, registry
        self.members: list[Program] = []
        self.history: list[Entry] = []
        self._folder, self._module = folder, module
        self._findings: list[Finding] = []
        self._faults: Counter[str] = Counter()
        self._restarts: Counter[int] = Counter()  # by exit code
        self._not_done = 0
        self._active: dict[int, tuple[AbstractContextManager[None], tuple[str, str], float]] = {}
        self._leaving: list[Program] = []
        self._stood: list[str] = []  # what is known of each member and partition where not all had an outcome in time
        self._began = time.monotonic()
        self._chance = random.Random(plan.seed)
        self._stack = ExitStack()
        self._group, dead = names.group(), names.topic("dead")
        cluster.create_topic(dead)
        self.endpoint = self._stack.enter_context(Endpoint(self.ordinary))
        encode = encoder(self._stack.enter_context(registry.client()))
        self.traffic = [
            Traffic(
                cluster.bootstrap,
                cluster.create_topic(
                    names.topic(f"{topic.event}-{number}"),
                    topic.partitions,
                    COMPACTED if topic.compacted else None,
                    replication=topic.replication,
                ),
                topic,
                plan.rate / len(plan.topics),
                plan.seed * 10 + number,
                encode,
                self.history.append,
                self.now,
            )
            for number, topic in enumerate(plan.topics)
        ]
        sources = [{"topic": traffic.name, "event": traffic.topic.event} for traffic in self.traffic]
        self._settings = configuration(
            cluster.bootstrap_via,
            registry.url,
            self.endpoint.url,
            self._group,
            sources,
            dead,
            endpoint={"timeout_seconds": 5},
            batch={"max_events": plan.max_events, "window_ms": plan.window_ms},
            delivery={"max_in_flight": plan.max_in_flight},
            log={"level": "info"},
        )
        self._watch = _Watch(cluster, self._group, dead, self.endpoint, self.history, self.now)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch.stop()
        self._stack.close()
        topics = [self._watch.dead, *(traffic.name for traffic in self.traffic)]
        self.cluster.admin.delete_topics(topics, request_timeout=15)

    def now(self) -> float:
        return time.monotonic() - self._began

    # --- for faults

    def ordinary(self, request: RequestInfo) -> Action:
        """Answer after some latency, and refuse a batch with poison."""
        poison = has_poison(request)
        latency = self._chance.uniform(0.2, 1.0) * self.plan.latency_ms / 1000
        return Action(status=400 if poison else None, delay_seconds=latency)

    def spawn(self, member: Program) -> None:
        number = self.members.index(member)
        workers = self.plan.workers[number] if number < len(self.plan.workers) else 1
        member.spawn(*(["--workers", str(workers)] if workers > 1 else []))

    def join(self) -> Program:
        """Start one more member, with one worker."""
        member = self._member(len(self.members))
        self.members.append(member)
        self._leaving.append(member)
        self.spawn(member)
        return member

    def leave(self, member: Program, codes: Iterable[int] = _CUT_OFF) -> None:
        try:
            code = member.wait(_ENDS_WITHIN)
        except AssertionError as error:
            self._findings.append(Finding("exit", f"{member.name}: {error}"))
            member.kill()
            return
        if code not in codes:
            self._findings.append(Finding("exit", f"{member.name} ended with {code}"))

    def _member(self, number: int) -> Program:
        properties = {**self._settings["kafka"]["properties"], **_PROTOCOLS[self.plan.protocol]}
        properties["topic.metadata.refresh.interval.ms"] = 2000
        if self.plan.static:
            several = number < len(self.plan.workers) and self.plan.workers[number] > 1
            properties["group.instance.id"] = f"{number}" + ("-{worker}" if several else "")
            if self.plan.protocol != "consumer":
                properties["session.timeout.ms"] = 10_000  # otherwise a killed member's partitions wait for 45 s
        settings = {**self._settings, "kafka": {**self._settings["kafka"], "properties": properties}}
        program = Program(self._folder, settings, KEY, f"member-{self.plan.seed}-{number}", self._module)
        return self._stack.enter_context(program)

    # --- the run

    def run(self) -> Report:
        """Run the traffic with the faults, heal everything, and judge the history."""
        self.members += [self._member(number) for number in range(len(self.plan.workers))]
        for member in self.members:
            self.spawn(member)
        self._watch.start()
        for member in self.members:
            until(member.is_alive, 120, f"{member.name} alive")
        self._began = time.monotonic()
        for traffic in self.traffic:
            traffic.start()
        load = os.getloadavg()[0]
        self._storm()
        self._heal()
        self._close()
        return self._report(max(load, os.getloadavg()[0]))

    def _storm(self) -> None:
        begins = [(fault.at, number, False) for number, fault in enumerate(self.plan.faults)]
        ends = [(fault.at + fault.seconds, number, True) for number, fault in enumerate(self.plan.faults)]
        for at, number, ended in [*sorted(begins + ends), (self.plan.seconds, -1, True)]:
            time.sleep(max(0.0, at - self.now()))
            self._supervise()
            if ended:
                self._end(number)
            else:
                self._begin(number, self.plan.faults[number])

    def _begin(self, number: int, fault: Fault) -> None:
        of = KINDS[fault.kind].of
        target = self._resolved(fault.target) if of == "node" else fault.target
        befallen = whose(of, target)
        if (not target and of == "node") or befallen in (active[1] for active in self._active.values()):
            self._not_done += 1
            return
        context = FAULTS[fault.kind](self, target)
        try:
            context.__enter__()
        except (ServerFailed, KafkaException, AssertionError, psutil.Error) as error:
            print(f"{self.now():6.1f} s  {fault.kind} {target} could not begin: {error}", flush=True)
            self._not_done += 1
            return
        self._active[number] = context, befallen, self.now()
        self._faults[fault.kind] += 1

    def _end(self, number: int) -> None:
        if number in self._active:
            context, _, began = self._active.pop(number)
            context.__exit__(None, None, None)
            self.history.append(Struck(began, self.now(), self.plan.faults[number].kind))

    def _resolved(self, target: str) -> str:
        """The number of the node that has this role now; empty if none has it, or if no broker answers."""
        try:
            if target == "coordinator":
                return str(self.cluster.coordinator(self._group).id)
            if target == "leader":
                leader = self.cluster.leader(self.traffic[0].name)
                return str(leader) if leader > 0 else ""
        except (KafkaException, AssertionError):
            return ""
        return target

    def _heal(self) -> None:
        for number in list(self._active):
            self._end(number)
        self.endpoint.answer(self.ordinary)
        self._restore()
        for traffic in self.traffic:
            traffic.stop()
        try:
            until(self._is_done, _HEALED_WITHIN, "an outcome for all", every=0.5)
        except AssertionError:  # the final judgement reports what is open
            self._stood += self._standing()

    def _standing(self) -> Iterator[str]:
        """The members' statuses, and how far each partition can be read: at most to the last offset that is stable."""
        for member in self.members:
            yield f"{member.name}: {member.get('/status')[1]}"
        yield from self._as_the_coordinator_knows_it()
        for traffic in self.traffic:
            partitions = [TopicPartition(traffic.name, number) for number in range(traffic.topic.partitions)]
            for level in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED):
                asked = self.cluster.admin.list_offsets(
                    dict.fromkeys(partitions, _LATEST), isolation_level=level, request_timeout=15
                )
                for partition, found in asked.items():
                    with suppress(KafkaException):
                        yield f"{partition.topic} {partition.partition}, end {level.name}: {found.result(15).offset}"

    def _described(self) -> Any:
        """The group as its coordinator knows it. Raises KafkaException."""
        asked = self.cluster.admin.describe_consumer_groups([self._group], request_timeout=15)
        return asked[self._group].result(30)

    def _as_the_coordinator_knows_it(self) -> Iterator[str]:
        """The group's members, with what each has and, in the newer protocol, what each is to have."""
        try:
            group = self._described()
        except KafkaException as error:
            yield f"group: {error}"
            return
        yield f"group: {group.state.name}, coordinator {group.coordinator.id}"
        for member in group.members:
            for kind, of in (("has", member.assignment), ("is to have", member.target_assignment)):
                places = sorted((at.topic, at.partition) for at in of.topic_partitions) if of is not None else None
                yield f"group: {member.client_id} {member.member_id} {kind} {places}"

    def _agree(self) -> bool:
        """Whether each partition has one owner, by the members' statuses and by the coordinator.

        A member that the group has removed may not have heard of it yet. Stopped then, it can't confirm its last commit.
        """
        self._supervise()
        try:
            given = [at for member in self._described().members for at in member.assignment.topic_partitions]
            owned = [tp for member in self.members if member.running for tp in member.owned()]
            topics = self.cluster.metadata().topics
        except (KafkaException, AssertionError):
            return False
        every = [(traffic.name, number) for traffic in self.traffic for number in topics[traffic.name].partitions]
        return sorted(every) == sorted(owned) == sorted((at.topic, at.partition) for at in given)

    def keep(self, folder: Path) -> None:
        """Write into this folder what may explain a failed episode: the history, the members' logs, what stood still."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history.txt").write_text("\n".join(map(str, self.history)))
        (folder / "dead_letters.txt").write_text("\n".join(self._watch.dead_letters()))
        (folder / "stood.txt").write_text("\n".join(self._stood))
        for member in self.members:
            (folder / f"{member.name}.log").write_text(member.output)

    def _is_done(self) -> bool:
        self._supervise()
        return not any(finding.broken == "open" for finding in judge(list(self.history)))

    def _supervise(self) -> None:
        """Restart members that ended by themselves, as an orchestrator does. Exit code 3 is allowed: the client gave up."""
        down = {active[1] for active in self._active.values()}
        for number, member in enumerate(self.members):
            if member.running or member in self._leaving or ("member", str(number)) in down:
                continue
            code = member.wait(1)
            self._restarts[code] += 1
            if code == 3:
                self.history.append(Struck(self.now(), self.now(), GAVE_UP))
            else:
                self._findings.append(Finding("died", f"{member.name} ended by itself with {code}"))
            self.spawn(member)

    def _restore(self) -> None:
        """Restore the cluster, with up to three attempts: a busy machine may not bring up a node in time."""
        for again in (True, True, False):
            try:
                self.cluster.restore(_HEALED_WITHIN)
            except (ServerFailed, AssertionError):
                if not again:
                    raise
            else:
                return

    def _close(self) -> None:
        """Stop the members cleanly: all is healed, so each must end with 0, and its last commit is judged too."""
        running = [member for member in self.members if member not in self._leaving]
        for member in running:
            until(member.is_alive, _ENDS_WITHIN, f"{member.name} alive")  # before that it does not handle SIGTERM
        try:
            until(self._agree, _ENDS_WITHIN, "one owner of each partition", every=0.5)
        except AssertionError as error:
            self._findings.append(Finding("owners", str(error)))
            self._stood += self._standing()
        for member in running:
            member.signal(signal.SIGTERM)
        for member in running:
            self.leave(member, (0,))
        for member in self._leaving:
            self.leave(member)
        self._watch.stop()
        if self._watch.trouble:
            self._findings.append(Finding("watch", self._watch.trouble))
        if self.endpoint.mock.violations:
            self._findings.append(Finding("invalid", str(self.endpoint.mock.violations[:3])))
        for member in self.members:
            try:
                assert_private(member.output, KEY)
            except (AssertionError, ValueError) as error:
                self._findings.append(Finding("personal", f"{member.name}: {error}"))

    def _report(self, load: float) -> Report:
        findings = judge(self.history) + self._findings
        kinds = Counter(type(entry) for entry in self.history)
        lost = sum(finding.places for finding in findings if finding.broken == "lost")
        repeated = repeats(self.history).total
        return Report(
            self.plan,
            tuple(map(str, findings)),
            frozenset(finding.broken for finding in findings),
            kinds[Acknowledged],
            kinds[Aborted],
            kinds[Delivered] - repeated,
            len({entry.place for entry in self.history if isinstance(entry, DeadLettered)}),
            lost,
            repeated,
            self._faults,
            self._not_done,
            self._restarts.total(),
            self.now(),
            load,
        )


class _Watch:
    """Records in the history what endpoint, dead-letter topic and group show, from a thread."""

    def __init__(
        self, cluster: Cluster, group: str, dead: str, endpoint: Endpoint, history: list[Entry], now: Callable[[], float]
    ) -> None:  # fmt: skip
        self.dead, self.trouble = dead, ""
        self._endpoint, self._history, self._now = endpoint, history, now
        self._dead_letters = DeadLetterReader(cluster, dead)
        self._asker = asker(cluster.bootstrap, group)
        self._partitions: set[tuple[str, int]] = set()
        self._looked = self._read = 0  # how many of the endpoint's entries and of the dead letters were processed
        self._answered: Counter[str] = Counter()
        self._committed: dict[tuple[str, int], int] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and stop."""
        if not self._ending.is_set():
            self._ending.set()
            if self._thread.is_alive():
                self._thread.join()
            self._dead_letters.close()
            self._asker.close()

    def dead_letters(self) -> list[str]:
        """The dead letters so far: places, codes, and what they say of the error."""
        return [
            f"{found.source} {found.code} {found.headers.get('capi-error-detail')!r}"
            for found in self._dead_letters.found
        ]

    def _run(self) -> None:
        try:
            while not self._ending.wait(_SAMPLED_EVERY):
                self._look()
            self._look()
        except Exception as error:  # without the watch the episode has no result
            self.trouble = repr(error)

    def _look(self) -> None:
        new = self._history[self._looked :]
        self._looked += len(new)
        self._partitions.update(entry.place[:2] for entry in new if isinstance(entry, Acknowledged))
        asked = [TopicPartition(*partition) for partition in sorted(self._partitions)]
        try:
            found = self._asker.committed(asked, timeout=3) if asked else []
        except KafkaException:
            found = []  # the coordinator can't be reached, as planned
        self._note_outcomes()  # after the offsets: what they pass must have been answered before
        for place in found:
            partition = place.topic, place.partition
            if place.offset >= 0 and place.offset != self._committed.get(partition):
                self._committed[partition] = place.offset
                self._history.append(Committed(self._now(), *partition, place.offset))

    def _note_outcomes(self) -> None:
        answered, at = self._endpoint.answered(), self._now()
        for event_id, times in answered.items():
            self._history += [Delivered(at, event_id)] * (times - self._answered[event_id])
        self._answered = answered
        self._dead_letters.read()
        found = self._dead_letters.found[self._read :]
        self._history += [DeadLettered(at, dead_letter.source, dead_letter.code) for dead_letter in found]
        self._read += len(found)
