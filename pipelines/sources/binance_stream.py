"""Binance's aggregated trades by websocket, spot and USD-M futures.

    {"stream": "btcusdt@aggTrade", "data": {"e": "aggTrade", "E": 1672515782136, "s": "BTCUSDT", "a": 12345,
     "p": "0.001", "q": "100", "f": 100, "l": 105, "T": 1672515782136, "m": true, "M": true}}

The server pings and wants its pong, keeps a connection for 24 hours at most, says `serverShutdown` before it
restarts, and takes five messages a second (ours sends none: the address names the streams). A stream that does
not exist, and since 2026-04 every stream of futures on the old addresses, is accepted and silent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import polars as pl

from pipelines.market import TRADE_SCHEMA
from pipelines.sources.agg_trades import FIELDS, row_problem
from pipelines.sources.base import REJECT_SCHEMA
from pipelines.sources.reading import LATEST_MS, time_of
from pipelines.sources.streams import StreamTrades, VenueStream, no_rejects

_DATA = pl.Struct(
    {
        "e": pl.String, "s": pl.String, "a": pl.Int64, "p": pl.String, "q": pl.String, "f": pl.Int64,
        "l": pl.Int64, "T": pl.Int64, "m": pl.Boolean,
    }
)  # fmt: skip


class BinanceStream(VenueStream):
    """Spot: `<symbol>@aggTrade` on the key-less market-data host."""

    name = "binance"
    host = "wss://data-stream.binance.vision"
    route = "/stream"
    symbols_per_line = 200
    silence_s = 60.0
    farewell: bytes | None = b'"serverShutdown"'

    def address(self, symbols: Sequence[str]) -> str:
        names = "/".join(f"{symbol.lower()}@aggTrade" for symbol in symbols)
        return f"{self.base}{self.route}?streams={names}"

    def parse(self, frames: Sequence[bytes], before: Mapping[str, float] | None = None) -> StreamTrades:
        """All frames at once; one by one only those that are no plain trades."""
        try:
            read = pl.read_ndjson(b"\n".join(frames), schema={"data": _DATA}) if frames else None
        except pl.exceptions.PolarsError:
            read = None
        if read is None or read.height != len(frames):
            return self._one_by_one(frames, range(len(frames)))
        rows = read.unnest("data").with_row_index("frame")
        trades = _typed(
            rows.filter(pl.col("e") == "aggTrade", pl.col("T").is_between(0, LATEST_MS)), self.name
        )
        whole = trades.drop_nulls()
        known = rows.filter(pl.col("e").is_not_null(), pl.col("e") != "aggTrade").height
        if whole.height + known == len(frames):
            return StreamTrades(whole, no_rejects(), known)
        plain = rows.filter(pl.col("e").is_null() | (pl.col("e") == "aggTrade")).join(
            whole, on="frame", how="anti"
        )
        odd = self._one_by_one(frames, plain["frame"].to_list())
        trades = pl.concat([whole, odd.trades]).sort("frame")
        return StreamTrades(trades, odd.rejects, known + odd.others)

    def _one_by_one(self, frames: Sequence[bytes], numbers: Sequence[int]) -> StreamTrades:
        good: list[dict[str, Any]] = []
        rejects: list[tuple[Any, ...]] = []
        for number in numbers:
            frame = frames[number]
            try:
                said = orjson.loads(frame)
            except orjson.JSONDecodeError as error:
                rejects.append(self._reject(None, "not_json", str(error), frame))
                continue
            data = said.get("data", said) if isinstance(said, dict) else said
            if not isinstance(data, dict):
                rejects.append(self._reject(None, "wrong_shape", "a frame is an object", frame))
            elif data.get("e") == "aggTrade":
                problem = row_problem(data)
                if problem is None and not isinstance(data.get("s"), str):
                    problem = "wrong_shape", f"s is {data.get('s')!r}, not a symbol"
                if problem:
                    rejects.append(self._reject(data, *problem, frame))
                else:
                    texts = {name: str(data[name]) for name in ("p", "q")}
                    good.append(
                        {"frame": number, "s": data["s"], **{name: data[name] for name in FIELDS}, **texts}
                    )
        schema = {"frame": pl.get_index_type(), **{field.name: field.dtype for field in _DATA.fields}}
        trades = _typed(pl.DataFrame(good, schema=schema), self.name)
        lost = pl.DataFrame(rejects, schema=REJECT_SCHEMA, orient="row")
        return StreamTrades(trades, lost, len(numbers) - trades.height - lost.height)

    def _reject(self, data: dict[str, Any] | None, reason: str, detail: str, frame: bytes) -> tuple[Any, ...]:
        symbol = data.get("s") if data else None
        ts = time_of(data.get("T")) if data else None
        named = symbol if isinstance(symbol, str) else None
        return (
            self.name,
            named,
            ts,
            reason,
            f"{self.name}: {detail}",
            frame.decode("utf-8", "backslashreplace"),
        )


class BinanceFuturesStream(BinanceStream):
    """USD-M futures: market data has had its own route since 2026-04; the old one is silent."""

    name = "binance_futures"
    host = "wss://fstream.binance.com"
    route = "/market/stream"


def _typed(rows: pl.DataFrame, source: str) -> pl.DataFrame:
    return rows.select(
        pl.lit(source).alias("source"),
        pl.col("s").alias("symbol"),
        pl.col("a").alias("trade_id"),
        pl.col("T").cast(pl.Datetime("ms")).cast(pl.Datetime("us")).alias("ts"),
        _number("p").alias("price"),
        _number("q").alias("qty"),
        pl.when("m").then(pl.lit("sell")).when(~pl.col("m")).then(pl.lit("buy")).alias("side"),
        (pl.col("l") - pl.col("f") + 1).alias("fills"),
        "frame",
    ).select(*TRADE_SCHEMA, "frame")


def _number(name: str) -> pl.Expr:
    """Null where the text is no finite number."""
    value = pl.col(name).cast(pl.Float64, strict=False)
    return pl.when(value.is_finite()).then(value)
