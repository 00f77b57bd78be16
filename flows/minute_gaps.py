"""The ledger of gaps for minutes: missing runs on record, and what a new look at the minutes adds to them.

A gap is one row: `open` when a run of missing minutes appears, `healing` while a part of them has come, `healed`
when all have, by whichever origin brought the last of them; `lost` when the healer has given it up.
"""

from __future__ import annotations

from datetime import timedelta

import duckdb
import polars as pl

from warehouse.stage import frame

REACH = timedelta(days=31)
"""How far back gaps are kept in sight."""
SPAN = {
    "source": pl.String(),
    "symbol": pl.String(),
    "from_ts": pl.Datetime("us"),
    "to_ts": pl.Datetime("us"),
}
RUN = SPAN | {"minutes": pl.Int64()}
"""Of a series, [from_ts, to_ts), naive UTC; and how many of its minutes are missing there."""


def gap_events(con: duckdb.DuckDBPyConnection, found: pl.DataFrame) -> pl.DataFrame:
    """The events that runs of missing minutes (source, symbol, from_ts, to_ts, minutes) add to the known gaps."""
    known = known_gaps(con)
    key = ["source", "symbol", "from_ts"]
    healed = pl.col("arrived") >= pl.col("minutes")
    moved = known.with_columns(
        now=pl.when(healed)
        .then(pl.lit("healed"))
        .when((pl.col("arrived") > 0) & (pl.col("state") != "lost"))
        .then(pl.lit("healing"))
        .otherwise("state")
    )
    apart = moved.filter(pl.col("now") != pl.col("state")).select(
        *key, "to_ts", "minutes", "origin", state="now"
    )
    fresh, grown = _fresh(found, moved.filter(~healed))
    opened = pl.concat([fresh, grown]).with_columns(origin=pl.lit(None, pl.String))
    events = pl.concat([opened, apart.select(opened.columns)]).unique(key, keep="first", maintain_order=True)
    return events.with_columns(reason=_reason())


def known_gaps(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Gaps that are not healed yet: source, symbol, from_ts, to_ts, minutes, state, arrived, origin.

    arrived: how many of their minutes are there by now; origin: who brought the last of them.
    """
    return frame(
        con,
        """
        SELECT g.source, g.symbol, g.from_ts, g.to_ts, g.minutes::BIGINT AS minutes, g.state,
               count(b.ts) AS arrived, arg_max(b.origin, b.known_at) AS origin
        FROM gaps AS g LEFT JOIN core.bars AS b
          ON b.source = g.source AND b.symbol = g.symbol AND b.ts >= g.from_ts AND b.ts < g.to_ts
        WHERE g.kind = 'minutes' AND g.state IN ('open', 'healing', 'lost') GROUP BY ALL""",
    )


def _fresh(found: pl.DataFrame, known: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Runs that no known gap holds, and known gaps whose run has grown beyond their end."""
    columns = ["source", "symbol", "from_ts", "to_ts", "minutes", "state"]
    both = found.join(
        known.select("source", "symbol", a="from_ts", b="to_ts"), on=["source", "symbol"], how="left"
    ).filter((pl.col("from_ts") < pl.col("b")) & (pl.col("to_ts") > pl.col("a")))
    fresh = found.join(both, on=["source", "symbol", "from_ts"], how="anti").with_columns(
        state=pl.lit("open")
    )
    grown = both.filter((pl.col("to_ts") > pl.col("b")) & (pl.col("from_ts") == pl.col("a")))
    return fresh.select(columns), grown.with_columns(state=pl.lit("open")).select(columns)


def _reason() -> pl.Expr:
    said = {"open": "no bar came", "healing": "a part has come", "healed": "all minutes have come"}
    return pl.col("state").replace_strict(said, default=None, return_dtype=pl.String)
