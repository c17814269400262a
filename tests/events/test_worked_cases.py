"""The documentation's worked cases: with a real registry and topic, their records give the events that it shows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from stream_capi import config
from stream_capi.avro.writer_schema import inline
from stream_capi.cli.explain import command as explain_command
from stream_capi.cli.init import command as init_command
from stream_capi.config import Settings
from stream_capi.events.explain import explain
from stream_capi.events.mapping_check import mapping_faults
from stream_capi.events.plain_json import row_from_json
from stream_capi.events.rules import rules_from
from stream_capi.events.transform import compile_source
from stream_capi.model import Routed, Skipped, Transformed
from tests.events.cases import Case, cases
from tests.events.random_schemas import plain
from tests.events.real_topic import confluent, encoded, map_newest, produce, register
from tests.events.sources_and_records import NOW, mapped, sent
from tests.stack import Broker, Registry
from tests.stack.names import Names

CASES = {case.name: case for case in cases()}
of_each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def whole(case: Case) -> Any:
    """The schema with its reference inlined."""
    return inline(case.schema, {"com.acme.quotes.QuoteRequested": case.referenced}) if case.referenced else case.schema


def settings(case: Case, folder: Path, environ: Mapping[str, str] | None = None) -> Settings:
    file = folder / "stream-capi.toml"
    file.write_text(case.config)
    return config.load(file, environ or {}, keys=False)


def test_the_document_has_all_four() -> None:
    assert list(CASES) == ["snowplow", "segment", "debezium", "cloudevents"]


@of_each
def test_a_case_fits_its_schema_and_gives_the_event_that_is_shown(case: Case, tmp_path: Path) -> None:
    stated = settings(case, tmp_path)
    rules = rules_from(stated.sources[0], stated)
    raw = whole(case)
    assert mapping_faults(rules, raw) == []
    row = row_from_json(raw, case.record)
    (made,) = mapped(compile_source(rules, raw), [row], "t", 0, now_ms=NOW)
    assert sent(made) == case.event
    assert explain(rules, raw, row, ("t", 0, 0), NOW).outcome == made


def changed(case: Case, folder: Path, **fields: Any) -> Transformed:
    """The outcome of the case's record with some values replaced."""
    stated = settings(case, folder)
    record = json.loads(case.record)
    for path, value in fields.items():
        *before, last = path.split("__")
        place = record
        for step in before:
            place = place[step]
        place[last] = value
    rules, raw = rules_from(stated.sources[0], stated), whole(case)
    (made,) = mapped(compile_source(rules, raw), [row_from_json(raw, json.dumps(record))], "t", 0, now_ms=NOW)
    return made


def test_snowplow_other_platforms_and_events_are_left_out(tmp_path: Path) -> None:
    case = CASES["snowplow"]
    assert changed(case, tmp_path, platform="srv") == Skipped("where")
    assert changed(case, tmp_path, event_name="link_click") == Skipped("event")
    view = changed(case, tmp_path, event_name="page_view", unstruct_event_com_acme_lead_submitted_1=None)
    assert sent(view)["data"] is None
    duplicate = changed(case, tmp_path, unstruct_event_com_acme_lead_submitted_1__lead_quality="DUPLICATE")
    assert sent(duplicate)["data"]["value"] == 0.0


@pytest.mark.parametrize(("platform", "esi"), [("web", "web"), ("mob", "app"), ("app", "app")])
def test_snowplow_leads_of_each_platform_that_is_meant_are_sent(platform: str, esi: str, tmp_path: Path) -> None:
    assert sent(changed(CASES["snowplow"], tmp_path, platform=platform))["user_data"]["esi"] == esi


def test_segment_without_consent_nobody_is_named(tmp_path: Path) -> None:
    refused: list[Any] = [None, {"categoryPreferences": {"Advertising": False}}, {"categoryPreferences": {}}]
    for consent in refused:
        made = changed(CASES["segment"], tmp_path, context__consent=consent)
        assert set(sent(made)["user_data"]) == {"client_ip_address", "client_user_agent", "esi", "axwrt", "os"}


def test_debezium_updates_and_deletes_are_left_out(tmp_path: Path) -> None:
    assert changed(CASES["debezium"], tmp_path, op="u") == Skipped("where")
    assert changed(CASES["debezium"], tmp_path, op="d", after=None) == Skipped("where")


