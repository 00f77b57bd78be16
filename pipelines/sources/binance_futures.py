"""Binance USD-M futures: spot's klines and trades under `/fapi`, dearer by the row, trades of two days only."""

from __future__ import annotations

from datetime import datetime

from pipelines.market import MINUTE, epoch_ms
from pipelines.sources.base import BarRequest, Reply
from pipelines.sources.binance import PAGE, Binance, following_trades, kline_params
from pipelines.sources.venue import Call

HOST = "https://fapi.binance.com"
KLINES, AGG_TRADES = "/fapi/v1/klines", "/fapi/v1/aggTrades"
TRADES_WEIGHT = 20
CHEAP, CHEAPEST = 499, 99
"""Rows of a reply that cost a weight of 2 and of 1: fewer a page, but more for the same weight."""


class BinanceFutures(Binance):
    """One-minute klines of perpetual and dated USD-M contracts such as `BTCUSDT`; no keys needed."""

    name = "binance_futures"
    host = HOST
    prefix = "/fapi/v1"
    page = CHEAP
    weight_limit = 2400
    info_weight = 1

    def kline_call(self, request: BarRequest) -> Call:
        is_short = request.until - request.since <= MINUTE * CHEAPEST
        limit, weight = (CHEAPEST, 1) if is_short else (CHEAP, 2)
        return Call(request.symbol, KLINES, kline_params(request, limit), weight)

    def first_trades_call(self, request: BarRequest) -> Call:
        """By the start alone: a start and an end more than an hour apart are refused."""
        params = {"symbol": request.symbol, "startTime": str(epoch_ms(request.since)), "limit": str(PAGE)}
        return Call(request.symbol, AGG_TRADES, params, TRADES_WEIGHT)

    def next_trades_call(self, reply: Reply, until: datetime) -> Call | None:
        params = following_trades(reply, until)
        return Call(reply.symbol, AGG_TRADES, params, TRADES_WEIGHT) if params else None
