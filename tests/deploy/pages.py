"""The documents as data: headings, links, tables, and the command lines that they tell people to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from tests.deploy.program import CONSOLE_SCRIPT, ROOT

_MARKDOWN = MarkdownIt("commonmark").enable("table")
_ENDS = frozenset({"|", "||", "&&", ";", ">", ">>", "2>", "&", "<"})


def pages() -> list[Path]:
    """Every document that describes the program."""
    return [
        *(ROOT / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING")),
        *sorted((ROOT / "docs").rglob("*.md")),
    ]


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str


@cache
def nodes(text: str, *types: str) -> list[SyntaxTreeNode]:
    """The nodes of these types in a text, in order."""
    return [node for node in SyntaxTreeNode(_MARKDOWN.parse(text)).walk() if node.type in types]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a document."""
    return [Block(node.info, node.content) for node in nodes(text, "fence")]


def spans(text: str) -> list[str]:
    """The code spans: what the prose has in backticks."""
    return [node.content for node in nodes(text, "code_inline")]


def headings(text: str) -> list[tuple[int, str]]:
    """Level and text of each heading."""
    return [(int(node.tag[1:]), node.children[0].content) for node in nodes(text, "heading")]


def anchor(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(text: str, heading: str) -> str:
    """The text under a heading, up to the next heading of its level or above."""
    titles = [title for _, title in headings(text)]
    below = nodes(text, "heading")[titles.index(heading) :]
    ends = [node.map[0] for node in below[1:] if node.tag <= below[0].tag and node.map]
    assert below[0].map is not None
    return "".join(text.splitlines(keepends=True)[below[0].map[1] : min(ends, default=None)])


def links(text: str) -> list[str]:
    """The targets of links and images inside the project: files and headings."""
    targets = [str(node.attrs.get("href") or node.attrs["src"]) for node in nodes(text, "link", "image")]
    return [target for target in targets if "://" not in target]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of the tables in a text, header rows included, as Markdown."""
    return [[cell.children[0].content for cell in row.children] for row in nodes(text, "tr")]


def names(text: str) -> list[tuple[str, list[str]]]:
    """The table rows whose first cell is a single name in backticks: the name, and the other cells."""
    return [
        (spans(first)[0], others) for first, *others in rows(text) if [first] == [f"`{name}`" for name in spans(first)]
    ]


def terms(text: str) -> list[str]:
    """The terms of list items that begin with a bold term, a colon and an explanation."""
    found = []
    for item in nodes(text, "list_item"):
        match [node for node in item.children[0].children[0].children if node.content or node.children]:
            case [SyntaxTreeNode(type="strong") as term, SyntaxTreeNode(type="text") as rest, *more]:
                if re.match(r": \S", rest.content) or (rest.content == ": " and more):
                    found.append(term.children[0].content)
    return found


def numbers(text: str) -> list[str]:
    """The numbers of the items of numbered lists."""
    return [node.info for node in nodes(text, "list_item") if node.info]


def command_lines(text: str) -> Iterator[list[str]]:
    """The arguments of each call of the program in fenced shell blocks, also inside a container."""
    for block in blocks(text):
        if block.language in ("sh", "bash", "shell", "console"):
            for line in block.text.replace("\\\n", " ").splitlines():
                yield from _calls(line.removeprefix("$ "))


def _calls(line: str) -> Iterator[list[str]]:
    """The arguments of the program's calls in a line, direct or by kubectl or docker."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # a quoted text of several lines, so no call of the program
        return
    while words:
        end = next((at for at, word in enumerate(words) if word in _ENDS), len(words))
        call, words = words[:end], words[end + 1 :]
        while call and "=" in call[0].split("/")[0]:  # environment variables
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
    ):  # search from the end: the container may have the program's name
        inside = len(call) - 1 - call[::-1].index(CONSOLE_SCRIPT)
        return _arguments(call[inside:])
    if call[0] == "docker" and "run" in call and CONSOLE_SCRIPT in call:  # the image's entry point is the program
        return call[call.index(CONSOLE_SCRIPT) + 1 :] or None
    return None


def calls_in_prose(text: str) -> Iterator[list[str]]:
    """Calls of the program in backticks: a command, perhaps with options, but not all that it requires."""
    for span in spans(text):
        words = span.split()
        if words[0] == CONSOLE_SCRIPT and len(words) > 1:
            yield words[1:]