def test_cloudevents_another_source_has_another_pixel_and_profile(tmp_path: Path) -> None:
    made = changed(CASES["cloudevents"], tmp_path, source="quotes-us")
    assert isinstance(made, Routed)
    assert made.lane.pixel == "quotes-us"
    user = sent(made)["user_data"]
    assert user["email"] == "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"
    assert user["phone"] == "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"


# Through a real registry and a real topic


class Placed:
    """A case with its schemas registered and its record produced, under names unique to the test."""

    def __init__(self, case: Case, broker: Broker, registry: Registry, names: Names, folder: Path) -> None:
        self.topic = names.topic(case.name)
        references = []
        if case.referenced:
            register(registry, f"{names.prefix}-quote", case.referenced)
            references = [("com.acme.quotes.QuoteRequested", f"{names.prefix}-quote", 1)]
        self.schema_id = register(registry, f"{self.topic}-value", case.schema, references)
        broker.create_topic(self.topic)
        raw = whole(case)
        value = confluent(self.schema_id, encoded(plain(raw), row_from_json(raw, case.record)))
        produce(broker, self.topic, [value, None])
        self.environ = {
            "STREAM_CAPI_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
            "STREAM_CAPI_SCHEMA_REGISTRY__URL": registry.url,
            "STREAM_CAPI_SOURCES__0__TOPIC": self.topic,
        }
        self.settings = settings(case, folder, self.environ)


@pytest.mark.real
@of_each
async def test_a_case_goes_through_a_real_registry_and_topic(
    case: Case, broker: Broker, registry: Registry, names: Names, tmp_path: Path
) -> None:
    placed = Placed(case, broker, registry, names, tmp_path)
    (made,) = await map_newest(placed.settings, 2)
    assert sent(made) == case.event


@pytest.mark.real
def test_what_explain_says_is_what_the_document_shows(
    broker: Broker, registry: Registry, names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES["snowplow"]
    placed = Placed(case, broker, registry, names, tmp_path)
    for name in [name for name in os.environ if name.startswith("STREAM_CAPI_")]:
        monkeypatch.delenv(name)
    for name, value in placed.environ.items():
        monkeypatch.setenv(name, value)
    words = (
        "--config",
        str(tmp_path / "stream-capi.toml"),
        "--topic",
        placed.topic,
        "--partition",
        "0",
        "--offset",
        "0",
    )
    done = CliRunner().invoke(single(explain_command), list(words), env={"COLUMNS": "80"})
    shown = [line.rstrip() for line in done.output.splitlines()]
    expected = case.explained.splitlines()
    assert shown[0] == f"{placed.topic}[0]@0  com.acme.tracking.Enriched (schema id {placed.schema_id})"
    assert expected[0].startswith("enriched[0]@0  com.acme.tracking.Enriched (schema id ")
    assert shown[1 : len(expected)] == expected[1:]


def single(function: Callable[..., None]) -> typer.Typer:
    app = typer.Typer()
    app.command()(function)
    return app


@pytest.mark.real
@of_each
def test_init_guesses_a_configuration_that_loads_and_names_what_is_left_to_say(
    case: Case, broker: Broker, registry: Registry, names: Names, tmp_path: Path
) -> None:
    placed = Placed(case, broker, registry, names, tmp_path)
    file = tmp_path / "guessed.toml"
    words = ("--registry", registry.url, "--topic", placed.topic, "--event", "generate_lead", "--output", str(file))
    done = CliRunner().invoke(single(init_command), list(words))
    assert done.exit_code == 0, done.output
    guessed = config.load(file, {}, keys=False)
    faults = mapping_faults(rules_from(guessed.sources[0], guessed), whole(case))
    unmapped = [line.split()[2].strip('"') for line in file.read_text().splitlines() if line.startswith("# TODO ")]
    assert [fault.partition(":")[0] for fault in faults] == [f"TODO {target}" for target in unmapped]
    stated = placed.settings.sources[0].fields
    wrong = [t for t, rule in guessed.sources[0].fields.items() if t in stated and rule.paths[0] not in stated[t].paths]
    assert wrong == []
