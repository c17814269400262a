"""Mutants: a module with one change to one node of its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

Change = Callable[[ast.AST], ast.AST]

_COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
}


class Mutant(NamedTuple):
    """One change at one place: ``site`` is the node's index in ``nodes``, ``variant`` the change's in ``changes``."""

    path: str
    line: int
    text: str  # the source line
    change: str
    site: int
    variant: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.change}: {self.text}"


def mutants(path: str, source: str) -> list[Mutant]:
    """Every mutant of a module."""
    lines = source.splitlines()
    found = []
    for site, node in enumerate(nodes(ast.parse(source))):
        for variant, (name, _) in enumerate(changes(node)):
            line = getattr(node, "lineno", 0)
            found.append(Mutant(path, line, lines[line - 1].strip(), name, site, variant))
    return found


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The module's tree with that one change."""
    tree = ast.parse(source)
    node = next(node for site, node in enumerate(nodes(tree)) if site == mutant.site)
    _, change = list(changes(node))[mutant.variant]
    _Replace(node, change(copy.deepcopy(node))).visit(tree)
    return ast.fix_missing_locations(tree)


class _Replace(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self._old, self._new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return ast.copy_location(self._new, node) if node is self._old else self.generic_visit(node)


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """The nodes that may change, in a fixed order: no annotations, docstrings, asserts or imports for type checking."""
    yield tree
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list") or isinstance(tree, ast.Assert | ast.JoinedStr):
            continue
        if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_text(child):
                yield from nodes(child)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def changes(node: ast.AST) -> Iterator[tuple[str, Change]]:
    """The possible changes to a node itself, each with its name."""
    if isinstance(node, ast.Compare):
        for at, op in enumerate(node.ops):
            for other in _COMPARE[type(op)]:
                yield f"{type(op).__name__} → {other.__name__}", _compare(at, other)
    elif isinstance(node, ast.Constant):
        yield from _constant(node)
    elif isinstance(node, ast.BoolOp):
        other_bool = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{type(node.op).__name__} → {other_bool.__name__}", _with(op=other_bool())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "not removed", lambda n: n.operand  # type: ignore[attr-defined]
    elif isinstance(node, ast.BinOp | ast.AugAssign):
        other_op = _ARITHMETIC[type(node.op)]
        yield f"{type(node.op).__name__} → {other_op.__name__}", _with(op=other_op())
    elif isinstance(node, ast.If | ast.IfExp | ast.While) and not isinstance(
        node.test, ast.Compare | ast.UnaryOp | ast.BoolOp
    ):
        yield "condition negated", lambda n: _with(test=ast.UnaryOp(ast.Not(), n.test))(n)  # type: ignore[attr-defined]
    elif isinstance(node, ast.Slice):
        for end in ("lower", "upper"):
            if getattr(node, end) is not None and not isinstance(getattr(node, end), ast.Constant):
                yield f"{end} + 1", _shifted(end)
    elif isinstance(node, ast.Break):
        yield "break → continue", lambda n: ast.Continue()
    elif isinstance(node, ast.Continue):
        yield "continue → break", lambda n: ast.Break()
    yield from _removals(node)


def _removals(node: ast.AST) -> Iterator[tuple[str, Change]]:
    if isinstance(node, ast.Return) and node.value is not None and not _is_none(node.value):
        yield "returns None", _with(value=ast.Constant(None))
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Await):
        yield "call removed", lambda n: ast.Pass()
    elif isinstance(node, ast.AugAssign | ast.Delete | ast.Raise):
        yield f"{type(node).__name__} removed", lambda n: ast.Pass()
    elif isinstance(node, ast.Assign) and all(isinstance(t, ast.Attribute | ast.Subscript) for t in node.targets):
        yield "assignment removed", lambda n: ast.Pass()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _constant(node: ast.Constant) -> Iterator[tuple[str, Change]]:
    value = node.value
    if isinstance(value, bool):
        yield f"{value} → {not value}", _with(value=not value)
    elif isinstance(value, int | float):
        for other in (value + 1, value - 1):
            yield f"{value} → {other}", _with(value=other)


def _compare(at: int, other: type[ast.cmpop]) -> Change:
    def change(node: ast.AST) -> ast.AST:
        assert isinstance(node, ast.Compare)
        node.ops[at] = other()
        return node

    return change


def _with(**fields: object) -> Change:
    def change(node: ast.AST) -> ast.AST:
        for name, value in fields.items():
            setattr(node, name, value)
        return node

    return change


def _shifted(end: str) -> Change:
    def change(node: ast.AST) -> ast.AST:
        setattr(node, end, ast.BinOp(getattr(node, end), ast.Add(), ast.Constant(1)))
        return node

    return change
