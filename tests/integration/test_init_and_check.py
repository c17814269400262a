"""``check`` names exactly what ``init`` leaves to a person, on the real stack with schemas of other projects."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from stream_capi.config.settings import PIXEL_ID_TO_REPLACE, TARGETS
from tests.events.real_topic import register
from tests.events.test_init_counted import SCHEMAS
from tests.integration.test_check_records import _coordinator
from tests.integration.test_commands import assert_plain, command
from tests.stack import Broker, Registry
from tests.stack.names import Names

__all__ = ["_coordinator"]

pytestmark = [pytest.mark.slow, pytest.mark.real]
NOWHERE = {"STREAM_CAPI_ENDPOINT__URL": "http://127.0.0.1:9"}


def todo(text: str) -> set[str]:
    """The targets of the TODO lines."""
    return {target.strip('"') for target in re.findall(r"^# TODO (\S+) = ", text, re.MULTILINE)}


def made(broker: Broker, registry: Registry, names: Names, raw: Any, file: Path) -> None:
    topic = broker.create_topic(names.topic("foreign"))
    register(registry, f"{topic}-value", raw)
    words = ("--registry", registry.url, "--topic", topic, "--event", "generate_lead", "--output", str(file))
    assert_plain(command("init", *words, "--bootstrap-servers", broker.bootstrap), 0)


@pytest.mark.cases(1)
@pytest.mark.parametrize("name", ["divolte", "openedx_enrollment", "debezium"])
def test_each_line_that_init_leaves_open_is_named_by_check(
    name: str, tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    file = tmp_path / "made.toml"
    made(broker, registry, names, SCHEMAS[name], file)
    left = todo(file.read_text())
    assert left <= set(TARGETS)
    assert left
    done = command("check", "--config", str(file), "--json", env=NOWHERE)
    assert_plain(done, 1)
    found = json.loads(done.stdout)
    details = [finding["detail"] for finding in found if not finding["passed"]]
    assert {match[1] for one in details if (match := re.search(r"TODO (\S+): required", one))} == left
    assert any(one.startswith("pixels[0].pixel_id: TODO: ") for one in details)
    assert any("pixels[0].api_key_env: " in one for one in details)


@pytest.mark.repeat(of="test_each_line_that_init_leaves_open_is_named_by_check")
def test_with_the_open_lines_filled_in_check_has_no_more_of_them(
    tmp_path: Path, broker: Broker, registry: Registry, names: Names
) -> None:
    file = tmp_path / "made.toml"
    made(broker, registry, names, SCHEMAS["debezium"], file)
    text = file.read_text().replace("# TODO ", "").replace(PIXEL_ID_TO_REPLACE, "a-key")
    file.write_text(text)
    done = command("check", "--config", str(file), env=NOWHERE | {"AXON_API_KEY": "k"})
    assert "TODO" not in done.stdout
    assert re.search(r"^pass  mapping of \S+: fits crm\.public\.leads\.Envelope$", done.stdout, re.MULTILINE)
