"""`make test-fast`, `make test` and `make test-all` select tests by markers; each includes all tests of the one before."""

from __future__ import annotations

import functools
import itertools
import re
import shlex
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import conftest
from tests.conftest import COLLECTED

ROOT = Path(__file__).parents[1]
FAST, TEST, ALL = TIERS = ("test-fast", "test", "test-all")
DEPLOY = "test-deploy"  # separate, since it needs engines that are built for it
OPTIONS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
MARKERS = [re.split(r"\W", line)[0] for line in OPTIONS["markers"] if not line.startswith("cases")]


def words(tier: str) -> list[str]:
    """The arguments of pytest in a target's recipe."""
    (recipe,) = re.findall(rf"^{tier}:.*\n\t.*-m pytest (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return shlex.split(recipe)


def expression(tier: str) -> str:
    return words(tier)[words(tier).index("-m") + 1]


@functools.cache
def selects(tier: str, marked: frozenset[str]) -> bool:
    """Whether the target selects a test with exactly these markers."""
    return bool(eval(expression(tier), {}, {name: name in marked for name in MARKERS}))  # noqa: S307 -- the Makefile's


def markers_of(item: pytest.Item) -> frozenset[str]:
    return frozenset(mark.name for mark in item.iter_markers() if mark.name in MARKERS)


def sets() -> Iterator[frozenset[str]]:
    """Every set of markers that a test may have: pytest refuses markers that are not in pyproject.toml."""
    for count in range(len(MARKERS) + 1):
        yield from map(frozenset, itertools.combinations(MARKERS, count))


def test_all_tests_are_selected_by_the_last_tier_but_those_that_need_engines_and_rows_on_three_brokers() -> None:
    assert all(selects(ALL, marked) is not bool(marked & {"engine", "matrix"}) for marked in sets())


def test_every_row_is_selected_by_the_target_of_the_matrix() -> None:
    assert re.search(r"^ROWS \?= matrix or not matrix$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "pytest tests/faults tests/soak" in (ROOT / "Makefile").read_text()


def test_those_that_need_engines_are_selected_by_their_own_target_and_nothing_else_is() -> None:
    assert all(selects(DEPLOY, marked) is ("engine" in marked) for marked in sets())


@pytest.mark.parametrize(("inner", "outer"), [(FAST, TEST), (TEST, ALL)])
def test_each_tier_has_all_tests_of_the_one_before(inner: str, outer: str) -> None:
    assert [marked for marked in sets() if selects(inner, marked) and not selects(outer, marked)] == []
    assert [marked for marked in sets() if selects(outer, marked) and not selects(inner, marked)]


@pytest.mark.parametrize("marker", ["real", "browser", "slow", "repeat", "long", "engine", "matrix"])
def test_the_fast_tier_has_none_of(marker: str) -> None:
    assert [marked for marked in sets() if marker in marked and selects(FAST, marked)] == []
    assert selects(FAST, frozenset())


@pytest.mark.parametrize("tier", [*TIERS, DEPLOY])
def test_nothing_but_markers_leaves_a_test_out(tier: str) -> None:
    """A path, ``-k``, ``--ignore`` or ``--deselect`` would leave tests out of every tier; ``-rP`` prints what passed."""
    rest = [word for word in words(tier) if word != expression(tier)]
    assert set(rest) <= {"$(PARALLEL)", "-m", "-rP"}
    assert OPTIONS["testpaths"] == ["tests"]
    assert set(shlex.split(OPTIONS["addopts"])) == {
        "--strict-markers",
        "--strict-config",
        "-m",
        "not long and not engine and not matrix",
    }


def test_ci_runs_the_last_tier() -> None:
    assert "make test-all" in (ROOT / ".ci" / "run").read_text().splitlines()


@pytest.mark.slow
def test_of_a_test_with_many_cases_as_many_as_it_says_are_in_the_tier_before_the_last(
    pytestconfig: pytest.Config,
) -> None:
    counts: defaultdict[tuple[str, int], int] = defaultdict(int)
    for item in pytestconfig.stash[COLLECTED]:
        for mark in item.iter_markers("cases"):
            counts[item.nodeid.partition("[")[0], *mark.args] += item.get_closest_marker("repeat") is None
    assert {test: count for test, count in counts.items() if count != test[1]} == {}


@pytest.mark.slow
def test_what_is_left_to_the_last_tier_has_another_case_or_test_in_the_one_before(pytestconfig: pytest.Config) -> None:
    """Except in tests/stack and tests/bench, where what is left out is about the tests' own tools."""
    cases: defaultdict[str, set[bool]] = defaultdict(set)
    shown_by: dict[str, str] = {}
    for item in pytestconfig.stash[COLLECTED]:
        name = item.nodeid.partition("[")[0]
        marked = markers_of(item)
        if not marked & {"engine", "matrix"} and ("repeat" in marked or "long" not in marked):
            cases[name].add(selects(TEST, marked))
        for repeat in item.iter_markers("repeat"):
            if of := repeat.kwargs.get("of"):
                shown_by[name] = of if "::" in of else f"{name.partition('::')[0]}::{of}"
    left = [
        name
        for name, selected in cases.items()
        if selected == {False} and not name.startswith(("tests/stack/", "tests/bench/"))
    ]
    assert [name for name in left if name not in shown_by] == [], "another case or the test `of` must be in make test"
    assert {name: of for name, of in shown_by.items() if True not in cases[of]} == {}, "`of` must be in make test"


@pytest.mark.slow
def test_each_file_that_tests_a_promise_has_a_test_in_the_tier_before_the_last(pytestconfig: pytest.Config) -> None:
    """By the table of promises in docs/reliability.md; what is no file of tests there is a part of others."""
    files: defaultdict[str, set[bool]] = defaultdict(set)  # of those that were collected: part of the tests may be
    for item in pytestconfig.stash[COLLECTED]:
        files[item.path.relative_to(ROOT).as_posix()].add(selects(TEST, markers_of(item)))
    (promises,) = re.findall(
        r"^## What is promised\n(.*?)^## ", (ROOT / "docs/reliability.md").read_text(), re.MULTILINE | re.DOTALL
    )
    named = set(re.findall(r"`(tests/[\w/]+/test_\w+\.py)`", promises))
    assert len(named) > 25
    assert [name for name in named if not (ROOT / name).exists()] == []
    assert [name for name in named & files.keys() if True not in files[name]] == []


# No server and no browser without a marker


@pytest.mark.parametrize("program", ["java", "node", "chromium", "podman"])
def test_a_test_without_a_marker_starts_neither_a_server_nor_a_browser(program: str) -> None:
    with pytest.raises(RuntimeError, match="mark it "):
        subprocess.run([program, "--version"], check=False)


def test_a_test_without_a_marker_uses_no_neighbour_that_runs_already(request: pytest.FixtureRequest) -> None:
    from tests.stack import Broker, Cluster, Registry

    request.node.funcargs["neighbour"] = 1
    conftest.pytest_runtest_setup(request.node)
    for neighbour in (Broker.at("127.0.0.1:1"), Registry.at("http://127.0.0.1:1"), Cluster.__new__(Cluster)):
        request.node.funcargs["neighbour"] = neighbour
        with pytest.raises(RuntimeError, match="uses neighbour: mark it real"):
            conftest.pytest_runtest_setup(request.node)
