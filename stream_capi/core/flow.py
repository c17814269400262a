"""When the next request may go: backoff, the limit of requests in flight, and the gate of a pixel or lane.

Time and randomness are arguments: ``now`` is seconds of a monotonic clock, ``rnd`` a number in [0, 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

_PATIENCE_SECONDS = 1.0  # how long a request that is sent alone keeps the next one back


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff. Seconds.

    ``jitter`` is the share of each delay that is random: with 1.0 (full jitter) a retry comes at any time from 0 to the
    doubled delay, with 0.0 after exactly the doubled delay.
    """

    initial: float
    maximum: float
    jitter: float = 1.0

    def delay(self, attempt: int, rnd: float) -> float:
        """The delay before the retry that follows failure number ``attempt`` (from 1)."""
        # 2**60 times any delay is above any maximum; larger exponents would overflow a float after a long outage.
        ceiling = min(self.maximum, self.initial * 2.0 ** min(attempt - 1, 60))
        return ceiling * (1.0 - self.jitter * (1.0 - rnd))


class Limiter:
    """How many requests may be in flight (AIMD): after as many successes as the limit one more, after a failure half.

    Failures of requests that were sent before the last halving don't halve again: they belong to the same congestion.
    """

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self._limit = float(maximum)
        self._cut_at = float("-inf")

    @property
    def limit(self) -> int:
        """The current limit, at least one."""
        return int(self._limit)

    def succeeded(self) -> None:
        """A request succeeded."""
        self._limit = min(float(self.maximum), self._limit + 1.0 / self._limit)

    def failed(self, sent_at: float, now: float) -> None:
        """A request that was sent at ``sent_at`` was throttled, timed out or failed."""
        if sent_at >= self._cut_at:
            self._limit = max(1.0, self._limit / 2)
            self._cut_at = now


