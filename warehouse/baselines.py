"""What volume is usual: the sample, and the baseline that is in force for a bar; worked out or stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime

import duckdb
import polars as pl

from warehouse.buckets import SLOT, counted_from
from warehouse.facts import IN_LAKE, Facts, among, anchored_bars
from warehouse.render import render
from warehouse.stage import frame, literal, literals, stage


def baseline_candidates(
    con: duckdb.DuckDBPyConnection,
    interval: str,
    since: datetime,
    until: datetime,
    sources: Sequence[str],
    series: Collection[tuple[str, str]] | None = None,
    facts: Facts = IN_LAKE,
) -> None:
    """Temporary table `candidates`: complete bars of the sources in [since, until), one interval, with session and bucket.

    None that is lent or holds a lent minute: another venue's volume says nothing about what is usual.

    series: only these of them.
    Of another interval than 1m the temporary table `new_windows` counts too, in place of what is stored.
    """
    if interval == "1m":
        only = f"bars.source IN {literals(sources)}{among(series, 'bars')} AND bars.origin <> 'fallback'"
        rows = anchored_bars(since, until, only, facts.bars)
        con.execute(
            "CREATE OR REPLACE TEMP TABLE candidates AS SELECT source, symbol, '1m' AS interval, ts, volume, "
            f"anchor::DATE AS session, (epoch(ts - counted_from) // 60)::INTEGER AS bucket FROM ({rows})"
        )
        return
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE candidates AS
        SELECT w.source, w.symbol, w.interval, w.ts, w.volume, anchor::DATE AS session,
               (epoch(w.ts - counted) // 60)::INTEGER AS bucket
        FROM (
            SELECT v.*, CASE WHEN v.ts < s.close_ts THEN s.open_ts ELSE date_trunc('day', v.ts) END AS anchor,
                   {counted_from("v.ts")} AS counted
            FROM (
                SELECT windows.*, series.calendar
                FROM (
                    SELECT source, symbol, interval, ts, volume, is_complete, lent
                    FROM {facts.windows} ANTI JOIN new_windows USING (source, symbol, ts)
                    WHERE interval = {literal(interval)}
                    UNION ALL
                    SELECT source, symbol, interval, ts, volume, is_complete, lent FROM new_windows
                ) AS windows JOIN series_now AS series USING (source, symbol)
                WHERE windows.is_complete AND windows.lent IS NOT TRUE AND windows.ts >= {literal(since)} AND windows.ts < {literal(until)}
                  AND windows.source IN {literals(sources)}{among(series, "windows")}
            ) AS v
            ASOF LEFT JOIN sessions_now AS s ON v.calendar = s.calendar AND v.ts >= s.open_ts
        ) AS w"""
    )


def baseline_rows(
    con: duckdb.DuckDBPyConnection, session: date, sessions: int, min_sessions: int = 0
) -> pl.DataFrame:
    """The baseline in force during `session`, from `candidates` of the sessions before it.

    A bucket with fewer than `min_sessions` has the sample of its whole slot, where that has enough.
    """
    rows = frame(con, render("volume_baseline", session=session, sessions=sessions))
    rows = rows.with_columns(slot=pl.col("bucket") // SLOT)
    series = ["source", "symbol", "interval", "slot"]
    thin = rows.filter(pl.col("sessions") < min_sessions)
    if thin.height and _is_any_old(con, thin.select(series).unique(), min_sessions, f"{literal(session)}"):
        coarse = frame(con, render("volume_coarse", session=session, sessions=sessions, slot=SLOT))
        coarse = coarse.filter(pl.col("sessions") >= min_sessions).with_columns(
            pl.col("slot").cast(rows["slot"].dtype)
        )
        better = thin.select(*series, "bucket").join(coarse, on=series)
        rows = pl.concat(
            [
                rows.join(better, on=["source", "symbol", "interval", "bucket"], how="anti"),
                better.select(rows.columns),
            ]
        )
    return rows.drop("slot").sort("interval", "bucket", "source", "symbol")


def baseline_history(
    con: duckdb.DuckDBPyConnection, judged: pl.DataFrame, sessions: int, min_sessions: int = 0
) -> pl.DataFrame:
    """For each judged row (source, symbol, interval, ts) the baseline of the sessions before its own, from `candidates`.

    As in `baseline_rows` a slot stands in for a bucket with fewer than `min_sessions`, but for one that has none.
    """
    stage(con, "judged", judged)
    rows = frame(con, render("volume_history", sessions=sessions))
    thin = rows.filter(pl.col("sessions").is_between(1, min_sessions - 1))
    keys = ["source", "symbol", "interval", "ts"]
    own = "(SELECT any_value(c.session) FROM candidates AS c WHERE c.source = t.source AND c.symbol = t.symbol AND c.ts = t.ts)"
    if thin.height and _is_any_old(con, thin.select(keys), min_sessions, own):
        values = {"sessions": sessions, "min_sessions": min_sessions, "slot": SLOT}
        coarse = frame(con, render("volume_history_coarse", **values))
        rows = pl.concat([rows.join(coarse, on=keys, how="anti"), coarse.select(rows.columns)])
    return rows


def _is_any_old(con: duckdb.DuckDBPyConnection, thin: pl.DataFrame, min_sessions: int, session: str) -> bool:
    """Temporary table `thin`: those rows before whose `session` (SQL) their series has enough sessions; is there any?

    A young series has too few for every bucket, and its half hours no more than they.
    """
    stage(con, "too_few", thin)
    rows = con.execute(
        f"""CREATE OR REPLACE TEMP TABLE thin AS
        SELECT t.* FROM too_few AS t JOIN (
            SELECT source, symbol, interval, list_sort(list(DISTINCT session)) AS known FROM candidates GROUP BY ALL
        ) AS k USING (source, symbol, interval)
        WHERE k.known[{min_sessions}] < {session}"""
    ).fetchall()
    return bool(rows[0][0])


def stored_baseline(con: duckdb.DuckDBPyConnection, interval: str, buckets: Sequence[int]) -> pl.DataFrame:
    """Rows of calc.volume_baseline for these buckets, as far as a bar is judged by them."""
    return frame(
        con,
        "SELECT source, symbol, session, bucket, median, sessions, log_median, log_mad, log_mean_ad, log_sessions, bars "
        f"FROM calc.volume_baseline WHERE interval = {literal(interval)} "
        f"AND bucket IN {literals(buckets)}",
    )


def baseline_sessions(con: duckdb.DuckDBPyConnection, interval: str) -> dict[str, date]:
    """Source -> session that its stored baseline is in force for."""
    rows = con.execute(
        f"SELECT source, max(session) FROM calc.volume_baseline WHERE interval = {literal(interval)} GROUP BY source"
    )
    return dict(rows.fetchall())
