"""Adds every row of the fault matrix to the scorecard."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, replace
from typing import Any

import pytest

from tests.faults import scorecard
from tests.scene import Scene

_SCENES = pytest.StashKey[list[Scene]]()


@pytest.fixture(autouse=True)
def _noted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record every scene that the row creates."""
    scenes: list[Scene] = []
    request.node.stash[_SCENES] = scenes
    init = Scene.__init__

    def noting(self: Scene, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        scenes.append(self)

    monkeypatch.setattr(Scene, "__init__", noting)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    scenes = item.stash.get(_SCENES, [])
    if report.when == "call" and scenes:
        name = item.name.removeprefix("test_").replace("_", " ")
        group = item.path.stem.removeprefix("test_").removesuffix("_faults")
        row = scorecard.Row.of(name, group, report.passed, scenes, report.duration)
        if row.survived and not row.states_budget:
            row = replace(row, survived=False)
            report.outcome = "failed"
            report.longrepr = (
                "the row does not say how many events may be repeated, or not why: scene.close(duplicates=Budget(…))"
            )
        report.user_properties.append((scorecard.PROPERTY, asdict(row)))  # one process prints the rows of all
    return report
