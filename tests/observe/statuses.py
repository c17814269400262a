"""Status documents from the program itself, for lines in several states; for tests of the server and the page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from stream_capi.kafka.group_lag import GroupLag
from stream_capi.kafka.topic_retention import Retention
from stream_capi.model import Answer, TopicPartition
from stream_capi.observe.runbook import entry_of
from stream_capi.observe.what_to_do import what_to_do
from tests.observe.simulated_app import P0, P1, V0, Watched
from tests.simulation import always, simulate


def of(arrange: Callable[[Watched], None], seconds: float, answer: Any = None) -> dict[str, Any]:
    """The status of a line that was set up by ``arrange`` and has run for some seconds."""

    async def run() -> dict[str, Any]:
        line = Watched(answer or (lambda pixel, ids, now: (0.08, Answer(200, seconds=0.08))))
        arrange(line)
        await line.run_for(seconds)
        line.report_ends()
        status: dict[str, Any] = line.status
        return status

    with ThreadPoolExecutor(1) as thread:  # the caller may already run an event loop
        return thread.submit(lambda: simulate(run())).result()


def empty() -> dict[str, Any]:
    """A member that has just started."""
    return of(lambda line: None, 0.1)


def _busy(line: Watched) -> None:
    line.chunk = 7
    for partition in range(3):
        line.produce("leads", partition, *(f"a{partition}-{i}" for i in range(200 + 400 * partition)), "bad", "bad")
        line.produce("views", partition, *(f"v{partition}-{i}" for i in range(500)))
    line.assign(*(TopicPartition(topic, partition) for topic in ("leads", "views") for partition in range(3)))
    line.metrics.skipped("views", "tombstone", 12)
    line.metrics.skipped("leads", "no_consent", 3150)
    for number, reason in enumerate(("letters", "digits", "masked", "two_numbers", "too_long")):
        line.metrics.dropped("phone", reason, 310 - 60 * number)
        line.metrics.dropped("email", reason, 90 - 10 * number)
    line.app.group_lag = GroupLag(18_230, 12, time.monotonic() - 12)
    line.app.dead_letters_kept = Retention("limited", 7 * 86_400.0)
    for quality, event, shares in zip(
        line.qualities, ("generate_lead", "page_view"), ((0.93, 0.61, 0.4), (0.12, 0.0, 0.87)), strict=True
    ):
        quality.mapped("main", event, 1000)
        for field, share in zip(("email", "phone", "user_id"), shares, strict=True):
            quality.identifiers("main", event, field, int(1000 * share))
    line.qualities[0].suspect("generate_lead", "user_id", "shared", 164)
    line.qualities[0].suspect("generate_lead", "user_id", "short", 12)
    line.qualities[1].suspect("page_view", "client_ip_address", "private", 310)


def busy() -> dict[str, Any]:
    """A member that has worked for longer than a day."""
    status = of(_busy, 8.05)
    identifiers = status["identifiers"]
    identifiers |= {"hour_seconds": 3600.0, "day_seconds": 86_400.0}
    for source in identifiers["sources"]:
        source["day"]["events"] *= 20
        source["day"]["carry"] = {field: 19 * n for field, n in source["day"]["carry"].items()}
    for suspect in identifiers["suspects"]:
        suspect["day"] = {"count": 7 * suspect["day"]["count"], "of": 19 * suspect["day"]["of"]}
    return status


def since_a_while() -> dict[str, Any]:
    """A member that has worked for some minutes."""
    return of(_busy, 300)


def kept_without_end() -> dict[str, Any]:
    """A busy member whose dead-letter topic has unlimited retention."""

    def arrange(line: Watched) -> None:
        _busy(line)
        line.app.dead_letters_kept = Retention("without_end")

    return of(arrange, 8.05)


def held() -> dict[str, Any]:
    """A member whose API key is refused."""

    def arrange(line: Watched) -> None:
        line.produce("leads", 0, *(f"a{i}" for i in range(60)))
        line.produce("views", 0, *(f"v{i}" for i in range(60)))
        line.assign(P0, V0)

    return of(arrange, 75, always(401))


def topic_held() -> dict[str, Any]:
    """Most events of a topic are rejected: it is held, while its pixel lets requests through."""

    def arrange(line: Watched) -> None:
        line.produce("leads", 0, *(f"bad{i}" for i in range(400)))
        line.produce("views", 0, *(f"v{i}" for i in range(60)))
        line.assign(P0, V0)

    return of(arrange, 6)


def unread() -> dict[str, Any]:
    """A refused key, and a partition that has not been read since."""

    def arrange(line: Watched) -> None:
        line.chunk = 60
        line.produce("leads", 0, *(f"a{i}" for i in range(60)))
        line.assign(P0, P1)

        async def later() -> None:
            await asyncio.sleep(20)
            line.produce("leads", 1, *(f"b{i}" for i in range(500)))

        line.later = asyncio.ensure_future(later())

    return of(arrange, 75, always(401))


def many() -> dict[str, Any]:
    """64 partitions, three of them with events."""
    status = busy()
    quiet = next(entry for entry in status["partitions"] if not entry["open_events"])
    waits = {"state": "window", "why": "window open, closes in at most 0.4 s"}
    status["partitions"] = [
        quiet
        | {"topic": "leads", "partition": number, "lag": 0, "committed": 90_000 + number, "waits": None, "oldest": None}
        | (
            {"lag": 40 * number, "open_events": number, "waits": waits,
             "oldest": {"offset": 1, "seconds": 0.6, **waits}}
            if number in (7, 30, 61) else {}
        )
        for number in range(64)
    ]  # fmt: skip
    status["lag"] |= {"member": 3920, "partitions": 64, "group_partitions": 128}
    return status


def peaked() -> dict[str, Any]:
    """One second with far more events than all others."""
    status = busy()
    status["throughput"]["series"] = [100 + (7 * i) % 23 for i in range(120)]
    status["throughput"]["series"][85] = 52_000
    return status


def noticed() -> dict[str, Any]:
    """A pixel paused by configuration, and notices: a schema that lost a path, unreadable files, throttling."""
    status, gone = busy(), "can't be read: no such file"
    reasons = {
        "leads": ("the newest schema lacks mapped paths: email (customer.contact.email)", "schema_lacks_path"),
        "main": ("throttled: 429", "429"),
        "kafka.sasl_password_file": (f"the setting {gone}", "password_file_unreadable"),
        "suppress.file": (f"the setting {gone}", "suppression_list_unreadable"),
        "endpoint.ca_file": (f"the file {gone}", "certificates_unreadable"),
    }
    status["notices"] = [
        {"subject": subject, "reason": reason, "what_to_do": what_to_do(key), "runbook": entry_of(key)}
        for subject, (reason, key) in reasons.items()
    ]
    paused = "paused_by_configuration"
    status["paused"] = [
        {"subject": "pixel braked", "reason": "paused by configuration", "what_to_do": what_to_do(paused),
         "runbook": entry_of(paused)}
    ]  # fmt: skip
    braked: dict[str, Any] = {
        "pixel": "braked",
        "state": "paused",
        "held_by": [],
        "key": "file",
        "key_fault": None,
        "api_said": None,
    }
    status["pixels"] += [braked | {"authorization": None}]
    wait = {"state": "paused", "why": "paused by configuration"}
    braked_partition = status["partitions"][0] | {"topic": "braked", "paused_by_configuration": "all", "paused": True}
    status["partitions"] += [braked_partition | {"lag": 1200, "open_events": 0, "oldest": None, "waits": wait}]
    status["untimed"] = [{"reason": "too_old", "count": 3}]
    return status


STATES: dict[str, Callable[[], dict[str, Any]]] = {
    "starting": empty,
    "at-work": busy,
    "since-a-while": since_a_while,
    "held": held,
    "topic-held": topic_held,
    "not-read": unread,
    "many-partitions": many,
    "one-peak": peaked,
    "notices": noticed,
}
