"""``status`` of a program with workers whose events break one rule: the rule, the members asked, and the exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.endpoint_thread import Endpoint
from tests.events.real_topic import produce
from tests.integration.test_commands import assert_plain, command, write
from tests.integration.test_status_truth import values
from tests.ledger import assert_private
from tests.program import Program, configuration
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.process import free_ports
from tests.stack.waiting import until
from tests.workers.processes import owned_by, status_of, workers_of

pytestmark = pytest.mark.real

RULE = 'missing_field event_source_url (from "page.url")'


def status(file: str, *words: str, code: int = 0) -> tuple[dict[str, Any], str]:
    """Run ``status --json`` with these options; return its document and its standard error."""
    done = command("status", "--config", file, "--json", *words)
    assert_plain(done, code)
    found: dict[str, Any] = json.loads(done.stdout)
    return found, done.stderr


def rules_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The broken rules of everything that is held."""
    return [rule for entry in found["held"] for rule in entry["rejected"]]


@pytest.mark.repeat(of="test_a_script_is_told_what_is_not_known_as_well")
def test_the_failing_rule_and_who_was_asked_add_up_over_workers(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    held, buried = broker.create_topic(names.topic("held"), 2), broker.create_topic(names.topic("buried"), 2)
    dead = broker.create_topic(names.topic("dead"))
    mapping = {"event": "page_view", "fields": {"event_source_url": "page.url"}}
    sources: list[dict[str, Any]] = [{"topic": held, **mapping}, {"topic": buried, "max_ratio": 1.0, **mapping}]
    with Endpoint() as endpoint:
        settings = configuration(broker.bootstrap, registry.url, endpoint.url, names.group(), sources, dead)
        for topic in (held, buried):
            for partition in range(2):
                produce(broker, topic, values(registry, topic, 150), partition=partition)
        with Program(tmp_path, settings).start("--workers", "2") as program:
            file = write(tmp_path, settings | {"admin": {"port": program.port}})
            until(lambda: program.metric("stream_capi_dead_lettered_total", topic=buried) == 300, 60, "dead letters")
            until(lambda: sum(map(bool, map(owned_by, workers_of(program)))) == 2, 60, "a share for each")

            def early() -> int:
                """How many of the held topic are dead letters: a first chunk of one record is no 100 recent events."""
                return sum(entry["count"] for entry in program.status()["dead_letters"] if entry["topic"] == held)

            def lag() -> tuple[int, int]:
                found = program.status()["lag"]
                return found["member"], found["partitions"]

            until(lambda: lag() == (300 - early(), 4), 30, "all else waiting, and no partition on its way to a worker")
            # If a partition moved between workers, both have counted its events.
            count = sum(rule["count"] for one in workers_of(program) for rule in rules_of(status_of(one)))
            of_both = f"{count} of {count}: {RULE}"
            assert count >= 200
            until(lambda: program.status()["held"][0]["detail"] == of_both, 30, "the rules of both workers")
            (entry,) = (entry for entry in program.status()["dead_letters"] if entry["topic"] == buried)
            assert entry["count"] == 300
            assert entry["rules"] == [
                {"code": "missing_field", "field": "event_source_url", "source": '"page.url"', "count": 300}
            ]
            assert all(line["detail"].endswith(RULE) for line in program.logged("held"))

            seen, error = status(file, "--fail-on", "held", code=1)
            assert error.splitlines() == [f"stream-capi: {held} is held: dead_letter_ratio"]
            assert seen["held"][0]["detail"] == of_both
            assert (seen["members_asked"], len(seen["members"]), seen["unknown"]) == (2, 2, None)
            (asked,) = seen["asked"]
            assert (asked["members"], asked["lag"]["member"], asked["lag"]["partitions"]) == (2, *lag())
            assert (asked["skipped"], asked["left_out"]) == ([], [])
            host = socket.gethostname()
            assert asked["clients"] == [f"stream-capi-{host}-1", f"stream-capi-{host}-2"]
            assert sorted(member["client"] for member in seen["members"]) == asked["clients"]
            text = command("status", "--config", file)
            assert f"{held}: dead_letter_ratio ({of_both}). " in text.stdout
            assert "asked 2 of 2 members" in text.stdout

            listed = command("dead-letters", "list", "--config", file)
            assert_plain(listed, 0)
            assert f"{buried}: 300 of 300: {RULE}" in listed.stdout.splitlines()

            silent = workers_of(program)[1]
            os.kill(silent.pid, signal.SIGSTOP)
            try:
                until(lambda: not all(one["answers"] for one in program.status()["workers"]), 20, "a silent worker")
                seen, error = status(file)
                assert (seen["members_asked"], seen["asked"][0]["silent_workers"]) == (1, [2])
                text = command("status", "--config", file)
                assert "worker 2 doesn't answer" in text.stdout
            finally:
                os.kill(silent.pid, signal.SIGCONT)
            assert_private(program.output)
            started = program.logged("started")
            (watcher,) = [line for line in started if "workers" in line]
            assert (watcher["page"], watcher["endpoint"]) == (f"http://127.0.0.1:{program.port}/", endpoint.url)
            assert watcher["topics"] == [held, buried]
            assert sorted((line["worker"], line["client"]) for line in started if "worker" in line) == [
                (number, f"stream-capi-{host}-{number}") for number in (1, 2)
            ]


def test_a_script_is_told_what_is_not_known_as_well(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    topic, dead = broker.create_topic(names.topic(), 2), broker.create_topic(names.topic("dead"))
    with Endpoint() as endpoint:
        sources = [{"topic": topic, "event": "page_view"}]
        settings = configuration(broker.bootstrap, registry.url, endpoint.url, names.group(), sources, dead)
        nowhere = write(tmp_path, settings | {"admin": {"port": free_ports(1)[0]}})
        assert status(nowhere, "--fail-on", "held")[0]["members_asked"] == 0, "no member holds anything"
        produce(broker, topic, [None, *values(registry, topic, 20)], partition=0)
        with Program(tmp_path, settings, name="one") as one, Program(tmp_path, settings, name="two") as two:
            one.start(ready=True)
            at = [f"127.0.0.1:{program.port}" for program in (one, two)]
            until(lambda: one.status()["totals"]["delivered"] == 20, 30, "all of them")
            seen, error = status(nowhere, "--fail-on", "held", "--member", at[0])
            assert (error, seen["members_asked"], seen["unknown"]) == ("", 1, None)
            assert seen["asked"][0]["skipped"] == [{"topic": topic, "reason": "tombstone", "count": 1}]
            two.start(ready=True)
            until(lambda: len(one.status()["partitions"]) == 1, 60, "a share for each")
            time.sleep(1)
            seen, error = status(
                nowhere, "--fail-on", "held", "--member", at[0], "--member", f"localhost:{one.port}", code=1
            )
            assert error == "stream-capi: asked 1 of 2 members; what the others hold is not known here\n"
            seen, error = status(nowhere, "--fail-on", "held", "--member", at[0], "--member", at[1])
            assert (error, seen["members_asked"]) == ("", 2)
            watched = command("status", "--config", nowhere, "--watch", "--fail-on", "held")
            assert_plain(watched, 2)
            assert "doesn't go with --watch" in watched.stderr
