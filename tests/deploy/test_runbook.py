"""docs/operations.md agrees with the program: an entry for each alert and reason, and every command line is valid."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_capi.cli import load
from stream_capi.config.settings import Settings
from stream_capi.config.shape import keys_of, section_at
from stream_capi.errors import ExitCode
from stream_capi.model import Code
from stream_capi.observe.what_to_do import WHAT_TO_DO
from stream_capi.sandbox.fault_script import Script
from tests.deploy.alerts import alerts
from tests.deploy.pages import (
    anchor,
    blocks,
    calls_in_prose,
    command_lines,
    headings,
    links,
    names,
    pages,
    rows,
    section,
    spans,
    terms,
)
from tests.deploy.program import ROOT, parse

TEXT = (ROOT / "docs/operations.md").read_text()
ALERTS = [alert.name for alert in alerts()]
PARTS = ["Means", "Safe", "Look", "Do", "Over when"]

LINES = [
    pytest.param(arguments, id=f"{page.name}: {' '.join(arguments)}")
    for page in pages()
    for arguments in command_lines(page.read_text())
]
MENTIONS = sorted({tuple(words) for page in pages() for words in calls_in_prose(page.read_text())})


def entries(heading: str) -> list[str]:
    """The titles of the third level under a heading of the second."""
    found, inside = [], False
    for level, title in headings(TEXT):
        if level <= 2:
            inside = title == heading
        elif inside and level == 3:
            found.append(title)
    return found


def first_cells(text: str) -> list[str]:
    """The names in backticks in the first column of the tables."""
    return [name for name, _ in names(text)]


# Entries


def test_each_alert_has_an_entry_and_each_entry_an_alert_in_the_same_order() -> None:
    assert entries("Alerts") == ALERTS


def test_each_reason_has_an_entry_and_each_entry_a_reason() -> None:
    reasons = section(TEXT, "Reasons")
    documented = {title for title in entries("Reasons") if terms(section(reasons, title))[:1] == PARTS[:1]}
    documented |= set(first_cells(reasons))
    classes = {"3xx", "4xx", "5xx"}  # classes of answers without a reason of their own
    assert documented == WHAT_TO_DO.keys() | classes


@pytest.mark.parametrize(
    "name", [*ALERTS, *(title for title in entries("Reasons") if title[0].islower() or title[0].isdigit())]
)
def test_an_entry_says_what_it_means_what_is_safe_what_to_look_at_what_to_do_and_when_it_is_over(name: str) -> None:
    assert terms(section(TEXT, name)) == PARTS


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert.name)
def test_an_alerts_runbook_address_is_an_entry(alert: Any) -> None:
    page, _, heading = alert.annotations["runbook_url"].partition("#")
    assert heading in {anchor(title) for _, title in headings((ROOT / page).read_text())}


def test_each_code_of_a_dead_letter_is_explained() -> None:
    assert first_cells(section(TEXT, "Dead letters")) == [code.value for code in Code]


def test_each_exit_code_is_explained() -> None:
    documented = {int(cells[0]) for cells in rows(section(TEXT, "Stop, and exit codes")) if cells[0].isdigit()}
    assert documented == set(ExitCode)


# Names


def test_what_the_log_is_searched_for_is_what_the_program_says() -> None:
    events = first_cells(section(TEXT, "First look").split("In the log")[1])
    source = "\n".join(file.read_text() for file in (ROOT / "stream_capi").rglob("*.py"))
    assert len(events) >= 10
    assert [event for event in events if f'"{event}"' not in source] == []


def test_settings_are_named_as_they_are() -> None:
    sections = "|".join(Settings.model_fields)
    named = {span for page in pages() for span in spans(page.read_text())}
    keys = {span for span in named if re.fullmatch(rf"({sections})\.[a-z_]+", span) and not span.endswith(".py")}
    assert len(keys) >= 10
    for key in keys:
        table, name = key.split(".")
        assert name in keys_of(section_at([table]) or Settings), f"there is no setting {key}"


@pytest.mark.slow
def test_links_lead_somewhere() -> None:
    for page in pages():
        for target in links(page.read_text()):
            file, _, heading = target.partition("#")
            there = (page.parent / file) if file else page
            assert there.exists(), f"{page.name} links to {target}"
            if heading:
                assert heading in {anchor(title) for _, title in headings(there.read_text())}, f"{page.name}: {target}"


# Command lines


@pytest.mark.parametrize("arguments", LINES)
def test_a_command_line_is_one_that_the_program_takes(arguments: list[str]) -> None:
    parse(arguments)


def test_command_lines_are_found_however_the_program_is_called() -> None:
    text = """
```sh
stream-capi check --config a.toml | less
docker compose up --scale stream-capi=3
docker compose stop stream-capi
docker compose exec stream-capi stream-capi run --config b.toml
docker compose run --rm stream-capi run --config c.toml    # twice
kubectl exec deployment/stream-capi -- stream-capi check --config d.toml && echo
kubectl scale deployment/stream-capi --replicas 2
```
"""
    assert list(command_lines(text)) == [
        ["check", "--config", "a.toml"],
        ["run", "--config", "b.toml"],
        ["run", "--config", "c.toml"],
        ["check", "--config", "d.toml"],
    ]


@pytest.mark.parametrize("words", MENTIONS, ids=" ".join)
def test_a_command_in_the_prose_exists_with_the_options_that_are_named(words: tuple[str, ...]) -> None:
    command: Any = None
    for word in words:
        if command is None:
            command = load(word)
        elif hasattr(command, "commands") and not word.startswith("-"):
            command = command.commands[word]
        elif word.startswith("--"):
            options = {
                option for parameter in command.params for option in [*parameter.opts, *parameter.secondary_opts]
            }
            assert word.split("=")[0] in options | {"--help"}


@pytest.mark.parametrize("block", [b for b in blocks(section(TEXT, "Drills")) if b.language == "toml"])
def test_a_drill_is_a_script_that_the_stand_in_plays(block: Any, tmp_path: Path) -> None:
    file = tmp_path / "drill.toml"
    file.write_text(block.text)
    Script.load(file)


def test_the_rules_become_what_the_operator_reads() -> None:
    """Run the page's shell lines, up to the pipe into the cluster."""
    (block,) = (block for block in blocks(TEXT) if "PrometheusRule" in block.text)
    script = block.text[: block.text.rindex("|")]
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    wrapped = yaml.safe_load(done.stdout)
    assert wrapped["kind"] == "PrometheusRule"
    assert wrapped["spec"] == yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
