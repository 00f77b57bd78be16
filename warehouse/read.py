"""What the pages ask of the warehouse: few wide reads on the public views, each one frame for all series.

Every function takes an open connection and naive UTC times, and gives a polars frame; none of them asks
per symbol. Reads on minute data carry a literal lower bound on `ts`, without which DuckLake would open
every day's files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta

import duckdb
import polars as pl

from warehouse import stage

HOUR = timedelta(hours=1)
Connection = duckdb.DuckDBPyConnection

BAR_COLUMNS = "open, high, low, close, volume, vwap, turnover, trades"
OHLCV_COLUMNS = (
    f"source, symbol, interval, ts, {BAR_COLUMNS}, "
    "minutes, minutes_expected, is_complete, ret_log, std_dprice, std_logret"
)


def frame(con: Connection, sql: str, values: Mapping[str, object] | None = None) -> pl.DataFrame:
    """The answer of a SELECT as a polars frame (through Arrow, without pyarrow).

    `$name` in the text becomes the value as a literal: DuckLake prunes files by literal bounds only.
    """
    known = values or {}
    return stage.frame(con, re.sub(r"\$(\w+)", lambda found: stage.literal(known[found[1]]), sql))


def series(con: Connection) -> pl.DataFrame:
    """source, symbol, calendar of every series the warehouse has met."""
    return frame(con, "SELECT source, symbol, calendar FROM series ORDER BY source, symbol")


@contextmanager
def one_snapshot(con: Connection) -> Iterator[None]:
    """All reads inside see the same state of the lake; the catalog is asked once, which halves a read's cost.

    Inside a transaction that is open already nothing is begun.
    """
    try:
        con.execute("BEGIN TRANSACTION READ ONLY")
    except duckdb.TransactionException:
        yield
        return
    try:
        yield
    finally:
        con.execute("COMMIT")


def minutes(con: Connection, since: datetime, keep: int) -> pl.DataFrame:
    """The newest `keep` one-minute bars of each series since a time, oldest first."""
    return frame(
        con,
        f"""
        SELECT source, symbol, ts, {BAR_COLUMNS}, revision, known_at FROM bars WHERE ts >= $since
        QUALIFY row_number() OVER (PARTITION BY source, symbol ORDER BY ts DESC) <= $keep
        ORDER BY source, symbol, ts
        """,
        {"since": since, "keep": keep},
    )


def minutes_between(con: Connection, since: datetime, until: datetime) -> pl.DataFrame:
    """All one-minute bars with `since` <= ts < `until`, each with its 1m indicators, oldest first."""
    return frame(
        con,
        f"""
        WITH span AS (SELECT source, symbol, ts, {BAR_COLUMNS} FROM bars WHERE ts >= $since AND ts < $until),
        measured AS (
            SELECT * EXCLUDE (interval) FROM indicators WHERE interval = '1m' AND ts >= $since AND ts < $until
        )
        SELECT * FROM span LEFT JOIN measured USING (source, symbol, ts) ORDER BY source, symbol, ts
        """,
        {"since": since, "until": until},
    )


def quarter_closes(con: Connection, since: datetime) -> pl.DataFrame:
    """source, symbol, ts (of the quarter hour), close: for sparklines and own volatility of large universes."""
    return frame(
        con,
        """
        SELECT source, symbol, time_bucket(INTERVAL 15 MINUTE, ts) AS ts, arg_max(close, ts) AS close
        FROM bars WHERE ts >= $since GROUP BY ALL ORDER BY source, symbol, ts
        """,
        {"since": since},
    )


def touched_days(con: Connection, since: datetime) -> pl.DataFrame:
    """source, symbol, day, known_at (newest), ts (newest), rows: tells which day's chart file is out of date."""
    return frame(
        con,
        """
        SELECT source, symbol, ts::DATE AS day, max(known_at) AS known_at, max(ts) AS ts, count(*) AS rows
        FROM bars WHERE ts >= $since GROUP BY ALL ORDER BY day, source, symbol
        """,
        {"since": since},
    )


