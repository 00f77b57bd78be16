"""The site as an API: JSON, CSV and Parquet files that say by which query anyone gets the same rows.

Every JSON file is {"sql": ..., "rows": [...]}: running `sql` on the warehouse gives `rows`, in order.
Times are ISO 8601 in UTC; a missing value is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from io import BytesIO
from typing import Any

import orjson
import polars as pl

from pipelines.market import Series
from reports.snapshot import INDICATOR_ROWS

LAST_TICKS = 100
LAST_BARS = 1000
LAST_INDICATORS = INDICATOR_ROWS
OHLC_COLUMNS = (
    "source", "symbol", "interval", "ts", "open", "high", "low", "close", "volume", "vwap", "turnover", "trades",
    "minutes", "minutes_expected", "is_complete", "ret_log", "std_dprice", "std_logret",
)  # fmt: skip
ROBUST_COLUMNS = (
    "pair", "interval", "fitted_at", "n", "beta_ols", "alpha_ols", "r2", "beta_theil_sen", "beta_lo", "beta_hi",
    "beta_kalman", "reason",
)  # fmt: skip
TICK_COLUMNS = ("source", "symbol", "trade_id", "ts", "price", "qty", "side", "fills", "origin")


def quoted(text: object) -> str:
    """A SQL text literal."""
    return "'" + str(text).replace("'", "''") + "'"


def texts(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as ISO 8601 with Z, dates as text, NaN as null: a frame that can be written as JSON."""
    changed = []
    for name, kind in frame.schema.items():
        if isinstance(kind, pl.Datetime):
            changed.append(
                pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").str.replace(".000000Z", "Z", literal=True)
            )
        elif kind == pl.Date:
            changed.append(pl.col(name).dt.strftime("%Y-%m-%d"))
        elif kind.is_float():
            changed.append(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name))
    return frame.with_columns(changed)


def rows_json(frame: pl.DataFrame) -> bytes:
    """A frame as a JSON list of objects; numbers to the last bit. One that went through `texts` stays as it is."""
    if not frame.height:
        return b"[]"
    raw = any(isinstance(kind, pl.Datetime) or kind == pl.Date for kind in frame.dtypes)
    return (texts(frame) if raw else frame).write_json().encode()


def envelope(sql: str, frame: pl.DataFrame, **more: bytes) -> bytes:
    """The file's content; `more` adds members that are JSON already."""
    rest = b"".join(b',"' + name.encode() + b'":' + value for name, value in more.items())
    return b'{"sql":' + orjson.dumps(" ".join(sql.split())) + b',"rows":' + rows_json(frame) + rest + b"}\n"


def of_series(key: Series) -> str:
    return f"source = {quoted(key.source)} AND symbol = {quoted(key.symbol)}"


def latest(key: Series, bars: pl.DataFrame, max_age_s: float, expires_at: datetime) -> tuple[str, bytes]:
    """`api/latest/<S>.json`: the newest bar as `latest_price` shows it, since when it is known and how long it holds.

    max_age_s: how old a price may be while its exchange is open; expires_at says the same as a moment, by the
    exchange's hours: of a closed one it is after the next open.
    """
    row = bars.tail(1).select("source", "symbol", "ts", pl.col("close").alias("price"), "volume", "known_at")
    sql = f"SELECT source, symbol, ts, price, volume, known_at FROM latest_price WHERE {of_series(key)}"
    told = {
        "generated_at": row["known_at"][0],
        "max_age_s": max_age_s,
        "expires_at": f"{expires_at:%Y-%m-%dT%H:%M:%SZ}",
    }
    more = {name: orjson.dumps(value) for name, value in told.items()}
    return f"api/latest/{key.slug}.json", envelope(sql, row, **more)


def ticks(key: Series, trades: pl.DataFrame) -> tuple[str, bytes]:
    """`api/ticks/<S>.json`: the last 100 trades, newest first."""
    sql = (
        f"SELECT {', '.join(TICK_COLUMNS)} FROM trades WHERE {of_series(key)} "
        f"ORDER BY ts DESC, trade_id DESC LIMIT {LAST_TICKS}"
    )
    return f"api/ticks/{key.slug}.json", envelope(sql, trades.select(TICK_COLUMNS).head(LAST_TICKS))


