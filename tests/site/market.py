"""A small synthetic market written straight into a lake's internal tables, with everything a page can show.

Friday 2026-11-20, 15:42 UTC: New York trades since 14:30. BTCUSDT runs hot since 15:19 and has a hole from
14:05 to 14:18; one newcomer has only 12 bars; one imported series bears a name that is a piece of HTML.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import orjson
import polars as pl

from pipelines.analytics import indicators
from pipelines.analytics.correlation import correlations
from pipelines.analytics.examine import ScanParams, examine
from pipelines.analytics.fits import fit
from pipelines.analytics.panels import same_source_pairs, wide
from pipelines.analytics.params import IndicatorParams, columns, hidden_columns
from pipelines.analytics.scan import scan_series
from pipelines.analytics.stats import symbol_stats
from tests.lakes import copied, template
from warehouse.connect import Location, connect, transaction
from warehouse.migrate import migrate
from warehouse.stage import stage

NOW = datetime(2026, 11, 20, 15, 42, 6, tzinfo=UTC)
AT = NOW.replace(tzinfo=None)
NEWEST = datetime(2026, 11, 20, 15, 41)
HOLE = (datetime(2026, 11, 20, 14, 5), datetime(2026, 11, 20, 14, 19))
HOT = datetime(2026, 11, 20, 15, 19)
EVIL = "<script>alert(1)</script>"
SESSIONS = [
    date(2026, 11, 16),
    date(2026, 11, 17),
    date(2026, 11, 18),
    date(2026, 11, 19),
    date(2026, 11, 20),
]
CRYPTO = {"BTCUSDT": (64000.0, 40.0), "ETHUSDT": (3150.0, 420.0)}
STOCKS = {
    "AAPL": (231.4, 52_000.0), "AMZN": (207.9, 38_000.0), "GOOGL": (176.2, 30_000.0), "MSFT": (418.6, 24_000.0),
    "NVDA": (142.7, 190_000.0), "SPY": (588.3, 60_000.0), "TSLA": (329.1, 95_000.0),
}  # fmt: skip
WIDTHS = {"5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240}


def open_lake(home: Path) -> tuple[duckdb.DuckDBPyConnection, Location]:
    location = copied(template(), home)
    con = connect(location)
    con.execute("SET threads = 1")
    params = IndicatorParams()
    seconds = {"1m": 60, "1d": 86400, **{name: minutes * 60 for name, minutes in WIDTHS.items()}}
    migrate(
        con, location, columns(params) | hidden_columns(params), frozenset(hidden_columns(params)), seconds
    )
    return con, location


def fill(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    days: int = 4,
    extra_stocks: int = 0,
    with_pairs: bool = True,
) -> None:
    """Loads the whole market in one transaction."""
    bars = market(days, extra_stocks)
    params = IndicatorParams()
    minute = with_returns(bars)
    usual = bars.select("source", "symbol", "ts", "usual")
    windows = [resampled(minute, name, width) for name, width in WIDTHS.items()]
    rows = [measured(minute, "1m", params, usual)] + [
        measured(w, w["interval"][0], params, None) for w in windows
    ]
    measures = pl.concat(rows, how="diagonal")
    found = anomalies(minute, measures)
    tables = {
        "core.series": series_rows(bars),
        "core.bars": bar_rows(bars),
        "core.trades": trades(),
        "core.quarantine": quarantine(),
        "core.derived": pl.DataFrame({"run_id": ["r"] * 2, "derived_at": [AT] * 2, "source": ["binance", "yahoo"], "until_ts": [NEWEST + timedelta(minutes=1)] * 2}),
        "core.source_states": pl.DataFrame({"source": ["binance", "yahoo"], "state": ["ok", "ok"], "reason": [None, None], "market_now": [AT] * 2, "seen_at": [AT] * 2, "run_id": ["r"] * 2}),
        "core.interval_bars": imported(),
        "calc.sessions": sessions(),
        "calc.windows": pl.concat(windows, how="diagonal").with_columns(run_id=pl.lit("run-1")),
        "calc.indicators": measures.with_columns(run_id=pl.lit("run-1")),
        "calc.anomalies": found,
        "calc.symbol_stats": symbol_stats(minute.filter(~pl.col("symbol").str.starts_with("X")), "1m", 600, lags=1).with_columns(run_id=pl.lit("run-1")),
        "calc.gap_events": gaps(),
        "calc.coverage": coverage(),
        "ops.runs": runs(),
        "ops.latency": latency(),
        "ops.quality": quality(),
        "ops.alert_events": alerts(),
        "ops.alert_acks": pl.DataFrame({"id": ["alert-eth-rsi"], "acked_at": [AT], "author": ["me"], "note": ["seen"]}),
        "ops.outbox": outbox(),
        **(pairs(minute) if with_pairs else {}),
    }  # fmt: skip
    for name, frame in tables.items():
        stage(con, "stage_" + name.replace(".", "_"), frame)
    with transaction(con, location):
        for name, frame in tables.items():
            listed = ", ".join(f'"{column}"' for column in frame.columns)
            con.execute(f"INSERT INTO {name} ({listed}) SELECT {listed} FROM stage_{name.replace('.', '_')}")


def add_minute(
    con: duckdb.DuckDBPyConnection,
    location: Location,
    ts: datetime,
    close: float = 64_123.45,
    symbol: str = "BTCUSDT",
) -> None:
    """One more closed minute of a series."""
    with transaction(con, location):
        con.execute(
            f"""INSERT INTO core.bars SELECT source, symbol, TIMESTAMP '{ts}', {close}, {close}, {close}, {close}, 41.5,
            {close}, {close} * 41.5, 900, venue, 1, TIMESTAMP '{ts + timedelta(seconds=64)}', 'run-x', 'rest', 'b-x'
            FROM core.bars WHERE symbol = '{symbol}' ORDER BY ts DESC LIMIT 1"""
        )


# ---- bars ----


def market(days: int, extra_stocks: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(20261120)
    start = datetime(2026, 11, 20) - timedelta(days=days - 1)
    around_the_clock = [
        start + timedelta(minutes=n) for n in range(int((NEWEST - start).total_seconds() // 60) + 1)
    ]
    common = rng.normal(0, 4.2e-4, len(around_the_clock)).cumsum()
    frames = []
    for name, (price, volume) in CRYPTO.items():
        own = ar1(rng, len(around_the_clock), 0.97, 2.2e-4)
        log = common + own + (0 if name == "BTCUSDT" else rng.normal(0, 5e-5, len(common)).cumsum())
        frames.append(series("binance", name, around_the_clock, price, volume, log, rng))
    trading = [
        datetime.combine(day, datetime.min.time()) + timedelta(minutes=870 + n)
        for day in SESSIONS[-days:]
        for n in range(390)
    ]
    trading = [ts for ts in trading if ts <= NEWEST]
    tide = rng.normal(0, 3e-4, len(trading)).cumsum()
    names = STOCKS | {f"X{n:03d}": (50.0 + n, 9_000.0) for n in range(extra_stocks)}
    for name, (price, volume) in names.items():
        own = (
            rng.normal(0, 3.2e-4, len(trading)).cumsum()
            if name != "GOOGL"
            else ar1(rng, len(trading), 0.95, 2e-4)
        )
        frames.append(series("yahoo", name, trading, price, volume, tide + own, rng))
    bars = pl.concat(frames)
    newcomer = bars.filter((pl.col("symbol") == "ETHUSDT") & (pl.col("ts") > NEWEST - timedelta(minutes=12)))
    newcomer = newcomer.with_columns(
        symbol=pl.lit("NEWUSDT"), **{c: (pl.col(c) / 2500).round(4) for c in ("open", "high", "low", "close")}
    )
    hole = (pl.col("symbol") == "BTCUSDT") & (pl.col("ts") >= HOLE[0]) & (pl.col("ts") < HOLE[1])
    return pl.concat([bars.filter(~hole), newcomer]).sort("source", "symbol", "ts")


def ar1(rng: np.random.Generator, n: int, phi: float, sigma: float) -> np.ndarray:
    out, level = np.empty(n), 0.0
    for i, shock in enumerate(rng.normal(0, sigma, n)):
        level = phi * level + shock
        out[i] = level
    return out


def series(source, symbol, times, price, volume, log, rng) -> pl.DataFrame:
    n = len(times)
    hot = np.array([symbol in ("BTCUSDT", "NVDA") and ts >= HOT for ts in times])
    early = np.array(
        [
            symbol == "BTCUSDT" and datetime(2026, 11, 20, 13, 2) <= ts < datetime(2026, 11, 20, 13, 7)
            for ts in times
        ]
    )
    log = (
        log + np.where(hot, np.linspace(0, 1, n) ** 0 * np.cumsum(hot) * 4.6e-4, 0) - np.cumsum(early) * 9e-4
    )
    close = price * np.exp(log - log[-1])
    opened = np.concatenate(([close[0]], close[:-1])) * np.exp(rng.normal(0, 4e-5, n))
    wick = np.abs(rng.normal(0, 2.4e-4, (2, n)))
    digits = 2 if price > 10 else 4
    opened, close = np.round(opened, digits), np.round(close, digits)
    high = np.round(np.maximum(opened, close) * (1 + wick[0]), digits)
    low = np.round(np.minimum(opened, close) * (1 - wick[1]), digits)
    minute = np.array([ts.hour * 60 + ts.minute for ts in times])
    shape = (
        1 + 0.45 * np.cos((minute - 870) / 390 * 2 * np.pi)
        if source == "yahoo"
        else 1 + 0.3 * np.sin(minute / 1440 * 2 * np.pi)
    )
    usual = volume * shape
    traded = (
        usual * rng.lognormal(0, 0.38, n) * np.where(hot, rng.uniform(4, 12, n), 1) * np.where(early, 6.5, 1)
    )
    traded = np.round(traded, 5 if source == "binance" else 0)
    vwap = (high + low + close) / 3
    return pl.DataFrame({
        "source": source, "symbol": symbol, "ts": times, "open": opened, "high": high, "low": low, "close": close,
        "volume": traded, "vwap": vwap, "turnover": vwap * traded if source == "binance" else None,
        "trades": (traded * 20).astype(np.int64) if source == "binance" else None, "usual": usual,
    }, schema_overrides={"ts": pl.Datetime("us"), "turnover": pl.Float64, "trades": pl.Int64})  # fmt: skip


def bar_rows(bars: pl.DataFrame) -> pl.DataFrame:
    revised = (pl.col("symbol") == "TSLA") & (pl.col("ts") == datetime(2026, 11, 20, 15, 2))
    return bars.drop("usual").with_columns(
        venue=pl.col("source"), revision=pl.when(revised).then(2).otherwise(1), known_at=pl.col("ts") + timedelta(seconds=64),
        run_id=pl.lit("run-1"), origin=pl.lit("rest"), batch_id=pl.lit("b-1"),
    )  # fmt: skip


def with_returns(bars: pl.DataFrame) -> pl.DataFrame:
    same = (pl.col("source") == "binance") | (pl.col("ts").dt.date() == pl.col("ts").shift(1).dt.date())
    change = (pl.col("close") / pl.col("close").shift(1)).log()
    return bars.with_columns(ret_log=pl.when(same).then(change).over("source", "symbol"))


def resampled(bars: pl.DataFrame, name: str, width: int) -> pl.DataFrame:
    at = pl.col("ts").dt.truncate(f"{width}m").alias("bucket")
    anchored = pl.when(pl.col("source") == "yahoo").then(
        (pl.col("ts").dt.offset_by("-870m").dt.truncate(f"{width}m")).dt.offset_by("870m")
    ).otherwise(at)  # fmt: skip
    rows = bars.group_by("source", "symbol", anchored.alias("ts"), maintain_order=True).agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
        vwap=(pl.col("vwap") * pl.col("volume")).sum() / pl.col("volume").sum(), volume=pl.col("volume").sum(), turnover=pl.col("turnover").sum(),
        trades=pl.col("trades").sum(), minutes=pl.len().cast(pl.Int32), std_logret=pl.col("ret_log").std(), std_dprice=pl.col("close").diff().std(),
        usual=pl.col("usual").sum(),
    )  # fmt: skip
    end = NEWEST + timedelta(minutes=1)
    return (
        rows.filter(pl.col("ts") + timedelta(minutes=width) <= end)
        .with_columns(
            interval=pl.lit(name), minutes_expected=pl.lit(width, pl.Int32), is_complete=pl.lit(True),
            ret_log=(pl.col("close") / pl.col("close").shift(1)).log().over("source", "symbol"),
        )
        .sort("source", "symbol", "ts")
    ).drop("usual")  # fmt: skip


def measured(
    bars: pl.DataFrame, interval: str, params: IndicatorParams, usual: pl.DataFrame | None
) -> pl.DataFrame:
    rows = indicators.full(bars, params, {"binance": 525_600.0, "yahoo": 98_280.0}).with_columns(
        interval=pl.lit(interval)
    )
    if usual is None:
        strength = 1.8 if interval == "5m" else 1.2
        mix = pl.col("ts").dt.epoch("s") % 97 / 97 * strength
        return rows.with_columns(volume_ratio=0.4 + mix, volume_robust_z=mix - 1)
    joined = rows.join(
        usual.join(bars.select("source", "symbol", "ts", "volume"), on=["source", "symbol", "ts"]),
        on=["source", "symbol", "ts"],
        how="left",
    )
    ratio = pl.col("volume") / pl.col("usual")
    keep = pl.col("symbol") != "NEWUSDT"
    return joined.with_columns(
        volume_ratio=pl.when(keep).then(ratio), volume_robust_z=pl.when(keep).then(ratio.log() / 0.38)
    ).drop("usual", "volume")


# ---- what follows from them ----


def anomalies(bars: pl.DataFrame, measures: pl.DataFrame) -> pl.DataFrame:
    judged = measures.filter((pl.col("interval") == "1m") & (pl.col("ts") > AT - timedelta(days=2))).join(
        bars.select("source", "symbol", "ts", "volume", "close"), on=["source", "symbol", "ts"]
    )
    volume = judged.filter(pl.col("volume_ratio") > 3).select(
        "source", "symbol", "interval", "ts", kind=pl.lit("volume"), value=pl.col("volume"), baseline=pl.col("volume") / pl.col("volume_ratio"),
        ratio=pl.col("volume_ratio"), zscore=pl.col("volume_robust_z"), severity=pl.when(pl.col("volume_ratio") > 8).then(pl.lit("high")).otherwise(pl.lit("medium")),
        reason=pl.format("volume {}x the usual of this minute", pl.col("volume_ratio").round(1)),
    )  # fmt: skip
    rsi = judged.filter((pl.col("rsi_14") > 78) | (pl.col("rsi_14") < 20)).select(
        "source", "symbol", "interval", "ts", kind=pl.lit("rsi_extreme"), value=pl.col("rsi_14"), baseline=pl.lit(50.0), ratio=pl.lit(None, pl.Float64),
        zscore=pl.lit(None, pl.Float64), severity=pl.lit("medium"), reason=pl.format("RSI {} is beyond 70/30", pl.col("rsi_14").round(1)),
    )  # fmt: skip
    price = pl.DataFrame({
        "source": ["yahoo", "yahoo"], "symbol": ["NVDA", "TSLA"], "interval": ["15m", "1h"], "ts": [datetime(2026, 11, 20, 15, 15), datetime(2026, 11, 19, 18, 30)],
        "kind": ["price_spike", "price_spike"], "value": [143.2, 331.0], "baseline": [136.0, 312.0], "ratio": [1.053, 1.061], "zscore": [5.9, -6.4],
        "severity": ["critical", "critical"], "reason": ["5.3 % above the mean of the 20 bars before", "6.1 % above <b>the mean</b> of the 20 bars before"],
    }, schema_overrides={"ts": pl.Datetime("us")})  # fmt: skip
    old = price.head(1).with_columns(ts=pl.lit(datetime(2026, 11, 2, 15, 0)).cast(pl.Datetime("us")))
    every = pl.concat([volume, rsi, price, old], how="vertical_relaxed").sort("ts")
    return every.with_columns(
        id=pl.format("{}-{}-{}-{}", pl.col("symbol"), pl.col("interval"), pl.col("kind"), pl.col("ts").dt.epoch("s")),
        run_id=pl.lit("run-1"), known_at=pl.col("ts") + timedelta(seconds=66),
    )  # fmt: skip


def pairs(minute: pl.DataFrame) -> dict[str, pl.DataFrame]:
    closes = wide(minute.filter((pl.col("symbol") != "NEWUSDT") & (~pl.col("symbol").str.starts_with("X"))))
    names = [name for name in closes.columns if name != "ts"]
    chosen = [
        pair
        for pair in same_source_pairs(names)
        if "ETH" in pair[1] or "NVDA" in pair[0] + pair[1] or "SPY" in pair[1]
    ][:14]
    params = ScanParams(lookback=500, lags=1, refit=60)
    scanned, every = examine(closes, chosen, params), np.arange(len(chosen))
    fits = fit(closes, scanned, every, NOW - timedelta(minutes=12))
    before = fits.with_columns(
        fitted_at=pl.col("fitted_at") - timedelta(hours=1), is_cointegrated=pl.col("is_cointegrated").not_()
    )
    paths = scan_series(scanned, every)
    lookback = correlations(closes.tail(1600), "1m", 1440)
    return {
        "calc.pair_stats": pl.concat([fits, before]).with_columns(run_id=pl.lit("run-1")),
        "calc.pair_series": paths.with_columns(run_id=pl.lit("run-1")),
        "calc.correlations": pl.concat([lookback, correlations(closes.tail(400), "1m", 240)]).with_columns(run_id=pl.lit("run-1")),
    }  # fmt: skip


def series_rows(bars: pl.DataFrame) -> pl.DataFrame:
    rows = bars.group_by("source", "symbol").agg(first_seen=pl.col("ts").min()).sort("source", "symbol")
    rows = rows.with_columns(
        calendar=pl.when(pl.col("source") == "yahoo").then(pl.lit("XNYS")).otherwise(pl.lit("24/7")),
        origin=pl.lit("rest"),
    )
    odd = pl.DataFrame(
        {"source": ["file"], "symbol": [EVIL], "calendar": ["24/7"], "origin": ["import"], "first_seen": [AT]}
    )
    return pl.concat([rows, odd.select(rows.columns).cast({"first_seen": pl.Datetime("us")})])


def imported() -> pl.DataFrame:
    days = [datetime(2023, 3, 1) + timedelta(days=n) for n in range(60)]
    close = [1 + 0.01 * (n * 7 % 13) for n in range(60)]
    return pl.DataFrame({
        "source": "file", "symbol": EVIL, "interval": "1d", "ts": days, "open": close, "high": [c * 1.02 for c in close], "low": [c * 0.98 for c in close],
        "close": close, "volume": [1e6] * 60, "vwap": close, "known_at": [AT] * 60, "origin": "import",
    }, schema_overrides={"ts": pl.Datetime("us")})  # fmt: skip


def trades() -> pl.DataFrame:
    n = 260
    return pl.DataFrame({
        "source": "binance", "symbol": "BTCUSDT", "trade_id": list(range(9_000, 9_000 + n)),
        "ts": [NEWEST - timedelta(seconds=n - i, microseconds=i) for i in range(n)], "price": [63990.0 + i * 0.05 for i in range(n)],
        "qty": [0.01 * (1 + i % 7) for i in range(n)], "side": ["buy" if i % 3 else "sell" for i in range(n)], "fills": [1 + i % 3 for i in range(n)],
        "origin": "stream", "known_at": [NEWEST] * n, "run_id": "run-1", "batch_id": "b-2",
    }, schema_overrides={"ts": pl.Datetime("us")})  # fmt: skip


def sessions() -> pl.DataFrame:
    days = [*SESSIONS, date(2026, 11, 23), date(2026, 11, 24)]
    opens = [datetime.combine(day, datetime.min.time()) + timedelta(minutes=870) for day in days]
    return pl.DataFrame({"calendar": "XNYS", "session": days, "open_ts": opens, "close_ts": [at + timedelta(minutes=390) for at in opens], "minutes": 390, "is_early_close": False}, schema_overrides={"open_ts": pl.Datetime("us"), "close_ts": pl.Datetime("us")})  # fmt: skip


def gaps() -> pl.DataFrame:
    rows = [
        ("binance", "BTCUSDT", HOLE[0], HOLE[1], 14, "open", None, HOLE[1]),
        (
            "yahoo",
            "TSLA",
            datetime(2026, 11, 19, 16, 1),
            datetime(2026, 11, 19, 16, 5),
            4,
            "open",
            None,
            datetime(2026, 11, 19, 16, 6),
        ),
        (
            "yahoo",
            "TSLA",
            datetime(2026, 11, 19, 16, 1),
            datetime(2026, 11, 19, 16, 5),
            4,
            "healed",
            "heal",
            datetime(2026, 11, 20, 15, 9),
        ),
    ]
    return pl.DataFrame(
        rows,
        schema=["source", "symbol", "from_ts", "to_ts", "minutes", "state", "origin", "seen_at"],
        orient="row",
    ).with_columns(run_id=pl.lit("run-1"))


def coverage() -> pl.DataFrame:
    rows = []
    for day in (date(2026, 11, 19), date(2026, 11, 20)):
        for symbol in CRYPTO:
            lost = 14 if symbol == "BTCUSDT" and day.day == 20 else 0
            rows.append(("binance", symbol, day, 942, 942 - lost, 0, lost, 0, 0, 0))
        rows += [
            (
                "yahoo",
                symbol,
                day,
                390,
                386 if symbol == "TSLA" else 390,
                0,
                0,
                4 if symbol == "TSLA" else 0,
                0,
                0,
            )
            for symbol in STOCKS
        ]
    return pl.DataFrame(rows, schema=["source", "symbol", "day", "expected", "ok", "no_trade", "missing", "healed", "lost", "late"], orient="row")  # fmt: skip


def runs() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    rows = []
    for n in range(110):
        start = AT - timedelta(minutes=n, seconds=1)
        took = float(4.2 + rng.gamma(2, 0.9))
        state = "Failed" if n == 37 else "Completed"
        rows.append(
            (
                f"run-{n:03d}-8f2c",
                "minute",
                start.replace(second=5),
                start,
                start + timedelta(seconds=took),
                state,
                9,
                9,
                0,
                float(rng.uniform(4, 9)),
                took * 0.6,
                "yahoo: 429 Too Many Requests" if n == 37 else None,
            )
        )
    rows += [
        (
            f"pairs-{n}",
            "pairs",
            AT - timedelta(hours=n),
            AT - timedelta(hours=n),
            AT - timedelta(hours=n) + timedelta(seconds=9.5),
            "Completed",
            0,
            0,
            0,
            None,
            8.8,
            None,
        )
        for n in range(6)
    ]
    return pl.DataFrame(rows, schema=["run_id", "flow", "scheduled_for", "started_at", "finished_at", "state", "rows_in", "rows_loaded", "rows_quarantined", "lag_s", "cpu_s", "detail"], orient="row", infer_schema_length=None)  # fmt: skip


def latency() -> pl.DataFrame:
    rng = np.random.default_rng(6)
    rows = [
        (f"run-{n:03d}-8f2c", stage_name, float(base * rng.uniform(0.8, 1.2)), float(base * rng.uniform(2, 4)), float(base * 6), 60, AT - timedelta(minutes=n))
        for n in range(110) for stage_name, base in (("receive_to_landed", 4.0), ("fetch", 130.0), ("load", 90.0), ("derive", 260.0), ("site", 140.0))
    ]  # fmt: skip
    return pl.DataFrame(
        rows, schema=["run_id", "stage", "p50_ms", "p99_ms", "max_ms", "n", "seen_at"], orient="row"
    )


def quality() -> pl.DataFrame:
    checks = [("bars", "high_is_highest", "bars", "error"), ("bars", "unique_key", "bars", "error"), ("bars", "volume_not_negative", "bars", "error"),
              ("bars", "returns_plausible", "bars", "warn"), ("coverage", "every_minute_has_a_state", "coverage", "error"), ("trades", "ids_without_jumps", "trades", "warn")]  # fmt: skip
    rows = [
        (suite, check, table, severity, not (check == "returns_plausible" and n < 2), "2 rows" if check == "returns_plausible" and n < 2 else "0 rows", "0 rows", 2 if check == "returns_plausible" and n < 2 else 0, f"q-{n}", AT - timedelta(hours=n))
        for n in range(24) for suite, check, table, severity in checks
    ]  # fmt: skip
    return pl.DataFrame(
        rows,
        schema=[
            "suite",
            "check_name",
            "table_name",
            "severity",
            "passed",
            "observed",
            "threshold",
            "failing_rows",
            "run_id",
            "checked_at",
        ],
        orient="row",
    )


def quarantine() -> pl.DataFrame:
    return pl.DataFrame({
        "id": ["q1", "q2"], "source": ["yahoo", "file"], "symbol": ["AAPL", EVIL], "ts": [NEWEST, None], "reason": ["high below low", "not a number"],
        "detail": ["high 231.1 < low 231.6", "close = n/a"], "payload": ['{"h": 231.1, "l": 231.6}', f"{EVIL},2023-03-01,n/a"], "file": [None, "inbox/odd.csv"],
        "line": [None, 17], "run_id": ["run-1", "run-1"], "batch_id": ["b", "b"], "seen_at": [AT, AT],
    }, schema_overrides={"ts": pl.Datetime("us"), "line": pl.Int64})  # fmt: skip


def alerts() -> pl.DataFrame:
    def facts(column: str, value: float, limit: float, **more: object) -> str:
        return orjson.dumps({
            "rule": column, "expression": f"{column} > {limit}", "interval": "15m", "column": column, "value": value, "threshold": limit,
            "ts": "2026-11-20T15:15:00", "columns": {column: value, "close": 64000.0}, "note": EVIL, **more,
        }).decode()  # fmt: skip

    usual = {
        "baseline": {"name": "usual volume of this time of the session", "value": 41.2, "observed": 352.0}
    }
    rows = [
        ("alert-btc-volume", "volume", "binance", "BTCUSDT", None, "15m", "pending", "high", 3.4, 3.0, facts("volume_ratio", 3.4, 3.0, **usual), HOT, HOT + timedelta(minutes=1)),
        ("alert-btc-volume", "volume", "binance", "BTCUSDT", None, "15m", "firing", "high", 8.5, 3.0, facts("volume_ratio", 8.5, 3.0, **usual), HOT + timedelta(minutes=2), HOT + timedelta(minutes=3)),
        ("alert-nvda-price", "price-from-mean", "yahoo", "NVDA", None, "15m", "firing", "critical", 5.3, 5.0, facts("dev_20_pct", 5.3, 5.0), datetime(2026, 11, 20, 15, 31), datetime(2026, 11, 20, 15, 31, 6)),
        ("alert-eth-rsi", "rsi", "binance", "ETHUSDT", None, "1h", "firing", "medium", 74.2, 70.0, facts("rsi_14", 74.2, 70.0), datetime(2026, 11, 20, 15, 1), datetime(2026, 11, 20, 15, 1, 6)),
        ("alert-btc-gap", "open-gap", "binance", "BTCUSDT", None, "1m", "firing", "high", 2976.0, 0.0, facts("gap_minutes", 2976.0, 0.0), datetime(2026, 11, 20, 14, 20), datetime(2026, 11, 20, 14, 20, 6)),
        ("alert-tsla-old", "price-from-mean", "yahoo", "TSLA", None, "1h", "firing", "critical", 6.1, 5.0, facts("dev_20_pct", 6.1, 5.0), datetime(2026, 11, 19, 18, 31), datetime(2026, 11, 19, 18, 31, 6)),
        ("alert-tsla-old", "price-from-mean", "yahoo", "TSLA", None, "1h", "resolved", "critical", 6.1, 5.0, facts("dev_20_pct", 6.1, 5.0, worst={"value": 7.3, "ts": "2026-11-19T18:45:00+00:00"}), datetime(2026, 11, 20, 15, 10), datetime(2026, 11, 20, 15, 10, 6)),
    ]  # fmt: skip
    frame = pl.DataFrame(
        rows,
        schema=[
            "id",
            "rule",
            "source",
            "symbol",
            "pair",
            "interval",
            "state",
            "severity",
            "value",
            "threshold",
            "evidence",
            "event_ts",
            "recorded_at",
        ],
        orient="row",
        infer_schema_length=None,
    )
    return frame.with_columns(
        fingerprint=pl.col("id"),
        rule_version=pl.lit("1"),
        run_id=pl.lit("run-1"),
        pair=pl.col("pair").cast(pl.String),
    )


def outbox() -> pl.DataFrame:
    rows = [
        ("m1", "file", "binance|critical", "sent", 1, None, None, AT - timedelta(minutes=9)),
        ("m2", "email", "yahoo|high", "dead", 8, None, "550 5.1.1 no such user", AT - timedelta(hours=3)),
        ("m3", "file", "digest", "sent", 1, None, None, AT - timedelta(minutes=42)),
    ]
    return pl.DataFrame(rows, schema={"id": pl.String, "channel": pl.String, "group_key": pl.String, "state": pl.String, "attempts": pl.Int32, "next_try": pl.Datetime("us"), "last_error": pl.String, "recorded_at": pl.Datetime("us")}, orient="row")  # fmt: skip
