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
_FIRST, _LAST = datetime(1, 1, 1), datetime(9999, 1, 1)


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


def refused_minutes(con: duckdb.DuckDBPyConnection, source: str) -> pl.DataFrame:
    """symbol, ts of the minutes of which a file's row lies in quarantine."""
    return frame(
        con,
        f"""
        SELECT DISTINCT symbol, time_bucket(INTERVAL 1 MINUTE, ts) AS ts FROM core.quarantine
        WHERE source = {literal(source)} AND starts_with(batch_id, {literal(f"{source}-import-")})
          AND symbol IS NOT NULL AND ts IS NOT NULL""",
    )


def told_by_files(con: duckdb.DuckDBPyConnection, bars: pl.DataFrame) -> pl.DataFrame:
    """The bars with told_since, told_until for `imported`: the span around a bar out of a file that it tells of in full.

    It reaches from the file's first minute to the end of its last, files that touch taken as one, and ends at a minute
    whose row was refused and never came. Of other bars it is empty: it begins after it ends. Where no bar is imported
    the two columns are left out.

    bars: source, symbol, ts, imported and more; sorted by series and time
    """
    sources = bars.filter("imported")["source"].unique().sort()
    if sources.is_empty():
        return bars.drop("imported")
    spans = pl.concat([asked_spans(con, source).filter(pl.col("kind") == "import") for source in sources])
    refused = pl.concat(
        [refused_minutes(con, source).with_columns(source=pl.lit(source)) for source in sources]
    )
    bad = refused.join(bars, on=[*_SERIES, "ts"], how="anti").select(*_SERIES, "ts").sort("ts")
    found = bars.with_row_index("row").sort("ts")
    found = found.join_asof(bad.with_columns(bad_before="ts"), on="ts", by=_SERIES, check_sortedness=False)
    found = found.join_asof(
        bad.with_columns(bad_after="ts"), on="ts", by=_SERIES, strategy="forward", check_sortedness=False
    )
    found = found.join_asof(
        joined(spans).sort("from_ts"), left_on="ts", right_on="from_ts", by=_SERIES, check_sortedness=False
    ).sort("row")
    is_told = pl.col("imported") & (pl.col("ts") < pl.col("to_ts")).fill_null(False)
    since = pl.max_horizontal("from_ts", pl.col("bad_before") + timedelta(minutes=1))
    until = pl.min_horizontal("to_ts", "bad_after")
    return found.select(
        *(name for name in bars.columns if name != "imported"),
        told_since=pl.when(is_told).then(since).otherwise(pl.lit(_LAST)),
        told_until=pl.when(is_told).then(until).otherwise(pl.lit(_FIRST)),
    )
