"""Plays a document: writes its files, makes its edits, types its commands, and compares their output with the page.

HTML comments state what a reader sees without being told; the rest is on the page:

- ``<!-- file: NAME -->`` before a block: the block is the file NAME.
- ``<!-- edit: NAME -->`` before a ``diff`` block: its lines with ``-`` in the file NAME are replaced by those with ``+``.
- ``<!-- terminal: NAME -->`` before a console block: it is typed into another terminal, where a command need not end before
  the page goes on; the output shown must appear. A later block of that terminal may begin with ``^C``.
- A comment ``<!-- console`` or ``<!-- console NAME`` with commands: they are typed and not shown, and their output is not
  compared.

A command must end with exit code 0, unless the page asks for the code by ``echo $?``. A block that shows no output is not
compared.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from tests.deploy.pages import nodes
from tests.documents.console import CTRL_C, Shell, Step, matches, normal, steps
from tests.stack.waiting import until

_SECONDS = 60.0  # time in which a command must end, or print the output shown
_DIRECTIVE = re.compile(r"<!-- (file|edit|terminal): (\S+) -->\s*")
_HIDDEN = re.compile(r"<!-- console ?(\S*)\n(.*?)-->\s*", re.DOTALL)
_TIME = re.compile(r"\b(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?=(?:\.\d+)?Z)")


class Part(NamedTuple):
    """One action of the player. ``lines`` are the line numbers of the block's text."""

    kind: str  # file, edit, console, hidden
    name: str  # of the file or the terminal
    text: str
    lines: tuple[int, int] = (0, 0)


def parts(text: str) -> Iterator[Part]:
    """The actions for a page, in order. Blocks of other languages without a directive are skipped."""
    kind = name = ""
    for node in nodes(text, "html_block", "fence"):
        if node.type == "html_block":
            directive, hidden = _DIRECTIVE.fullmatch(node.content), _HIDDEN.fullmatch(node.content)
            kind, name = (directive[1], directive[2]) if directive else ("", "")
            if hidden:
                yield Part("hidden", hidden[1], hidden[2])
            continue
        assert node.map is not None
        lines = (node.map[0] + 1, node.map[1] - 1)
        if kind in ("file", "edit"):
            yield Part(kind, name, node.content, lines)
        elif node.info == "console":
            yield Part("console", name, node.content, lines)
        kind = name = ""


class Names(NamedTuple):
    """The pages' addresses with this run's real ones, and the difference between this run's times and the pages'."""

    real: Mapping[str, str]
    shift: timedelta = timedelta()

    def typed(self, text: str) -> str:
        """A page's text with the values of this run."""
        for shown, real in self.real.items():
            text = text.replace(shown, real)
        return _shifted(text, self.shift)

    def shown(self, text: str) -> str:
        """A printed text with the values of the page."""
        for shown, real in self.real.items():
            text = text.replace(real, shown)
        return _shifted(text, -self.shift)


def _shifted(text: str, by: timedelta) -> str:
    return _TIME.sub(lambda found: (datetime.fromisoformat(found[1]) + by).isoformat(), text)


