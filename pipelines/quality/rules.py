"""The kinds of rule a contract is made of, each in two dialects: polars and Great Expectations.

A rule never judges a missing value, its column's `present` rule does: that is how Great Expectations counts
(its map expectations skip nulls, and to pandas a NaN is a null), so both dialects find the same rows.
Only `critical` rules keep a row out; `warning` and `info` rules are reported by the hourly check.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import polars as pl

from pipelines.market import Interval

Severity = Literal["critical", "warning", "info"]

MARKET_NOW = pl.col("__market_now")
"""The source's clock; the judge adds it to the frame as a column for the time of its look."""

UNPRINTABLE = r"^$|^ | $|^.{65}|[\x00-\x1f\x7f-\xa0\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
"""Empty, over 64 characters, blank at an end, or with control, invisible or exotic blank characters."""


@dataclass(frozen=True)
class FromNow:
    """A place in an expectation's arguments where the judge puts the market's clock plus `ahead`."""

    ahead: timedelta = timedelta(0)


@dataclass(frozen=True)
class Where:
    """A condition in an expectation's arguments: it judges only rows for which this holds."""

    column: str
    comparison: Literal[">", "=="]
    value: float


@dataclass(frozen=True)
class Rule:
    """One thing that must hold, with the words a person reads when it does not.

    bad:         polars expression, true for a failing row, never null
    detail:      polars expression of the numbers that broke it ("high 10.0 < low 12.0")
    expectation: class name in Great Expectations or in `expectations.py`; `arguments` are its keywords
    """

    name: str
    reason: str
    bad: pl.Expr
    detail: pl.Expr
    expectation: str
    arguments: Mapping[str, object]
    severity: Severity = "critical"

    @property
    def on_extreme(self) -> bool:
        """Great Expectations looks at the column's maximum only: row by row it takes seconds for times."""
        return self.expectation == "ExpectColumnMaxToBeBetween"

    @property
    def needs_rows(self) -> bool:
        """A table without rows breaks it."""
        return self.on_extreme and "min_value" in self.arguments


@dataclass(frozen=True)
class Contract:
    """A table's promise: its key, the columns of its content, rules on rows, rules on the whole table."""

    table: str
    key: tuple[str, ...]
    values: tuple[str, ...]
    rows: tuple[Rule, ...]
    whole: tuple[Rule, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        return self.key + self.values


def shown(column: str) -> pl.Expr:
    """The column's value as text, a missing one as the word `null`."""
    return pl.col(column).cast(pl.String).fill_null("null")


def rule(
    name: str,
    reason: str,
    bad: pl.Expr,
    detail: pl.Expr,
    expectation: str,
    severity: Severity = "critical",
    **arguments: object,
) -> Rule:
    return Rule(name, reason, bad.fill_null(False), detail, expectation, arguments, severity)


def present(column: str) -> Rule:
    """The column is there."""
    return rule(
        f"{column} present", f"{column} is missing", pl.col(column).is_null(), pl.lit(f"{column} is null"),
        "ExpectColumnValuesToNotBeNull", column=column,
    )  # fmt: skip


def number(column: str) -> Rule:
    """The column is there and is not NaN."""
    return rule(
        f"{column} present", f"{column} is missing or not a number",
        pl.col(column).is_null() | pl.col(column).is_nan(),
        pl.format(f"{column} is {{}}", shown(column)),
        "ExpectColumnValuesToNotBeNull", column=column,
    )  # fmt: skip


def within(column: str, lowest: float, *, above: bool = False) -> Rule:
    """A finite number >= `lowest`, or > `lowest` when `above`."""
    small = pl.col(column) <= lowest if above else pl.col(column) < lowest
    least = f"above {lowest:g}" if above else f"{lowest:g} or more"
    return rule(
        f"{column} range", f"{column} is not a finite number {least}",
        # polars orders NaN above every number, pandas calls it missing.
        (small | (pl.col(column) > sys.float_info.max)) & pl.col(column).is_nan().not_(),
        pl.format(f"{column} {{}}", shown(column)),
        "ExpectColumnValuesToBeBetween",
        column=column, min_value=lowest, strict_min=above, max_value=sys.float_info.max,
    )  # fmt: skip


def at_least(high: str, low: str, severity: Severity = "critical") -> Rule:
    """`high` is not below `low`."""
    either_nan = pl.col(high).is_nan() | pl.col(low).is_nan()
    return rule(
        f"{high} >= {low}", f"{high} is below {low}",
        (pl.col(high) < pl.col(low)) & either_nan.not_(),
        pl.format(f"{high} {{}} < {low} {{}}", shown(high), shown(low)),
        "ExpectColumnPairValuesAToBeGreaterThanB", severity,
        column_A=high, column_B=low, or_equal=True, ignore_row_if="either_value_is_missing",
    )  # fmt: skip


def printable(column: str) -> Rule:
    """A name of 1 to 64 visible characters, of any script."""
    return rule(
        f"{column} readable", f"{column} is empty, too long or not printable",
        pl.col(column).str.contains(UNPRINTABLE),
        pl.format(f"{column} {{}}", pl.col(column).str.slice(0, 80).fill_null("null")),
        "ExpectColumnValuesToNotMatchRegex", column=column, regex=UNPRINTABLE,
    )  # fmt: skip


def aligned(column: str, step: timedelta) -> Rule:
    """The time is a whole multiple of `step` since 1970."""
    seconds = int(step.total_seconds())
    return rule(
        f"{column} aligned", f"{column} is not at the start of its {Interval(seconds)}",
        pl.col(column).dt.epoch("us") % (seconds * 1_000_000) != 0,
        pl.format(f"{column} {{}}", shown(column)),
        "ExpectColumnValuesToBeAligned", column=column, seconds=seconds,
    )  # fmt: skip


def not_ahead(column: str, ahead: timedelta = timedelta(0)) -> Rule:
    """The time is not after the market's clock plus `ahead`."""
    return rule(
        f"{column} not ahead", f"{column} is in the future",
        pl.col(column) > MARKET_NOW + ahead,
        pl.format(f"{column} {{}}, market's clock {{}}", shown(column), MARKET_NOW.cast(pl.String)),
        "ExpectColumnMaxToBeBetween", column=column, max_value=FromNow(ahead),
    )  # fmt: skip


def one_of(column: str, allowed: tuple[str, ...]) -> Rule:
    return rule(
        f"{column} known", f"{column} is not one of {', '.join(allowed)}",
        pl.col(column).is_in(allowed).not_(),
        pl.format(f"{column} {{}}", pl.col(column).str.slice(0, 80).fill_null("null")),
        "ExpectColumnValuesToBeInSet", column=column, value_set=list(allowed),
    )  # fmt: skip


def unique(key: tuple[str, ...]) -> Rule:
    """No two rows share the key; counts every row of a shared one."""
    complete = pl.all_horizontal(pl.col(column).is_not_null() for column in key)
    return rule(
        "key unique", f"more than one row per {', '.join(key)}",
        pl.struct(key).is_duplicated() & complete,
        pl.concat_str([shown(column) for column in key], separator=" "),
        "ExpectCompoundColumnsToBeUnique", column_list=list(key), ignore_row_if="any_value_is_missing",
    )  # fmt: skip


def fresh(column: str, after: datetime) -> Rule:
    """The newest time is not before `after`; the rows that fail are the newest ones, if they are too old."""
    newest = pl.col(column).max()
    return rule(
        f"{column} fresh", f"the newest {column} is before {after}",
        (pl.col(column) == newest) & (newest < after),
        pl.format(f"newest {column} {{}}", shown(column)),
        "ExpectColumnMaxToBeBetween", column=column, min_value=after,
    )  # fmt: skip
