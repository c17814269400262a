"""File and class names are unique in the package, and no test asserts on private attributes."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import stream_capi

PACKAGE = Path(stream_capi.__file__).parent
TESTS = Path(__file__).parents[1]
# The same name for a command's interface, its work and what it shows, each in another package.
REPEATED_FILES = {"dead_letters.py", "demo.py", "dry_run.py", "explain.py", "find.py"}


def repeated(names: Iterator[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def test_each_file_has_a_name_of_its_own() -> None:
    names = (file.name for file in PACKAGE.rglob("*.py") if file.name not in ("__init__.py", "__main__.py"))
    assert repeated(names) == REPEATED_FILES


@pytest.mark.slow
def test_each_class_has_a_name_of_its_own() -> None:
    names = (
        node.name
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert not repeated(names)


def private_of_others(test: ast.expr) -> list[str]:
    """Private attributes in an expression, except those of ``self`` and ``cls``, of named tuples, and constants."""
    return [
        node.attr
        for node in ast.walk(test)
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and not node.attr.isupper()
        and node.attr not in ("_asdict", "_fields", "_replace")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]


@pytest.mark.slow
def test_no_test_asserts_on_what_is_private() -> None:
    found = [
        f"{file.relative_to(TESTS)}:{node.lineno} {name}"
        for file in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Assert)
        for name in private_of_others(node.test)
    ]
    assert not found
