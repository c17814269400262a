"""Ends a process whose own deadlines don't work because something holds the interpreter's lock.

The Kafka client may hold it while it closes (librdkafka #4884). SIGALRM needs no lock: its default action ends the process,
which a shell sees as exit status 142 (128 + SIGALRM).
"""

from __future__ import annotations

import signal


def prepare() -> None:
    """Reset SIGALRM, which a parent process may have left ignored or blocked. In the main thread only."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def arm(seconds: float) -> None:
    """End the process after this time if it has not ended before. Only the first call counts; from any thread."""
    if not signal.getitimer(signal.ITIMER_REAL)[0]:
        signal.setitimer(signal.ITIMER_REAL, seconds)


def disarm() -> None:
    """Cancel the alarm: what it guarded has ended in time."""
    signal.setitimer(signal.ITIMER_REAL, 0)
