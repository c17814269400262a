"""Commits of one group member: sent without waiting, one at a time, each with a result by a deadline at the latest.

Used on the consumer's thread only. Ownership is checked right before the call: a commit for a partition that is no longer
owned *succeeds* and rewinds what its new owner has committed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka import TopicPartition as ClientPartition

from stream_capi.kafka.client_errors import error_of
from stream_capi.model import Commit, CommitResult

# The client itself keeps a commit for session.timeout.ms (45 s for a static member) while it has no coordinator, and then
# waits for an answer. Giving up sooner would let a later commit meet the earlier one.
ANSWER_SECONDS = 60.0
_ASK_SECONDS = 0.02
CALL_SECONDS = 5.0  # deadline of each question to a broker: one that is frozen must not hide that another answers
_RESEND_SECONDS = 0.25
# Under group.protocol=consumer the client answers these errors of a commit by putting its next heartbeat off by up to
# retry.backoff.max.ms (1 s), counted again from each commit. Only the heartbeat tells the member that it is out of the group:
# with a commit each 0.5 s it would never be sent.
_NOT_A_MEMBER = frozenset({"UNKNOWN_MEMBER_ID", "STALE_MEMBER_EPOCH"})
_HEARTBEAT_SECONDS = 2.0

Report = Callable[[Sequence[CommitResult]], None]


class Commits:
    """The commits under way. ``owns`` says whether one may be made; ``report`` takes every result."""

    def __init__(
        self, owns: Callable[[Commit], bool], report: Report, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._owns = owns
        self._report = report
        self._now = now
        self._under_way: list[Commit] = []
        self._sent_at = 0.0
        self._fenced: list[CommitResult] = []  # of the commit under way, reported with its end
        self._next: list[Commit] = []
        self._send_from = 0.0  # no commit before: a heartbeat is due

    def send(self, consumer: Consumer, commits: Sequence[Commit]) -> None:
        """Commit without waiting. While another commit is under way, or a heartbeat is due, this one waits for its end."""
        if self._under_way or self._now() < self._send_from:
            self._next = list(commits)
            return
        owned, fenced = self._split(commits)
        if not owned:
            self._report(fenced)
            return
        try:
            consumer.commit(offsets=self._offsets(owned), asynchronous=True)
            self._under_way, self._fenced, self._sent_at = owned, fenced, self._now()
        except KafkaException as error:
            self._report(fenced + [CommitResult(commit, error_of(error).name()) for commit in owned])

    def answered(self, consumer: Consumer, error: KafkaError | None, offsets: Sequence[ClientPartition]) -> None:
        """The client's callback at the end of a commit."""
        answers = {(at.topic, at.partition, at.offset): at.error or error for at in offsets}
        if {(commit.topic, commit.partition, commit.offset) for commit in self._under_way} != answers.keys():
            return  # the late end of one that was given up
        results = []
        for commit in self._under_way:
            fault = answers[commit.topic, commit.partition, commit.offset]
            results.append(CommitResult(commit, _name(fault)))
        self._end(consumer, results)

    def expire(self, consumer: Consumer) -> None:
        """Give up a commit that was never answered, and make the one that waited for a heartbeat."""
        if not self._under_way:
            self._send_next(consumer)
        elif self._now() - self._sent_at > ANSWER_SECONDS:
            self._end(consumer, [CommitResult(commit, "timeout") for commit in self._under_way])

    def _end(self, consumer: Consumer, results: Sequence[CommitResult]) -> None:
        self._under_way = []
        if any(result.error in _NOT_A_MEMBER for result in results):
            self._send_from = self._now() + _HEARTBEAT_SECONDS
        self._report([*results, *self._fenced])
        self._send_next(consumer)

    def _send_next(self, consumer: Consumer) -> None:
        following, self._next = self._next, []
        if following:
            self.send(consumer, following)

    def wait_for(self, consumer: Consumer, commits: Sequence[Commit], seconds: float) -> None:
        """Commit and wait until the broker has it, for so long at most.

        A synchronous commit has no deadline: a frozen broker blocks it. On another thread it would wait until this one leaves
        the client's callback, and then commit partitions that have a new owner. So it is sent without waiting, and then read
        from the broker, since in here the client doesn't report how a commit ended. It is sent again until it is there: a
        broker refuses commits while it completes a rebalance, and a lost coordinator has a successor after some seconds.
        """
        owned, fenced = self._split(commits)
        left = self._offsets(owned)
        deadline = self._now() + seconds
        send_at = self._now()
        while left and self._now() < deadline:
            with contextlib.suppress(KafkaException):  # tried again as long as there is time
                if self._now() >= send_at:
                    send_at = self._now() + _RESEND_SECONDS
                    consumer.commit(offsets=left, asynchronous=True)
                asked = [ClientPartition(at.topic, at.partition) for at in left]
                seconds = min(deadline - self._now(), CALL_SECONDS)
                found = {_content(at) for at in consumer.committed(asked, timeout=seconds)}
                left = [at for at in left if _content(at) not in found]
            time.sleep(_ASK_SECONDS if left else 0)
        without = {(at.topic, at.partition) for at in left}
        results = [CommitResult(c, "timeout" if (c.topic, c.partition) in without else None) for c in owned]
        self._report([*fenced, *results])

    def _split(self, commits: Sequence[Commit]) -> tuple[list[Commit], list[CommitResult]]:
        owned = [commit for commit in commits if self._owns(commit)]
        return owned, [CommitResult(commit, "fenced") for commit in commits if not self._owns(commit)]

    def _offsets(self, commits: Sequence[Commit]) -> list[ClientPartition]:
        """With the leader epoch, by which the next owner has the offset validated (KIP-320)."""
        return [
            ClientPartition(c.topic, c.partition, c.offset, metadata=c.metadata, leader_epoch=c.leader_epoch)
            for c in commits
        ]


def _content(at: ClientPartition) -> tuple[str, int, int, str]:
    return at.topic, at.partition, at.offset, at.metadata or ""


def _name(error: KafkaError | None) -> str | None:
    return error.name() if error is not None else None
