"""What indicators read: each series' newest bars, the ones before them, and the stored state they continue.

Every read takes the temporary table `fronts` (source, symbol, first_new), made by `stage_fronts`; of another
interval than 1m also `new_windows`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import duckdb
import polars as pl

from warehouse.buckets import counted_from
from warehouse.facts import FOREVER, IN_LAKE, Facts, anchored_bars
from warehouse.render import Sql, render
from warehouse.stage import frame, literal, stage

COLUMNS = ("source", "symbol", "ts", "high", "low", "close", "volume", "ret_log", "is_new")


def stage_fronts(con: duckdb.DuckDBPyConnection, fronts: pl.DataFrame) -> None:
    """Temporary table `fronts`: the series to read, and where the new bars of each begin."""
    stage(con, "fronts", fronts.select("source", "symbol", "first_new"))


def new_rows(
    con: duckdb.DuckDBPyConnection,
    interval: str,
    tail: pl.DataFrame,
    fronts: pl.DataFrame,
    facts: Facts = IN_LAKE,
) -> pl.DataFrame:
    """Everything about the new bars of the tail: OHLCV, minutes, is_complete, session, bucket; sorted.

    fronts: source, symbol, first_new, rows; staged. Mostly the new bars are the ones in `touched`; after a late bar also
    those behind it, and then the lake is asked.
    """
    front = fronts["first_new"].min()
    assert isinstance(front, datetime)
    if interval != "1m":
        return frame(
            con,
            render(
                "new_window",
                interval=interval,
                front=front,
                counted_from=Sql(counted_from("v.ts")),
                table=Sql(facts.windows),
            ),
        )
    only_touched = tail["is_new"].sum() == fronts["rows"].sum()
    bars = Sql("FROM touched") if only_touched else anchored_bars(front, FOREVER, table=facts.bars)
    return frame(con, render("new_1m", front=front, bars=bars))


def tail(
    con: duckdb.DuckDBPyConnection,
    interval: str,
    since: datetime,
    front: datetime,
    lookback: int | None,
    facts: Facts = IN_LAKE,
) -> pl.DataFrame:
    """source, symbol, ts, high, low, close, volume, ret_log, is_new of bars from `since` on; sorted by key.

    lookback: how many bars before its front a series keeps; None keeps all. A return joins two
    neighbouring minutes; over a hole or a night there is none.
    """
    newest = "row_number() OVER (PARTITION BY b.source, b.symbol, b.ts >= f.first_new ORDER BY b.ts DESC)"
    trimmed = Sql("" if lookback is None else f"QUALIFY is_new OR {newest} <= {lookback}")
    if interval == "1m":
        return with_returns(
            frame(con, render("tail_1m", since=since, trimmed=trimmed, table=Sql(facts.bars)))
        )
    return frame(
        con,
        render(
            "tail_window",
            interval=interval,
            since=since,
            front=front,
            trimmed=trimmed,
            table=Sql(facts.windows),
        ),
    )


def with_returns(bars: pl.DataFrame) -> pl.DataFrame:
    """One-minute bars, sorted by key, with ret_log: it joins neighbouring minutes, over a hole or a night it is null."""
    before = pl.col("source", "symbol", "ts", "close").shift().name.suffix("_before")
    neighbours = (
        (pl.col("ts") - pl.col("ts_before") == pl.duration(minutes=1))
        & (pl.col("symbol") == pl.col("symbol_before"))
        & (pl.col("source") == pl.col("source_before"))
    )
    returns = pl.when(neighbours).then((pl.col("close") / pl.col("close_before")).log())
    return bars.with_columns(before).with_columns(ret_log=returns).select(COLUMNS)


def stored_state(
    con: duckdb.DuckDBPyConnection, interval: str, before: pl.DataFrame, columns: Sequence[str]
) -> pl.DataFrame:
    """The stored indicator rows of the bars in `before` (source, symbol, ts): its keys and the columns."""
    stage(con, "before_front", before.select("source", "symbol", "ts"))
    listed = ", ".join(f'i."{name}"' for name in columns)
    return frame(
        con,
        f"SELECT i.source, i.symbol, i.ts, {listed} FROM calc.indicators AS i "
        f"SEMI JOIN before_front USING (source, symbol, ts) WHERE i.interval = {literal(interval)} "
        f"AND i.ts BETWEEN {literal(before['ts'].min())} AND {literal(before['ts'].max())}",
    )


def stored_values(
    con: duckdb.DuckDBPyConnection, interval: str, first: object, last: object, columns: Sequence[str]
) -> pl.DataFrame:
    """Stored indicator values of the series in `fronts` with first <= ts <= last: source, symbol, ts, the columns."""
    return frame(
        con,
        f"SELECT source, symbol, ts, {', '.join(columns)} FROM calc.indicators "
        f"SEMI JOIN fronts USING (source, symbol) WHERE interval = {literal(interval)} "
        f"AND ts BETWEEN {literal(first)} AND {literal(last)}",
    )
