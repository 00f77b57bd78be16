"""Binance's trades: pages by id or time, aggregates and the single fills in them."""

from __future__ import annotations

from typing import Any

from pipelines.replica.columns import Trades, join_trades
from pipelines.replica.instruments import Instrument
from pipelines.replica.truth import Book
from pipelines.replica.venues.binance_words import decimal

_QUIET_MINUTES = 2 * 1440


def trade_rows(trades: Trades) -> list[tuple[Any, ...]]:
    columns = (
        trades.id,
        trades.price,
        trades.qty,
        trades.first,
        trades.last,
        trades.time_ms,
        trades.buyer_is_maker,
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


def aggregate(row: tuple[Any, ...], scale: int) -> dict[str, Any]:
    number, price, qty, first, last, at, maker = row
    return {
        "a": number,
        "p": f"{price:.8f}",
        "q": f"{qty:.8f}",
        "f": first,
        "l": last,
        "T": at * scale,
        "m": maker,
        "M": True,
    }


def fills_of(row: tuple[Any, ...], lot_scale: int, scale: int) -> list[dict[str, Any]]:
    """The single fills of one aggregate, its lots spread over them."""
    _, price, qty, first, last, at, maker = row
    lots, count = round(qty * lot_scale), last - first + 1
    each, over = divmod(lots, count)
    sizes = [(each + (i < over)) / lot_scale for i in range(count)]
    return [
        {
            "id": first + i,
            "price": decimal(price),
            "qty": decimal(size),
            "quoteQty": decimal(price * size),
            "time": at * scale,
            "isBuyerMaker": maker,
            "isBestMatch": True,
        }
        for i, size in enumerate(sizes)
    ]


def trade_page(
    book: Book,
    inst: Instrument,
    from_id: int | None,
    start: float | None,
    end: float | None,
    limit: int,
    now: float,
) -> Trades:
    """Up to `limit` trades: from an id or a time on the oldest, else the newest up to `end`, inclusive."""
    first, last = book.market.span(inst)
    stop = min(now, last + 60, now if end is None else end)
    if from_id is None and start is None:
        return _newest_trades(book, inst, stop, limit, now)
    at = float(book.market.minute_of_trade(inst, from_id)) if from_id is not None else max(start or 0, first)
    found: list[Trades] = []
    minute = at // 60 * 60
    step = 600
    while minute <= stop and sum(map(len, found)) < limit:
        page = book.trades(inst, minute, minute + step, now)
        keep = (page.time_ms <= stop * 1000) & (page.time_ms >= at * 1000 - 1e-6)
        found.append(page.take(keep if from_id is None else keep & (page.id >= from_id)))
        minute += step
    return join_trades(found).take(slice(0, limit))


def _newest_trades(book: Book, inst: Instrument, stop: float, limit: int, now: float) -> Trades:
    found: list[Trades] = []
    minute = stop // 60 * 60
    oldest = minute - 60 * _QUIET_MINUTES
    while minute > oldest and sum(map(len, found)) < limit:
        page = book.trades(inst, minute, minute + 60, now)
        found.insert(0, page.take(page.time_ms <= stop * 1000))
        minute -= 60
    return join_trades(found).take(slice(-limit, None))
