"""docs/contract.md agrees with the program: all that it names exists, and all that the program has is named."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic_core import PydanticUndefined

from stream_capi.config.settings import Settings
from stream_capi.config.shape import keys_of, section_at
from stream_capi.config.values import FieldRule, Section
from stream_capi.core.outcomes import Delivered, RefusedBatch, SetUpFault, Throttled, Transient, classify
from stream_capi.errors import ExitCode
from stream_capi.kafka.dead_letter_writer import OWN_HEADERS
from stream_capi.model import Answer, Code
from tests.deploy.exposed import exposed
from tests.deploy.pages import blocks, headings, numbers, rows, section, spans
from tests.deploy.program import ROOT, options_by_command, settings

TEXT = (ROOT / "docs/contract.md").read_text()
SECTIONS = {title.partition(".")[0]: section(TEXT, title) for level, title in headings(TEXT) if level == 2}

CLASSES = {
    "delivered": Delivered,
    "refused": RefusedBatch,
    "set-up fault": SetUpFault,
    "throttled": Throttled,
    "transient": Transient,
}


# Commands


def usages() -> dict[str, list[str]]:
    """The table row of each command, by its name: its usage, and what it does."""
    found = {}
    for row in rows(SECTIONS["2"]):
        if usage := re.match(r"`stream-capi ((?:[a-z-]+ ?)+)", row[0]):
            found[re.sub(r" -.*|\s+$", "", usage[1])] = row
    return found


def options(text: str) -> frozenset[str]:
    """The long options that are named in a text."""
    return frozenset(re.findall(r"--[a-z][a-z-]*", text))


def test_each_command_is_named_with_all_its_options_and_no_other() -> None:
    assert {name: options(usage) for name, (usage, _) in usages().items()} == options_by_command()


def test_what_a_command_does_is_told_with_its_own_options() -> None:
    assert [name for name, (usage, does) in usages().items() if not options(does) <= options(usage)] == []


def test_the_exit_codes_are_the_programs() -> None:
    (codes,) = re.findall(r"^Exit codes: (.*?)\.", SECTIONS["2"], re.MULTILINE | re.DOTALL)
    named = {int(code) for code in re.findall(r"(?:^|;\s)(\d+)\s", codes)}
    assert named == set(ExitCode)


# Settings


def example() -> str:
    """The file with every key."""
    (block,) = (block for block in blocks(SECTIONS["3"]) if block.language == "toml")
    return block.text


def with_all_keys() -> dict[str, Any]:
    """The example, including its commented-out keys."""
    return tomllib.loads(re.sub(r"^# (?=\w+ = )", "", example(), flags=re.MULTILINE))


def tables(table: type[Section] = Settings, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The place of each table of the settings; the first one, of the whole file, is empty."""
    yield place
    for key in keys_of(table):
        if (inner := section_at([*place, key])) is not None:
            yield from tables(inner, (*place, key))


TABLES = [pytest.param(place, id=".".join(place) or "the file") for place in tables()]


def at(document: Mapping[str, Any], place: Sequence[str]) -> dict[str, Any]:
    """The keys of a document's table; the entries of a list of tables are merged."""
    found = [document]
    for key in place:
        inner = [table[key] for table in found if key in table]
        found = [entry for value in inner for entry in (value if isinstance(value, list) else [value])]
    return {key: value for table in found for key, value in table.items()}


@pytest.mark.parametrize("place", TABLES)
def test_each_key_is_named_and_no_other(place: tuple[str, ...]) -> None:
    assert at(with_all_keys(), place).keys() == set(keys_of(section_at(place) or Settings))


@pytest.mark.parametrize("place", TABLES)
def test_each_default_is_the_programs(place: tuple[str, ...]) -> None:
    """In the example a key with a default has that value; only keys without one are commented out."""
    fields = (section_at(place) or Settings).model_fields
    defaults = {
        field.alias or name: field.default
        for name, field in fields.items()
        if field.default not in (PydanticUndefined, None, "", (), {}) and section_at([*place, name]) is None
    }
    written = at(tomllib.loads(example()), place)
    assert {key: written.get(key) for key in defaults} == defaults


