"""What a person on call is told to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import stream_capi
from stream_capi.config.settings import Settings
from stream_capi.kafka.client_errors import LOG_TRUNCATED, OFFSET_OUT_OF_RANGE
from stream_capi.observe.what_to_do import WHAT_TO_DO, what_to_do

PACKAGE = Path(stream_capi.__file__).parent
_TELLING = {"stop_partition", "intake_held", "hold", "_hold", "_call", "Place"}  # calls that are given a reason


def reasons_in_code() -> Iterator[str]:
    """The words that the pipeline, the delivery and the consumer give as reasons."""
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            for word in (inner for arg in node.args for inner in ast.walk(arg) if called in _TELLING):
                if isinstance(word, ast.Constant) and re.fullmatch("[a-z]+_[a-z_]+", str(word.value)):
                    yield str(word.value)


def test_every_reason_of_the_program_has_a_sentence() -> None:
    found = {*reasons_in_code(), OFFSET_OUT_OF_RANGE, LOG_TRUNCATED}
    assert {
        "split_budget",
        "dead_letter_ratio",
        "offset_out_of_range",
        "log_truncated",
        "no_committed_offset",
        "topic_made_anew",
    } <= found
    assert found <= set(WHAT_TO_DO)


def test_every_fault_of_a_request_has_a_sentence() -> None:
    network = {"timeout", "reset", "disconnected", "connect", "dns", "tls", "protocol"}
    assert network | {"descriptors", "early_answer"} <= set(WHAT_TO_DO)


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        ("401", "key"),
        ("302", "redirect"),
        ("308", "redirect"),
        ("418", "pixel_id"),
        ("500", "vendor"),
        ("202", "vendor"),
    ],
)
def test_any_status_has_a_sentence(reason: str, part: str) -> None:
    assert part in what_to_do(reason)


@pytest.mark.parametrize("reason", ["", "something new", "９９９", "4x1"])
def test_what_is_not_known_points_to_the_log(reason: str) -> None:
    assert "log" in what_to_do(reason)


@pytest.mark.parametrize("sentence", WHAT_TO_DO.values(), ids=WHAT_TO_DO)
def test_sentences_are_whole_and_name_settings_that_exist(sentence: str) -> None:
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    sections = Settings.model_fields
    for section, key in re.findall(r"\b([a-z_]+)\.([a-z_]+)\b", sentence):
        assert key in sections[section].annotation.model_fields  # type: ignore[union-attr]
