"""The system's limits (open files, threads, memory): compared with what a member needs, and named when one is reached."""

from __future__ import annotations

import _thread
import errno
import mmap
import resource
import threading
from typing import NamedTuple

_ADMIN_CONNECTIONS = 64
_OWN = 120  # libraries, the event loop, three Kafka clients with their queues, and brokers
# Per request: an abandoned connection keeps its descriptor until the other side has read the rest.
_PER_REQUEST = 2
_THREADS_NEEDED = 24
_STACK = 8 * 1024**2  # reserved for each thread, by the system's default
_ADDRESSES_NEEDED = 512 * 1024**2  # heaps of the C library, one for each thread, and the first schemas and batches
_BEGIN_SECONDS = 5.0  # a thread that has not started by then has died for lack of memory
_THREADS = "can't start new thread"  # the interpreter's words


class Descriptors(NamedTuple):
    """How many open files are needed and allowed."""

    needed: int
    allowed: int

    @property
    def fault(self) -> str:
        """What is wrong, in a sentence; empty if enough are allowed."""
        if self.needed <= self.allowed:
            return ""
        return (
            f"the limit of open files is {self.allowed}, and delivery.max_in_flight, the admin port and the brokers may need "
            f"{self.needed}: raise it (ulimit -n, LimitNOFILE), or lower delivery.max_in_flight"
        )


def descriptors(max_in_flight: int) -> Descriptors:
    """The open files that a member may need, and the hard limit: the member raises the soft one itself."""
    needed = _PER_REQUEST * max_in_flight + _ADMIN_CONNECTIONS + _OWN
    return Descriptors(needed, _finite(resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def raise_descriptors(max_in_flight: int) -> Descriptors:
    """Raise the soft limit of open files to what is needed, as far as the hard one allows."""
    wanted = descriptors(max_in_flight)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _finite(soft) < wanted.needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted.needed, wanted.allowed), hard))
    return wanted


def probe() -> None:
    """Start as many threads and reserve as much address space as a member needs, and release both.

    Raises RuntimeError or OSError, from which ``short_of`` makes a sentence. The limits must be found here, not by the Kafka
    client: if it can't start a thread, its constructor waits without end and holds the interpreter's lock, so that signals
    aren't handled. Nor by a thread of ours: one without memory to start with dies silently or crashes, and
    ``threading.Thread.start()`` waits for it without end. So the address space for all is reserved first, and each thread
    gets a time to start.
    """
    mmap.mmap(-1, _THREADS_NEEDED * _STACK + _ADDRESSES_NEEDED).close()
    begun, over, ended = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    def thread() -> None:
        begun.release()
        over.wait()
        ended.release()

    try:
        for _ in range(_THREADS_NEEDED):
            _thread.start_new_thread(thread, ())
            if not begun.acquire(timeout=_BEGIN_SECONDS):
                raise RuntimeError(_THREADS)
        mmap.mmap(-1, _ADDRESSES_NEEDED).close()
    finally:
        over.set()
    for _ in range(_THREADS_NEEDED):
        ended.acquire(timeout=_BEGIN_SECONDS)


def short_of(error: BaseException) -> str:
    """The limit that caused an error, in a sentence for people; empty if none did."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return f"out of memory or address space ({_shown(resource.RLIMIT_AS, 'ulimit -v')}): raise the limit of memory"
    of_the_interpreter = isinstance(error, RuntimeError) and _THREADS in str(error)
    if of_the_interpreter or (isinstance(error, BlockingIOError) and error.errno == errno.EAGAIN):
        return no_threads()
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"no more files can be opened ({_shown(resource.RLIMIT_NOFILE, 'ulimit -n')}): raise the limit of open files"
    return ""


def no_threads() -> str:
    """The limits that may keep a thread from starting, in a sentence for people."""
    return (
        f"no more threads can be started ({_shown(resource.RLIMIT_NPROC, 'ulimit -u')}; "
        f"{_shown(resource.RLIMIT_AS, 'ulimit -v')}): raise the limit of processes and threads (in a container pids.max) "
        "or of address space"
    )


def _finite(limit: int) -> int:
    return 2**31 if limit == resource.RLIM_INFINITY else limit


def _shown(kind: int, command: str) -> str:
    soft = resource.getrlimit(kind)[0]
    if soft == resource.RLIM_INFINITY:
        return f"{command} is unlimited"
    return f"{command} is {soft // 1024**2} MiB" if kind == resource.RLIMIT_AS else f"{command} is {soft}"
