"""Yahoo's chart endpoint with its oddities: float32 prices, a live tail, null rows, a first bar without volume."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import numpy as np
import orjson

from pipelines.replica import nyse
from pipelines.replica.columns import Bars, Ints, Row, join, widen
from pipelines.replica.instruments import Instrument
from pipelines.replica.truth import Book
from pipelines.replica.wire import Header, Reply, Request, Served, reply_json

PREFIX = "/v8/finance/chart/"
DAY_S = 86400
WIDTHS = {
    "1m": 60,
    "2m": 120,
    "5m": 300,
    "15m": 900,
    "30m": 3600,  # asked for 30 minutes, Yahoo gives hours
    "60m": 3600,
    "90m": 5400,
    "1h": 3600,
    "1d": DAY_S,
    "5d": 5 * DAY_S,
    "1wk": 7 * DAY_S,
    "1mo": 31 * DAY_S,
    "3mo": 93 * DAY_S,
}
RANGES = ("1d", "5d", "1mo", "3mo", "6mo", "1y", "2y", "5y", "10y", "ytd", "max")
_REACH_DAYS = {"1m": 30, "2m": 60, "5m": 60, "15m": 60, "30m": 60, "90m": 60, "60m": 730, "1h": 730}
_DAYS_A_REQUEST = 8
_PRE_S, _POST_S = 5.5 * 3600, 4 * 3600
_HEADERS: list[Header] = [
    (b"cache-control", b"public, max-age=10, stale-while-revalidate=20"),
    (b"server", b"ATS"),
]


class Refusal(Exception):
    """A chart error: HTTP status, code and description."""

    def __init__(self, status: int, code: str, text: str) -> None:
        super().__init__(text)
        self.status, self.code, self.text = status, code, text


@dataclass(frozen=True)
class Call:
    """A checked request: [start, end) in epoch seconds."""

    symbol: str
    inst: Instrument
    interval: str
    range: str
    start: float
    end: float
    extended: bool
    now: float

    @property
    def width(self) -> int:
        return WIDTHS[self.interval]

    @property
    def intraday(self) -> bool:
        return self.width < DAY_S


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
        except Refusal as refusal:
            error = {"code": refusal.code, "description": refusal.text}
            return reply_json({"chart": {"result": None, "error": error}}, refusal.status, list(_HEADERS))
        return self._chart(call)

    def _call(self, request: Request, now: float) -> Call:
        params = dict(request.params)
        symbol = self.symbol(request)
        inst = self.book.find(self.name, symbol)
        if inst is None:
            raise Refusal(404, "Not Found", "No data found, symbol may be delisted")
        interval = params.get("interval", "1d")
        if interval not in WIDTHS:
            valid = ", ".join(WIDTHS)
            raise _bad(f"interval={interval} is not supported. Valid intervals: [{valid}]")
        spelled = params.get("range", "")
        start, end = _window(params, spelled, inst, now)
        _check_reach(interval, start, end, now)
        extended = params.get("includePrePost", "false").lower() == "true"
        return Call(symbol, inst, interval, spelled, start, end, extended, now)

    def _chart(self, call: Call) -> Reply:
        bars = self._bars(call)
        tail = self._tail(call, bars) if call.intraday or call.interval == "1d" else None
        meta = self._meta(call, empty=not len(bars) and tail is None)

        def write(rows: list[Row]) -> bytes:
            shown = [_single(row) for row in rows]
            body = _body(meta, [row["ts"] for row in shown], shown, tail, call)
            # A price that is no number: Yahoo's Java writes NaN, which strict parsers refuse.
            return json.dumps(body).encode()

        body = _fast_body(meta, bars, tail, call)
        closed = bars.take(bars.ts % 60 == 0) if call.interval == "1m" else None
        served = Served(call.symbol, closed, write) if closed is not None and len(closed) else None
        return Reply(
            body=body, headers=list(_HEADERS), content_type=b"application/json;charset=utf-8", served=served
        )

    def _bars(self, call: Call) -> Bars:
        """Closed bars of the window, in session or all day long."""
        start, end = call.start, _with_extra_row(call)
        minutes = self._minutes(call, start, end)
        if call.interval == "1m":
            return minutes
        buckets = _buckets(minutes.ts, call)
        wide = widen(minutes, buckets)
        return wide.take(wide.ts >= start) if call.intraday else wide

    def _minutes(self, call: Call, start: float, end: float) -> Bars:
        if not call.extended:
            return self.book.closed(call.inst, start, end, call.now)
        regular = self.book.closed(call.inst, start, end, call.now)
        every = self.book.market.extended(call.inst, start, min(end, call.now // 60 * 60))
        outside = every.take(~np.isin(every.ts, regular.ts))
        both = join([regular, outside])
        return both.take(np.argsort(both.ts, kind="stable"))

    def _tail(self, call: Call, bars: Bars) -> tuple[list[int], float | None] | None:
        """Timestamps after the closed bars (the running minute, empty, then the last trade) and the last price."""
        session = _session(call.inst, call.now)
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
        open_s, close_s = _session(inst, now)
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
            "gmtoffset": _offset(inst, now),
            "timezone": _zone(inst, now),
            "exchangeTimezoneName": "UTC" if crypto else "America/New_York",
            "regularMarketPrice": _rounded(price),
            "regularMarketDayHigh": _rounded(float(day.high.max()) if len(day) else price),
            "regularMarketDayLow": _rounded(float(day.low.min()) if len(day) else price),
            "regularMarketVolume": int(day.volume.sum()),
            "longName": f"{call.symbol} (simulated)" if self.book.market.name == "simulated" else call.symbol,
            "shortName": call.symbol,
            "chartPreviousClose": _rounded(self.book.last_price(inst, call.start - 1) or before),
            "priceHint": 2,
            "currentTradingPeriod": _periods_around(inst, open_s, close_s),
            "dataGranularity": "1h" if call.interval == "30m" else call.interval,
            "range": call.range,
            "validRanges": list(RANGES),
        }
        if call.intraday:
            meta |= {"previousClose": _rounded(before), "scale": 3}
            if not empty:
                meta["tradingPeriods"] = _trading_periods(call)
        return meta


def _window(params: dict[str, str], spelled: str, inst: Instrument, now: float) -> tuple[float, float]:
    if "period1" in params:
        try:
            start, end = float(params["period1"]), float(params.get("period2") or now + 1)
        except ValueError:
            raise _bad("period1 and period2 must be epoch seconds") from None
        if start >= end:
            raise _bad("startDate=period1 must be before endDate=period2")
        return start, end
    return _range_start(spelled or "1d", inst, now), now + 1


def _range_start(spelled: str, inst: Instrument, now: float) -> float:
    if spelled == "max":
        return 0
    if spelled == "ytd":
        return datetime(datetime.fromtimestamp(now, UTC).year, 1, 1, tzinfo=UTC).timestamp()
    match = re.fullmatch(r"(\d+)(m|h|d|wk|mo|y)", spelled)
    if not match:
        raise _bad(f"range={spelled} is not supported. Valid ranges: [{', '.join(RANGES)}]")
    count, unit = int(match[1]), match[2]
    if unit == "d":
        return _sessions_back(inst, count, now)
    seconds = {"m": 60, "h": 3600, "wk": 7 * DAY_S, "mo": 30 * DAY_S, "y": 365 * DAY_S}[unit]
    latest = min(now, _session(inst, now)[1]) if unit in ("m", "h") else now
    return latest - count * seconds


def _sessions_back(inst: Instrument, count: int, now: float) -> float:
    """The open of the `count`-th latest session."""
    if inst.continuous:
        return now // DAY_S * DAY_S - (count - 1) * DAY_S
    found = [one for one in nyse.sessions(now - (2 * count + 12) * DAY_S, now + 1) if one.open_s <= now]
    return found[-min(count, len(found))].open_s


def _check_reach(interval: str, start: float, end: float, now: float) -> None:
    asked = f"{interval} data not available for startTime={int(start)} and endTime={int(end)}."
    if interval == "1m" and end - start > _DAYS_A_REQUEST * DAY_S + 1:
        raise _unprocessable(
            f"{asked} Only {_DAYS_A_REQUEST} days worth of 1m granularity data are allowed to be fetched per request."
        )
    days = _REACH_DAYS.get(interval)
    if days and start < now - days * DAY_S:
        raise _unprocessable(f"{asked} The requested range must be within the last {days} days.")


def _bad(text: str) -> Refusal:
    return Refusal(400, "Bad Request", f"Invalid input - {text}")


def _unprocessable(text: str) -> Refusal:
    return Refusal(422, "Unprocessable Entity", text)


def _with_extra_row(call: Call) -> float:
    """The end of the window: now and then a row past period2 slips in, as it does at Yahoo."""
    slips = call.interval == "1m" and call.end % 60 == 0 and int(call.end) // 60 % 4 == 0
    return call.end + 60 if slips else call.end


def _session(inst: Instrument, at_s: float) -> tuple[int, int]:
    """Open and close of the session under way, else of the last one."""
    if inst.continuous:
        start = int(at_s // DAY_S) * DAY_S
        return start, start + DAY_S
    latest = nyse.latest_session(at_s)
    return latest.open_s, latest.close_s


def _sessions(inst: Instrument, start: float, end: float) -> list[tuple[int, int]]:
    if inst.continuous:
        return [(day * DAY_S, (day + 1) * DAY_S) for day in range(int(start // DAY_S), int(-(-end // DAY_S)))]
    return [(one.open_s, one.close_s) for one in nyse.sessions(start, end)]


def _buckets(ts: Ints, call: Call) -> Ints:
    """Intraday anchored at the session's open, days at the open itself, weeks and months at their first session."""
    if not len(ts):
        return ts
    starts = np.array([one[0] for one in _sessions(call.inst, float(ts[0]), float(ts[-1]) + 60)], np.int64)
    if not len(starts):
        return ts // call.width * call.width
    own = starts[np.maximum(np.searchsorted(starts, ts, side="right") - 1, 0)]
    if call.intraday:
        return own + (ts - own) // call.width * call.width
    if call.interval == "1d":
        return own
    days = (own // DAY_S).astype("datetime64[D]")
    if call.interval.endswith("mo"):
        return days.astype("datetime64[M]").astype("datetime64[s]").astype(np.int64)
    return days.astype("datetime64[W]").astype("datetime64[s]").astype(np.int64)


def _offset(inst: Instrument, at_s: float) -> int:
    if inst.continuous:
        return 0
    offset = datetime.fromtimestamp(at_s, nyse.NEW_YORK).utcoffset()
    return int(offset.total_seconds()) if offset else 0


def _zone(inst: Instrument, at_s: float) -> str:
    return "UTC" if inst.continuous else datetime.fromtimestamp(at_s, nyse.NEW_YORK).strftime("%Z")


def _period(inst: Instrument, start: float, end: float) -> dict[str, Any]:
    return {
        "timezone": _zone(inst, start),
        "start": int(start),
        "end": int(end),
        "gmtoffset": _offset(inst, start),
    }


def _periods_around(inst: Instrument, open_s: int, close_s: int) -> dict[str, Any]:
    pre, post = (0.0, 0.0) if inst.continuous else (_PRE_S, _POST_S)
    return {
        "pre": _period(inst, open_s - pre, open_s),
        "regular": _period(inst, open_s, close_s),
        "post": _period(inst, close_s, close_s + post),
    }


def _trading_periods(call: Call) -> Any:
    """A list of lists; with pre- and post-market a dict of three such lists."""
    found = _sessions(call.inst, call.start, min(call.end, call.now + DAY_S))
    around = [_periods_around(call.inst, open_s, close_s) for open_s, close_s in found]
    if call.extended:
        return {part: [[one[part]] for one in around] for part in ("pre", "regular", "post")}
    return [[one["regular"]] for one in around]


def _rounded(price: float | None) -> float | None:
    return None if price is None else round(price, 4)


def _single(row: Row) -> Row:
    """Prices through float32 and back, as Yahoo keeps them."""
    narrow = {name: None if row[name] is None else float(np.float32(row[name])) for name in _PRICES}
    volume = None if row["volume"] is None else int(row["volume"])
    return {"ts": row["ts"], **narrow, "volume": volume}


_PRICES = ("open", "high", "low", "close")


def _tail_rows(tail: tuple[list[int], float | None] | None) -> list[Row]:
    """The running minute as nulls, then the last trade as a flat row without volume."""
    if tail is None:
        return []
    stamps, price = tail
    empty = dict.fromkeys((*_PRICES, "volume"))
    last = dict.fromkeys(_PRICES, None if price is None else float(np.float32(price)))
    return [*({"ts": ts, **empty} for ts in stamps[:-1]), {"ts": stamps[-1], **last, "volume": 0}]


def _body(
    meta: dict[str, Any],
    stamps: list[int],
    rows: list[Row],
    tail: tuple[list[int], float | None] | None,
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


def _fast_body(
    meta: dict[str, Any], bars: Bars, tail: tuple[list[int], float | None] | None, call: Call
) -> bytes:
    """The same reply out of whole columns."""
    ends = _tail_rows(tail)
    quote: dict[str, Any] = {}
    for name in ("open", "volume", "low", "close", "high"):
        column = getattr(bars, name)
        plain = column.astype(np.int64) if name == "volume" else column.astype(np.float32).astype(np.float64)
        quote[name] = plain.tolist() + [row[name] for row in ends]
    if call.interval == "1m" and quote["volume"] and quote["volume"][0]:
        quote["volume"][0] = 0
    stamps = bars.ts.tolist() + [row["ts"] for row in ends]
    return orjson.dumps(_chart(stamps, quote, meta, call))
