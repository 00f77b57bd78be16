"""What was found in the market's rows: anomalies, pairs and correlations."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from warehouse import stage
from warehouse.read import Connection, frame


def anomalies(con: Connection, since: datetime, until: datetime | None = None) -> pl.DataFrame:
    """Anomalies judged in the span, newest first."""
    before = "AND ts < $until" if until else ""
    values = {"since": since} | ({"until": until} if until else {})
    return frame(con, f"SELECT * FROM anomalies WHERE ts >= $since {before} ORDER BY ts DESC, id", values)


def series_anomalies(con: Connection, source: str, symbol: str, keep: int = 500) -> pl.DataFrame:
    """The newest anomalies of one series, whatever their age, newest first."""
    sql = (
        "SELECT * FROM anomalies WHERE source = $source AND symbol = $symbol ORDER BY ts DESC, id LIMIT $keep"
    )
    return frame(con, sql, {"source": source, "symbol": symbol, "keep": keep})


def grave_anomalies(con: Connection, before: datetime, keep: int = 5000) -> pl.DataFrame:
    """The newest critical and high anomalies judged before a time."""
    sql = """
        SELECT * FROM anomalies WHERE severity IN ('critical', 'high') AND ts < $before ORDER BY ts DESC, id LIMIT $keep
        """
    return frame(con, sql, {"before": before, "keep": keep})


def anomaly_days(con: Connection) -> pl.DataFrame:
    """day, anomalies, critical, high of every day that has any, newest first."""
    return frame(
        con,
        """
        SELECT ts::DATE AS day, count(*) AS anomalies, count(*) FILTER (severity = 'critical') AS critical,
               count(*) FILTER (severity = 'high') AS high, count(DISTINCT symbol) AS symbols
        FROM anomalies GROUP BY ALL ORDER BY day DESC
        """,
    )


def pair_fits(con: Connection) -> pl.DataFrame:
    """The two newest fits of every (pair, interval) with `age` 1 (newest) and 2, best q first."""
    return frame(
        con,
        """
        SELECT *, row_number() OVER (PARTITION BY pair, interval ORDER BY fitted_at DESC) AS age
        FROM pair_stats QUALIFY age <= 2
        ORDER BY age, q_bh NULLS LAST, p_max NULLS LAST, pair, interval
        """,
    )


def pair_tails(con: Connection, since: datetime, keep: int, pairs: Sequence[str]) -> pl.DataFrame:
    """The newest `keep` points of the named pairs' series, oldest first."""
    return frame(
        con,
        f"""
        SELECT * FROM pair_series WHERE ts >= $since AND pair IN {stage.literals(pairs)}
        QUALIFY row_number() OVER (PARTITION BY pair, interval ORDER BY ts DESC) <= $keep
        ORDER BY pair, interval, ts
        """,
        {"since": since, "keep": keep},
    )


def pair_newest(con: Connection, since: datetime) -> pl.DataFrame:
    """pair, interval and the newest ts, spread, zscore and rolling correlation of each pair's series."""
    return frame(
        con,
        """
        SELECT pair, interval, max(ts) AS ts, arg_max(spread, ts) AS spread, arg_max(zscore, ts) AS zscore,
               arg_max(corr_roll, ts) AS corr_roll
        FROM pair_series WHERE ts >= $since GROUP BY ALL
        """,
        {"since": since},
    )


def correlations(con: Connection) -> pl.DataFrame:
    """The newest estimate of each (interval, lookback, pair of symbols)."""
    return frame(
        con,
        """
        SELECT * FROM correlations
        QUALIFY as_of = max(as_of) OVER (PARTITION BY interval, lookback, symbol_a, symbol_b)
        ORDER BY interval, lookback, symbol_a, symbol_b
        """,
    )


def symbol_stats(con: Connection) -> pl.DataFrame:
    return frame(con, "SELECT * FROM symbol_stats ORDER BY source, symbol, interval, lookback")
