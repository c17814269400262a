"""If a producer renames a mapped field, the member reports it, and events are still delivered."""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import pytest

from tests.events.real_topic import apicurio_ids, confluent, encoded, produce, register
from tests.events.sources_and_records import LEAD, lead
from tests.scene import Scene
from tests.stack import Broker, Registry
from tests.stack.waiting import until

pytestmark = pytest.mark.real

CANARY = "canary.person@example.com"


def renamed(**names: str) -> Any:
    """The shipped Lead schema with renamed fields."""
    raw = copy.deepcopy(LEAD)
    for field in raw["fields"]:
        field["name"] = names.get(field["name"], field["name"])
    return raw


def test_a_renamed_field_is_a_log_line_a_notice_and_a_count_until_it_is_back(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        scene.ledger.freeze()
        ids = iter(range(100))

        def send(schema: Any, **fields: Any) -> None:
            row = lead(event_id=f"d-{next(ids)}", event_time=int(time.time() * 1000) - 1000, **fields)
            schema_id = register(registry, f"{scene.leads}-value", schema)
            produce(broker, scene.leads, [confluent(schema_id, encoded(schema, row))])

        def notices() -> list[Any]:
            return [one for one in member.status()["notices"] if one["subject"] == scene.leads]

        def lacking(field: str) -> float:
            return member.metric("stream_capi_schema_lacks_path_total", topic=scene.leads, field=field)

        member = scene.member()
        send(LEAD, email=CANARY)
        until(lambda: scene.endpoint.answered().total() == 1, 60, "the first event")
        assert notices() == []
        send(renamed(email="mail"), mail=CANARY)
        until(lambda: scene.endpoint.answered().total() == 2, 60, "the event that lost its email")
        (notice,) = notices()
        assert "email (email)" in notice["reason"]
        assert (lacking("email"), lacking("phone")) == (1, 0)
        until(lambda: "schema lacks mapped paths" in member.output, 5, "a line in the log")
        send(renamed(email="mail", phone="tel"), mail=CANARY)
        until(lambda: scene.endpoint.answered().total() == 3, 60, "the event that lost its phone as well")
        assert "email (email), phone (phone)" in notices()[0]["reason"]
        assert (lacking("email"), lacking("phone")) == (1, 1)
        send(renamed(sid="session"), email=CANARY)
        until(lambda: scene.endpoint.answered().total() == 4, 60, "the event with both")
        assert "sid (sid)" in notices()[0]["reason"]
        assert "email" not in notices()[0]["reason"]
        scene.endpoint.assert_valid()
        assert CANARY not in member.output


@pytest.mark.repeat(of="test_a_renamed_field_is_a_log_line_a_notice_and_a_count_until_it_is_back")
def test_a_rename_is_noticed_while_producers_move_from_global_ids_to_content_ids(
    tmp_path: Path, broker: Broker, registry: Registry
) -> None:
    """Apicurio counts the two kinds apart, so the newer schema's content id is less than the older one's global id."""
    with Scene(tmp_path, broker, registry, partitions=1) as scene:
        scene.ledger.freeze()
        scene.settings["sources"] = [
            source | {"framing": "apicurio"} for source in scene.settings["sources"] if source["topic"] == scene.leads
        ]
        for version in range(3):  # three global ids for one content
            register(registry, f"{scene.leads}-{version}", LEAD)
        register(registry, f"{scene.leads}-value", renamed(email="mail"))
        before, after = (apicurio_ids(registry, f"{scene.leads}-{name}") for name in ("2", "value"))
        assert after.content < before.of_version

        def send(schema: Any, header: str, id_: bytes, **fields: Any) -> None:
            row = lead(event_time=int(time.time() * 1000) - 1000, **fields)
            produce(broker, scene.leads, [encoded(schema, row)], [(header, id_)])

        member = scene.member()
        send(LEAD, "apicurio.value.globalId", before.wire("global"), event_id="before")
        until(lambda: "before" in scene.endpoint.answered(), 60, "the event by a global id")
        send(renamed(email="mail"), "apicurio.value.contentId", after.wire("content"), event_id="after")
        until(lambda: "after" in scene.endpoint.answered(), 60, "the event by a content id")
        (notice,) = [one for one in member.status()["notices"] if one["subject"] == scene.leads]
        assert "email (email)" in notice["reason"]
        assert member.metric("stream_capi_schema_lacks_path_total", topic=scene.leads, field="email") == 1
