"""Small markets with known answers."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
NOON = datetime(2026, 3, 2, 12)


def bars(
    close: Floats, volume: Floats | None = None, symbol: str = "BTCUSDT", width: float = 0.001
) -> pl.DataFrame:
    """One-minute bars of one series around its closes; ret_log is null at the first."""
    n = len(close)
    wiggle = width * np.abs(np.sin(np.arange(n)))
    returns = np.append(np.nan, np.diff(np.log(close)))
    return pl.DataFrame(
        {
            "source": ["binance"] * n,
            "symbol": [symbol] * n,
            "ts": [NOON + timedelta(minutes=i) for i in range(n)],
            "open": close,
            "high": close * (1 + wiggle),
            "low": close * (1 - 2 * wiggle),
            "close": close,
            "volume": np.full(n, 100.0) if volume is None else volume,
            "ret_log": pl.Series(returns).fill_nan(None),
        },
        schema_overrides={"ts": pl.Datetime("us")},
    )


def f1() -> pl.DataFrame:
    """The 250 bars whose indicators are printed in the golden values."""
    i = np.arange(250)
    return bars(100 + (7 * i % 13) + 0.1 * i, 1000.0 + 50 * (11 * i % 17))


def walk(n: int, seed: int, start: float = 100.0) -> Floats:
    return start * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.002, n)))


def seed42() -> tuple[Floats, Floats, Floats]:
    """y, its cointegrated x, and a walk that is independent of both; 500 levels each."""
    rng = np.random.default_rng(42)
    x, e = rng.standard_normal(500).cumsum(), rng.standard_normal(500)
    e[0] = 0.0
    for t in range(1, 500):
        e[t] += 0.9 * e[t - 1]
    return 1.5 * x + e, x, rng.standard_normal(500).cumsum()


def wide(**closes: Floats) -> pl.DataFrame:
    """Closes of series `binance:NAME` as one row a minute."""
    n = len(next(iter(closes.values())))
    ts = pl.Series("ts", [NOON + timedelta(minutes=i) for i in range(n)], dtype=pl.Datetime("us"))
    return pl.DataFrame({"ts": ts, **{f"binance:{name}": values for name, values in closes.items()}})
