"""Anomalies that no bar's judgement gives: of feeds, gaps and pairs. Each is said once an episode, not once a run."""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb
import polars as pl

from warehouse.stage import frame, insert, literal, literals

EPISODE = timedelta(hours=1)
"""After an anomaly the same subject has no other of its kind for so long."""
_SUBJECT = ["source", "symbol", "kind"]


def fresh(con: duckdb.DuckDBPyConnection, found: pl.DataFrame) -> pl.DataFrame:
    """Those of `found` (columns of `detectors.SCHEMA`) whose episode has not been told yet; asks only if there are any."""
    if found.is_empty():
        return found
    since, until = found["ts"].min(), found["ts"].max()
    assert isinstance(since, datetime)
    told = frame(
        con,
        f"SELECT source, symbol, kind, ts AS told FROM calc.anomalies WHERE kind IN {literals(found['kind'].unique())} "
        f"AND ts > {literal(since - EPISODE)} AND ts <= {literal(until)}",
    )
    again = found.join(told, on=_SUBJECT, nulls_equal=True).filter(
        pl.col("told") <= pl.col("ts"), pl.col("told") > pl.col("ts") - EPISODE
    )
    return found.join(again.select("id").unique(), on="id", how="anti")


def write(con: duckdb.DuckDBPyConnection, found: pl.DataFrame, run_id: str, now: datetime) -> None:
    """Inside a transaction; one of the same id is replaced. now: naive UTC."""
    if found.height:
        con.execute(f"DELETE FROM calc.anomalies WHERE id IN {literals(found['id'])}")
        known = pl.lit(now, pl.Datetime("us"))
        insert(con, "calc.anomalies", found.with_columns(run_id=pl.lit(run_id), known_at=known))
