"""The figures as a picture: events per CPU-second of each contender, and the microseconds of an event by stage."""

from __future__ import annotations

from html import escape

from benchmarks.contenders.shapes import SHIPPED
from benchmarks.figures import Figures
from benchmarks.plans import NAMES, PROGRAM

_WIDTH, _LEFT, _BAR, _GAP = 760, 190, 26, 12
_COLOURS = ("#3b6ea5", "#7a9e3f", "#c9822b", "#a5473b", "#6b5b95", "#4b8f8c", "#8a8a8a")
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}.small{font-size:11px;fill:#666}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}.small{fill:#aaa}}"
)


def svg(figures: Figures) -> str:
    """The picture. Each of its two parts has a scale of its own, which starts at zero."""
    parts: list[str] = []
    y = _contenders(figures, parts, 28)
    if figures.stages:
        y = _stages(figures, parts, y + 34)
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 10}" role="img" '
        f'aria-label="Events per CPU-second of each contender, and the cost of each stage">\n'
        f"<style>{_STYLE}</style>\n{body}\n</svg>\n"
    )


def _text(x: float, y: float, text: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(text)}</text>'


def _bar(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{_BAR}" fill="{colour}"/>'


def _contenders(figures: Figures, parts: list[str], y: int) -> int:
    parts.append(_text(10, y, "Events per CPU-second", "title"))
    contest = figures.contests[SHIPPED.name]
    most = max(contest.per_cpu_second(name) for name in NAMES)
    room = _WIDTH - _LEFT - 90
    y += 14
    for name in NAMES:
        value = contest.per_cpu_second(name)
        parts.append(_text(_LEFT - 10, y + 18, name, anchor="end"))
        parts.append(_bar(_LEFT, y, room * value / most, _COLOURS[0] if name == PROGRAM else _COLOURS[-1]))
        parts.append(_text(_LEFT + room * value / most + 8, y + 18, f"{value:,.0f}"))
        y += _BAR + _GAP
    return y


def _stages(figures: Figures, parts: list[str], y: int) -> int:
    parts.append(_text(10, y, "What an event costs, stage by stage (µs)", "title"))
    total = sum(figures.stages.values())
    room, x, y = _WIDTH - 20, 10.0, y + 14
    for at, cost in enumerate(figures.stages.values()):
        parts.append(_bar(x, y, room * cost / total, _COLOURS[at % len(_COLOURS)]))
        x += room * cost / total
    y += _BAR + 20
    for at, (stage, cost) in enumerate(figures.stages.items()):
        column, row = at % 3, at // 3
        left, top = 10 + column * 245, y + row * 20
        parts.append(f'<rect x="{left}" y="{top - 10}" width="11" height="11" fill="{_COLOURS[at % len(_COLOURS)]}"/>')
        parts.append(_text(left + 18, top, f"{stage}: {cost:.2f}"))
    return y + (len(figures.stages) + 2) // 3 * 20
