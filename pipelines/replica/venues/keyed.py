"""Four providers of share prices that want a key: Massive, Alpha Vantage, FMP and Finage, at the tape's prices.

The key `simulated` is taken, `exhausted` has spent its quota, every other one is wrong.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

import orjson

from pipelines.replica.columns import Bars, Row
from pipelines.replica.truth import Book
from pipelines.replica.wire import Reply, Request, Served, reply_json

GOOD, EXHAUSTED = "simulated", "exhausted"
NEW_YORK = ZoneInfo("America/New_York")
Write = Callable[[list[Row]], Any]


class Keyed(ABC):
    """What the four share: who may ask, and the minutes of a share."""

    name = ""
    no_key = (401, {"error": "API key is missing"})
    wrong_key = (401, {"error": "API key is wrong"})
    spent = (429, {"error": "You have exceeded your requests per minute"})

    def __init__(self, book: Book) -> None:
        self.book = book

    @abstractmethod
    def owns(self, path: str) -> bool: ...

    def symbol(self, request: Request) -> str:
        return dict(request.params).get("symbol", "")

    def answer(self, request: Request, now: float) -> Reply:
        key = self.key(request)
        if key != GOOD:
            status, body = self.spent if key == EXHAUSTED else self.wrong_key if key else self.no_key
            return reply_json(_said(body, key), status)
        try:
            return self.bars(request, self.symbol(request), dict(request.params), now)
        except (ValueError, KeyError) as error:
            return reply_json({self.error_name: f"Invalid API call: {error}"}, self.bad_request)

    error_name = "error"
    bad_request = 400

    def key(self, request: Request) -> str:
        return dict(request.params).get("apikey", "")

    @abstractmethod
    def bars(self, request: Request, symbol: str, params: dict[str, str], now: float) -> Reply:
        """The answer to a request with a good key; ValueError or KeyError for one that is wrong."""

    def minutes(self, symbol: str, start_s: float, end_s: float, now: float) -> Bars:
        """The traded minutes of a share, the running one last; ValueError for one that is not listed."""
        inst = self.book.find(self.name, symbol)
        if inst is None:
            raise ValueError(f"unknown symbol {symbol}")
        found = self.book.with_running(inst, start_s, end_s, now)
        return found.take(found.volume > 0)

    def reply(self, symbol: str, bars: Bars, write: Write) -> Reply:
        """The rows as `write` puts them, oldest first."""

        def body(rows: list[Row]) -> bytes:
            return orjson.dumps(write(rows))

        return Reply(body=body(list(bars.rows())), served=Served(symbol, bars, body))


class Massive(Keyed):
    """`/v2/aggs/ticker/{T}/range/1/minute/{from}/{to}`, further pages by `next_url`."""

    name = "massive"
    no_key = wrong_key = (401, {"status": "ERROR", "request_id": "0", "error": "Unknown API Key"})
    spent = (
        429,
        {"status": "ERROR", "error": "You've exceeded the maximum requests per minute, please wait"},
    )
    most = 5000
    _path = re.compile(r"/v2/aggs/ticker/([^/]+)/range/1/minute/(\d+)/(\d+)")

    def owns(self, path: str) -> bool:
        return path.startswith("/v2/aggs/") or path == "/v1/marketstatus/now"

    def symbol(self, request: Request) -> str:
        match = self._path.fullmatch(request.path)
        return unquote(match[1]) if match else ""

    def key(self, request: Request) -> str:
        bearer = request.headers.get(b"authorization", b"").decode().removeprefix("Bearer ")
        return bearer or dict(request.params).get("apiKey", "")

    def bars(self, request: Request, symbol: str, params: dict[str, str], now: float) -> Reply:
        match = self._path.fullmatch(request.path)
        if match is None:
            raise ValueError(f"no such path {request.path}")
        start, end = int(match[2]) / 1000, int(match[3]) / 1000
        if self.book.find(self.name, symbol) is None:
            return reply_json({"ticker": symbol, "resultsCount": 0, "status": "OK"})
        found = self.minutes(symbol, int(params.get("cursor", start)), end + 1, now)
        page, more = found.take(slice(0, self.most)), len(found) > self.most

        def write(rows: list[Row]) -> dict[str, Any]:
            body = {"ticker": symbol, "resultsCount": len(rows), "adjusted": False, "status": "OK"}
            if rows:
                body["results"] = [_aggregate(row) for row in rows]
            if more:
                body["next_url"] = f"https://api.massive.com{request.path}?cursor={int(found.ts[self.most])}"
            return body

        return self.reply(symbol, page, write)


class AlphaVantage(Keyed):
    """`/query?function=TIME_SERIES_INTRADAY`; every refusal is HTTP 200."""

    name = "alpha_vantage"
    error_name, bad_request = "Error Message", 200
    no_key = (
        200,
        {"Error Message": "the parameter apikey is invalid or missing. Please claim your free API key"},
    )
    wrong_key = no_key
    spent = (
        200,
        {
            "Information": "We have detected your API key as KEY and our standard API rate limit is 25 requests per day."
        },
    )

    def owns(self, path: str) -> bool:
        return path == "/query"

    def bars(self, request: Request, symbol: str, params: dict[str, str], now: float) -> Reply:
        if params.get("function") != "TIME_SERIES_INTRADAY" or params.get("interval") != "1min":
            raise ValueError("Please retry or visit the documentation for TIME_SERIES_INTRADAY.")
        start, end = now - 5 * 86_400, now + 60
        if "month" in params:
            first = date.fromisoformat(f"{params['month']}-01")
            start, end = _midnight(first), min(_midnight((first + timedelta(days=32)).replace(day=1)), end)
        found = self.minutes(symbol, start, end, now)
        if params.get("outputsize") != "full":
            found = found.take(slice(-100, None))
        names = ("open", "high", "low", "close", "volume")

        def write(rows: list[Row]) -> dict[str, Any]:
            series = {
                _local(row["ts"]): {f"{n}. {name}": _text(row[name]) for n, name in enumerate(names, 1)}
                for row in reversed(rows)
            }
            meta = {"1. Information": "Intraday (1min)", "2. Symbol": symbol, "6. Time Zone": "US/Eastern"}
            return {"Meta Data": meta, "Time Series (1min)": series}

        return self.reply(symbol, found, write)


class Fmp(Keyed):
    """`/stable/historical-chart/1min`: New York's times, newest first, three days at most."""

    name = "fmp"
    error_name = "Error Message"
    no_key = wrong_key = (401, {"Error Message": "Invalid API KEY. Please retry or visit our documentation."})
    spent = (429, {"Error Message": "Limit Reach . Please upgrade your plan or visit our documentation."})
    most_days = 3

    def owns(self, path: str) -> bool:
        return path == "/stable/historical-chart/1min"

    def bars(self, request: Request, symbol: str, params: dict[str, str], now: float) -> Reply:
        if self.book.find(self.name, symbol) is None:
            return reply_json([])
        last = date.fromisoformat(params["to"])
        first = max(date.fromisoformat(params["from"]), last - timedelta(days=self.most_days))
        found = self.minutes(symbol, _midnight(first), _midnight(last + timedelta(days=1)), now)
        names = ("open", "low", "high", "close", "volume")

        def write(rows: list[Row]) -> list[dict[str, Any]]:
            return [
                {"date": _local(row["ts"])} | {name: row[name] for name in names} for row in reversed(rows)
            ]

        return self.reply(symbol, found, write)


class Finage(Keyed):
    """`/agg/stock/{SYM}/1/minute/{from}/{to}`, UTC days."""

    name = "finage"
    _path = re.compile(r"/agg/stock/([^/]+)/1/minute/([\d-]+)/([\d-]+)")

    def owns(self, path: str) -> bool:
        return path.startswith("/agg/stock")

    def symbol(self, request: Request) -> str:
        match = self._path.fullmatch(request.path)
        return unquote(match[1]) if match else ""

    def bars(self, request: Request, symbol: str, params: dict[str, str], now: float) -> Reply:
        match = self._path.fullmatch(request.path)
        if match is None:
            raise ValueError(f"no such path {request.path}")
        start = datetime.combine(date.fromisoformat(match[2]), time(), UTC).timestamp()
        end = datetime.combine(date.fromisoformat(match[3]), time(), UTC).timestamp() + 86_400
        found = self.minutes(symbol, start, end, now).take(slice(0, int(params.get("limit", "100"))))

        def write(rows: list[Row]) -> dict[str, Any]:
            results = [
                {name: value for name, value in _aggregate(row).items() if name in "ohlcvt"} for row in rows
            ]
            return {"symbol": symbol, "totalResults": len(rows), "results": results}

        return self.reply(symbol, found, write)


def dialects(book: Book) -> list[Keyed]:
    """All four."""
    return [Massive(book), AlphaVantage(book), Fmp(book), Finage(book)]


def _aggregate(row: Row) -> dict[str, Any]:
    volume = row["volume"]
    mean = row["turnover"] / volume if volume else None
    prices = {name[0]: row[name] for name in ("open", "high", "low", "close")}
    return {"v": volume, "vw": mean, **prices, "t": row["ts"] * 1000, "n": row["trades"]}


def _said(body: dict[str, Any], key: str) -> dict[str, Any]:
    return {
        name: value.replace("KEY", key) if name == "Information" else value for name, value in body.items()
    }


def _text(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _local(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, NEW_YORK).strftime("%Y-%m-%d %H:%M:%S")


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), NEW_YORK).timestamp()
