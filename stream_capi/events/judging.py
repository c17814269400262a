"""Applies a field's rule to a column: the fast rule to simple values, the rule for one value to each of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stream_capi.events.fields import Field, Rule, too_long
from stream_capi.events.taking import Column
from stream_capi.events.value_rules import Wrong
from stream_capi.events.whole import Spellings, is_plain

# The result of a rule for a column: the values to send (None or "" if nothing is sent), the wrong ones by index, how many are
# sent, and whether no value has a character that JSON escapes. A plain tuple, because each field of each chunk makes one.
Judged = tuple[Column, Mapping[int, Wrong], int, bool]
Judge = Callable[[Column, Column | None], Judged]

NONE_WRONG: Mapping[int, Wrong] = {}
NOTHING: Judged = (), NONE_WRONG, 0, True


def judge_of(field: Field, *, hash_here: bool, restricted: bool) -> Judge:
    """The function that validates a field's column; None and whitespace are no value. It takes the column of ``beside``."""
    rule = field.rule_for(hash_here=hash_here, restricted=restricted)
    whole, longest, careful = rule.whole, field.longest, _Careful(field, rule)
    if isinstance(whole, Spellings):
        return _by_table(whole, careful)

    def judge(column: Column, beside: Column | None = None) -> Judged:
        full = all(column)
        texts: Sequence[str] = column if full else list(filter(None, column))
        if not texts:
            return column, NONE_WRONG, 0, True
        found = whole(texts, longest)
        if found is texts:
            return column, NONE_WRONG, len(texts), True
        if found is None:
            return careful.judged(column, beside)
        values = found if full else _spread(found, column)
        if all(found):
            return values, NONE_WRONG, len(texts), True
        return careful.rest(values, column, beside)

    return judge


def _by_table(spellings: Spellings, careful: _Careful) -> Judge:
    """The function for columns with few different texts: it looks them up in a table."""
    find = spellings.table.get

    def judge(column: Column, beside: Column | None = None) -> Judged:
        found = list(map(find, column))
        if all(found):
            return found, NONE_WRONG, len(found), True
        if found.count(None) == column.count(None):
            return found, NONE_WRONG, len(found) - found.count(None), True
        judged = careful.rest(found, column, beside)
        spellings.learn(column, judged[0])
        return judged

    return judge


class _Careful:
    """Applies the rule for one value."""

    def __init__(self, field: Field, rule: Rule) -> None:
        self._one = rule.one
        self._plain = rule.plain
        self._longest = field.longest
        self._too_long = too_long(field.longest)
        self._wrong = field.wrong
        self._takes_more = field.beside is not None

    def judged(self, column: Column, beside: Column | None) -> Judged:
        """Validate each value of a column."""
        one = self.one
        if self._takes_more:
            others = [None] * len(column) if beside is None else beside
            values = [one(value, other) if value else None for value, other in zip(column, others, strict=True)]
        else:
            values = [one(value) if value else None for value in column]
        if Wrong not in map(type, values):
            return values, NONE_WRONG, len(values) - values.count(None), self._plain
        wrong = {at: value for at, value in enumerate(values) if value.__class__ is Wrong}
        values = [None if value.__class__ is Wrong else value for value in values]
        return values, wrong, len(values) - values.count(None), self._plain

    def rest(self, found: Column, column: Column, beside: Column | None) -> Judged:
        """Validate the texts for which ``found`` has no value yet."""
        left = [at for at, value in enumerate(found) if not value and column[at]]
        others = None if beside is None else [beside[at] for at in left]
        of_left, wrong, _, plain = self.judged([column[at] for at in left], others)
        values = list(found)
        for at, value in zip(left, of_left, strict=True):
            values[at] = value
        plain = plain or is_plain(filter(None, of_left))
        return values, {left[at]: why for at, why in wrong.items()}, len(values) - values.count(None), plain

    def one(self, text: str, *beside: Any) -> Any:
        """What is sent for one text: None if it is only whitespace, a Wrong if it breaks a rule."""
        if len(text) > self._longest:
            return self._too_long
        if self._one is None:
            return text.strip() or None
        found = self._one(text, *beside)
        if found and found.__class__ is not Wrong:
            return found
        return (found or self._wrong) if text.strip() else None


def _spread(found: Sequence[Any], column: Column) -> list[Any]:
    """The results for the texts of a column, at the indexes of these texts; None elsewhere."""
    each = iter(found)
    return [next(each) if value else None for value in column]


def judged_alone(judge: Judge, text: str, field: Field) -> Any:
    """What is sent for one text, or a Wrong."""
    (value,), wrong, *_ = judge([text], None)
    return wrong.get(0, value or field.wrong)
