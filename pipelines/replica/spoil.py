"""Row faults at work: the same bars, written back wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

from pipelines.replica.columns import Row
from pipelines.replica.faults import Fault
from pipelines.replica.wire import instant

_PRICES = ("open", "high", "low", "close")


def spoil(rows: list[Row], fault: Fault) -> list[Row]:
    """`rows` (oldest first) as the fault leaves them; it takes the newest rows unless told otherwise."""
    return _SPOILERS[fault.kind](rows, fault) if rows else rows


def _count(fault: Fault) -> int:
    return max(1, int(fault.params.get("rows", 1)))


def _newest(change: Callable[[Row], Row]) -> Callable[[list[Row], Fault], list[Row]]:
    def spoiled(rows: list[Row], fault: Fault) -> list[Row]:
        cut = max(0, len(rows) - _count(fault))
        return rows[:cut] + [change(row) for row in rows[cut:]]

    return spoiled


def _drop(rows: list[Row], fault: Fault) -> list[Row]:
    return rows[: max(0, len(rows) - _count(fault))]


def _duplicate(rows: list[Row], fault: Fault) -> list[Row]:
    cut = max(0, len(rows) - _count(fault))
    return rows[:cut] + [twin for row in rows[cut:] for twin in (row, dict(row))]


def _reverse(rows: list[Row], fault: Fault) -> list[Row]:
    return rows[::-1]


def _future(rows: list[Row], fault: Fault) -> list[Row]:
    ahead = 60 * int(fault.params.get("minutes", 10))
    return [*rows, {**rows[-1], "ts": rows[-1]["ts"] + ahead}]


def _missing(rows: list[Row], fault: Fault) -> list[Row]:
    start = instant(str(fault.params.get("from", 0)))
    end = instant(str(fault.params.get("to", 4e9)))
    return [row for row in rows if not start <= row["ts"] < end]


_SPOILERS: dict[str, Callable[[list[Row], Fault], list[Row]]] = {
    "null_rows": _newest(lambda row: {name: value if name == "ts" else None for name, value in row.items()}),
    "drop_rows": _drop,
    "duplicate_rows": _duplicate,
    "out_of_order": _reverse,
    "negative_price": _newest(lambda row: {**row, "low": -row["low"], "close": -row["close"]}),
    "zero_price": _newest(lambda row: {**row, "low": 0.0}),
    "nan_price": _newest(lambda row: {**row, "close": math.nan}),
    "high_below_low": _newest(lambda row: {**row, "high": row["low"] * 0.99, "low": row["high"] * 1.01}),
    "future_bar": _future,
    "missing_minutes": _missing,
}
