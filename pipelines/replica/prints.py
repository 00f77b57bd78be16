"""One minute's aggregated trades, drawn so that they add up to its bar exactly.

A bar is six blocks of lots: at the open, high, low and close price, and around the middle of the range
bought and sold. Blocks are split at one price, or in pairs of equal size mirrored around the middle, so
that volume, turnover and the takers' share stay the bar's own to the last lot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.replica.columns import Ints, Trades

OPEN, HIGH, LOW, CLOSE, BOUGHT, SOLD = range(6)


@dataclass(frozen=True)
class Minute:
    """A bar in whole ticks and lots; `blocks` as named above, `buys` whether open and close were bought."""

    ts: int
    ticks: tuple[int, int, int, int]
    blocks: tuple[int, ...]
    buys: tuple[bool, bool]
    prints: int
    fills: int
    first_print: int
    first_fill: int


def split(rng: np.random.Generator, total: int, parts: int) -> Ints:
    """`total` as `parts` random whole numbers, each at least 1."""
    weights = rng.exponential(size=parts) + 0.05
    cuts = np.floor((total - parts) * np.cumsum(weights) / weights.sum()).astype(np.int64)
    cuts[-1] = total - parts
    return np.asarray(np.diff(cuts, prepend=0) + 1)


def _middle(
    rng: np.random.Generator, lots: int, parts: int, middle: int, reach: int
) -> tuple[list[int], list[int]]:
    """Prices and lots of `parts` prints with mean price `middle`: mirrored pairs, the rest at the middle."""
    singles = 1 if parts % 2 else 2
    pairs = (parts - singles) // 2
    units = split(rng, lots // 2 if pairs else 0, pairs + 1)[:pairs] if pairs else np.zeros(0, np.int64)
    away = rng.integers(0, reach + 1, pairs)
    prices = np.concatenate((middle + away, middle - away)).tolist()
    rest = lots - 2 * int(units.sum())
    return prices + [middle] * singles, [
        *units.tolist(),
        *units.tolist(),
        *split(rng, rest, singles).tolist(),
    ]


def draw(rng: np.random.Generator, minute: Minute, price_scale: int, lot_scale: int) -> Trades:
    """The minute's trades, oldest first; none for a bar without volume."""
    prices, lots, bought = _shuffled(rng, *_prints(rng, minute))
    count = len(lots)
    times = _times(rng, np.array(prices), minute)
    fills = split(rng, minute.fills, count)
    last = minute.first_fill + np.cumsum(fills) - 1
    order = np.argsort(times[1:-1], kind="stable") + 1 if count > 2 else np.zeros(0, np.int64)
    order = np.concatenate(([0], order, [count - 1])) if count > 1 else np.array([0])
    return Trades(
        np.arange(minute.first_print, minute.first_print + count, dtype=np.int64),
        np.array(prices, dtype=np.int64)[order] / price_scale,
        np.array(lots, dtype=np.int64)[order] / lot_scale,
        last - fills + 1,
        last,
        times[order],
        ~np.array(bought, dtype=bool)[order],
    )


def _prints(rng: np.random.Generator, minute: Minute) -> tuple[list[int], list[int], list[bool]]:
    """Prices, lots and sides; the open's first print first, the close's last print last."""
    o, h, low, c = minute.ticks
    blocks = minute.blocks
    middle = (h + low) // 2
    spare = minute.prints - sum(1 for block in blocks if block)
    bought_part = sold_part = 0
    if blocks[BOUGHT]:
        bought_part = 1 + int(spare * blocks[BOUGHT] / (blocks[BOUGHT] + blocks[SOLD]))
        sold_part = 2 + spare - bought_part
        spare = 0
    prices: list[int] = []
    lots: list[int] = []
    sides: list[bool] = []

    def add(price: list[int], size: list[int], bought: bool) -> None:
        prices.extend(price)
        lots.extend(size)
        sides.extend([bought] * len(size))

    if blocks[OPEN]:
        parts = 1 + spare
        add([o] * parts, split(rng, blocks[OPEN], parts).tolist(), minute.buys[0])
    if blocks[HIGH]:
        add([h], [blocks[HIGH]], True)
    if blocks[LOW]:
        add([low], [blocks[LOW]], False)
    if bought_part:
        reach = min(h - middle, middle - low)
        add(*_middle(rng, blocks[BOUGHT], bought_part, middle, reach), True)
        add(*_middle(rng, blocks[SOLD], sold_part, middle, reach), False)
    add([c], [blocks[CLOSE]], minute.buys[1])
    return prices, lots, sides


def _shuffled(
    rng: np.random.Generator, prices: list[int], lots: list[int], sides: list[bool]
) -> tuple[list[int], list[int], list[bool]]:
    """The same prints with all but the first and the last in random order."""
    count = len(lots)
    order = [0, *(1 + rng.permutation(count - 2)).tolist(), count - 1] if count > 2 else list(range(count))
    return [prices[i] for i in order], [lots[i] for i in order], [sides[i] for i in order]


def _times(rng: np.random.Generator, prices: Ints, minute: Minute) -> Ints:
    """Epoch milliseconds along a path from one extreme to the other, first and last print at its ends."""
    _, h, low, c = minute.ticks
    rising = c >= minute.ticks[0]
    share = (prices - low) / max(h - low, 1)
    along = 0.15 + 0.7 * (share if rising else 1 - share) + rng.normal(0, 0.12, len(prices))
    along = np.clip(along, 0.02, 0.97)
    along[0], along[-1] = rng.uniform(0, 0.015), rng.uniform(0.975, 0.999)
    if len(along) == 1:
        along[0] = rng.uniform(0.05, 0.95)
    return np.asarray(minute.ts * 1000 + (along * 60_000).astype(np.int64))
