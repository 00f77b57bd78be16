"""Yahoo's chart endpoint with its oddities: float32 prices, a live tail, null rows, a first volume of 0."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

import numpy as np
import orjson

from pipelines.replica.columns import NO_BARS, Bars, Ints, Row, join, widen
from pipelines.replica.truth import Book
from pipelines.replica.venues.yahoo_windows import (
    RANGES,
    WIDTHS,
    Call,
    RefusalError,
    bad,
    buckets,
    check_reach,
    offset,
    periods_around,
    session_at,
    sessions_of,
    trading_periods,
    window,
    with_extra_row,
    zone,
)
from pipelines.replica.wire import Header, Reply, Request, Served, reply_json

PREFIX = "/v8/finance/chart/"
Tail = tuple[list[int], float | None] | None
_HEADERS: list[Header] = [
    (b"cache-control", b"public, max-age=10, stale-while-revalidate=20"),
    (b"server", b"ATS"),
]


class Yahoo:
    """The dialect on `/v8/finance/chart/{symbol}`."""

    name = "yahoo"

    def __init__(self, book: Book) -> None:
        self.book = book

    def owns(self, path: str) -> bool:
        return path.startswith(PREFIX)

    def symbol(self, request: Request) -> str:
        return unquote(request.path.removeprefix(PREFIX))

    def answer(self, request: Request, now: float) -> Reply:
        try:
            call = self._call(request, now)
        except RefusalError as refusal:
            error = {"code": refusal.code, "description": refusal.text}
            return reply_json({"chart": {"result": None, "error": error}}, refusal.status, list(_HEADERS))
        return self._chart(call)

    def _call(self, request: Request, now: float) -> Call:
        params = dict(request.params)
        symbol = self.symbol(request)
        inst = self.book.find(self.name, symbol)
        if inst is None:
            raise RefusalError(404, "Not Found", "No data found, symbol may be delisted")
        interval = params.get("interval", "1d")
        if interval not in WIDTHS:
            valid = ", ".join(WIDTHS)
            raise bad(f"interval={interval} is not supported. Valid intervals: [{valid}]")
        spelled = params.get("range", "")
        start, end = window(params, spelled, inst, now)
        check_reach(interval, start, end, now)
        extended = params.get("includePrePost", "false").lower() == "true"
        return Call(symbol, inst, interval, spelled, start, end, extended, now)

    def _chart(self, call: Call) -> Reply:
        bars = self._bars(call)
        tail = self._tail(call, bars) if call.intraday or call.interval == "1d" else None
        quiet = self._quiet(call, bars)
        meta = self._meta(call, empty=not len(bars) and tail is None)

        def write(rows: list[Row]) -> bytes:
            shown = [*map(_single, rows), *({"ts": ts, **_NOTHING} for ts in quiet.tolist())]
            if len(quiet):
                shown.sort(key=lambda row: row["ts"], reverse=rows[0]["ts"] > rows[-1]["ts"])
            body = _body(meta, [row["ts"] for row in shown], shown, tail, call)
            # A price that is no number: Yahoo's Java writes NaN, which strict parsers refuse.
            return json.dumps(body).encode()

        body = _fast_body(meta, bars, quiet, tail, call)
        closed = bars.take(bars.ts % 60 == 0) if call.interval == "1m" else None
        served = Served(call.symbol, closed, write) if closed is not None and len(closed) else None
        return Reply(
            body=body, headers=list(_HEADERS), content_type=b"application/json;charset=utf-8", served=served
        )

    def _bars(self, call: Call) -> Bars:
        """Closed bars of the window, in session or all day long."""
        start, end = call.start, with_extra_row(call)
        minutes = self._minutes(call, start, end)
        if call.interval == "1m":
            return minutes
        wide = widen(minutes, buckets(minutes.ts, call))
        return wide.take(wide.ts >= start) if call.intraday else wide

    def _minutes(self, call: Call, start: float, end: float) -> Bars:
        if not call.extended:
            return self.book.closed(call.inst, start, end, call.now)
        regular = self.book.closed(call.inst, start, end, call.now)
        every = self.book.market.extended(call.inst, start, min(end, call.now // 60 * 60))
        outside = every.take(~np.isin(every.ts, regular.ts))
        both = join([regular, outside])
        return both.take(np.argsort(both.ts, kind="stable"))

    def _quiet(self, call: Call, bars: Bars) -> Ints:
        """Closed minutes of regular sessions without a bar: they are listed as nulls."""
        if call.interval != "1m":
            return NO_BARS.ts
        first, last = self.book.market.span(call.inst)
        start, end = max(call.start, first), min(call.end, last, call.now // 60 * 60)
        inside = [np.arange(opens, closes, 60) for opens, closes in sessions_of(call.inst, start, end)]
        minutes = np.concatenate([NO_BARS.ts, *inside])
        asked = minutes[(minutes >= start) & (minutes < end)]
        return asked[~np.isin(asked, bars.ts)]

    def _tail(self, call: Call, bars: Bars) -> Tail:
        """Timestamps after the closed bars (the running minute, then the last trade), and its price."""
        session = session_at(call.inst, call.now)
        price = self.book.last_price(call.inst, call.now)
        if price is None:
            return None
        open_s, close_s = session
        if call.now >= close_s:
            ended = call.start <= close_s <= call.end and len(bars) > 0 and not call.inst.continuous
            return ([close_s], price) if ended and call.intraday else None
        last = int(call.now)
        if not (open_s <= call.now and call.start <= last < call.end):
            return None
        if not call.intraday:
            return [last], price
        minute = last // 60 * 60
        running = [minute] if call.interval == "1m" and minute != last and minute >= call.start else []
        return [*running, last], price

    def _meta(self, call: Call, empty: bool) -> dict[str, Any]:
        inst, now = call.inst, call.now
        open_s, close_s = session_at(inst, now)
        day = self.book.closed(inst, open_s, close_s, now)
        before = self.book.last_price(inst, open_s - 1)
        price = self.book.last_price(inst, now)
        crypto = inst.continuous
        meta: dict[str, Any] = {
            "currency": "USD",
            "symbol": call.symbol,
            "exchangeName": "CCC" if crypto else "NMS",
            "fullExchangeName": "CCC" if crypto else "NasdaqGS",
            "instrumentType": "CRYPTOCURRENCY" if crypto else "EQUITY",
            "firstTradeDate": int(self.book.market.span(inst)[0]),
            "regularMarketTime": int(min(now, close_s)),
            "hasPrePostMarketData": not crypto,
            "gmtoffset": offset(inst, now),
            "timezone": zone(inst, now),
            "exchangeTimezoneName": "UTC" if crypto else "America/New_York",
            "regularMarketPrice": _rounded(price),
            "regularMarketDayHigh": _rounded(float(day.high.max()) if len(day) else price),
            "regularMarketDayLow": _rounded(float(day.low.min()) if len(day) else price),
            "regularMarketVolume": int(day.volume.sum()),
            "longName": f"{call.symbol} (simulated)" if self.book.market.name == "simulated" else call.symbol,
            "shortName": call.symbol,
            "chartPreviousClose": _rounded(self.book.last_price(inst, call.start - 1) or before),
            "priceHint": 2,
            "currentTradingPeriod": periods_around(inst, open_s, close_s),
            "dataGranularity": "1h" if call.interval == "30m" else call.interval,
            "range": call.range,
            "validRanges": list(RANGES),
        }
        if call.intraday:
            meta |= {"previousClose": _rounded(before), "scale": 3}
            if not empty:
                meta["tradingPeriods"] = trading_periods(call)
        return meta


def _rounded(price: float | None) -> float | None:
    return None if price is None else round(price, 4)


def _single(row: Row) -> Row:
    """Prices through float32 and back, as Yahoo keeps them."""
    narrow = {name: None if row[name] is None else float(np.float32(row[name])) for name in _PRICES}
    volume = None if row["volume"] is None else int(row["volume"])
    return {"ts": row["ts"], **narrow, "volume": volume}


_PRICES = ("open", "high", "low", "close")
_NOTHING: Row = dict.fromkeys((*_PRICES, "volume"))


def _tail_rows(tail: Tail) -> list[Row]:
    """The running minute as nulls, then the last trade as a flat row without volume."""
    if tail is None:
        return []
    stamps, price = tail
    last = dict.fromkeys(_PRICES, None if price is None else float(np.float32(price)))
    return [*({"ts": ts, **_NOTHING} for ts in stamps[:-1]), {"ts": stamps[-1], **last, "volume": 0}]


def _body(
    meta: dict[str, Any],
    stamps: list[int],
    rows: list[Row],
    tail: Tail,
    call: Call,
) -> dict[str, Any]:
    every = rows + _tail_rows(tail)
    quote = {name: [row[name] for row in every] for name in ("open", "volume", "low", "close", "high")}
    if call.interval == "1m" and every and quote["volume"][0]:
        quote["volume"][0] = 0
    return _chart([*stamps, *(tail[0] if tail else [])], quote, meta, call)


def _chart(stamps: Any, quote: dict[str, Any], meta: dict[str, Any], call: Call) -> dict[str, Any]:
    result: dict[str, Any] = {"meta": meta}
    if len(stamps):
        indicators: dict[str, Any] = {"quote": [quote]}
        if not call.intraday:
            indicators["adjclose"] = [{"adjclose": quote["close"]}]
        result |= {"timestamp": stamps, "indicators": indicators}
    else:
        result["indicators"] = {"quote": [{}]}
    return {"chart": {"result": [result], "error": None}}


def _fast_body(meta: dict[str, Any], bars: Bars, quiet: Ints, tail: Tail, call: Call) -> bytes:
    """The same reply out of whole columns."""
    ends = _tail_rows(tail)
    at = np.searchsorted(bars.ts, quiet)
    quote: dict[str, Any] = {}
    for name in ("open", "volume", "low", "close", "high"):
        column = getattr(bars, name)
        plain = column.astype(np.int64) if name == "volume" else column.astype(np.float32).astype(np.float64)
        values = plain.tolist()
        for gap in reversed(at.tolist()):
            values.insert(gap, None)
        quote[name] = values + [row[name] for row in ends]
    if call.interval == "1m" and quote["volume"] and quote["volume"][0]:
        quote["volume"][0] = 0
    stamps = np.insert(bars.ts, at, quiet).tolist() + [row["ts"] for row in ends]
    return orjson.dumps(_chart(stamps, quote, meta, call))