def ohlc_sql(key: Series, interval: str) -> str:
    """The query behind `api/ohlc/<S>/<interval>.*`: the last 1000 rows, oldest first."""
    return (
        f"SELECT * FROM (SELECT {', '.join(OHLC_COLUMNS)} FROM ohlcv WHERE {of_series(key)} "
        f"AND interval = {quoted(interval)} ORDER BY ts DESC LIMIT {LAST_BARS}) ORDER BY ts"
    )


def ohlc(key: Series, interval: str, rows: pl.DataFrame) -> tuple[str, bytes]:
    frame = rows.select(OHLC_COLUMNS).tail(LAST_BARS)
    return f"api/ohlc/{key.slug}/{interval}.json", envelope(ohlc_sql(key, interval), frame)


def ohlc_tables(key: Series, interval: str, rows: pl.DataFrame) -> Iterable[tuple[str, bytes]]:
    """The same rows with their indicators as CSV and Parquet, for spreadsheets and notebooks."""
    frame = rows.tail(LAST_BARS)
    known = [name for name in frame.columns if name not in ("known_at", "revision")]
    buffer = BytesIO()
    frame.select(known).write_parquet(buffer, compression="zstd", statistics=True)
    yield f"api/ohlc/{key.slug}/{interval}.parquet", buffer.getvalue()
    text = frame.select(known).write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ")
    yield f"api/ohlc/{key.slug}/{interval}.csv", text.encode()


def indicators(key: Series, rows: pl.DataFrame) -> tuple[str, bytes]:
    """`api/indicators/<S>.json`: the newest rows of every interval, oldest first."""
    sql = (
        f"SELECT * FROM indicators WHERE {of_series(key)} "
        f"QUALIFY row_number() OVER (PARTITION BY interval ORDER BY ts DESC) <= {LAST_INDICATORS} ORDER BY interval, ts"
    )
    return f"api/indicators/{key.slug}.json", envelope(sql, rows)


def stats(key: Series, rows: pl.DataFrame) -> tuple[str, bytes]:
    sql = f"SELECT * FROM symbol_stats WHERE {of_series(key)} ORDER BY interval, lookback"
    return f"api/stats/{key.slug}.json", envelope(sql, rows)


def pair(name: str, slug: str, fits: pl.DataFrame, tail: pl.DataFrame) -> tuple[str, bytes]:
    """`api/pairs/<A>~<B>.json`: the newest fit in `rows`, the newest points of the spread in `series`."""
    interval = fits["interval"][0]
    sql = (
        f"SELECT * FROM pair_stats WHERE pair = {quoted(name)} AND interval = {quoted(interval)} "
        "ORDER BY fitted_at DESC LIMIT 1"
    )
    series_sql = (
        f"SELECT * FROM (SELECT * FROM pair_series WHERE pair = {quoted(name)} AND interval = {quoted(interval)} "
        f"ORDER BY ts DESC LIMIT {max(tail.height, 1)}) ORDER BY ts"
    )
    more = {"series_sql": orjson.dumps(series_sql), "series": rows_json(tail)}
    return f"api/pairs/{slug}.json", envelope(sql, fits, **more)


def pair_points(slug: str, tail: pl.DataFrame) -> tuple[str, bytes]:
    """`api/pairs/<A>~<B>.series.csv`: what `series` of the pair's JSON holds, for spreadsheets and notebooks."""
    return f"api/pairs/{slug}.series.csv", tail.write_csv(datetime_format="%Y-%m-%dT%H:%M:%SZ").encode()


