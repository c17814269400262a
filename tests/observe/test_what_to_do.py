"""The instructions for a person on call."""

from __future__ import annotations

import re

import pytest

from stream_capi.config.settings import Settings
from stream_capi.core.held_reason import HeldReason
from stream_capi.observe.what_to_do import WHAT_TO_DO, what_to_do


def test_every_reason_for_holding_or_stopping_has_its_sentence() -> None:
    assert {reason: what_to_do(reason.value) for reason in HeldReason} == {
        reason: reason.what_to_do for reason in HeldReason
    }


def test_the_words_of_the_reasons_are_public() -> None:
    """Alerts, dashboards and scripts compare them, so they must not change."""
    assert {reason.value for reason in HeldReason} == {
        "split_budget",
        "refusals",
        "dead_letter_ratio",
        "offset_out_of_range",
        "log_truncated",
        "no_committed_offset",
        "topic_made_anew",
    }
    assert [f"{reason}" for reason in HeldReason] == [reason.value for reason in HeldReason]


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
