"""The market's rows: bars, windows with their indicators, trades, and the sessions they fall into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

import polars as pl

from warehouse import stage
from warehouse.read import Connection, frame

HOUR = timedelta(hours=1)
BAR_COLUMNS = "open, high, low, close, volume, vwap, turnover, trades"
OHLCV_COLUMNS = (
    f"source, symbol, interval, ts, {BAR_COLUMNS}, "
    "minutes, minutes_expected, is_complete, ret_log, std_dprice, std_logret"
)


def series(con: Connection) -> pl.DataFrame:
    """source, symbol, calendar of every series the warehouse has met."""
    return frame(con, "SELECT source, symbol, calendar FROM series ORDER BY source, symbol")


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


def sessions(con: Connection, since: datetime, until: datetime) -> pl.DataFrame:
    return frame(
        con,
        "SELECT * FROM sessions WHERE close_ts >= $since AND open_ts <= $until ORDER BY calendar, open_ts",
        {"since": since, "until": until},
    )


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
