"""The runbook (docs/operations.md) as a page of the admin server's, so that the status page can link to an entry of it.

A member has it with it, whatever else can be reached at the moment. Of Markdown only what a browser needs is read: headings,
which get the anchors that the repository's own pages have, items, tables' rows, code, what is bold, and links within it.
"""

from __future__ import annotations

import html
import re
from functools import cache

from stream_capi.errors import ConfigurationError
from stream_capi.resources import read_shipped

_RUNBOOK = "operations.md"
_PAUSE = "pause-a-source-or-a-pixel"
_ENTRIES = {"paused_by_configuration": _PAUSE}  # where a reason's row says less than another entry
_HEADING = re.compile(r"(#{1,6}) (.*)")
_ROW = re.compile(r"\| `([\w.]+)` \|")
_DIGITS = re.compile(r"[345]\d\d")


@cache
def page() -> str:
    """The page. Raises ConfigurationError where the installation lacks the runbook."""
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>stream-capi runbook</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        f'<main><p><a href="./">status page</a></p>{"".join(_blocks(read_shipped(_RUNBOOK)))}</main></html>'
    )


@cache
def entry_of(reason: str) -> str:
    """The anchor of the entry that says most of a reason."""
    there = _anchors()
    status = f"{reason[0]}xx" if _DIGITS.fullmatch(reason) else ""
    for anchor in (_ENTRIES.get(reason, ""), reason, status):
        if anchor in there:
            return anchor
    return "reasons"


@cache
def _anchors() -> frozenset[str]:
    try:
        return frozenset(re.findall(r' id="([^"]+)"', page()))
    except ConfigurationError:
        return frozenset()


def _blocks(text: str) -> list[str]:
    """One element for each heading, item, table row, paragraph and piece of code."""
    found: list[str] = []
    seen: set[str] = set()

    def identified(anchor: str) -> str:
        new = anchor not in seen
        seen.add(anchor)
        return f' id="{html.escape(anchor)}"' if new else ""

    code = False
    for block in re.split(r"\n(?=\n|[-#|] ?|```|\d+\. )", text):
        lines = block.strip("\n")
        if lines.startswith("```"):
            code = not code
            found.append("<pre>" if code else "</pre>")
            lines = lines.partition("\n")[2]
        if code:
            found.append(html.escape(f"{lines}\n") if lines else "")
        elif heading := _HEADING.fullmatch(lines):
            level, title = len(heading[1]), heading[2]
            found.append(f"<h{level}{identified(_anchor(title))}>{_inline(title)}</h{level}>")
        elif lines and not lines.startswith("|---"):
            row = _ROW.match(lines)
            found.append(f"<p{identified(row[1]) if row else ''}>{_inline(lines)}</p>")
    return found


def _inline(text: str) -> str:
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    text = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\[([^\]]+)\]\((#[\w-]+)\)", r'<a href="\2">\1</a>', text)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
