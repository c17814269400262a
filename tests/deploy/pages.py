"""The documents as data: headings, links, and the command lines that they tell people to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.deploy.program import CONSOLE_SCRIPT, ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_ENDS = frozenset({"|", "||", "&&", ";", ">", ">>", "2>", "&", "<"})


def pages() -> list[Path]:
    """Every document for people that says something of the program."""
    return [
        *(ROOT / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING")),
        *sorted((ROOT / "docs").glob("*.md")),
    ]


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document."""
    return [Block(*found.groups()) for found in _FENCE.finditer(text)]


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    return _FENCE.sub("", text)


def spans(text: str) -> list[str]:
    """What the prose has in backticks."""
    return _SPAN.findall(prose(text))


def headings(text: str) -> list[tuple[int, str]]:
    """Level and text of each heading."""
    return [(len(level), title) for level, title in re.findall(r"^(#+) (.*)$", prose(text), re.MULTILINE)]


def anchor(heading: str) -> str:
    """What a heading is linked by."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next of its level or above."""
    level = next(level for level, title in headings(text) if title == heading)
    # A comment in a fenced block is no heading: blocks are blanked, at their length, while the end is looked for.
    bare = _FENCE.sub(lambda block: re.sub(r"[^\n]", " ", block[0]), text)
    found = re.search(
        rf"^{'#' * level} {re.escape(heading)}$(.*?)(?=^#{{1,{level}}} |\Z)", bare, re.MULTILINE | re.DOTALL
    )
    assert found is not None
    return text[found.start(1) : found.end(1)]


def links(text: str) -> list[str]:
    """The targets of the prose's links that lead to files and headings of the project."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)) if "://" not in target]


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of each call of the program in the fenced shell blocks, whatever calls it."""
    for block in blocks(text):
        if block.language in ("sh", "bash", "shell", "console"):
            for line in block.text.replace("\\\n", " ").splitlines():
                yield from _calls(line.removeprefix("$ "))


def _calls(line: str) -> Iterator[list[str]]:
    """The calls in a line: of the program itself, or of what runs it in a container."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # a text that goes on over several lines: no call of the program
        return
    while words:
        end = next((at for at, word in enumerate(words) if word in _ENDS), len(words))
        call, words = words[:end], words[end + 1 :]
        while call and "=" in call[0].split("/")[0]:  # variables set for the call
            call = call[1:]
        arguments = _arguments(call)
        if arguments is not None:
            yield arguments


def _arguments(call: list[str]) -> list[str] | None:
    if not call:
        return None
    if call[0] == CONSOLE_SCRIPT or call[0].endswith(f"/bin/{CONSOLE_SCRIPT}"):
        return call[1:] or None
    if call[0] == "kubectl" and "--" in call:
        return _arguments(call[call.index("--") + 1 :])
    if (
        call[0] == "docker" and "exec" in call and CONSOLE_SCRIPT in call
    ):  # the program follows the container's name, which may be the same
        inside = len(call) - 1 - call[::-1].index(CONSOLE_SCRIPT)
        return _arguments(call[inside:])
    if call[0] == "docker" and "run" in call and CONSOLE_SCRIPT in call:  # the image's entry point is the program
        return call[call.index(CONSOLE_SCRIPT) + 1 :] or None
    return None


def calls_in_prose(text: str) -> Iterator[list[str]]:
    """Calls of the program in backticks: a command, perhaps with some of its options, but not all that it needs."""
    for span in spans(text):
        words = span.split()
        if words[0] == CONSOLE_SCRIPT and len(words) > 1:
            yield words[1:]
