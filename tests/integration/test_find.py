"""``find`` on the real stack after a real run of the program: each state that an event can be in."""

from __future__ import annotations

import asyncio
import copy
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_capi.sandbox.fault_script import Action, RequestInfo
from tests.endpoint_thread import Endpoint
from tests.events.real_topic import confluent, encoded, register
from tests.events.sources_and_records import LEAD, PAGE_VIEW, lead, page_view
from tests.integration.test_commands import assert_plain, command, write
from tests.program import KEY as API_KEY
from tests.program import PIXEL_ID, Program, configuration
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]

CANARY = "canary.person@example.com"
KEY = f"key of {CANARY}"  # of all records, so that one search finds them all
EVENT: Any = copy.deepcopy(LEAD)
EVENT["name"] = "Event"
EVENT["fields"] += [
    {"name": "kind", "type": "string"},
    {"name": "env", "type": "string"},
    {"name": "consent", "type": "boolean"},
]


class Stage:
    """One topic of three partitions, whose records get every possible outcome."""

    def __init__(self, folder: Path, broker: Broker, registry: Registry, endpoint: Endpoint, names: Names) -> None:
        self.folder, self.broker, self.endpoint = folder, broker, endpoint
        self.topic = broker.create_topic(names.topic("leads"), 3)
        self.dead = broker.create_topic(names.topic("dead"))
        self.ids = {
            name: register(registry, f"{self.topic}-{name}", schema)
            for name, schema in (("event", EVENT), ("view", PAGE_VIEW))
        }
        forgotten = folder / "forgotten"
        forgotten.write_text("u-forgotten\n")
        source = {
            "topic": self.topic,
            "record": "stream_capi.Event",
            "event_field": "kind",
            "events": {"lead": "generate_lead", "noise": "skip"},
            "where": [{"field": "env", "equals": "prod"}],
            "consent_field": "consent",
            "max_ratio": 1.0,
        }
        url = endpoint.url
        self.settings = configuration(broker.bootstrap, registry.url, url, names.group(), [source], self.dead)
        self.settings["suppress"] = {"file": str(forgotten)}
        self.settings["batch"] = {"window_ms": 50, "max_events": 1}
        self.offsets = dict.fromkeys(range(3), 0)
        self.names: dict[tuple[int, int], str] = {}
        self.producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})

    def event(self, name: str, **fields: Any) -> bytes:
        """An event with this id; it can be sent unless ``fields`` prevent it."""
        row = lead(event_id=name, event_time=int(time.time() * 1000), email=CANARY, user_id="u-someone")
        return confluent(
            self.ids["event"], encoded(EVENT, row | {"kind": "lead", "env": "prod", "consent": True} | fields)
        )

    def view(self, name: str) -> bytes:
        return confluent(self.ids["view"], encoded(PAGE_VIEW, page_view(event_id=name)))

    def produce(self, partition: int, events: Mapping[str, bytes | None], key: str = KEY) -> None:
        for name, value in events.items():
            self.producer.produce(self.topic, value, key.encode(), partition=partition)
            self.names[partition, self.offsets[partition]] = name
            self.offsets[partition] += 1
        assert self.producer.flush(30) == 0

    def find(self, *words: str, code: int = 0) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """The events found, by name; and the whole document."""
        done = command("find", "--config", write(self.folder, self.settings), *words, "--json")
        assert_plain(done, code)
        assert "canary" not in done.stdout + done.stderr
        document = json.loads(done.stdout)
        return {self.names[one["partition"], one["offset"]]: one for one in document["events"]}, document

    def member(self, name: str) -> Program:
        return Program(self.folder, self.settings, name=name).start(ready=True)

    def await_commits(self, wanted: Mapping[int, int]) -> None:
        def found() -> dict[int, int]:
            now = self.broker.committed(self.settings["kafka"]["group_id"], self.topic)
            return {partition: now.get(partition, (0, ""))[0] for partition in wanted}

        until(lambda: found() == wanted, 60, f"commits at {wanted}")


def of(found: Mapping[str, Mapping[str, Any]], *keys: str) -> dict[str, Any]:
    """The values of these keys, by event."""
    return {name: tuple(one[key] for key in keys) if len(keys) > 1 else one[keys[0]] for name, one in found.items()}


