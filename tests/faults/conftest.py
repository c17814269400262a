"""Every row of the fault matrix enters the scorecard."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from tests.faults import scorecard
from tests.scene import Scene

_ROWS = pytest.StashKey[list[scorecard.Row]]()
_SCENES = pytest.StashKey[list[Scene]]()
_CALL = pytest.StashKey[pytest.TestReport]()


@pytest.fixture(autouse=True)
def _noted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note every scene that the row makes."""
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
        rows = item.config.stash.setdefault(_ROWS, [])
        name = item.name.removeprefix("test_").replace("_", " ")
        group = item.path.stem.removeprefix("test_").removesuffix("_faults")
        rows.append(scorecard.Row.of(name, group, report.passed, scenes, report.duration))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash.get(_ROWS, [])
    if rows:
        whole = config.option.markexpr != "not long" and not config.option.keyword
        scorecard.write(rows, whole, config.rootpath / scorecard.FILE)
        terminalreporter.section(f"scorecard (in {scorecard.FILE})")
        for line in scorecard.table(rows):
            terminalreporter.write_line(line)
