"""Tests of the player itself: parsing console blocks, ``…`` for any text, and finding differences."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests.documents.console import Step, matches, steps
from tests.documents.play import Names, Player, edited, rewritten


def player(folder: Path, not_run: frozenset[str] = frozenset()) -> Player:
    (folder / "page").mkdir()
    names = Names({"localhost:9092": "127.0.0.1:1234"}, timedelta(days=1))
    return Player(folder / "page", folder / "terminals", {"PATH": os.defpath}, names, not_run)


def console(text: str) -> str:
    return f"```console\n{text}```\n"


def test_a_block_is_its_commands_with_what_they_print() -> None:
    assert steps("$ a\n1\n2\n$ b \\\n>   c\n$ d\n3\n") == [
        Step("a", "1\n2\n"),
        Step("b \\\n  c", ""),
        Step("d", "3\n"),
    ]
    assert steps("^C\n1\n") == [Step("", "^C\n1\n")]


ALIKE = {
    "any text": ("a … d\n", "a b c d\n"),
    "any lines": ("a\n…\nd\n", "a\nb\nc\nd\n"),
    "nothing": ("a … b\n", "a b\n"),
    "times": ("at 2026-11-25T05:43:07Z\n", "at 2027-01-01T00:00:00.123Z\n"),
    "ports": ("http://localhost:8080/v1\n", "http://127.0.0.1:31234/v1\n"),
    "durations": ("in 2.7 s\n", "in 11 s\n"),
    "offsets": ("leads[0]@302  x\n", "leads[0]@7  x\n"),
    "widths of columns": (" a    b\n ──────\n", " a   b \n ─────\n"),
    "lines without text at the ends": ("a\n", "\na\n\n"),
    "how many lines without text": ("a\n\nb\n", "a\n  \n\nb\n"),
}
OTHER = {
    "another text": ("a … d\n", "a b c e\n"),
    "another number": ("12 dead letters\n", "13 dead letters\n"),
    "a line more": ("a\n", "a\nb\n"),
    "a line less": ("a\nb\n", "a\n"),
    "two lines as one": ("a\nb\n", "a b\n"),
}


@pytest.mark.parametrize(("shown", "printed"), ALIKE.values(), ids=ALIKE)
def test_what_differs_from_run_to_run_is_alike(shown: str, printed: str) -> None:
    assert matches(shown, printed)


@pytest.mark.parametrize(("shown", "printed"), OTHER.values(), ids=OTHER)
def test_anything_else_is_not(shown: str, printed: str) -> None:
    assert not matches(shown, printed)


def test_a_page_is_played_in_one_folder_and_one_shell(tmp_path: Path) -> None:
    page = (
        "<!-- file: a/b.txt -->\n```text\none\ntwo localhost:9092\nthree\n```\n"
        "<!-- edit: a/b.txt -->\n```diff\n o…\n+one and a half\n-three\n+four\n```\n"
        "<!-- console\n$ export X=hidden; echo not shown\n-->\n"
        + console("$ echo $X; cat a/b.txt\nhidden\none\none and a half\ntwo localhost:9092\nfour\n")
        + console("$ cd a && (exit 3)\n$ echo $?\n3\n$ ls\nb.txt\n")
        + console("$ echo 2026-01-01T00:00:00Z > t; cut -c1-10 t\n2026-01-02\n")
    )
    with player(tmp_path) as playing:
        assert playing.play(page) == {}


def test_another_terminal_goes_on_beside_until_it_is_interrupted(tmp_path: Path) -> None:
    page = (
        "<!-- terminal: other -->\n"
        + console("$ echo begun; sleep 60\nbegun\n")
        + console("$ echo meanwhile\nmeanwhile\n")
    )
    sleeping = console("$ sleep 60\n^C\n") + console("$ echo after\nafter\n")
    begun = time.monotonic()
    with player(tmp_path) as playing:
        assert playing.play(page + sleeping) == {}
    assert time.monotonic() - begun < 60, "a sleep was waited for"


def test_output_that_the_page_lacks_is_found_and_can_be_written(tmp_path: Path) -> None:
    page = "# Title\n\n" + console("$ echo one\nanother\n$ echo two\ntwo\n") + "\nText\n"
    with player(tmp_path) as playing:
        differing = playing.play(page)
    assert list(differing) == [(3, 7)]
    right = "# Title\n\n" + console("$ echo one\none\n$ echo two\ntwo\n") + "\nText\n"
    assert rewritten(page, differing) == right


def test_a_command_that_fails_unasked_ends_the_play(tmp_path: Path) -> None:
    with player(tmp_path) as playing, pytest.raises(AssertionError, match="ended with 1"):
        playing.play(console("$ false\n"))


def test_a_command_that_is_not_to_be_run_is_not(tmp_path: Path) -> None:
    with player(tmp_path, frozenset({"false"})) as playing:
        assert playing.play(console("$ false\nwhatever\n$ echo $?\n7\n$ echo $?\n0\n")) == {}


def test_an_edit_of_a_line_that_is_not_there_is_found() -> None:
    with pytest.raises(AssertionError, match="no line 'three'"):
        edited("one\ntwo\n", "-three\n+four\n")
