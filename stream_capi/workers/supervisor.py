"""``run --workers N``: processes of one group on one machine, watched by a process that delivers nothing itself.

A Python process uses one core, and a group divides partitions among its members: so more members use more cores. This starts
them: each is ``stream-capi run`` with the same settings, a number, and its own admin port on the loopback. A worker that ends
is started again, after a longer delay each time. One that ends too often ends the program, since the next would end the same
way. The configured port serves the sums. A worker whose watcher is gone stops in order, because its standard input ends.

A worker gets its settings through standard input, as the watcher read them at its start. So a file that changed or vanished
since doesn't affect a worker that is started again, and no setting is on a command line.

Under the classic protocol each worker is a static member: after a crash it comes back as the same member, and the group
neither waits nor rebalances. Under ``group.protocol=consumer`` it is a dynamic one: there the broker refuses a static member
until the session of its predecessor has ended, and the client treats that as fatal.
"""

from __future__ import annotations

import asyncio
import pickle
import secrets
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import NamedTuple

import aiohttp
import structlog
from prometheus_client import CollectorRegistry

from stream_capi import __version__
from stream_capi.app import stop_signals
from stream_capi.config import Settings
from stream_capi.config.consistency import WORKER
from stream_capi.core.flow import Backoff
from stream_capi.errors import ConfigurationError, ExitCode, WorkersFailed
from stream_capi.kafka.properties import session_properties, uses_new_protocol
from stream_capi.observe.admin_server import AdminServer
from stream_capi.observe.start_line import start_line
from stream_capi.observe.status_document import StatusDocument
from stream_capi.workers.aggregate import SummedMetrics, joined, not_ready

log = structlog.get_logger("stream_capi")

DEATHS, WITHIN_SECONDS = 5, 60.0
_BACKOFF = Backoff(0.5, 15.0, jitter=0.0)  # before one that has ended is started again
_ASK_SECONDS = 1.0
_ANSWER_SECONDS = 2.0
_GRACE_SECONDS = 3.0  # beyond drain_seconds, for ending a process that drained to its deadline
_LOOPBACK = "127.0.0.1"


class Deaths:
    """How often one worker has ended recently. Seconds of the caller's clock."""

    def __init__(self) -> None:
        self._at: deque[float] = deque(maxlen=DEATHS)

    def died(self, now: float) -> float | None:
        """Count one end; the delay before the next start, None where it is the last of too many in too short a time."""
        self._at.append(now)
        recent = sum(1 for at in self._at if now - at < WITHIN_SECONDS)
        if recent >= DEATHS:
            return None
        return _BACKOFF.delay(recent, 0.0)


class Start(NamedTuple):
    """What a worker is started with. ``leave_for_good``: a stop ends its membership, though it is a static member."""

    settings: Settings
    leave_for_good: bool


class Worker:
    """One place among the workers: the process that fills it now, and what it last reported."""

    def __init__(self, settings: Settings, number: int, token: str) -> None:
        self.number = number
        self._settings = settings
        self._token = token
        self.deaths = Deaths()
        self.process: Process | None = None
        self.port = 0
        self.status: StatusDocument | None = None

    async def start(self, config_file: Path) -> Process:
        """Start a process in this place."""
        self.port = _free_port()
        self.process = await asyncio.create_subprocess_exec(
            # The file's name is for the list of processes alone.
            *(sys.executable, "-m", "stream_capi", "run", "--config", str(config_file), f"--worker={self.number}"),
            stdin=PIPE,
            start_new_session=True,  # a terminal's Ctrl-C is the watcher's to pass on, once
        )
        assert self.process.stdin is not None  # noqa: S101 -- it is a pipe
        self.process.stdin.write(pickle.dumps(of_worker(self._settings, self.number, self.port, self._token)))
        log.info("worker started", worker=self.number, pid=self.process.pid)
        return self.process

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self.process is not None and self.process.returncode is None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)