class SizeLimit:
    """How many events a request may carry: fewer if requests time out repeatedly, down to one.

    The third time-out in a row halves the limit, and so does each further one. The row ends when a request of the smallest
    size that timed out is answered; answers to smaller ones show nothing about it. Time-outs of requests that were sent
    before the last counted time-out don't count.

    A success at the limit raises it. If the answer took less than a third of the time-out, the limit is doubled. If a
    request with one more event should also be answered in time, it is raised by one; else by one after each tenth success.
    If the larger request then times out, the limit is at once set back to the size that was answered last.
    """

    _IN_A_ROW = 3
    _PATIENCE = 10

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.limit = maximum
        self._timeouts = 0
        self._timed_out = maximum  # events of the smallest request that timed out
        self._counted_at = float("-inf")
        self._seconds = 0.0  # the time-out of a request
        self._arrived = 0  # events of the last request at the limit that was answered
        self._answered = 0

    def timed_out(self, events: int, seconds: float, sent_at: float, now: float) -> None:
        """A request with this number of events, sent at ``sent_at``, had no answer within ``seconds``."""
        if sent_at < self._counted_at:
            return
        self._timed_out = min(self._timed_out, events) if self._timeouts else events
        self._timeouts += 1
        self._counted_at, self._seconds = now, seconds
        if 0 < self._arrived < events:
            self.limit, self._arrived = min(self.limit, self._arrived), 0
        elif self._timeouts >= self._IN_A_ROW:
            self.limit = max(1, min(self.limit, events // 2))

    def succeeded(self, events: int, seconds: float) -> None:
        """A request with this number of events was answered after ``seconds``."""
        if events >= self._timed_out:
            self._timeouts = 0
        if events < self.limit:
            return
        self._arrived = events if events < self.maximum else 0
        self._answered += 1
        if seconds < self._seconds / 3:
            self.limit = min(self.maximum, self.limit * 2)
        elif seconds * (events + 1) / events < self._seconds or self._answered % self._PATIENCE == 0:
            self.limit = min(self.maximum, self.limit + 1)


class GateState(StrEnum):
    """What a gate lets through. The values are public: they are in ``/status``."""

    PASSING = "open"
    THROTTLED = "throttled"  # nothing until a certain time, then everything
    TRIPPED = "broken"  # requests keep failing: one probe at a time, with backoff
    HELD = "held"  # a set-up fault: one probe in each probe interval


class Gate:
    """Lets all requests through, one probe at a time, or none. Each pixel and each lane has one.

    ``failures`` counts transient failures since the last success; at ``threshold`` the gate trips. While it is tripped
    or held, exactly one request, a probe, is let through at ``opens_at``, and its answer decides.

    ``one_at_a_time`` makes a gate cautious: until a request that was sent since then is delivered, requests are sent one by
    one, so that a wrong key is refused once and not by every request in flight. A request without an answer after a second
    no longer keeps the next one back, because it may be the only one that hangs. ``key_unproven``: a form of the key was
    refused, and nothing has been delivered since.
    """

    def __init__(self, backoff: Backoff, probe_seconds: float, threshold: int = 5) -> None:
        self._backoff = backoff
        self._probe_seconds = probe_seconds
        self._threshold = threshold
        self.state = GateState.PASSING
        self.reason = ""
        self.since = 0.0
        self.opens_at = float("-inf")
        self.failures = 0
        self._pauses = 0  # pauses that were asked for since the last success, one for each wave of requests
        self._paused_at = float("-inf")
        self._probing = False
        self.resting = False  # held by a limit of this program, see ``rest``
        self._probed_at = float("-inf")
        self._cautious_since: float | None = None
        self._delivered_at = float("-inf")  # when the last request that was delivered was sent
        self.key_unproven = False
        self._pause_ends = float("-inf")  # when the last pause that the API asked for ends, in any state
        self._pause_reason = ""

    @property
    def held(self) -> bool:
        """Whether the gate is held."""
        return self.state is GateState.HELD

    def admits(self, now: float) -> bool:
        """Whether a request may go now."""
        return now >= self.opens_at and not self._probing

    def sent(self, now: float) -> None:
        """A request is sent. If it is a probe, its end must be reported by ``succeeded``, ``hold`` … or ``unsent``."""
        if self.state is GateState.THROTTLED and now >= self.opens_at:
            self._open()
        self._probing = self.state is not GateState.PASSING
        if self._probing or self._cautious_since is not None:
            self._probed_at = now
        if not self._probing and self._cautious_since is not None:
            self.opens_at = now + _PATIENCE_SECONDS

    def unsent(self, now: float, sent_at: float = float("inf")) -> None:
        """The probe ended without an answer that says anything about this gate; another may be sent at once.

        A request that was sent (``sent_at``) before the current probe doesn't end it.
        """
        if sent_at >= self._probed_at:
            self._probing = False
            self.opens_at = max(now, self._pause_ends)

    def one_at_a_time(self, since: float) -> None:
        """Let requests through one by one, until one that was sent since then is delivered."""
        self._cautious_since = since if self._cautious_since is None else max(self._cautious_since, since)

    def key_refused(self, sent_at: float) -> None:
        """The form of the key sent at ``sent_at`` was refused: send one by one, and don't blame events for refusals."""
        self.one_at_a_time(sent_at)
        self.key_unproven |= sent_at > self._delivered_at

    def delivered(self, now: float, sent_at: float) -> None:
        """A request that was sent at ``sent_at`` was delivered."""
        self._delivered_at, self.key_unproven = max(sent_at, self._delivered_at), False
        if self._cautious_since is not None and sent_at >= self._cautious_since:
            self._cautious_since = None
        self.succeeded(now)

    def succeeded(self, now: float) -> None:
        """A request succeeded.

        A pause that the API asked for goes on: of the requests in flight some may succeed and others get a 429, in any order,
        and a later success must not end the pause.
        """
        self.failures = self._pauses = 0
        if not self.resting:
            self.release(now)

    def release(self, now: float) -> None:
        """Let requests through again, after the end of the current pause if there is one."""
        if now < self._pause_ends:
            self._close(GateState.THROTTLED, self._pause_reason, self._pause_ends)
        else:
            self._open()

    def hold(self, reason: str, now: float) -> None:
        """Close until a probe succeeds. If the gate is held already, this sets the time of the next probe."""
        if self.state is not GateState.HELD:
            self.since = now
        self._close(GateState.HELD, reason, max(now + self._probe_seconds, self._pause_ends))

    def rest(self, reason: str, until: float, now: float) -> None:
        """Hold until a given time, by a limit of this program: no probe is sent, and only ``release`` opens the gate."""
        if self.state is GateState.HELD and not self.resting:
            return
        if not self.resting:
            self.since = now
        self._close(GateState.HELD, reason, until)
        self.resting = True

    def throttle(self, reason: str, after: float | None, now: float, rnd: float, sent_at: float = float("inf")) -> None:
        """Close for ``after`` seconds, or for the backoff's delay if that is longer; the longest of several pauses counts.

        The backoff grows once for each wave: requests sent before the last pause belong to the same congestion.
        """
        if sent_at >= self._paused_at:
            self._pauses += 1
            self._paused_at = now
        after = max(after or 0.0, self._backoff.delay(max(1, self._pauses), rnd))
        self._pause_ends, self._pause_reason = max(self._pause_ends, now + after), reason
        if self.resting:
            return
        if self.state is GateState.HELD:
            self._close(GateState.HELD, self.reason, max(now + self._probe_seconds, self._pause_ends))
        else:
            self._close(GateState.THROTTLED, reason, self._pause_ends)

    def fail(self, reason: str, now: float, rnd: float) -> None:
        """A transient failure. At the threshold the gate trips, and with each further failure the next probe waits longer."""
        self.failures += 1
        if self.resting:
            return
        if self.state is GateState.HELD:
            self._close(GateState.HELD, self.reason, max(now + self._probe_seconds, self._pause_ends))
        elif self.failures >= self._threshold:
            attempt = self.failures - self._threshold + 1
            if self.state is not GateState.TRIPPED:
                self.since = now
            self._close(GateState.TRIPPED, reason, max(now + self._backoff.delay(attempt, rnd), self._pause_ends))

    def probe_at_once(self, now: float) -> None:
        """Let a probe through now, because a change may have removed the reason for holding."""
        if self.state is GateState.HELD:
            self.opens_at = max(now, self._pause_ends)

    def _close(self, state: GateState, reason: str, opens_at: float) -> None:
        self.state, self.reason, self.opens_at, self._probing, self.resting = state, reason, opens_at, False, False

    def _open(self) -> None:
        self._close(GateState.PASSING, "", float("-inf"))


class Announced:
    """Decides when to report a change of a gate's state: at most once a second.

    An opening is reported only after the gate has stayed open for a second, so that a short one isn't reported at all.
    """

    SECONDS = 1.0

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._reported = self._seen = gate.state
        self._reported_at = self._seen_at = float("-inf")

    @property
    def settled(self) -> bool:
        """Whether the gate's state is the one last reported, so that ``due`` need not be called."""
        return self.gate.state is self._seen is self._reported

    def due(self, now: float) -> bool:
        """Whether to report the gate's state now. To be called after each change and at ``again``."""
        if self.gate.state is not self._seen:
            self._seen, self._seen_at = self.gate.state, now
        if now < self.again():
            return False
        if news := self._seen is not self._reported:
            self._reported, self._reported_at = self._seen, now
        return news

    def again(self) -> float:
        """From when on there may be something to report."""
        if self._seen is self._reported:
            return float("inf")
        lasted = self._seen_at + self.SECONDS if self._seen is GateState.PASSING else float("-inf")
        return max(lasted, self._reported_at + self.SECONDS)