def windows(con: Connection, intervals: Mapping[str, timedelta], now: datetime) -> pl.DataFrame:
    """The newest complete row of `ohlcv` of each (series, interval) and `rows`, how many there are.

    intervals: name -> width; 1m is not read here. `rows` counts about 250 windows back: enough to say
    "12 of 20 bars".
    """
    parts = [
        f"""
        SELECT {OHLCV_COLUMNS}, count(*) OVER (PARTITION BY source, symbol, interval) AS rows FROM ohlcv
        WHERE interval IN {stage.literals(names)} AND ts >= {stage.literal(since)} AND is_complete
        QUALIFY row_number() OVER (PARTITION BY source, symbol, interval ORDER BY ts DESC) = 1
        """
        for names, since in _reach(intervals, now, 250)
    ]
    return frame(con, " UNION ALL ".join(f"({part})" for part in parts)) if parts else pl.DataFrame()


def newest_indicators(
    con: Connection, intervals: Mapping[str, timedelta], now: datetime, minutes: int, others: int
) -> pl.DataFrame:
    """The newest indicator rows of each series, `minutes` of 1m and `others` of each wider window; oldest first."""
    parts = [
        f"""
        SELECT * FROM indicators WHERE interval IN {stage.literals(names)} AND ts >= {stage.literal(since)}
        QUALIFY row_number() OVER (PARTITION BY source, symbol, interval ORDER BY ts DESC)
                <= CASE WHEN interval = '1m' THEN {minutes} ELSE {others} END
        """
        for names, since in _reach(
            {"1m": timedelta(minutes=1), **intervals}, now, 2 * others, with_minute=True
        )
    ]
    return frame(
        con, " UNION ALL ".join(f"({part})" for part in parts) + " ORDER BY source, symbol, interval, ts"
    )


def indicators_since(con: Connection, interval: str, since: datetime) -> pl.DataFrame:
    """All indicator rows of one interval since a time."""
    sql = "SELECT * FROM indicators WHERE interval = $interval AND ts >= $since"
    return frame(con, sql, {"interval": interval, "since": since})


def _reach(
    intervals: Mapping[str, timedelta], now: datetime, widths: int, *, with_minute: bool = False
) -> list[tuple[list[str], datetime]]:
    """(names, since) of the windows up to an hour and of the wider ones, each reaching `widths` back."""
    groups: list[tuple[list[str], datetime]] = []
    chosen = {name: width for name, width in intervals.items() if with_minute or name != "1m"}
    for names in (
        [name for name, width in chosen.items() if width <= HOUR],
        [name for name, width in chosen.items() if width > HOUR],
    ):
        if names:
            groups.append((names, now - max(widths * max(chosen[name] for name in names), timedelta(days=5))))
    return groups


def history(
    con: Connection,
    interval: str,
    since: datetime,
    keep: int,
    only: Iterable[tuple[str, str]] | None = None,
) -> pl.DataFrame:
    """The newest `keep` rows of one interval's `ohlcv` per series with their indicators, oldest first.

    only: these (source, symbol) alone.
    """
    named = "" if only is None else f"AND (source, symbol) IN ({', '.join(map(stage.literals, only))})"
    return frame(
        con,
        f"""
        WITH newest AS (
            SELECT {OHLCV_COLUMNS} FROM ohlcv WHERE interval = $interval AND ts >= $since {named}
            QUALIFY row_number() OVER (PARTITION BY source, symbol ORDER BY ts DESC) <= $keep
        )
        SELECT * FROM newest
        LEFT JOIN (SELECT * FROM indicators WHERE interval = $interval AND ts >= $since {named})
            USING (source, symbol, interval, ts)
        ORDER BY source, symbol, ts
        """,
        {"interval": interval, "since": since, "keep": keep},
    )


def last_trades(con: Connection, since: datetime, keep: int = 100) -> pl.DataFrame:
    """The newest `keep` trades of each series, newest first."""
    return frame(
        con,
        """
        SELECT source, symbol, trade_id, ts, price, qty, side, fills, origin FROM trades WHERE ts >= $since
        QUALIFY row_number() OVER (PARTITION BY source, symbol ORDER BY ts DESC, trade_id DESC) <= $keep
        ORDER BY source, symbol, ts DESC, trade_id DESC
        """,
        {"since": since, "keep": keep},
    )


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


