"""What goes wrong in a minute, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

Spec = dict[str, Any]
VENUES = ("binance", "yahoo", "coinbase", "kraken", "*")
STREAMING = ("binance", "binance", "coinbase", "kraken")


def draw(dice: random.Random) -> list[Spec]:
    """Up to three faults that hit the coming requests and up to two that hit the streams."""
    requests = [_fault(dice) for _ in range(dice.randrange(4))]
    return requests + [_stream_fault(dice) for _ in range(dice.randrange(3))]


def _stream_fault(dice: random.Random) -> Spec:
    kind, more = dice.choice(STREAM_FAULTS)
    return {"kind": kind, "venue": dice.choice(STREAMING), "count": dice.randint(1, 40), **more}


def _fault(dice: random.Random) -> Spec:
    kind, more = dice.choice(FAULTS)
    spec: Spec = {"kind": kind, "venue": dice.choice(VENUES), "count": dice.randint(1, 6), **more}
    if kind in ROWS:
        spec["rows"] = dice.randint(1, 2)
    if dice.random() < 0.5:
        spec["rate"] = 0.5
    return spec


def hole(dice: random.Random, symbols: Mapping[str, Sequence[str]], minute: int) -> Spec:
    """What nobody will ever give of the minutes that begin at `minute` (epoch s): some trades, or one to three bars."""
    if dice.random() < 0.6:
        start = minute + dice.randint(1, 40)
        spec = {"kind": "lost_trades", "venue": "binance", "symbol": dice.choice(symbols["binance"])}
        return spec | {"from": start, "to": start + dice.randint(1, 15)}
    venue = dice.choice(("binance", "yahoo"))
    spec = {"kind": "missing_minutes", "venue": venue, "symbol": dice.choice(symbols[venue])}
    return spec | {"from": minute, "to": minute + 60 * dice.randint(1, 3)}


def corrected(dice: random.Random, bar: dict[str, float]) -> dict[str, float]:
    """The bar's values after a correction, in figures that every venue can write down; some are news for the alerts."""
    close = round(bar["close"] * (1 + dice.choice((-0.004, 0.004, -0.07, 0.07))), 4)
    scale = dice.choice((0.5, 1.5, 2.0, 30.0))
    changed = {
        "close": close, "high": max(bar["high"], close), "low": min(bar["low"], close),
        "volume": float(round(bar["volume"] * scale)), "turnover": round(bar["turnover"] * scale, 4),
    }  # fmt: skip
    return {name: value for name, value in bar.items() if name not in ("ts", "revision")} | changed


FAULTS: list[tuple[str, Spec]] = [
    ("status", {"status": 429, "retry_after": 1}),
    ("status", {"status": 418, "retry_after": 1}),
    ("status", {"status": 500}),
    ("status", {"status": 503}),
    ("outage", {}),
    ("html", {}),
    ("malformed", {}),
    ("truncated", {}),
    ("cut", {}),
    ("timeout", {"seconds": 5}),
    ("slow", {"seconds": 0.2}),
    ("null_rows", {}),
    ("drop_rows", {}),
    ("duplicate_rows", {}),
    ("out_of_order", {}),
    ("negative_price", {}),
    ("zero_price", {}),
    ("nan_price", {}),
    ("high_below_low", {}),
    ("future_bar", {}),
]
STREAM_FAULTS: list[tuple[str, Spec]] = [
    ("cut_stream", {"count": 1}),
    ("shutdown_stream", {"count": 1, "seconds": 0.5}),
    ("silent_stream", {}),
    ("drop_messages", {}),
    ("duplicate_messages", {}),
    ("reorder_messages", {}),
    ("corrupt_messages", {}),
    ("corrupt_messages", {"binary": True}),
    ("oversized_messages", {"count": 1}),
]
ROWS = {
    "null_rows",
    "drop_rows",
    "duplicate_rows",
    "negative_price",
    "zero_price",
    "nan_price",
    "high_below_low",
}