@pytest.mark.repeat(of="tests/integration/test_find_waiting.py::test_what_an_open_transaction_hides_is_counted")
def test_each_state_is_found(tmp_path: Path, broker: Broker, registry: Registry, names: Names) -> None:
    accepts, refuses = [False], {"refused"}
    waits = asyncio.Event()

    def answer(request: RequestInfo) -> Action | None:
        if "stuck" in request.dedupe_ids and not accepts[0]:
            return Action(until=waits)
        return Action(status=400) if refuses & {*request.dedupe_ids} else None

    with Endpoint(answer, keys={PIXEL_ID: API_KEY}) as endpoint:
        stage = Stage(tmp_path, broker, registry, endpoint, names)
        outcomes: dict[str, bytes | None] = {
            "sent": stage.event("sent"),
            "tombstone": None,
            "unrouted": stage.view("unrouted"),
            "where": stage.event("where", env="test"),
            "event": stage.event("event", kind="noise"),
            "no_consent": stage.event("no_consent", consent=False, user_id=None),
            "suppressed": stage.event("suppressed", user_id="u-forgotten"),
            "missing": stage.event("missing", event_source_url=""),
            "junk": b"junk",
            "refused": stage.event("refused"),
        }
        stage.produce(0, outcomes)
        stage.produce(1, {"stuck": stage.event("stuck"), "beyond": stage.event("beyond"), "skipped": None})

        before, _ = stage.find("--key", KEY)
        assert set(of(before, "state").values()) == {"open"}
        assert before["sent"]["why"] == "the group has no member"
        assert before["where"]["why"] == "the group has no member; it will be skipped (where)"

        expected = {
            "sent": ("delivered", None, None),
            **{
                name: ("skipped", None, name)
                for name in ("tombstone", "unrouted", "where", "event", "no_consent", "suppressed")
            },
            "missing": ("dead_lettered", "missing_field", None),
            "junk": ("dead_lettered", "decode_error", None),
            "refused": ("dead_lettered", "refused", None),
            "stuck": ("open", None, None),
            "beyond": ("delivered", None, None),
            "skipped": ("skipped", None, "tombstone"),
        }
        with stage.member("one") as member:
            stage.await_commits({0: 10, 1: 0})
            until(lambda: "beyond" in endpoint.answered(), 30, "the event beyond the one that waits")
            time.sleep(1)  # ten times the commit interval
            at = f"127.0.0.1:{member.port}"
            found, document = stage.find("--key", KEY, "--member", at)
            assert of(found, "state", "code", "reason") == expected
            assert "in flight" in found["stuck"]["why"] or "answer" in found["stuck"]["why"]
            assert found["beyond"]["why"].startswith("among the outcomes beyond the committed offset")
            assert found["missing"]["redriven"] is False
            assert document["scanned"]["records"] == 13
            by_id, document = stage.find("--event-id", "refused", "--topic", stage.topic, "--since", "1h")
            assert of(by_id, "state") == {"refused": "dead_lettered"}
            assert document["scanned"]["undecoded"] == {"decode_error": 1}
            assert of(stage.find("--event-id", "unrouted")[0], "reason") == {"unrouted": "unrouted"}
            accepts[0] = True
            endpoint.release(waits)
            stage.await_commits({0: 10, 1: 3})
            assert member.terminate() == 0

        refuses.clear()
        file = write(tmp_path, stage.settings)
        assert_plain(command("dead-letters", "redrive", "--config", file, "--code", "refused", "--execute"), 0)
        found, _ = stage.find("--dedupe-id", "refused")
        assert of(found, "state", "redriven") == {"refused": ("dead_lettered", True)}
        assert stage.find("--dedupe-id", "nobody", code=1)[0] == {}
        table = command("find", "--config", file, "--key", KEY)
        assert_plain(table, 0)
        assert "canary" not in table.stdout
        assert "scanned 3 partitions, 13 offsets, 13 records, " in table.stdout

        # An event skipped by a reset has this state both before and after a member has committed again.
        stage.produce(2, {"passed": stage.event("passed")})
        assert_plain(command("reset", "--config", file, "--to", "latest", "--execute"), 0)
        assert of(stage.find("--event-id", "passed")[0], "state") == {"passed": "no_outcome_recorded"}
        with stage.member("two") as member:
            stage.produce(2, {"later": stage.event("later")})
            stage.await_commits({2: 2})
            assert member.terminate() == 0
        found, _ = stage.find("--key", KEY)
        later = of({name: found[name] for name in ("passed", "later", "sent", "refused")}, "state")
        assert later == {
            "passed": "no_outcome_recorded",
            "later": "delivered",
            "sent": "delivered",  # its partition was at its end, so the reset kept its commit
            "refused": "dead_lettered",
        }
