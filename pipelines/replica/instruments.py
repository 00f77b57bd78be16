"""What is traded on the simulated market: price, tick, lot, volatility, and who follows whom."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

SIM_COUNT = 500
"""`SIM0001USDT` .. `SIM0500USDT` exist besides the named symbols, for benches."""

Kind = Literal["crypto", "equity"]


@dataclass(frozen=True)
class Instrument:
    """One symbol of the tape.

    `price_scale` ticks make one unit of quote currency, `lot_scale` lots one unit of base. `leader` names
    the symbol whose log price this one follows (times `gamma`) with a stationary spread.
    """

    symbol: str
    kind: Kind
    price: float
    price_scale: int
    lot_scale: int
    minute_volume: float
    base: str = ""
    quote: str = "USD"
    daily_vol: float = 0.025
    beta: float = 0.8
    leader: str = ""
    gamma: float = 1.0
    quiet: float = 0.0
    prints: int = 16
    calm: bool = False

    @property
    def continuous(self) -> bool:
        return self.kind == "crypto"


def _crypto(
    base: str, price: float, price_scale: int, lot_scale: int, volume: float, **more: object
) -> Instrument:
    return Instrument(f"{base}USDT", "crypto", price, price_scale, lot_scale, volume, base, "USDT", **more)  # type: ignore[arg-type]


def _equity(symbol: str, price: float, volume: float, **more: object) -> Instrument:
    defaults: dict[str, object] = {"daily_vol": 0.014, "beta": 0.7, "prints": 8}
    return Instrument(symbol, "equity", price, 100, 1, volume, symbol, **(defaults | more))  # type: ignore[arg-type]


_LISTED = (
    _crypto("BTC", 60_000, 100, 100_000, 14, beta=0.95, prints=40, calm=True),
    _crypto("ETH", 3_000, 100, 10_000, 210, leader="BTCUSDT", gamma=0.9, prints=32, calm=True),
    _crypto("SOL", 150, 100, 1_000, 2_400, daily_vol=0.034),
    _crypto("XRP", 0.6, 10_000, 10, 310_000, daily_vol=0.034),
    _crypto("BNB", 580, 100, 1_000, 150),
    _crypto("ADA", 0.45, 10_000, 10, 140_000, daily_vol=0.036),
    _crypto("DOGE", 0.12, 100_000, 1, 900_000, daily_vol=0.04),
    _crypto("AVAX", 28, 100, 100, 2_600, daily_vol=0.038),
    _crypto("LINK", 14, 1_000, 100, 3_800, daily_vol=0.036),
    _crypto("LTC", 72, 100, 1_000, 700, daily_vol=0.03),
    _crypto("DOT", 6.2, 1_000, 100, 5_200, daily_vol=0.036),
    _crypto("ZEN", 9.4, 1_000, 100, 60, daily_vol=0.04, quiet=0.35, prints=4),
    _equity("AAPL", 225, 120_000),
    _equity("MSFT", 430, 52_000),
    _equity("GOOGL", 175, 62_000),
    _equity("NVDA", 130, 640_000, daily_vol=0.026, beta=0.9),
    _equity("AMZN", 195, 95_000),
    _equity("TSLA", 250, 230_000, daily_vol=0.03),
    _equity("META", 560, 31_000, daily_vol=0.018),
    _equity("SPY", 570, 130_000, daily_vol=0.01, beta=0.97),
    _equity("QQQ", 490, 85_000, daily_vol=0.012, beta=0.95),
    _equity("KO", 68, 36_000, daily_vol=0.012, beta=0.5, calm=True),
    _equity("PEP", 165, 15_000, daily_vol=0.012, leader="KO", gamma=0.85, calm=True),
    _equity("JPM", 210, 24_000, daily_vol=0.013),
    _equity("IBM", 210, 10_000, daily_vol=0.012),
    _equity("BAC", 40, 90_000, daily_vol=0.014),
    _equity("XOM", 115, 38_000, daily_vol=0.013, beta=0.4),
)

LISTED = {one.symbol: one for one in _LISTED}
COINTEGRATED = (("ETHUSDT", "BTCUSDT"), ("PEP", "KO"))
"""(follower, leader): the log spread of each is a stationary AR(1)."""
DECOYS = (("SOLUSDT", "XRPUSDT"),)
"""Returns are correlated, log prices are not cointegrated."""


def instrument(symbol: str) -> Instrument | None:
    """The instrument of that exact symbol; None if there is none."""
    return LISTED.get(symbol) or _simulated(symbol)


def _simulated(symbol: str) -> Instrument | None:
    match = re.fullmatch(r"SIM(\d{4})USDT", symbol)
    if not match or not 1 <= int(match[1]) <= SIM_COUNT:
        return None
    draw = blake2b(symbol.encode(), digest_size=4).digest()
    price = 10 ** (draw[0] / 85)
    quiet = 0.2 if int(match[1]) % 10 == 0 else 0.0
    return _crypto(
        f"SIM{match[1]}",
        price,
        10_000,
        100,
        40_000 / price,
        daily_vol=0.02 + draw[1] / 10_000,
        quiet=quiet,
        prints=6,
    )