def robust(name: str, slug: str, fits: pl.DataFrame) -> tuple[str, bytes]:
    """`api/pairs/<A>~<B>.robust.json`: least squares beside Theil-Sen, which a few outliers do not bend.

    beta_difference: Theil-Sen's beta over that of least squares, less 1; is_ols_inside: whether the latter lies in
    Theil-Sen's 95 % interval. Null where the pair could not be tested.
    """
    interval = fits["interval"][0]
    sql = (
        f"SELECT {', '.join(ROBUST_COLUMNS)}, beta_theil_sen / beta_ols - 1 AS beta_difference, "
        "beta_ols BETWEEN beta_lo AND beta_hi AS is_ols_inside "
        f"FROM pair_stats WHERE pair = {quoted(name)} AND interval = {quoted(interval)} "
        "ORDER BY fitted_at DESC LIMIT 1"
    )
    numbers = fits.with_columns(pl.col("beta_ols", "beta_theil_sen", "beta_lo", "beta_hi").cast(pl.Float64))
    rows = numbers.select(
        *ROBUST_COLUMNS,
        beta_difference=pl.col("beta_theil_sen") / pl.col("beta_ols") - 1,
        is_ols_inside=pl.col("beta_ols").is_between(pl.col("beta_lo"), pl.col("beta_hi")),
    )
    return f"api/pairs/{slug}.robust.json", envelope(sql, rows)


def correlation(interval: str, rows: pl.DataFrame) -> tuple[str, bytes]:
    sql = (
        f"SELECT * FROM correlations WHERE interval = {quoted(interval)} "
        "QUALIFY as_of = max(as_of) OVER (PARTITION BY interval, lookback) ORDER BY lookback, symbol_a, symbol_b"
    )
    return f"api/correlation/{interval}.json", envelope(sql, rows.sort("lookback", "symbol_a", "symbol_b"))


def alerts(rows: pl.DataFrame, since: str) -> tuple[str, bytes]:
    return "api/alerts.json", envelope(_alerts_sql(since), rows)


def _alerts_sql(since: str) -> str:
    return (
        f"SELECT * FROM alerts WHERE state <> 'resolved' OR started_at >= TIMESTAMP {quoted(since)} "
        f"OR resolved_at >= TIMESTAMP {quoted(since)} ORDER BY coalesce(fired_at, started_at) DESC, id"
    )


def alerts_of(key: Series, rows: pl.DataFrame, at: datetime) -> tuple[str, bytes]:
    """`api/alerts/<S>.json`: the open alerts of one series and those since midnight six days ago, as in `alerts.json`."""
    since = datetime.combine(at.date(), time()) - timedelta(days=6)
    mine = rows.filter(
        pl.col("source") == key.source,
        pl.col("symbol") == key.symbol,
        (pl.col("state") != "resolved") | (pl.max_horizontal("started_at", "resolved_at") >= since),
    )
    sql = f"SELECT * FROM ({_alerts_sql(str(since))}) WHERE {of_series(key)}"
    return f"api/alerts/{key.slug}.json", envelope(sql, mine)


def symbols(rows: pl.DataFrame) -> tuple[str, bytes]:
    """`api/symbols.json`: every series, its calendar and the `<S>` its files are named by."""
    sql = "SELECT source, symbol, calendar FROM series ORDER BY source, symbol"
    names = [Series(source, symbol).slug for source, symbol in rows.select("source", "symbol").iter_rows()]
    return "api/symbols.json", envelope(sql, rows, slugs=orjson.dumps(names))


@dataclass(frozen=True)
class Endpoint:
    """One kind of file: its path with <placeholders>, the view behind it, how often it is written."""

    path: str
    view: str
    says: str
    every: str
    columns: Sequence[str] = ()
    computed: Sequence[tuple[str, str]] = ()
    """Columns (name, DuckDB type) that the file has beyond the view's."""
    beside: Sequence[tuple[str, str]] = ()
    """What stands beside `rows` (name, DuckDB type)."""


