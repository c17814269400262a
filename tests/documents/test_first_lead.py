"""From a new schema to the first accepted lead, by the steps of docs/first-lead.md alone."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from stream_capi.events.plain_json import row_from_json
from tests.deploy.program import ROOT
from tests.documents.play import compare, parts
from tests.documents.stage import Relay, Stage
from tests.events.cases import cases
from tests.events.random_schemas import plain
from tests.events.real_topic import confluent, encoded, produce, register
from tests.stack import Broker, Registry

pytestmark = pytest.mark.real

PAGE = ROOT / "docs/first-lead.md"
TOPIC = "quotes"


@pytest.mark.repeat(of="tests/documents/test_executed.py::test_the_quick_start_of_the_readme_delivers_the_leads")
def test_the_page_leads_to_the_first_accepted_lead(broker: Broker, registry: Registry, tmp_path: Path) -> None:
    text = PAGE.read_text()
    begun = time.time()
    with (
        Stage(broker, registry, tmp_path, (TOPIC,)) as stage,
        Relay(stage.endpoint_port) as relay,
        stage.player(relay.address) as player,
    ):
        differing = player.play(text)
        by_hand, event = relay.events
    compare(PAGE, differing)
    assert by_hand == event
    assert begun - 1 <= event.pop("event_time") / 1000 <= time.time()
    assert event == {
        "name": "generate_lead",
        "event_source_url": "https://quotes.example/solar?aleid=_evt_77",
        "data": {"currency": "USD", "value": 42.5},
        "user_data": {
            "client_ip_address": "172.59.8.172",
            "client_user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)",
            "esi": "web",
            "aleid": "_evt_77",
            "email": "62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f",
            "phone": "e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176",
        },
        "dedupe_id": "0c1a6b0e-6f0f-4a55-9b1a-5f5f6d7a1c11",
    }


_OPTIONAL = "# Nothing looks like these, which are optional: "


def filled(text: str, worked: str) -> str:
    """A file of ``init`` with lines of a worked configuration for its TODO lines and for the fields listed as optional.

    The stand-in endpoint's address is added.
    """
    (listed,) = re.findall(rf"^{_OPTIONAL}.*\n(?:# .*\n)*", text, re.MULTILINE)
    optional = listed.removeprefix(_OPTIONAL).replace("\n# ", " ").strip().split(", ")
    stated = {key.strip('"'): f"{key} = {value}" for key, value in re.findall(r"^(\S+) = (.*)$", worked, re.MULTILINE)}
    text = re.sub(r"^# TODO (\S+) = .*$", lambda found: stated[found[1].strip('"')], text, flags=re.MULTILINE)
    known = "\n".join(stated[target] for target in optional if target in stated)
    text = text.replace(listed, f"{known}\n")
    text = re.sub(r"^pixel_id = .*$", 'pixel_id = "quotes-1234"', text, flags=re.MULTILINE)
    return text.replace("[[pixels]]", '[endpoint]\nurl = "http://localhost:8080/v1/event"\n\n[[pixels]]', 1)


@pytest.mark.repeat(of="tests/documents/test_executed.py::test_the_quick_start_of_the_readme_delivers_the_leads")
def test_the_same_steps_lead_there_from_a_worked_case(broker: Broker, registry: Registry, tmp_path: Path) -> None:
    """Its output differs from the page's, so only the exit codes and the event are compared."""
    (case,) = (case for case in cases() if case.name == "debezium")
    topic = "crm.public.leads"
    with (
        Stage(broker, registry, tmp_path, (topic,)) as stage,
        Relay(stage.endpoint_port) as relay,
        stage.player(relay.address) as player,
    ):
        stage.create(topic)
        schema_id = register(registry, f"{topic}-value", case.schema)
        row = row_from_json(case.schema, case.record)
        produce(broker, topic, [confluent(schema_id, encoded(plain(case.schema), row))])
        for part in parts(PAGE.read_text()):
            if part.kind == "edit":
                guessed = (stage.folder / part.name).read_text()
                player.write(part.name, player.names.typed(filled(guessed, case.config)))
            elif part.kind != "file" and "produce.py" not in part.text:
                player.type(part._replace(text=part.text.replace(f"--topic {TOPIC}", f"--topic {topic}")))
    assert relay.events == [case.event, case.event]
