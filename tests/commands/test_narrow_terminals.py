"""Tables on a terminal: as a table if its words fit, else one line for each cell; no word is cut."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from rich import box
from rich.console import Console
from rich.table import Table

from stream_capi.cli.console import Fitting

HEADINGS = ("topic", "by this file", "events", "first at")
ROWS = [
    ("web.pageviews", "invalid_field event_source_url", "35", "web.pageviews[0]@58"),
    ("crm.leads", "", "11", "crm.leads[0]@42"),
]


def shown(width: int, *, terminal: bool = True, rows: Sequence[tuple[str, ...]] = ROWS) -> str:
    file = io.StringIO()
    out = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in HEADINGS:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*row, style="red")
    out.print(Fitting(table))
    return file.getvalue()


@pytest.mark.parametrize("width", [72, 80, 150])
def test_a_table_whose_words_fit_is_a_table(width: int) -> None:
    lines = shown(width).splitlines()
    assert all(heading in lines[1] for heading in HEADINGS)
    assert "web.pageviews[0]@58" in lines[3]


@pytest.mark.parametrize("width", [40, 50, 60])
def test_a_table_whose_words_do_not_fit_is_a_line_for_each_cell(width: int) -> None:
    text = shown(width)
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert all(word in text for row in ROWS for cell in row for word in cell.split())
    assert [line.split() for line in text.splitlines()[-4:]] == [
        [],
        ["topic", "crm.leads"],
        ["events", "11"],
        ["first", "at", "crm.leads[0]@42"],
    ]


def test_a_word_that_fits_no_line_is_folded_and_whole() -> None:
    text = shown(30, rows=[("x" * 100, "", "1", "")])
    assert text.count("x") == 100
    assert all(len(line.rstrip()) <= 30 for line in text.splitlines())


def test_what_goes_into_a_file_stays_a_table() -> None:
    assert "─" in shown(60, terminal=False)
    assert "─" not in shown(60)
