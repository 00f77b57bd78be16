"""Checks of streamed trades: their ids follow each other, and they make the venue's own bars."""

from __future__ import annotations

import polars as pl

from pipelines.quality.tables import Check

NAMED = 3


def ids_follow(source: str, jumps: pl.DataFrame) -> Check:
    """No trade is missing between two that are there.

    jumps: symbol, ts (of the trade after the jump), missing
    """
    missing = int(jumps["missing"].sum())
    told = _first(jumps)
    return Check(
        f"trades {source}: ids follow", "trades", "warning", missing == 0,
        f"{missing} missing in {jumps.height} holes{told}", "0 missing", missing,
    )  # fmt: skip


def make_klines(source: str, compared: pl.DataFrame) -> Check:
    """Trades give open, high, low, close, volume and fills of the venue's own minutes.

    compared: symbol, ts, state (equal, incomplete, different). A minute with fewer fills than the kline says is
    incomplete, which `ids_follow` judges; it is different where the fills are all there and something else is not.
    """
    count = {
        state: compared.filter(pl.col("state") == state) for state in ("equal", "incomplete", "different")
    }
    different, incomplete = count["different"], count["incomplete"]
    observed = f"{count['equal'].height} of {compared.height} minutes equal"
    if incomplete.height:
        observed += f", {incomplete.height} with trades missing{_first(incomplete)}"
    if different.height:
        observed += f", {different.height} different{_first(different)}"
    return Check(
        f"trades {source}: make the klines", "trades", "warning", different.height == 0,
        observed, "0 minutes different", different.height,
    )  # fmt: skip


def _first(rows: pl.DataFrame) -> str:
    """The first of the rows in words: symbol and minute."""
    named = [f"{symbol} {ts:%H:%M:%S}" for symbol, ts in rows.select("symbol", "ts").head(NAMED).iter_rows()]
    more = f" and {rows.height - NAMED} more" if rows.height > NAMED else ""
    return f" ({', '.join(named)}{more})" if named else ""
