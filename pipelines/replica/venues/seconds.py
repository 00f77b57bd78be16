"""One-second bars out of trades: every second is there, a silent one repeats the close before it."""

from __future__ import annotations

import numpy as np

from pipelines.replica.columns import Bars, Row, bar_of, bars_from, join
from pipelines.replica.instruments import Instrument
from pipelines.replica.truth import Book


def select(
    book: Book, inst: Instrument, start_s: float | None, end_s: float | None, limit: int, now: float
) -> Bars:
    """Seconds in [start_s, end_s], both inclusive: with a start the oldest `limit`, else the newest."""
    end = int(now if end_s is None else min(end_s, now))
    start = end - limit + 1 if start_s is None else int(-(-start_s // 1))
    end = min(end, start + limit - 1)
    if end < start:
        return bars_from([])
    before = book.closed(inst, start - 86_400, start // 60 * 60, now)
    last = float(before.close[-1]) if len(before) else 0.0
    trades = book.trades(inst, start // 60 * 60, end + 1, now)
    owner = trades.time_ms // 1000
    found: list[Bars] = []
    for second in range(int(start // 60 * 60), end + 1):
        rows = np.searchsorted(owner, (second, second + 1))
        bar = bar_of(trades.take(slice(*map(int, rows))), second)
        last = float(bar.close[0]) if len(bar) else last
        if second >= start:
            found.append(bar if len(bar) else bars_from([_flat(second, last)]))
    return join(found)


def _flat(second: int, price: float) -> Row:
    prices = dict.fromkeys(("open", "high", "low", "close"), price)
    rest = dict.fromkeys(("volume", "turnover", "taker_volume", "taker_turnover"), 0.0)
    return {"ts": second, **prices, **rest, "trades": 0}
