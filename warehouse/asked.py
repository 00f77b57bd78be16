"""Which spans of each series' time were asked for as history, of a venue or by a file: `core.asked`."""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb
import polars as pl

from warehouse.connect import Location, transaction, writer
from warehouse.stage import frame, literal, literals

SPAN_SCHEMA = pl.Schema(
    {
        "source": pl.String(), "symbol": pl.String(), "from_ts": pl.Datetime("us"), "to_ts": pl.Datetime("us"),
        "kind": pl.String(), "answered": pl.Boolean(),
    }
)  # fmt: skip
"""A span [from_ts, to_ts), naive UTC; `kind` is backfill or import; `answered`: all of it was."""
_SERIES = ["source", "symbol"]


def asked_spans(con: duckdb.DuckDBPyConnection, source: str) -> pl.DataFrame:
    """Every span of the source's series that was ever asked for (SPAN_SCHEMA); spans may overlap."""
    return frame(con, f"SELECT {', '.join(SPAN_SCHEMA)} FROM core.asked WHERE source = {literal(source)}")


def note_asked(
    con: duckdb.DuckDBPyConnection, location: Location, spans: pl.DataFrame, run_id: str, now: datetime
) -> None:
    """Adds the spans (SPAN_SCHEMA); now: wall clock, naive UTC. None writes nothing."""
    rows = [literals((*row, run_id, now)) for row in spans.select(*SPAN_SCHEMA).iter_rows()]
    if rows:
        with writer(location), transaction(con, location):
            con.execute(f"INSERT INTO core.asked VALUES {', '.join(rows)}")


def joined(spans: pl.DataFrame, apart: timedelta = timedelta(0)) -> pl.DataFrame:
    """source, symbol, from_ts, to_ts: spans that overlap, or lie no more than `apart` from each other, as one; sorted."""
    ordered = spans.sort(*_SERIES, "from_ts")
    reached = pl.col("to_ts").cum_max().shift().over(_SERIES)
    begins = (pl.col("from_ts") > reached + apart).fill_null(True)
    return (
        ordered.with_columns(number=begins.cast(pl.Int64).cum_sum())
        .group_by(*_SERIES, "number", maintain_order=True)
        .agg(pl.col("from_ts").min(), pl.col("to_ts").max())
        .drop("number")
    )
