"""The end of a process whose own deadlines can't pass, because something holds the interpreter's lock.

The Kafka client may hold it while it closes (librdkafka #4884). The system's alarm needs no lock: with its default action it
ends the process, which a shell sees as exit status 142 (128 + SIGALRM).
"""

from __future__ import annotations

import signal


def prepare() -> None:
    """Undo what a parent may have handed down: an alarm that is ignored or blocked. In the main thread only."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def arm(seconds: float) -> None:
    """End the process in so many seconds, if it has not ended before. The first call counts; from any thread."""
    if not signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def disarm() -> None:
    """Let the process go on: what was to end has ended."""
    signal.setitimer(signal.ITIMER_REAL, 0)
