"""PromQL, as much of it as the alert rules use, over series that a test made up.

The parser is a real one; only the evaluation is here, and it refuses what it doesn't know. Where Prometheus extrapolates a
rate to the edges of its window, this takes the plain slope: the same for the straight lines that the cases are made of.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import promql_parser as promql

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]

LOOKBACK_SECONDS = 300

_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else (math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a)),
}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
_AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {"sum": sum, "max": max, "min": min, "count": len}


class Series(NamedTuple):
    """One series: its labels, the name among them as ``__name__``, and a sample (or None) at each interval from 0 on."""

    labels: Mapping[str, str]
    samples: Sequence[float | None]


class Database:
    """Series that share one interval in seconds."""

    def __init__(self, series: Iterable[Series], interval: float) -> None:
        self._series = list(series)
        self._interval = interval

    def add(self, series: Series) -> None:
        """One series more."""
        self._series.append(series)

    def select(
        self, selector: promql.VectorSelector, begin: float, end: float
    ) -> dict[Labels, list[tuple[float, float]]]:
        """The samples of every series that the selector picks, as (seconds, value), from ``begin`` to ``end``."""
        found = {}
        for series in self._series:
            if series.labels["__name__"] != selector.name or not _matches(selector, series.labels):
                continue
            first, last = max(0, math.ceil(begin / self._interval)), math.floor(end / self._interval)
            points = [
                (at * self._interval, value)
                for at, value in enumerate(series.samples[first : last + 1], first)
                if value is not None
            ]
            if points:
                found[frozenset(series.labels.items())] = points
        return found

    def evaluate(self, expression: str, at: float) -> Vector:
        """The vector that an expression gives ``at`` so many seconds."""
        value = self._value(promql.parse(expression), at)
        assert isinstance(value, dict), f"{expression} gives no vector"
        return value

    def _value(self, node: promql.Expr, at: float) -> Vector | float:
        if isinstance(node, promql.ParenExpr):
            return self._value(node.expr, at)
        if isinstance(node, promql.NumberLiteral):
            return node.val
        if isinstance(node, promql.VectorSelector):
            moment = at - _offset(node)
            found = self.select(node, moment - LOOKBACK_SECONDS, moment)
            return {labels: points[-1][1] for labels, points in found.items()}
        if isinstance(node, promql.Call):
            return self._call(node, at)
        if isinstance(node, promql.AggregateExpr):
            return self._aggregate(node, at)
        if isinstance(node, promql.BinaryExpr):
            return _binary(node, self._value(node.lhs, at), self._value(node.rhs, at))
        raise NotImplementedError(f"{type(node).__name__} in a rule")

    def _call(self, node: promql.Call, at: float) -> Vector:
        (argument,) = node.args
        if node.func.name == "absent":
            return {} if self._value(argument, at) else {frozenset(): 1.0}
        if not isinstance(argument, promql.MatrixSelector) or node.func.name not in _OVER_TIME:
            raise NotImplementedError(f"{node.func.name} in a rule")
        selector = argument.vector_selector
        moment = at - _offset(selector)
        values: Vector = {}
        for labels, points in self.select(selector, moment - argument.range.total_seconds(), moment).items():
            value = _OVER_TIME[node.func.name](points)
            if value is not None:
                values[_nameless(labels)] = value
        return values

    def _aggregate(self, node: promql.AggregateExpr, at: float) -> Vector:
        value = self._value(node.expr, at)
        assert isinstance(value, dict)
        assert node.modifier is None or node.modifier.type == promql.AggModifierType.By, "only `by`"
        by = node.modifier.labels if node.modifier is not None else []
        groups: dict[Labels, list[float]] = {}
        for labels, number in value.items():
            groups.setdefault(_only(labels, by), []).append(number)
        return {labels: float(_AGGREGATES[str(node.op)](numbers)) for labels, numbers in groups.items()}


def _offset(selector: promql.VectorSelector) -> float:
    return selector.offset.total_seconds() if selector.offset is not None else 0.0


def _matches(selector: promql.VectorSelector, labels: Mapping[str, str]) -> bool:
    for matcher in selector.matchers.matchers:
        given = labels.get(matcher.name, "")
        if matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe):
            equal = re.fullmatch(matcher.value, given) is not None
        else:
            equal = given == matcher.value
        if equal is (matcher.op in (promql.MatchOp.NotEqual, promql.MatchOp.NotRe)):
            return False
    return True


def _increase(points: Sequence[tuple[float, float]]) -> float:
    """What a counter has grown, over its resets."""
    values = [value for _, value in points]
    return sum(b - a if b >= a else b for a, b in pairwise(values))


def _rate(points: Sequence[tuple[float, float]]) -> float | None:
    return _increase(points) / (points[-1][0] - points[0][0]) if len(points) > 1 else None


def _changes(points: Sequence[tuple[float, float]]) -> float:
    return float(sum(a[1] != b[1] for a, b in pairwise(points)))


_OVER_TIME: Mapping[str, Callable[[Sequence[tuple[float, float]]], float | None]] = {
    "rate": _rate,
    "changes": _changes,
    "avg_over_time": lambda points: sum(value for _, value in points) / len(points),
}


def _nameless(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != "__name__")


def _only(labels: Labels, names: Iterable[str]) -> Labels:
    names = set(names)
    return frozenset(pair for pair in labels if pair[0] in names)


def _binary(node: promql.BinaryExpr, left: Vector | float, right: Vector | float) -> Vector | float:
    op = str(node.op)
    if op in ("and", "unless", "or"):
        assert isinstance(left, dict)
        assert isinstance(right, dict)
        if op == "or":
            ours = {_key(node, labels) for labels in left}
            return left | {labels: value for labels, value in right.items() if _key(node, labels) not in ours}
        theirs = {_key(node, labels) for labels in right}
        return {labels: value for labels, value in left.items() if (_key(node, labels) in theirs) is (op == "and")}
    if isinstance(left, float) and isinstance(right, float):
        return _ARITHMETIC[op](left, right)
    if isinstance(left, float):
        assert isinstance(right, dict)
        assert op in _ARITHMETIC, "a comparison with the number on its right"
        return {_nameless(labels): _ARITHMETIC[op](left, value) for labels, value in right.items()}
    pairs = _paired(node, left, right)
    if op in _COMPARISONS:
        return {labels: a for labels, a, b in pairs if _COMPARISONS[op](a, b)}
    return {_nameless(labels): _ARITHMETIC[op](a, b) for labels, a, b in pairs}


def _paired(node: promql.BinaryExpr, left: Vector, right: Vector | float) -> list[tuple[Labels, float, float]]:
    """Each series of the left with its one partner on the right, many to one or one to one."""
    if isinstance(right, float):
        return [(labels, value, right) for labels, value in left.items()]
    partners: dict[Labels, float] = {}
    for labels, value in right.items():
        key = _key(node, labels)
        assert key not in partners, "several series on the right for one on the left"
        partners[key] = value
    found = [(labels, value, _key(node, labels)) for labels, value in left.items()]
    many = node.modifier is not None and node.modifier.card == promql.VectorMatchCardinality.ManyToOne
    assert many or len({key for _, _, key in found}) == len(found), "many series on the left without group_left"
    return [(labels, value, partners[key]) for labels, value, key in found if key in partners]


def _key(node: promql.BinaryExpr, labels: Labels) -> Labels:
    """The labels by which the two sides are matched."""
    matching = node.modifier.matching if node.modifier is not None else None
    if matching is None:
        return _nameless(labels)
    assert matching.type == promql.LabelModifierType.Include, "only `on`"
    return _only(labels, matching.labels)