def alerts(con: Connection, since: datetime) -> pl.DataFrame:
    """Alerts that are open, or began or ended since a time; newest first."""
    return frame(
        con,
        """
        SELECT * FROM alerts
        WHERE state <> 'resolved' OR started_at >= $since OR resolved_at >= $since
        ORDER BY coalesce(fired_at, started_at) DESC, id
        """,
        {"since": since},
    )


def deliveries(con: Connection, since: datetime) -> pl.DataFrame:
    """Messages made since a time, and all that are not yet sent; newest first."""
    return frame(
        con,
        "SELECT * FROM deliveries WHERE created_at >= $since OR state <> 'sent' ORDER BY created_at DESC, id",
        {"since": since},
    )


def runs(con: Connection, since: datetime) -> pl.DataFrame:
    """Runs that started since a time, newest first."""
    return frame(
        con,
        "SELECT * FROM runs WHERE started_at >= $since ORDER BY started_at DESC, run_id",
        {"since": since},
    )


def latency(con: Connection, since: datetime) -> pl.DataFrame:
    """Stage latencies of the runs that started since a time."""
    return frame(
        con,
        """
        SELECT l.* FROM latency AS l JOIN (SELECT run_id, started_at FROM runs WHERE started_at >= $since) AS r
        USING (run_id) ORDER BY r.started_at, l.stage
        """,
        {"since": since},
    )


def quality(con: Connection, since: datetime) -> pl.DataFrame:
    """Check results since a time, newest first."""
    return frame(
        con,
        "SELECT * FROM quality WHERE checked_at >= $since ORDER BY checked_at DESC, suite, check_name",
        {"since": since},
    )


def quarantine(con: Connection, since: datetime, keep: int = 200) -> pl.DataFrame:
    """What was refused since a time, newest first."""
    return frame(
        con,
        "SELECT * FROM quarantine WHERE seen_at >= $since ORDER BY seen_at DESC, id LIMIT $keep",
        {"since": since, "keep": keep},
    )


def coverage(con: Connection, since: date) -> pl.DataFrame:
    return frame(
        con, "SELECT * FROM coverage WHERE day >= $since ORDER BY day DESC, source, symbol", {"since": since}
    )


def gaps(con: Connection, since: datetime) -> pl.DataFrame:
    """Gaps that are not closed, or reach into the span; newest first."""
    return frame(
        con,
        "SELECT * FROM gaps WHERE to_ts >= $since OR state IN ('open', 'healing') ORDER BY from_ts DESC, source, symbol",
        {"since": since},
    )


def sessions(con: Connection, since: datetime, until: datetime) -> pl.DataFrame:
    return frame(
        con,
        "SELECT * FROM sessions WHERE close_ts >= $since AND open_ts <= $until ORDER BY calendar, open_ts",
        {"since": since, "until": until},
    )


def source_states(con: Connection) -> pl.DataFrame:
    return frame(con, "SELECT * FROM source_states ORDER BY source")


def series_history(con: Connection, source: str, symbol: str, keep: int) -> pl.DataFrame:
    """The newest `keep` rows of every interval (but 1s) of one series, whatever their age, with indicators."""
    return frame(
        con,
        f"""
        WITH mine AS (
            SELECT {OHLCV_COLUMNS} FROM ohlcv WHERE source = $source AND symbol = $symbol AND interval <> '1s'
            QUALIFY row_number() OVER (PARTITION BY interval ORDER BY ts DESC) <= $keep
        )
        SELECT * FROM mine
        LEFT JOIN (SELECT * FROM indicators WHERE source = $source AND symbol = $symbol)
            USING (source, symbol, interval, ts)
        ORDER BY interval, ts
        """,
        {"source": source, "symbol": symbol, "keep": keep},
    )


def columns(con: Connection, view: str) -> list[tuple[str, str]]:
    """(name, type) of a public view's columns."""
    return [(row[0], row[1]) for row in con.execute(f'DESCRIBE "{view}"').fetchall()]
