"""The SQL cookbook: questions people ask, the query on the public views, and what it answers right now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from reports.pages.shell import Page
from reports.snapshot import Snapshot
from reports.text import NONE, full_time
from warehouse import read

MOST_ROWS = 8


@dataclass(frozen=True)
class Recipe:
    question: str
    sql: str
    note: str = ""


RECIPES = (
    Recipe("The last price of everything", "SELECT source, symbol, ts, price\nFROM latest_price\nORDER BY source, symbol"),
    Recipe("Unusual volume in the last bars, strongest first", "SELECT o.symbol, o.interval, o.ts, o.volume, i.volume_ratio, i.volume_robust_z\nFROM ohlcv AS o JOIN indicators AS i USING (source, symbol, interval, ts)\nWHERE o.interval = '15m' AND i.volume_ratio > 1.5 AND o.ts >= (SELECT max(ts) FROM bars) - INTERVAL 1 DAY\nORDER BY i.volume_ratio DESC, o.symbol, o.ts", "The baseline never contains the judged bar nor its session."),
    Recipe("Price, change and volatility of each symbol by hour", "SELECT source, symbol, ts, close, ret_log, volatility_20\nFROM ohlcv LEFT JOIN indicators USING (source, symbol, interval, ts)\nWHERE interval = '1h' AND is_complete\nORDER BY ts DESC, source, symbol", "Volatility: of the log returns of the 20 bars before, per bar."),
    Recipe("Pairs that hold, and how far they are stretched", "SELECT pair, beta_ols, p_max, q_bh, half_life_bars, zscore, state\nFROM pair_stats\nQUALIFY row_number() OVER (PARTITION BY pair, interval ORDER BY fitted_at DESC) = 1 AND is_cointegrated\nORDER BY abs(zscore) DESC", "The larger p of both orders, corrected over all pairs, decides."),
    Recipe("Anomalies of the last day by kind", "SELECT kind, severity, count(*) AS n, max(abs(zscore)) AS largest_z, max(ratio) AS largest_ratio\nFROM anomalies\nWHERE ts >= (SELECT max(ts) FROM bars) - INTERVAL 1 DAY\nGROUP BY ALL ORDER BY n DESC, kind, severity"),
    Recipe("What was missing, and what became of it", "SELECT source, symbol, from_ts, to_ts, minutes, state, origin\nFROM gaps\nORDER BY from_ts DESC, source, symbol"),
    Recipe("Bars that a venue corrected after the fact", "SELECT source, symbol, ts, close, volume, revision, known_at, origin\nFROM bars\nWHERE revision > 1\nORDER BY known_at DESC, source, symbol, ts"),
    Recipe("Completeness of each day", "SELECT day, source, sum(expected) AS expected, sum(ok) AS ok, sum(healed) AS healed,\n       sum(no_trade) AS no_trade, sum(missing + lost) AS absent\nFROM coverage\nGROUP BY ALL ORDER BY day DESC, source"),
    Recipe("Alerts that fired, how long they lasted", "SELECT rule, coalesce(pair, symbol, source) AS subject, severity, fired_at, resolved_at, resolved_at - fired_at AS lasted\nFROM alerts\nWHERE fired_at IS NOT NULL\nORDER BY fired_at DESC, id"),
    Recipe("Messages that could not be delivered", "SELECT id, channel, state, attempts, last_error, next_try\nFROM deliveries\nWHERE state <> 'sent'\nORDER BY created_at DESC, id"),
    Recipe("The slowest runs", "SELECT run_id, flow, started_at, finished_at - started_at AS took, rows_loaded, lag_s\nFROM runs\nORDER BY took DESC, run_id"),
    Recipe("The tape: newest trades", "SELECT source, symbol, ts, price, qty, side\nFROM trades\nWHERE ts >= (SELECT max(ts) FROM trades) - INTERVAL 5 MINUTE\nORDER BY ts DESC, trade_id DESC"),
)  # fmt: skip

WAYS_IN = (
    ("In a terminal, while everything runs", "tapewatch sql"),
    ("With the DuckDB shell", "duckdb -init {warehouse}/open.sql"),
    ("For tools that cannot load an extension", "duckdb data/tapewatch.duckdb"),
    ("As files", "tapewatch export ohlcv --symbol BTCUSDT --format parquet -o btc.parquet"),
)


def page(snap: Snapshot, con: read.Connection) -> Page:
    """Runs every recipe now; a recipe that fails shows its error, so that the page cannot lie."""
    model = {
        "recipes": [answer(con, recipe, n) for n, recipe in enumerate(RECIPES)],
        "ways": [(label, text.format(warehouse=snap.options.warehouse)) for label, text in WAYS_IN],
    }
    return Page("sql/index.html", "sql.html", "SQL cookbook", model, live=False)


def answer(con: read.Connection, recipe: Recipe, number: int) -> dict[str, Any]:
    started = time.perf_counter()
    try:
        result = con.execute(f"SELECT * FROM ({recipe.sql}) LIMIT {MOST_ROWS}")
        columns = [column[0] for column in result.description or ()]
        rows = [[cell(value) for value in row] for row in result.fetchall()]
        counted = (
            con.execute(f"SELECT count(*) FROM ({recipe.sql})").fetchone() if len(rows) == MOST_ROWS else None
        )
        total = counted[0] if counted else len(rows)
        error = ""
    except Exception as problem:  # noqa: BLE001 - whatever the database says is what the reader must see
        columns, rows, total, error = [], [], 0, str(problem).splitlines()[0]
    return {
        "id": f"q{number}",
        "question": recipe.question,
        "sql": recipe.sql,
        "note": recipe.note,
        "columns": columns,
        "rows": rows,
        "total": total,
        "error": error,
        "slow": time.perf_counter() - started > 1,
    }


def cell(value: Any) -> str:
    """A value as the cookbook prints it."""
    if value is None:
        return NONE
    if isinstance(value, datetime):
        return full_time(value).removesuffix(" UTC")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return f"{value:,.6g}"
    return str(value)