class Workers:
    """Starts, watches and stops the workers."""

    def __init__(self, settings: Settings, config_file: Path, count: int) -> None:
        self.stop_asked = asyncio.Event()
        self._settings = settings
        self._config_file = config_file
        token = secrets.token_hex(4)  # two watchers of one group give their workers different names
        self._workers = [Worker(settings, number, token) for number in range(1, count + 1)]
        self._summed = SummedMetrics()
        self._begun = time.monotonic()
        self._codes: list[int] = []
        self.registry = CollectorRegistry()
        self.registry.register(self._summed)
        self.admin = AdminServer(settings.admin.host, settings.admin.port, self, self, settings.admin.hosts)

    @property
    def alive(self) -> bool:
        """This process answers; a worker that has ended is started again."""
        return True

    def not_ready(self) -> list[str]:
        """What the workers are not ready for."""
        return not_ready({worker.number: worker.status for worker in self._workers})

    def status(self) -> StatusDocument:
        """The workers' statuses as one."""
        statuses = {worker.number: worker.status for worker in self._workers}
        return joined(statuses, self._settings.kafka.group_id, time.monotonic() - self._begun)

    async def run(self) -> int:
        """Run until asked to stop; the worst of the workers' exit codes. Raises WorkersFailed, ConfigurationError."""
        async with AsyncExitStack() as stack:
            await self.admin.start()
            stack.push_async_callback(self.admin.stop)
            session = await stack.enter_async_context(
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS), trust_env=False)
            )
            where = start_line(self._settings, self.admin.port)
            group, count = self._settings.kafka.group_id, len(self._workers)
            log.info("started", version=__version__, group=group, workers=count, **where)
            asking = asyncio.create_task(self._ask_all(session))
            keeping = [asyncio.create_task(self._keep(worker)) for worker in self._workers]
            stopping = asyncio.create_task(self.stop_asked.wait())
            await asyncio.wait([asking, stopping, *keeping], return_when=asyncio.FIRST_COMPLETED)
            self.stop_asked.set()
            await self._end(keeping)
            for task in (asking, stopping):
                task.cancel()
            for task in keeping:
                task.result()  # a worker that failed for good says so
            return max(self._codes, default=0)

    def stop_on_signals(self) -> None:
        """Stop in order at SIGTERM, SIGINT or SIGHUP."""
        for number in stop_signals():
            asyncio.get_running_loop().add_signal_handler(number, self.stop_asked.set)

    async def _keep(self, worker: Worker) -> None:
        """Keep one place filled until the stop."""
        while not self.stop_asked.is_set():
            process = await worker.start(self._config_file)
            if self.stop_asked.is_set():  # meanwhile, while there was no process to signal
                worker.signal(signal.SIGTERM)
            code = await process.wait()
            worker.status = None
            self._summed.ended(worker.number)
            if self.stop_asked.is_set():
                self._codes.append(stopped_with(code))
                return
            delay = worker.deaths.died(time.monotonic())
            if delay is None:
                raise WorkersFailed(
                    f"worker {worker.number} ended {DEATHS} times within {WITHIN_SECONDS:g} s, last with code {code}; "
                    "its last log lines say why. All workers are stopped"
                )
            log.error("worker ended", worker=worker.number, status=code, seconds=delay, action="It is restarted.")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stop_asked.wait(), delay)

    async def _end(self, keeping: Sequence[asyncio.Task[None]]) -> None:
        """Stop all at once, each within its own deadline; kill those that are left after it."""
        log.info("stopping", workers=len(self._workers))
        for number, seconds in (
            (signal.SIGTERM, self._settings.shutdown.drain_seconds + _GRACE_SECONDS),
            (signal.SIGKILL, _GRACE_SECONDS),
        ):
            for worker in self._workers:
                worker.signal(number)
            _, left = await asyncio.wait(keeping, timeout=seconds)
            if not left:
                return

    async def _ask_all(self, session: aiohttp.ClientSession) -> None:
        """Ask every worker once a second how it is."""
        while True:
            await asyncio.gather(*(self._ask(session, worker) for worker in self._workers))
            await asyncio.sleep(_ASK_SECONDS)

    async def _ask(self, session: aiohttp.ClientSession, worker: Worker) -> None:
        process = worker.process
        if process is None or process.returncode is not None:
            return
        url = f"http://{_LOOPBACK}:{worker.port}"
        try:
            async with session.get(f"{url}/status") as answer:
                status = await answer.json() if answer.status == 200 else None
            async with session.get(f"{url}/metrics") as answer:
                text = await answer.text() if answer.status == 200 else ""
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            worker.status = None
            return
        if worker.process is process and process.returncode is None:  # else it speaks of one that has ended
            worker.status = status
            if text:
                self._summed.reported(worker.number, text)


def stopped_with(code: int) -> int:
    """The exit code of a worker that ended during a stop. One killed by SIGTERM had no handler yet, and counts as 0."""
    if code == -signal.SIGTERM:
        return ExitCode.DONE
    return code if code >= 0 else ExitCode.CUT_OFF


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def of_worker(settings: Settings, number: int, port: int, token: str) -> Start:
    """What one worker is started with: an admin port that only its watcher knows, and a name of its own in the group.

    A generated instance id is valid for this run of the watcher alone. So the worker leaves the group when the watcher stops,
    and its session is as short as a dynamic member's: a machine that dies must be replaced soon.
    """
    settings = numbered(settings, number)
    properties = settings.kafka.properties
    made = "group.instance.id" not in properties and not uses_new_protocol(properties)
    if made:
        name = f"stream-capi-{token}-{number}"
        properties = {**properties, **session_properties(properties), "group.instance.id": name}
    update = {
        "admin": settings.admin.model_copy(update={"host": _LOOPBACK, "port": port}),
        "kafka": settings.kafka.model_copy(update={"properties": properties}),
    }
    return Start(settings.model_copy(update=update), leave_for_good=made)


def numbered(settings: Settings, number: int) -> Settings:
    """The settings with a worker's number in the user's ``group.instance.id``, where that has a place for it."""
    properties = settings.kafka.properties
    if "group.instance.id" not in properties:
        return settings
    name = str(properties["group.instance.id"]).replace(WORKER, str(number))
    kafka = settings.kafka.model_copy(update={"properties": {**properties, "group.instance.id": name}})
    return settings.model_copy(update={"kafka": kafka})


def received() -> Start:
    """What the watcher sends to this process, a worker. Raises ConfigurationError where there is no watcher."""
    try:
        start: Start = pickle.load(sys.stdin.buffer)  # noqa: S301 -- written by the process that started this one
    except (EOFError, pickle.UnpicklingError):
        raise ConfigurationError(["--worker: is for the process that watches the workers; use --workers"]) from None
    return start


def stop_when_deserted(stop: asyncio.Event) -> None:
    """Stop in order when standard input ends: the watcher is gone."""
    loop = asyncio.get_running_loop()

    def deserted() -> None:
        loop.remove_reader(sys.stdin.fileno())
        stop.set()

    loop.add_reader(sys.stdin.fileno(), deserted)
