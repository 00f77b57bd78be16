"""Binance USD-M futures REST: spot's words on `/fapi`, other weights, no seconds, aggregates without `M`."""

from __future__ import annotations

import orjson

from pipelines.replica.limits import WeightLimit
from pipelines.replica.truth import Book
from pipelines.replica.venues import binance_tickers as tickers
from pipelines.replica.venues.binance import INTERVALS, Binance, Endpoint, flat
from pipelines.replica.venues.binance_prints import aggregate, trade_page, trade_rows
from pipelines.replica.venues.binance_words import Call, RefusalError
from pipelines.replica.wire import Reply

HOUR_S = 3600
_TRADES_REACH_S = 48 * HOUR_S


class BinanceFutures(Binance):
    """The USD-M dialect: `/fapi/v1` and the ticker of `/fapi/v2`, at the spot tape's prices."""

    name = "binance_futures"
    prefix = "/fapi"
    intervals = INTERVALS[1:]
    most_klines = 1500

    def __init__(self, book: Book, limit: WeightLimit | None = None) -> None:
        super().__init__(book, limit or WeightLimit(2400))

    def _endpoints(self) -> dict[str, Endpoint]:
        spot = super()._endpoints()
        v1 = {f"/v1{path}": endpoint for path, endpoint in spot.items() if path != "/uiKlines"}
        v1["/v1/exchangeInfo"] = Endpoint(flat(1), spot["/exchangeInfo"].params, self._exchange_info)
        v1["/v1/klines"] = Endpoint(_by_limit, spot["/klines"].params - {"timeZone"}, self._klines)
        v1["/v1/aggTrades"] = Endpoint(flat(20), spot["/aggTrades"].params, self._agg_trades)
        v1["/v1/trades"] = Endpoint(flat(5), spot["/trades"].params, self._fills)
        price = Endpoint(flat(1), frozenset({"symbol"}), self._tickers(tickers.price))
        return v1 | {"/v2/ticker/price": price}

    def _agg_trades(self, call: Call) -> Reply:
        """Only the last 48 hours; a start and an end less than an hour apart."""
        inst = self._instrument(call)
        from_id, start, end = call.number("fromId"), call.time("startTime"), call.time("endTime")
        mixed = from_id is not None and (start is not None or end is not None)
        too_long = start is not None and end is not None and end - start >= HOUR_S
        if mixed or too_long:
            raise RefusalError(-1128, "Combination of optional parameters invalid.")
        if start is not None:
            start = max(start, call.now - _TRADES_REACH_S)
        trades = trade_page(self.book, inst, from_id, start, end, call.limit(), call.now)
        rows = [aggregate(row, call.scale) for row in trade_rows(trades)]
        for row in rows:
            row["nq"] = row["q"]
            del row["M"]
        return Reply(body=orjson.dumps(rows), trades=len(trades))


def _by_limit(params: dict[str, str]) -> int:
    limit = int(params["limit"]) if params.get("limit", "").isdigit() else 500
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
