"""docs/design.md and CONTRIBUTING.md agree with the files: the map is complete, and each file that is named exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.pages import names, rows, section, spans
from tests.deploy.program import ROOT

PACKAGE = ROOT / "stream_capi"
DESIGN = ROOT / "docs/design.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
FOLDERS = (*(file.name for file in PACKAGE.iterdir() if file.is_dir()), "stream_capi", "tests", "docs", "deploy")


def modules() -> Iterator[str]:
    """The files of the package as the map names them; a folder's ``__init__.py`` with code has the folder's name."""
    for file in PACKAGE.rglob("*"):
        name = file.relative_to(PACKAGE).as_posix()
        if file.suffix not in (".py", ".html") or (file.name == "__init__.py" and not has_code(file)):
            continue
        yield name.removesuffix("__init__.py") if "/" in name else name


def has_code(file: Path) -> bool:
    """Whether a module has more than a docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(file.read_text()).body)


def file_map() -> list[tuple[str, str]]:
    """The rows of the map: the file, and what it does."""
    return [(name, does) for name, (does,) in names(section(DESIGN.read_text(), "File map"))]


def test_the_map_names_every_file() -> None:
    missing = sorted(set(modules()) - {name for name, _ in file_map()})
    assert not missing, "add to the file map in docs/design.md:\n" + "\n".join(f"| `{name}` | … |" for name in missing)


def test_the_map_names_no_file_that_is_not_there() -> None:
    gone = sorted({name for name, _ in file_map()} - set(modules()))
    assert not gone, f"take out of the file map in docs/design.md: {', '.join(gone)}"


def test_the_map_names_a_file_once_and_says_what_it_does() -> None:
    names = [name for name, _ in file_map()]
    assert len(names) == len(set(names))
    assert [name for name, does in file_map() if not does] == []


@pytest.mark.parametrize("page", [DESIGN, CONTRIBUTING], ids=lambda page: page.name)
def test_each_path_that_is_named_is_there(page: Path) -> None:
    """A path is relative to the repository or, as in the map, to the package."""
    paths = {span for span in spans(page.read_text()) if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span)}
    assert len(paths) >= 10
    assert [path for path in sorted(paths) if not (ROOT / path).exists() and not (PACKAGE / path).exists()] == []


# CONTRIBUTING.md


def test_the_targets_of_make_are_the_ones_that_are_told() -> None:
    (targets,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    documented = {name for name, _ in names(section(CONTRIBUTING.read_text(), "Targets"))}
    assert documented == {f"make {target}" for target in targets.split()}


@pytest.mark.slow
def test_twenty_questions_are_each_answered_by_files_that_are_there() -> None:
    found = rows(section(CONTRIBUTING.read_text(), "Where is what"))
    questions = [(question, answer) for question, answer in found if question.endswith("?")]
    assert len({question for question, _ in questions}) == 20
    for question, answer in questions:
        assert spans(answer), question
        assert [name for name in spans(answer) if name not in set(modules())] == [], question
