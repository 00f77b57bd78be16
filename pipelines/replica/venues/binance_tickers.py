"""Binance's tickers and the listing of a symbol, one row each."""

from __future__ import annotations

from typing import Any

from pipelines.replica.instruments import Instrument
from pipelines.replica.truth import Book
from pipelines.replica.venues.binance_words import Call, decimal

DAY_S = 86400


def price(book: Book, name: str, inst: Instrument, call: Call) -> dict[str, Any]:
    return {"symbol": name, "price": decimal(book.last_price(inst, call.now))}


def best(book: Book, name: str, inst: Instrument, call: Call) -> dict[str, Any]:
    """Bid and ask one tick around the last trade."""
    last, tick = book.last_price(inst, call.now) or 0.0, 1 / inst.price_scale
    lots = decimal(max(round(inst.minute_volume * inst.lot_scale / 20), 1) / inst.lot_scale)
    return {
        "symbol": name,
        "bidPrice": decimal(last - tick),
        "bidQty": lots,
        "askPrice": decimal(last + tick),
        "askQty": lots,
    }


def day(book: Book, name: str, inst: Instrument, call: Call) -> dict[str, Any]:
    """The last 24 hours."""
    bars = book.with_running(inst, call.now - DAY_S, call.now + 60, call.now)
    last = book.last_price(inst, call.now) or 0.0
    opened = float(bars.open[0]) if len(bars) else last
    volume, turnover = float(bars.volume.sum()), float(bars.turnover.sum())
    quotes = best(book, name, inst, call)
    return {
        **quotes,
        "priceChange": decimal(last - opened),
        "priceChangePercent": f"{(last / opened - 1) * 100 if opened else 0:.3f}",
        "weightedAvgPrice": decimal(turnover / volume if volume else last),
        "prevClosePrice": decimal(opened),
        "lastPrice": decimal(last),
        "lastQty": decimal(1 / inst.lot_scale),
        "openPrice": decimal(opened),
        "highPrice": decimal(float(bars.high.max()) if len(bars) else last),
        "lowPrice": decimal(float(bars.low.min()) if len(bars) else last),
        "volume": decimal(volume),
        "quoteVolume": decimal(turnover),
        "openTime": call.stamp(call.now - DAY_S),
        "closeTime": call.stamp(call.now),
        "firstId": 0,
        "lastId": int(bars.trades.sum()),
        "count": int(bars.trades.sum()),
    }


def listing(name: str, inst: Instrument) -> dict[str, Any]:
    """One symbol of exchangeInfo."""
    tick, lot = decimal(1 / inst.price_scale), decimal(1 / inst.lot_scale)
    return {
        "symbol": name,
        "status": "TRADING",
        "baseAsset": inst.base,
        "baseAssetPrecision": 8,
        "quoteAsset": inst.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": tick,
                "maxPrice": "1000000.00000000",
                "tickSize": tick,
            },
            {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000000.00000000", "stepSize": lot},
        ],
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }
