"""The tables of right values through the whole program: delivered values, dead letters, and counts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.endpoint_thread import Endpoint
from tests.events.random_schemas import plain
from tests.events.real_topic import encoded, produce
from tests.events.sources_and_records import PIXELS
from tests.events.test_right_values import CASES, Case, value_in
from tests.ledger import DeadLetterReader
from tests.program import PIXEL_ID, Program, configuration
from tests.stack import Broker
from tests.stack.names import Names
from tests.stack.waiting import until

pytestmark = pytest.mark.real

_AGENT = "case "
_PIXELS = [one | {"pixel_id": PIXEL_ID, "api_key_env": "CAPI_TEST_KEY"} for one in PIXELS]
DELIVERIES = sorted({json.dumps(case.delivery) for case in CASES})


class Group:
    """The cases with the same schema and mapping, in their own topic."""

    def __init__(self, topic: str, cases: list[Case]) -> None:
        self.topic, self.cases = topic, cases

    def source(self, folder: Path) -> dict[str, Any]:
        file = folder / f"{self.topic}.avsc"
        file.write_text(json.dumps(self.cases[0].schema()))
        stated = {name: value for name, value in self.cases[0].row.get("settings", {}).items() if name != "delivery"}
        return {"topic": self.topic, "event": "generate_lead", "framing": "raw", "schema_file": str(file), **stated}

    def values(self) -> list[bytes]:
        return [encoded(plain(case.schema()), _tagged(case)) for case in self.cases]


def _tagged(case: Case) -> dict[str, Any]:
    """The case's record, with the case's id in a field that the case isn't about."""
    if case.name == "client_user_agent":
        return case.record() | {"event_id": case.row["id"]}
    return case.record() | {"client_user_agent": _AGENT + case.row["id"]}


def _case_of(event: Mapping[str, Any]) -> str:
    agent: str = event["user_data"]["client_user_agent"]
    return agent.removeprefix(_AGENT) if agent.startswith(_AGENT) else event["dedupe_id"]


def _groups(broker: Broker, names: Names, cases: list[Case]) -> list[Group]:
    alike: dict[str, list[Case]] = {}
    for case in cases:
        alike.setdefault(json.dumps([case.schema(), case.row.get("settings", {})]), []).append(case)
    return [Group(broker.create_topic(names.topic(f"right{at}")), of_one) for at, of_one in enumerate(alike.values())]


def _counted(metrics: str, name: str) -> dict[tuple[str, str], int]:
    """The values of a counter, by field and reason."""
    lines = [line.rpartition(" ") for line in metrics.splitlines() if line.startswith(name + "{")]
    texts = [(given.split('"'), float(value)) for given, _, value in lines]
    return {(text[1], text[3]): int(value) for text, value in texts if value}


@pytest.mark.cases(1)
@pytest.mark.parametrize("delivery", DELIVERIES)
def test_each_input_arrives_as_its_right_value(tmp_path: Path, broker: Broker, names: Names, delivery: str) -> None:
    cases = [case for case in CASES if json.dumps(case.delivery) == delivery]
    groups = _groups(broker, names, cases)
    dead = broker.create_topic(names.topic("dead"))
    with Endpoint() as endpoint:
        settings = configuration(
            broker.bootstrap, None, endpoint.url, names.group(), [group.source(tmp_path) for group in groups], dead,
            delivery=json.loads(delivery), dead_letter={"max_ratio": 1.0}, pixels=_PIXELS,
        )  # fmt: skip
        for group in groups:
            produce(broker, group.topic, group.values())
        with Program(tmp_path, settings) as member:
            member.start(ready=True)
            _await_all(broker, settings["kafka"]["group_id"], groups)
            metrics = member.get("/metrics")[1]
            assert member.terminate() == 0
        endpoint.assert_valid()
        sent = {_case_of(accepted.event): accepted.event for accepted in endpoint.mock.events}
    assert len(sent) == len(endpoint.mock.events)
    rejected = {case.row["id"]: case.row["rejected"] for case in cases if "rejected" in case.row}
    assert _dead_letters(broker, dead, groups, len(rejected)) == rejected
    wrong = {name: value_in(event, _by_id(cases)[name].target) for name, event in sent.items()}
    right = {case.row["id"]: case.right() for case in cases if "rejected" not in case.row}
    assert wrong == right
    assert _counted(metrics, "stream_capi_fields_dropped_total") == _summed(cases)
    suspect = Counter((case.name, case.row["suspect"]) for case in cases if "suspect" in case.row)
    counted = _counted(metrics, "stream_capi_suspect_total")
    # All cases share one user_id and one address, unless they are about these.
    assert {field for field, reason in counted if reason == "shared"} <= {"user_id", "client_ip_address"}
    assert {of: n for of, n in counted.items() if of[1] != "shared"} == suspect


def _by_id(cases: list[Case]) -> dict[str, Case]:
    return {case.row["id"]: case for case in cases}


def _summed(cases: list[Case]) -> dict[tuple[str, str], int]:
    dropped: Counter[tuple[str, str]] = Counter()
    for case in cases:
        dropped.update(case.dropped())
    return dict(dropped)


def _await_all(broker: Broker, group_id: str, groups: list[Group]) -> None:
    """Wait for a commit behind every record."""
    waiting = list(groups)

    def none_waits() -> bool:
        while waiting and broker.committed(group_id, waiting[-1].topic).get(0, (0, ""))[0] == len(waiting[-1].cases):
            waiting.pop()
        return not waiting

    until(none_waits, 120, "a commit behind every record")


def _dead_letters(broker: Broker, topic: str, groups: list[Group], count: int) -> dict[str, str]:
    """The codes of the dead letters, by case."""
    reader = DeadLetterReader(broker, topic)
    try:
        until(lambda: _count(reader) >= count, 30, "the dead letters")
    finally:
        reader.close()
    at = {group.topic: group.cases for group in groups}
    return {at[one.source[0]][one.source[2]].row["id"]: one.code for one in reader.found}


def _count(reader: DeadLetterReader) -> int:
    reader.read()
    return len(reader.found)
