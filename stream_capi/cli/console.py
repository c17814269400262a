"""The console that tables and progress bars are printed to."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

_WIDTH = 150  # where the output is no terminal
_UNBOUNDED = 1 << 20


def console(stderr: bool = False) -> Console:
    """A console that interprets no markup in texts, such as a member's name, and doesn't wrap tables written to a file."""
    made = Console(highlight=False, markup=False, stderr=stderr)
    if made.is_terminal:
        return made
    return Console(highlight=False, markup=False, stderr=stderr, width=max(made.width, _WIDTH))


class Fitting:
    """A table. On a terminal that is too narrow for it, each row becomes a list: a line for each cell that is not empty."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        """Rich's protocol for what is printed."""
        whole = options.update(width=_UNBOUNDED)
        if not out.is_terminal or self._table.__rich_measure__(out, whole).minimum <= options.max_width:
            yield self._table
            return
        headings = [column.header for column in self._table.columns]
        cells = zip(*(column.cells for column in self._table.columns), strict=True)
        for row, texts in zip(self._table.rows, cells, strict=True):
            lines = Table(box=None, show_header=False, pad_edge=False, style=row.style or "")
            lines.add_column(style="dim")
            lines.add_column(overflow="fold")
            for heading, text in zip(headings, texts, strict=True):
                if text:
                    lines.add_row(heading, text)
            yield ""
            yield lines