class Player:
    """Plays pages in one folder, without the commands in ``not_run``."""

    def __init__(
        self, folder: Path, scratch: Path, env: Mapping[str, str], names: Names, not_run: frozenset[str] = frozenset()
    ) -> None:
        self.folder, self.names = folder, names
        self._scratch, self._env, self._not_run = scratch, env, not_run
        self._shells: dict[str, Shell] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            for name, shell in self._shells.items():
                error.add_note(f"--- last output of terminal {name or 'one'} ---\n{shell.output[-4000:]}")
        self._stack.close()

    def play(self, text: str) -> dict[tuple[int, int], str]:
        """Play a page; return the blocks whose output differs, corrected, by their lines."""
        differing = {}
        for part in parts(text):
            if part.kind == "file":
                self.write(part.name, self.names.typed(part.text))
            elif part.kind == "edit":
                file = self.folder / part.name
                self.write(part.name, edited(file.read_text(), self.names.typed(part.text)))
            elif (printed := self.type(part)) != part.text:
                differing[part.lines] = printed
        return differing

    def write(self, name: str, text: str) -> None:
        """Write a file into the page's folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def type(self, part: Part) -> str:
        """Type the commands of a block; return its corrected text, which is unchanged if all output is as shown."""
        shell = self._shells.get(part.name) or self._open(part.name)
        right = []
        block = steps(part.text)
        compared = part.kind == "console" and any(step.output for step in block)
        skipped = False
        for at, step in enumerate(block):
            skipped = step.command in self._not_run or (skipped and step.command == "echo $?")
            if skipped:
                right.append(_written(step))
                continue
            printed = self._run(shell, step, waits=not part.name)
            asked = any(later.command == "echo $?" for later in block[at + 1 : at + 2])
            if shell.ended and shell.status and not (asked or CTRL_C in step.output):
                raise AssertionError(f"$ {step.command}\nended with {shell.status}:\n{printed}")
            same = not compared or matches(step.output, printed)
            right.append(_written(step if same else Step(step.command, printed)))
        return "".join(right)

    def _open(self, name: str) -> Shell:
        scratch = self._scratch / (name or "first-terminal")
        self._shells[name] = self._stack.enter_context(Shell(self.folder, scratch, self._env))
        return self._shells[name]

    def _run(self, shell: Shell, step: Step, *, waits: bool) -> str:
        """Run one command; return its output with the values of the page."""
        before, interrupted, _ = step.output.partition(f"{CTRL_C}\n")
        if step.command:
            shell.start(self.names.typed(step.command))
        if interrupted or not waits:
            self._await(shell, before, step.command)
        if not waits and not interrupted:
            return before
        seen = len(shell.output) if interrupted else 0
        if interrupted:
            shell.interrupt()
        shell.wait(_SECONDS, f"the end of: {step.command or CTRL_C}")
        printed = self.names.shown(shell.output[seen:])
        return f"{before}{CTRL_C}\n{printed}" if interrupted else printed

    def _await(self, shell: Shell, shown: str, command: str) -> None:
        until(
            lambda: shell.ended or matches(f"{shown.rstrip()}…", self.names.shown(shell.output)),
            _SECONDS,
            f"what is shown of: {command}",
        )


def _written(step: Step) -> str:
    command = f"$ {step.command}\n" if step.command else ""
    return command + step.output


def edited(text: str, diff: str) -> str:
    """Apply a diff: its ``-`` lines are replaced by its ``+`` lines. ``…`` stands for any text in a line.

    Raises AssertionError for a line that the text lacks.
    """
    lines = text.splitlines()
    at = 0
    for line in diff.splitlines():
        sign, rest = line[:1], line[1:]
        if sign == "+":
            lines.insert(at, rest)
            at += 1
            continue
        place = next((n for n in range(at, len(lines)) if _is_like(rest, lines[n])), None)
        assert place is not None, f"the file has no line {rest!r} after its line {at}:\n{text}"
        if sign == "-":
            del lines[place]
        at = place if sign == "-" else place + 1
    return "\n".join(lines) + "\n"


def _is_like(shown: str, line: str) -> bool:
    pattern = ".*".join(re.escape(" ".join(piece.split())) for piece in shown.split("…"))
    return re.fullmatch(pattern.replace(r"\ ", r"\s*"), " ".join(line.split())) is not None


def rewritten(text: str, differing: Mapping[tuple[int, int], str]) -> str:
    """The page with the differing blocks replaced by the corrected ones."""
    lines = text.splitlines(keepends=True)
    for (first, end), block in sorted(differing.items(), reverse=True):
        lines[first:end] = [f"{line.rstrip()}\n" for line in block.rstrip("\n").splitlines()]
    return "".join(lines)


def difference(text: str, differing: Mapping[tuple[int, int], str]) -> str:
    """The differences for people, with volatile parts replaced."""
    shown = [
        difflib.unified_diff(
            normal("".join(text.splitlines(keepends=True)[first:end])).splitlines(),
            normal(block).splitlines(),
            f"line {first + 1} of the page",
            "printed",
            lineterm="",
        )
        for (first, end), block in sorted(differing.items())
    ]
    return "\n".join("\n".join(lines) for lines in shown)


def compare(page: Path, differing: Mapping[tuple[int, int], str]) -> None:
    """Raise AssertionError if blocks differ. With ``DOCUMENTS=write`` in the environment the page is corrected."""
    text = page.read_text()
    if differing and os.environ.get("DOCUMENTS") == "write":
        page.write_text(rewritten(text, differing))
    assert not differing, difference(text, differing)