ENDPOINTS = (
    Endpoint("api/pulse.json", "", "build, data age per source, counts: poll this one", "each minute"),
    Endpoint("api/status.json", "", "whether trades and bars are collected, and each stream's connections", "each minute"),
    Endpoint("api/symbols.json", "series", "every series and the <S> its files are named by", "on change"),
    Endpoint("api/latest/<S>.json", "latest_price", "the newest closed minute, and how long it holds", "each minute", beside=(("generated_at", "TIMESTAMP"), ("max_age_s", "DOUBLE"), ("expires_at", "TIMESTAMP"))),
    Endpoint("api/ticks/<S>.json", "trades", "the last 100 trades, newest first", "each minute", TICK_COLUMNS),
    Endpoint("api/ohlc/<S>/<interval>.json", "ohlcv", "the last 1000 windows, oldest first", "1m each minute, wider ones as they close", OHLC_COLUMNS),
    Endpoint("api/ohlc/<S>/<interval>.csv", "ohlcv", "the same with indicators, as CSV", "every few minutes, on change"),
    Endpoint("api/ohlc/<S>/<interval>.parquet", "ohlcv", "the same with indicators, as Parquet", "every few minutes, on change"),
    Endpoint("api/indicators/<S>.json", "indicators", "the newest 20 rows of every interval", "each minute"),
    Endpoint("api/stats/<S>.json", "symbol_stats", "statistics over trailing windows", "every few minutes"),
    Endpoint("api/pairs/<A>~<B>.json", "pair_stats", "the newest fit, and the spread's last points in `series`", "each minute"),
    Endpoint("api/pairs/<A>~<B>.series.csv", "pair_series", "spread, z, rolling correlation and beta of the last 1000 bars, as CSV", "with each fit"),
    Endpoint("api/pairs/<A>~<B>.robust.json", "pair_stats", "least squares beside Theil-Sen and its interval", "with each fit", ROBUST_COLUMNS, (("beta_difference", "DOUBLE"), ("is_ols_inside", "BOOLEAN"))),
    Endpoint("api/correlation/<interval>.json", "correlations", "the newest matrix with 95 % intervals", "every few minutes"),
    Endpoint("api/alerts.json", "alerts", "open alerts and those of the last 7 days", "each minute"),
    Endpoint("api/alerts/<S>.json", "alerts", "those of one series", "each minute"),
    Endpoint("alerts/feed.xml", "alerts", "Atom feed of alerts", "on change"),
    Endpoint("metrics.prom", "", "Prometheus text for node-exporter's textfile collector", "each minute"),
    Endpoint("manifest.json", "", "sha256 of every file", "each minute"),
)  # fmt: skip

JSON_TYPES = {"VARCHAR": "string", "BOOLEAN": "boolean", "DOUBLE": "number", "FLOAT": "number"}


def schema(columns: Sequence[tuple[str, str]], beside: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """A JSON schema of {"sql", "rows", what is beside} for (name, DuckDB type) columns; every value may be null."""
    properties = {name: _property(kind) for name, kind in columns}
    row = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "sql": {"type": "string"},
            "rows": {"type": "array", "items": row},
            **{name: _property(kind) for name, kind in beside},
        },
        "required": ["sql", "rows", *(name for name, _ in beside)],
    }


def _property(kind: str) -> dict[str, Any]:
    if kind.startswith("TIMESTAMP"):
        return {"type": ["string", "null"], "format": "date-time"}
    if kind == "DATE":
        return {"type": ["string", "null"], "format": "date"}
    return {"type": [JSON_TYPES.get(kind, "integer" if "INT" in kind else "string"), "null"]}


PULSE_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "build": {"type": "string"},
        "rendered_at": {"type": "number"},
        "market_now": {"type": "number"},
        "simulated": {"type": "boolean"},
        "sources": {"type": "array", "items": {"type": "object"}},
        "counts": {"type": "object"},
    },
    "required": ["build", "rendered_at", "market_now", "simulated", "sources", "counts"],
}


def catalogue(
    views: Mapping[str, Sequence[tuple[str, str]]],
    series: Sequence[str],
    pairs: Sequence[str],
    intervals: Sequence[str],
) -> dict[str, Any]:
    """`api/index.json`: what there is, its schema, and every value a placeholder may take."""
    files = []
    for point in ENDPOINTS:
        columns = [c for c in views.get(point.view, ()) if not point.columns or c[0] in point.columns]
        entry: dict[str, Any] = {"path": point.path, "says": point.says, "written": point.every}
        if point.view:
            entry["view"] = point.view
        if point.path.endswith("pulse.json"):
            entry["schema"] = PULSE_SCHEMA
        elif point.path.endswith(".json") and columns:
            entry["schema"] = schema([*columns, *point.computed], point.beside)
        files.append(entry)
    return {
        "about": "Every file answers what an HTTP API would. Paths are relative to the site's root; a missing subject is a missing file (404).",
        "placeholders": {"S": list(series), "A~B": list(pairs), "interval": list(intervals)},
        "files": files,
    }  # fmt: skip
