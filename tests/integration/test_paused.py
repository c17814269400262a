"""One pixel is paused by configuration while another goes on, in the whole program."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from stream_capi.sandbox.samples import Samples
from tests.endpoint_thread import Endpoint
from tests.events.real_topic import confluent, encoded, produce, register
from tests.integration.test_commands import assert_plain, command, write
from tests.ledger import assert_private
from tests.program import KEY, PIXEL_ID, Program, configuration
from tests.stack import Broker, Registry
from tests.stack.names import Names
from tests.stack.waiting import until

pytestmark = pytest.mark.real

SCHEMAS = Path(__file__).parents[2] / "schemas"
SCHEMA: Any = json.loads((SCHEMAS / "page_view.avsc").read_text())
BRAKED_ID = "pixel-2"


class Scene:
    """Three topics of two partitions: for the pixel ``main``, for ``braked``, and one whose records name the pixel."""

    def __init__(self, folder: Path, broker: Broker, registry: Registry, endpoint: Endpoint, names: Names) -> None:
        self.folder, self.broker, self.registry, self.endpoint = folder, broker, registry, endpoint
        self.topics = {name: broker.create_topic(names.topic(name), 2) for name in ("going", "braked", "routed")}
        self.main: set[str] = set()
        self.braked: set[str] = set()
        self.first: dict[tuple[str, int], int] = {}  # the offset of the paused pixel's first event in each partition
        self.ends: dict[tuple[str, int], int] = {}
        self.rows = (row for event, row in Samples(11, bad_share=0).stream(20_000, int(time.time() * 1000) - 20_000)
                     if event.value == "page_view")  # fmt: skip
        sources: list[dict[str, Any]] = [
            {"topic": self.topics["going"], "event": "page_view", "pixel": "main"},
            {"topic": self.topics["braked"], "event": "page_view", "pixel": "braked"},
            {"topic": self.topics["routed"], "event": "page_view", "pixel_field": "sid"},
        ]
        dead = broker.create_topic(names.topic("dead"))
        self.settings = configuration(broker.bootstrap, registry.url, endpoint.url, names.group(), [], dead)
        self.settings["sources"] = sources
        braked = {"name": "braked", "pixel_id": BRAKED_ID, "api_key_env": "CAPI_TEST_KEY"}
        self.settings["pixels"] = [*self.settings["pixels"], braked]
        self.group = self.settings["kafka"]["group_id"]

    def pause(self, paused: bool) -> None:
        self.settings["pixels"][1]["paused"] = paused

    def produce(self, each: int) -> None:
        """Produce so many events to each partition. In the routed topic every third is for the paused pixel."""
        for name, topic in self.topics.items():
            schema_id = register(self.registry, f"{topic}-value", SCHEMA)
            for partition in (0, 1):
                values: list[bytes | None] = []
                end = self.ends.get((name, partition), 0)
                for at in range(each):
                    has_paused = name == "braked" or (name == "routed" and at % 3 == 2)
                    row = next(self.rows) | {"sid": "braked" if has_paused else "main"}
                    (self.braked if has_paused else self.main).add(row["event_id"])
                    if has_paused:
                        self.first.setdefault((name, partition), end + at)
                    values.append(confluent(schema_id, encoded(SCHEMA, row)))
                if name == "braked":  # a paused source's tombstones and damaged records wait too
                    values += [None, confluent(schema_id, b"\x02")]
                produce(self.broker, topic, values, partition=partition)
                self.ends[name, partition] = end + len(values)

    def committed(self, name: str) -> dict[int, int]:
        found = self.broker.committed(self.group, self.topics[name])
        return {partition: found.get(partition, (0, ""))[0] for partition in (0, 1)}

    def assert_braked(self) -> None:
        """Nothing was sent for the paused pixel, and no commit passed its first event."""
        assert not [one for one in self.endpoint.mock.requests if one.pixel_id == BRAKED_ID]
        assert self.committed("braked") == {0: 0, 1: 0}
        assert all(at <= self.first["routed", partition] for partition, at in self.committed("routed").items())

    def member(self, name: str) -> Program:
        return Program(self.folder, self.settings, name=name).start(ready=True)

    def await_main(self) -> None:
        until(lambda: set(self.endpoint.answered()) == self.main, 60, "all of the pixel that goes on")
        wanted = {partition: self.first["routed", partition] for partition in (0, 1)}
        until(lambda: self.committed("routed") == wanted, 20, "a commit before the first that waits")


def test_a_paused_pixel_waits_beside_a_going_one_and_goes_on_after_a_restart(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    with Endpoint(keys={PIXEL_ID: KEY, BRAKED_ID: KEY}) as endpoint:
        scene = Scene(tmp_path, broker, registry, endpoint, names)
        scene.pause(True)
        scene.produce(120)
        with scene.member("one") as one:
            scene.await_main()
            assert one.get("/readyz")[0] == 200
            assert_told(scene, one)
            with scene.member("two") as two:  # takes over some partitions and is killed
                until(lambda: bool(two.status()["partitions"]), 30, "partitions of the second member")
                scene.produce(60)
                scene.await_main()
                time.sleep(1)  # ten times the commit interval, so the metadata has all outcomes
                two.kill()
            scene.produce(60)
            scene.await_main()
            scene.assert_braked()
            begun = time.monotonic()
            assert one.terminate() == 0
            assert time.monotonic() - begun < 5, "a stop does not wait for what is paused"
            assert_private(one.output)
            assert len(one.logged("paused by configuration")) == 1
        scene.assert_braked()
        assert endpoint.answered() == dict.fromkeys(scene.main, 1), "nothing twice, whoever had the partition"
        scene.pause(False)
        with scene.member("three") as three:
            until(lambda: set(endpoint.answered()) == scene.main | scene.braked, 60, "what has waited")
            ends = {name: {p: scene.ends[name, p] for p in (0, 1)} for name in scene.topics}
            until(lambda: {name: scene.committed(name) for name in scene.topics} == ends, 30, "commits at the ends")
            assert three.metric("stream_capi_dead_lettered_total", code="decode_error") == 6
            assert three.metric("stream_capi_paused") == 0
            assert three.terminate() == 0
        assert endpoint.answered() == dict.fromkeys(scene.main | scene.braked, 1)
        of_check = "the method is not POST"  # its request only tests the connection
        assert [one for one in endpoint.mock.violations if of_check not in one] == []


def assert_told(scene: Scene, member: Program) -> None:
    """Status, metrics, and the commands ``check`` and ``status`` report the pause, and not as a fault."""
    status = member.status()
    assert [(one["subject"], one["reason"]) for one in status["paused"]] == [
        ("pixel braked", "paused by configuration")
    ]
    assert (status["held"], status["notices"], status["ready"]) == ([], [], True)
    pauses = {(one["topic"], one["paused_by_configuration"]) for one in status["partitions"]}
    assert pauses == {
        (scene.topics["going"], None),
        (scene.topics["braked"], "all"),
        (scene.topics["routed"], "some"),
    }
    assert member.metric("stream_capi_paused", topic=scene.topics["braked"], extent="all") == 2
    assert member.metric("stream_capi_oldest_unresolved_seconds") == 0
    assert member.metric("stream_capi_held") == 0
    file = write(scene.folder, scene.settings)
    checked = command("check", "--config", file)
    assert_plain(checked, 0)
    assert f"nothing of {scene.topics['braked']} is read or committed" in " ".join(checked.stdout.split())
    asked = command("status", "--config", file, "--member", f"127.0.0.1:{member.port}", "--json")
    assert_plain(asked, 0)
    seen = json.loads(asked.stdout)
    assert [one["subject"] for one in seen["paused"]] == ["pixel braked"]
    of_braked = [one["oldest"] for one in seen["partitions"] if one["topic"] == scene.topics["braked"]]
    assert [one["why"] for one in of_braked] == ["paused by configuration"] * 2
    assert all(one["seconds"] > 0 for one in of_braked), "how old what waits is, by the broker"
    for name in ("braked", "routed"):
        refused = command("replay", "--config", file, "--topic", scene.topics[name], "--from", "earliest", "--execute")
        assert refused.returncode == 2
        assert "pixel braked is paused by configuration" in refused.stderr
