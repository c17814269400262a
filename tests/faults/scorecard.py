"""The scorecard: how many events each row produced and their fates, in a file from which a document is made.

The counts are those of the ledger and the endpoint, not the program's own. A row survives when its test passes. Mutants are
a second kind of row: each is a program with a deliberate fault, and its row passes when the ledger detects the fault. What a
mutant loses or repeats is in no total.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from tests.ledger import Tally
from tests.scene import Scene

FILE = Path(".cache", "scorecard.json")
PROPERTY = "scorecard"  # name of the property of a test's report that has its row


@dataclass(frozen=True, slots=True)
class Row:
    """One row. ``repeated`` counts how many times the API accepted an event again.

    ``allowed`` is the row's budget of these, None if the row states none; ``why`` is the budget's reason. ``figures`` are
    other measurements of the row.
    """

    name: str
    group: str
    survived: bool
    produced: int
    delivered: int
    dead_lettered: int
    uncommitted: int
    lost: int
    repeated: int
    allowed: int | None
    why: str
    figures: Sequence[str]
    seconds: float

    @property
    def is_mutant(self) -> bool:
        return self.group.endswith("mutants")

    @property
    def states_budget(self) -> bool:
        """Whether the row states how many events may be repeated and, if any may, why. A mutant need not."""
        return self.is_mutant or self.allowed == 0 or (self.allowed is not None and self.why != "")

    @classmethod
    def of(cls, name: str, group: str, survived: bool, scenes: Sequence[Scene], seconds: float) -> Row:
        """The row of a test, from the scenes that it created."""
        whole = Tally(*map(sum, zip(*(scene.ledger.tally() for scene in scenes), strict=True)))
        repeated = sum(scene.repeated() for scene in scenes)
        budgets = [scene.budget for scene in scenes if scene.budget is not None]
        allowed = sum(budget.most for budget in budgets) if len(budgets) == len(scenes) else None
        why = "; ".join(dict.fromkeys(budget.why for budget in budgets if budget.why))
        figures = [figure for scene in scenes for figure in scene.figures]
        return cls(name, group, survived, **whole._asdict(), repeated=repeated, allowed=allowed, why=why,
                   figures=figures, seconds=round(seconds, 1))  # fmt: skip


def totals(rows: Sequence[Row]) -> dict[str, int]:
    """The sums over all rows but mutants, and how many mutants were detected."""
    real, mutants = [row for row in rows if not row.is_mutant], [row for row in rows if row.is_mutant]
    counts = ("produced", "delivered", "dead_lettered", "uncommitted", "lost", "repeated")
    return {
        "faults": len(real),
        "survived": sum(row.survived for row in real),
        **{count: sum(getattr(row, count) for row in real) for count in counts},
        "mutants": len(mutants),
        "mutants_found_out": sum(row.survived for row in mutants),
    }


def write(rows: Sequence[Row], whole: bool, file: Path) -> None:
    """Write the rows as JSON. ``whole`` tells whether the long rows are among them."""
    document: dict[str, Any] = {"whole": whole, "totals": totals(rows), "rows": [asdict(row) for row in rows]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n")


def table(rows: Sequence[Row]) -> Iterator[str]:
    """The rows as text: a line for each, and further lines for its budget's reason and its figures."""
    head = ("produced", "delivered", "dead", "open", "lost", "repeated", "allowed", "s")
    yield f"{'':9}" + "".join(f"{name:>10}" for name in head)
    for row in rows:
        allowed = "-" if row.allowed is None else row.allowed
        counts = (row.produced, row.delivered, row.dead_lettered, row.uncommitted, row.lost, row.repeated, allowed)
        kept = (
            ("found out" if row.survived else "UNSEEN") if row.is_mutant else "survived" if row.survived else "FAILED"
        )
        yield f"{kept:9}" + "".join(f"{count:>10}" for count in (*counts, row.seconds)) + f"  {row.group}: {row.name}"
        for more in [f"up to {row.allowed} repeated: {row.why}"] * bool(row.why) + [*row.figures]:
            yield f"{'':9}  {more}"
    total = totals(rows)
    yield (
        f"{total['survived']} of {total['faults']} faults survived; {total['produced']} events produced, "
        f"{total['lost']} lost, {total['repeated']} repeated; {total['mutants_found_out']} of {total['mutants']} mutants found out"
    )


def rows_of(reports: Iterable[pytest.TestReport]) -> list[Row]:
    """The rows from the tests' reports, sorted by group."""
    found: list[Any] = [value for report in reports for name, value in report.user_properties if name == PROPERTY]
    return sorted((Row(**of_row) for of_row in found), key=attrgetter("group"))
