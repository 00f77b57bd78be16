"""Bars for the quality tests: one good bar, told as keyword changes, and frames of arbitrary bad ones."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from pipelines.market import BAR_SCHEMA

NOW = datetime(2023, 3, 11, 12, 0, 30)
NOON = datetime(2023, 3, 11, 12, 0)

GOOD = {
    "source": "binance",
    "symbol": "BTCUSDT",
    "ts": datetime(2023, 3, 11, 11, 58),
    "open": 10.0,
    "high": 12.0,
    "low": 9.0,
    "close": 11.0,
    "volume": 3.0,
    "turnover": 31.5,
    "trades": 4,
    "venue": "binance",
    "is_closed": True,
}


def bars(*changes: dict[str, Any]) -> pl.DataFrame:
    """One row per argument: the good bar with these values changed."""
    return pl.DataFrame([GOOD | change for change in changes], schema=BAR_SCHEMA, orient="row")


NAMES = st.sampled_from(
    ["BTCUSDT", "ETH USD", "币安人生USDT", "", " X", "X ", "A\n", "a\tb", "x" * 64, "x" * 65, None]
)
TIMES = st.one_of(
    st.none(),
    st.integers(-5, 3).map(lambda minutes: NOON + timedelta(minutes=minutes)),
    st.integers(-90, 90).map(lambda seconds: NOON + timedelta(seconds=seconds)),
)
NUMBERS = st.sampled_from(
    [10.0, 10.0, 10.5, 11.0, 9.0, 0.0, -0.0, -1.0, 5e-324, 1.7e308, math.nan, math.inf, -math.inf, None]
)
COUNTS = st.sampled_from([0, 1, 5, -1, None])
ANY_BAR = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["binance", "yahoo", "", None]),
        "symbol": NAMES,
        "ts": TIMES,
        **dict.fromkeys(("open", "high", "low", "close", "volume", "turnover"), NUMBERS),
        "trades": COUNTS,
    }
)


def any_bars(least: int = 0, most: int = 40) -> st.SearchStrategy[pl.DataFrame]:
    """Frames in which anything a venue or a file can get wrong is wrong somewhere."""
    return st.lists(ANY_BAR, min_size=least, max_size=most).map(lambda rows: bars(*rows))
