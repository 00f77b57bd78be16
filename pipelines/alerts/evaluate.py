"""What a parsed rule says about one row or a whole frame: true, false or unknown.

A null, NaN or infinite value is unknown, and so is whatever is computed from it; `and`, `or`, `not` follow
SQL (unknown or true = true). An unknown condition neither fires nor clears.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipelines.alerts.expression import (
    Absolute,
    Arithmetic,
    Both,
    Column,
    Compare,
    Either,
    Expression,
    IsNull,
    Negative,
    Not,
    Number,
    kind_of,
    names_in,
)

Row = Mapping[str, Any]

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_MIRRORED = {">": "<", "<": ">", ">=": "<=", "<=": ">=", "==": "==", "!=": "!="}
_OPPOSITE = {">": "<=", "<=": ">", "<": ">=", ">=": "<", "==": "!=", "!=": "=="}


@dataclass(frozen=True)
class Cause:
    """The comparison that decided a rule: `column` read `value`, and that was `operator` `threshold`.

    For `abs(zscore) > 2` the value keeps its sign (-2.6) and `measured` says `abs(zscore)`; a longer left
    side is its own text in `column`.
    """

    column: str
    value: float | None
    operator: str
    threshold: float | None
    measured: str


def truth(node: Expression, row: Row) -> bool | None:
    """Whether the condition holds on one row; None where a null leaves it open."""
    match node:
        case Column(name=name):
            return None if row.get(name) is None else bool(row[name])
        case IsNull(inner=inner):
            return (truth if kind_of(inner) == "truth" else number)(inner, row) is None
        case Not(inner=inner):
            return None if (held := truth(inner, row)) is None else not held
        case Both(left=left, right=right):
            sides = truth(left, row), truth(right, row)
            return False if False in sides else None if None in sides else True
        case Either(left=left, right=right):
            sides = truth(left, row), truth(right, row)
            return True if True in sides else None if None in sides else False
        case Compare(operator=sign, left=left, right=right):
            a, b = number(left, row), number(right, row)
            return None if a is None or b is None else bool(_OPERATORS[sign](a, b))
    raise TypeError(f"not a condition: {node}")


def number(node: Expression, row: Row) -> float | None:
    """The value of an arithmetic node on one row; None for null, NaN, infinity and division by zero."""
    match node:
        case Number(value=value):
            return value
        case Column(name=name):
            return _finite(row.get(name))
        case Negative(inner=inner):
            return None if (signed := number(inner, row)) is None else -signed
        case Absolute(inner=inner):
            return None if (signed := number(inner, row)) is None else abs(signed)
        case Arithmetic(operator=sign, left=left, right=right):
            a, b = number(left, row), number(right, row)
            if a is None or b is None or (sign == "/" and b == 0):
                return None
            return _finite(_OPERATORS[sign](a, b))
    raise TypeError(f"not a number: {node}")


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def vectorised(node: Expression) -> pl.Expr:
    """The same condition or number for every row of a frame: null is unknown."""
    if not names_in(node):
        # What no column decides is worked out here: polars would not spread a computed constant over the rows.
        is_truth = kind_of(node) == "truth"
        return pl.lit(truth(node, {}), pl.Boolean) if is_truth else pl.lit(number(node, {}), pl.Float64)
    match node:
        case Column(name=name, kind="truth"):
            return pl.col(name).cast(pl.Boolean)
        case Column(name=name):
            return _finite_only(pl.col(name).cast(pl.Float64))
        case Negative(inner=inner):
            return -vectorised(inner)
        case Absolute(inner=inner):
            return vectorised(inner).abs()
        case IsNull(inner=inner):
            return vectorised(inner).is_null()
        case Not(inner=inner):
            return ~vectorised(inner)
        case Both(left=left, right=right):
            return vectorised(left) & vectorised(right)
        case Either(left=left, right=right):
            return vectorised(left) | vectorised(right)
        case Compare(operator=sign, left=left, right=right) if not names_in(left):
            # polars 2.1 gives one row for `constant > computed column` where the column is all null.
            return vectorised(Compare(_MIRRORED[sign], right, left))
        case Compare(operator=sign, left=left, right=right):
            compared: pl.Expr = _OPERATORS[sign](vectorised(left), vectorised(right))
            return compared
        case Arithmetic(operator=sign, left=left, right=right):
            return _finite_only(_OPERATORS[sign](vectorised(left), vectorised(right)))
    raise TypeError(f"not an expression: {node}")


def _finite_only(values: pl.Expr) -> pl.Expr:
    return pl.when(values.is_finite()).then(values)


def value_of(node: Expression, row: Row) -> Cause | None:
    """The first comparison, as written, that made the condition true on `row`; None where it is not true."""
    return _cause(node, row, held=True) if truth(node, row) else None


def watched(node: Expression, row: Row) -> Cause | None:
    """The comparison to show when nothing fired: the first one written, whatever it says on `row`."""
    match node:
        case Compare():
            return _compared(node, row, held=True)
        case Both(left=left, right=right) | Either(left=left, right=right):
            return watched(left, row) or watched(right, row)
        case Not(inner=inner):
            return watched(inner, row)
    return None


def _cause(node: Expression, row: Row, held: bool) -> Cause | None:
    """The part of `node` that makes it `held` on `row`."""
    match node:
        case Not(inner=inner):
            return _cause(inner, row, not held)
        case Both(left=left, right=right) | Either(left=left, right=right):
            return next((_cause(side, row, held) for side in (left, right) if truth(side, row) is held), None)
        case Compare():
            return _compared(node, row, held)
        case Column(name=name):
            return Cause(name, _finite(row.get(name)), "==", float(held), name)
        case IsNull(inner=inner):
            return Cause(written(inner), None, "is null" if held else "is not null", None, written(inner))
    return None


def _compared(node: Compare, row: Row, held: bool) -> Cause:
    sign, left, right = node.operator, node.left, node.right
    if isinstance(left, Number) and not isinstance(right, Number):
        sign, left, right = _MIRRORED[sign], right, left
    shown = left.inner if isinstance(left, Absolute) and isinstance(left.inner, Column) else left
    sign = sign if held else _OPPOSITE[sign]
    return Cause(written(shown), number(shown, row), sign, number(right, row), written(left))


def relaxed(node: Expression, share: float = 0.1, loosen: bool = True) -> Expression:
    """The condition with every fixed threshold moved by `share` of itself, so that it is harder to leave.

    `abs(zscore) > 2` becomes `abs(zscore) > 1.8`: an alert fires above 2 and clears only at 1.8. Under
    `not` the direction turns. Comparisons of two columns, equalities and null tests stay as they are.
    """
    match node:
        case Not(inner=inner):
            return Not(relaxed(inner, share, not loosen))
        case Both(left=left, right=right):
            return Both(relaxed(left, share, loosen), relaxed(right, share, loosen))
        case Either(left=left, right=right):
            return Either(relaxed(left, share, loosen), relaxed(right, share, loosen))
        case Compare(operator=sign, left=left, right=right) if sign not in ("==", "!="):
            down = sign.startswith(">") == loosen
            if (fixed := _constant(right)) is not None:
                return Compare(sign, left, Number(fixed - abs(fixed) * share * (1 if down else -1)))
            if (fixed := _constant(left)) is not None:
                return Compare(sign, Number(fixed + abs(fixed) * share * (1 if down else -1)), right)
    return node


def _constant(node: Expression) -> float | None:
    if isinstance(node, Negative) and isinstance(node.inner, Number):
        return -node.inner.value
    return node.value if isinstance(node, Number) else None


def written(node: Expression) -> str:
    """The node as rule text again; parses to the same node."""
    match node:
        case Number(value=value):
            return f"{value:.15g}"
        case Column(name=name):
            return name
        case Negative(inner=inner):
            return f"-{_bracketed(inner)}"
        case Absolute(inner=inner):
            return f"abs({written(inner)})"
        case IsNull(inner=inner):
            return f"{_bracketed(inner)} is null"
        case Not(inner=inner):
            return f"not {_bracketed(inner)}"
        case Both(left=left, right=right):
            return f"{_bracketed(left)} and {_bracketed(right)}"
        case Either(left=left, right=right):
            return f"{_bracketed(left)} or {_bracketed(right)}"
        case (
            Compare(operator=sign, left=left, right=right) | Arithmetic(operator=sign, left=left, right=right)
        ):
            return f"{_bracketed(left)} {sign} {_bracketed(right)}"


def _bracketed(node: Expression) -> str:
    return written(node) if isinstance(node, Number | Column | Absolute) else f"({written(node)})"