@pytest.mark.parametrize("page", ["contract.md", "mapping.md"])
def test_each_unit_of_a_time_is_named(page: str) -> None:
    told = re.findall(r"unit = .* # ([a-z, ]+)[;,]", (ROOT / "docs" / page).read_text())
    units, _ = get_args(FieldRule.model_fields["unit"].annotation)
    assert [tuple(re.split(r", | or ", text)) for text in told] == [get_args(units)]


def test_the_example_is_a_configuration_that_the_program_takes(tmp_path: Path) -> None:
    assert settings(example(), tmp_path).sources[0].topic == "leads"


# Requests, dead letters, metrics


def test_each_answer_is_of_the_class_that_is_told() -> None:
    named = {
        status: row[1]
        for row in rows(SECTIONS["6"])
        for status in re.findall(r"\b(\d{3}|\dxx)\b", row[0].replace("other 5xx", "500").replace("another 2xx", "202"))
    }
    assert set(named.values()) == CLASSES.keys()
    for status, name in named.items():
        assert isinstance(classify(Answer(int(status.replace("xx", "02"))), 0.0), CLASSES[name]), status


def test_each_code_of_a_dead_letter_is_named() -> None:
    (codes,) = re.findall(r"^Codes: (.*?)\.$", SECTIONS["8"], re.MULTILINE | re.DOTALL)
    assert spans(codes) == [code.value for code in Code]


def test_each_header_of_a_dead_letter_is_named() -> None:
    assert {span.partition(":")[0] for span in spans(SECTIONS["8"]) if span.startswith("capi-")} == OWN_HEADERS


def test_each_metric_is_named_with_its_labels_and_no_other() -> None:
    named = {}
    for span in spans(SECTIONS["9"]):
        if metric := re.fullmatch(r"(stream_capi_\w+)(?:\{([\w,]+)\})?", span):
            named[metric[1]] = frozenset(metric[2].split(",")) if metric[2] else frozenset()
    assert named == {
        re.sub(r"_(bucket|count|sum)$", "", name) if metric.kind == "histogram" else name: metric.labels - {"le"}
        for name, metric in exposed().items()
        if name.startswith("stream_capi_") and not name.endswith(("_created", "_bucket"))
    }


def test_a_metric_that_is_named_elsewhere_on_the_page_is_one_of_them() -> None:
    listed = {span.partition("{")[0] for span in spans(SECTIONS["9"])}
    named = {span.partition("{")[0] for span in spans(TEXT) if span.startswith("stream_capi_")}
    assert named <= listed


# References in the sources


def references(text: str) -> Iterator[tuple[str, str]]:
    """Section and item (or an empty text) of each reference to the contract."""
    for reference in re.findall(r"contract,\s+sections?\s+([\d.]+(?:(?:,|\s+and)\s+[\d.]+)*)", text):
        for place in re.findall(r"\d+(?:\.\d+)?", reference):
            number, _, item = place.partition(".")
            yield number, item


SOURCES = sorted(file for folder in ("stream_capi", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py"))


def test_each_reference_to_the_contract_names_a_section_that_is_there() -> None:
    items = {(number, item) for number, text in SECTIONS.items() for item in numbers(text)}
    there = items | {(number, "") for number in SECTIONS}
    named = {(file, place) for file in SOURCES for place in references(file.read_text())}
    assert len(named) >= 30
    assert [f"{file}: {'.'.join(place)}" for file, place in sorted(named) if place not in there] == []


def test_references_are_found_in_all_their_forms() -> None:
    text = "(contract, section 9: x) (contract, sections 3 and 4) the contract,\n    section 7.10."
    assert list(references(text)) == [("9", ""), ("3", ""), ("4", ""), ("7", "10")]
