"""Where tables and bars are printed."""

from __future__ import annotations

from rich.console import Console

_WIDTH = 150  # where the output is no terminal


def console(stderr: bool = False) -> Console:
    """A console that takes no text for colours, be it a member's name, nor wraps tables that go into a file."""
    made = Console(highlight=False, markup=False, stderr=stderr)
    if made.is_terminal:
        return made
    return Console(highlight=False, markup=False, stderr=stderr, width=max(made.width, _WIDTH))
