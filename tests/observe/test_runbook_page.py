"""The runbook on the admin server is complete, and has an entry with an anchor for each reason."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from stream_capi.errors import ConfigurationError
from stream_capi.observe import runbook
from stream_capi.observe.what_to_do import WHAT_TO_DO
from tests.deploy.pages import anchor, headings

TEXT = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def ids() -> list[str]:
    return re.findall(r' id="([^"]+)"', runbook.page())


@pytest.mark.parametrize("reason", [*WHAT_TO_DO, "500", "502", "302", "418"])
def test_each_reason_has_an_entry(reason: str) -> None:
    assert runbook.entry_of(reason) != "reasons"
    assert ids().count(runbook.entry_of(reason)) == 1


def test_a_reason_that_nobody_foresaw_leads_to_the_reasons() -> None:
    assert runbook.entry_of("surprise") == "reasons"
    assert "reasons" in ids()


def test_headings_have_the_anchors_of_the_repository() -> None:
    assert {anchor(title) for _, title in headings(TEXT)} <= set(ids())


def test_nothing_of_the_text_is_lost_and_nothing_of_it_is_markup() -> None:
    shown = html.unescape(re.sub(r"<[^>]+>", "", runbook.page()))
    for line in TEXT.splitlines():
        for word in re.findall(r"[\w.]{4,}", re.sub(r"\]\(#[^)]*\)|^```\w+", "", line)):
            assert word in shown
    assert "<script" not in runbook.page()


def test_an_installation_without_it_still_links_to_something(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise ConfigurationError([f"{name} is missing"])

    monkeypatch.setattr(runbook, "read_shipped", missing)
    for cached in (runbook.page, runbook.entry_of, runbook._anchors):
        cached.cache_clear()
    try:
        assert runbook.entry_of("401") == "reasons"
    finally:
        for cached in (runbook.page, runbook.entry_of, runbook._anchors):
            cached.cache_clear()
