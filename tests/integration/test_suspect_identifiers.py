"""Identifiers that don't distinguish people are reported with source and path, and the values are never shown."""

from __future__ import annotations

import json
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.endpoint_thread import Endpoint
from tests.events.real_topic import confluent, encoded, produce, register
from tests.events.sources_and_records import LEAD, lead
from tests.integration.test_commands import assert_plain, command, write
from tests.program import Program, configuration
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.waiting import until
from tests.workers.processes import owned_by, workers_of

pytestmark = pytest.mark.real

ACCOUNT, SHORT, SERVER = "canary-account-77", "zq7x", "10.77.66.55"
CANARIES = [text for one in (ACCOUNT, SHORT, SERVER) for text in (one, sha256(one.encode()).hexdigest())]
EVENTS = 1000


def values(registry: Registry, topic: str) -> list[bytes | None]:
    """1000 leads: one account in 412 of them, a too short one in 28, a server's address in 200."""
    schema_id = register(registry, f"{topic}-value", LEAD)
    now = int(time.time() * 1000)
    made: list[bytes | None] = []
    for at in range(EVENTS):
        account = ACCOUNT if at * 412 % EVENTS < 412 else SHORT if at % 20 == 7 else f"account-{at}"
        row = lead(
            event_id=f"e-{at}",
            event_time=now - 1000,
            user_id=None,
            sid=account,
            client_ip_address=SERVER if at % 5 == 0 else f"203.0.113.{at % 250}",
            client_user_agent=f"agent {at}",
        )
        made.append(confluent(schema_id, encoded(LEAD, row)))
    return made


def suspects(status: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The status's suspects, by field and reason."""
    return {(one["field"], one["reason"]): one for one in status["identifiers"]["suspects"]}


@pytest.mark.cases(1)
@pytest.mark.parametrize("workers", [1, 2])
def test_what_looks_wrong_is_named_with_its_path_and_adds_up(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names, workers: int
) -> None:
    topic, dead = broker.create_topic(names.topic(), 2), broker.create_topic(names.topic("dead"))
    rows = values(registry, topic)
    short = sum(1 for at in range(EVENTS) if at * 412 % EVENTS >= 412 and at % 20 == 7)
    source = {
        "topic": topic,
        "event": "generate_lead",
        "fields": {"user_data.user_id": "sid", "user_data.sid": {"const": "s"}},
    }
    with Endpoint() as endpoint:
        settings = configuration(broker.bootstrap, registry.url, endpoint.url, names.group(), [source], dead)
        with Program(tmp_path, settings).start("--workers", str(workers), ready=True) as member:
            # Wait for the shares: if a partition moved after its events were mapped, both workers would count them.
            shares = [2 // workers] * workers
            until(
                lambda: [len(owned_by(one)) for one in workers_of(member) or [member.process]] == shares, 60, "shares"
            )
            for partition in range(2):
                produce(
                    broker, topic, rows[partition * EVENTS // 2 : (partition + 1) * EVENTS // 2], partition=partition
                )
            until(lambda: member.status()["totals"]["delivered"] == EVENTS, 60, "all of them")
            until(
                lambda: ("user_data.user_id", "shared") in suspects(member.status()), 30, "the account of many events"
            )
            status, metrics, page = member.status(), member.get("/metrics")[1], member.get("/")[1]
            (one,) = status["identifiers"]["sources"]
            assert (one["source"], one["event"]) == (topic, "generate_lead")
            assert one["hour"]["events"] == one["day"]["events"] == EVENTS
            assert (one["hour"]["carry"]["user_id"], one["hour"]["carry"]["email"]) == (EVENTS, 0)
            assert 0 < status["identifiers"]["hour_seconds"] < 600
            found = suspects(status)
            assert set(found) == {
                ("user_data.user_id", "shared"), ("user_data.user_id", "short"), ("user_data.client_ip_address", "private"),
            }  # fmt: skip
            assert found["user_data.user_id", "short"]["hour"] == {"count": short, "of": EVENTS}
            assert found["user_data.client_ip_address", "private"]["hour"] == {"count": EVENTS // 5, "of": EVENTS}
            shared = found["user_data.user_id", "shared"]
            assert (shared["path"], shared["why"]) == ("sid", "one value")
            assert shared["hour"]["count"] == pytest.approx(412, abs=120)
            assert member.metric("stream_capi_suspect_total", field="user_id", reason="shared") > 0
            assert member.metric("stream_capi_suspect_total", field="user_id", reason="short") == short
            for text in CANARIES:
                assert text not in json.dumps(status) + metrics + page + member.output
        endpoint.assert_valid()
    if workers == 1:
        _assert_commands_tell_it(write(tmp_path, settings), topic, short)


def _assert_commands_tell_it(file: str, topic: str, short: int) -> None:
    dry = command("dry-run", "--config", file, "--json")
    assert_plain(dry, 0)
    found = {(one["field"], one["reason"]): one for one in json.loads(dry.stdout)["suspect"]}
    assert found["user_id", "short"] == {
        "topic": topic, "field": "user_id", "from": "sid", "reason": "short", "events": short,
    }  # fmt: skip
    assert found["user_id", "shared"]["events"] == pytest.approx(412, abs=120)
    table = command("dry-run", "--config", file)
    explained = command("explain", "--config", file, "--topic", topic, "--partition", "0", "--offset", "347")
    assert "counted as suspect: short" in explained.stdout
    for text in CANARIES:
        assert text not in dry.stdout + dry.stderr + table.stdout + table.stderr
        assert text not in explained.stdout + explained.stderr
