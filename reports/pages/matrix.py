"""Correlations as a matrix that a table can show."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl

from pipelines.market import Interval
from reports.pages.shapes import heat

LATE_BARS = 3
"""How many bars a source may be behind the newest without a word: venues deliver at different speeds."""


def matrix(rows: pl.DataFrame, most: int = 12) -> dict[str, Any] | None:
    """One (interval, lookback)'s pairs as a symmetric matrix; None where there is nothing.

    With more symbols than fit, those with the strongest correlations stay.
    """
    if not rows.height:
        return None
    value = {}
    strength: dict[str, float] = {}
    for row in rows.iter_rows(named=True):
        a, b, corr = row["symbol_a"], row["symbol_b"], row["corr"]
        value[a, b] = value[b, a] = row
        if a != b:
            for name in (a, b):
                strength[name] = max(strength.get(name, 0.0), abs(corr or 0.0))
    names = list(dict.fromkeys([*rows["symbol_a"].to_list(), *rows["symbol_b"].to_list()]))
    shown = sorted(sorted(names, key=lambda n: -strength.get(n, 0.0))[:most], key=names.index)
    return {
        "interval": rows["interval"][0],
        "lookback": rows["lookback"][0],
        "bars": _bars(value, shown, rows["lookback"][0]),
        "as_of": rows["as_of"].max(),
        "behind": _behind(rows),
        "total": len(names),
        "names": [(name, short(name)) for name in shown],
        "lines": [
            (name, short(name), [_cell(a=name, b=other, row=value.get((name, other))) for other in shown])
            for name in shown
        ],
    }


def _behind(rows: pl.DataFrame) -> list[tuple[str, datetime]]:
    """(source, its newest bar) where that is not the matrix's newest: each source is computed on its own bars."""
    own = rows.filter(pl.col("symbol_a") == pl.col("symbol_b"))
    source = pl.col("symbol_a").str.split(":").list.first().alias("source")
    newest = own.group_by(source, maintain_order=True).agg(pl.col("as_of").max())
    late = Interval.parse(rows["interval"][0]).delta * LATE_BARS
    behind = newest.filter(pl.col("as_of") < pl.col("as_of").max() - late)
    return list(behind.iter_rows())


def _bars(value: dict[tuple[str, str], dict[str, Any]], shown: list[str], lookback: int) -> str:
    """How many common bars the values shown rest on, `54 to 190`; a young market has fewer than it looks back."""
    counts = [row["n"] for (a, b), row in value.items() if a != b and a in shown and b in shown]
    least, most = min(counts, default=lookback), max(counts, default=lookback)
    return f"{least:,} to {most:,}" if least < most else f"{most:,}"


def short(name: str) -> str:
    """`binance:BTCUSDT` as `BTCUSDT`."""
    return name.split(":", 1)[-1]


def _cell(a: str, b: str, row: dict[str, Any] | None) -> dict[str, Any]:
    if a == b:
        return {"self": True}
    corr = row["corr"] if row else None
    return {
        "self": False,
        "corr": corr,
        "heat": heat(corr),
        "tone": "" if corr is None else "pos" if corr >= 0 else "neg",
        "n": row["n"] if row else 0,
        "lo": row["lo"] if row else None,
        "hi": row["hi"] if row else None,
        "pair": f"{short(a)} / {short(b)}",
    }
