"""The recorded market: a folder of real bars and trades, each venue listing what it recorded.

Layout: `bars_1m/iaqf2023_<venue>_<pair>_1m.parquet`, `bars_1m/lean_*_1m.parquet` (several US equities each),
`bars_1m/freqtrade_xrp_eth_1m.parquet` and `trades/freqtrade_xrpeth_binance_aggtrades_raw.parquet`. Minutes
that were not recorded are absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from pipelines.replica import nyse
from pipelines.replica.columns import COLUMNS, NO_BARS, NO_TRADES, Bars, Row, Trades, bar_of, bars_from, join
from pipelines.replica.errors import ReplicaError
from pipelines.replica.instruments import Instrument
from pipelines.replica.shocks import Shock

_RENAMED = {
    "timestamp": "ts",
    "date": "ts",
    "quote_volume": "turnover",
    "taker_buy_base": "taker_volume",
    "taker_buy_quote": "taker_turnover",
}
_QUOTES = ("USDT", "USDC", "USD", "EUR", "ETH", "BTC")


class RecordedMarket:
    """Plays a folder; read once at the start. Raises ReplicaError if it holds nothing that can be played."""

    name = "recorded"

    def __init__(self, folder: Path) -> None:
        self._listed: dict[tuple[str, str], Instrument] = {}
        self._bars: dict[str, Bars] = {}
        self._trades: dict[str, Trades] = {}
        for venue, symbol, bars in _read_bars(folder):
            self._list(venue, symbol, bars)
        for venue, symbol, trades in _read_trades(folder):
            self._trades[f"{venue}:{symbol}"] = trades
            if (venue, symbol) in self._listed:
                self._improve(venue, symbol, trades)
        if not self._listed:
            raise ReplicaError(
                f"no recorded bars in {folder}: expected bars_1m/iaqf2023_*_1m.parquet or lean_*_1m.parquet"
            )

    def symbols(self, venue: str) -> list[str]:
        return [symbol for at, symbol in self._listed if at == venue]

    def find(self, venue: str, symbol: str) -> Instrument | None:
        return self._listed.get((venue, symbol))

    def span(self, inst: Instrument) -> tuple[float, float]:
        ts = self._bars[inst.symbol].ts
        return float(ts[0]), float(ts[-1])

    def extended(self, inst: Instrument, start_s: float, end_s: float) -> Bars:
        """Every recorded bar, pre- and post-market too."""
        return self._bars[inst.symbol].between(start_s, end_s)

    def bars(self, inst: Instrument, start_s: float, end_s: float) -> Bars:
        """Bars of regular trading minutes."""
        found = self.extended(inst, start_s, end_s)
        if inst.continuous or not len(found):
            return found
        regular = np.zeros(len(found), bool)
        for one in nyse.sessions(start_s, end_s):
            regular |= (found.ts >= one.open_s) & (found.ts < one.close_s)
        return found.take(regular)

    def running(self, inst: Instrument, minute_s: int, at_s: float) -> Bars:
        """The open bar: from recorded trades where there are any, else the bar on its way to its close."""
        if inst.symbol in self._trades:
            trades = self.trades(inst, minute_s, minute_s + 60)
            return bar_of(trades.take(trades.time_ms <= at_s * 1000), minute_s)
        bar = self.bars(inst, minute_s, minute_s + 60)
        share = (at_s - minute_s) / 60
        return (
            bars_from([_partial(row, share, inst.price_scale) for row in bar.rows()])
            if share > 0
            else NO_BARS
        )

    def trades(self, inst: Instrument, start_s: float, end_s: float) -> Trades:
        """Recorded aggregate trades with start_s <= time < end_s; empty where only bars were recorded."""
        found = self._trades.get(inst.symbol, NO_TRADES)
        first, last = np.searchsorted(found.time_ms, (start_s * 1000, end_s * 1000))
        return found.take(slice(int(first), int(last)))

    def minute_of_trade(self, inst: Instrument, trade_id: int) -> int:
        found = self._trades.get(inst.symbol, NO_TRADES)
        if not len(found):
            return int(self.span(inst)[1])
        row = min(int(np.searchsorted(found.id, trade_id)), len(found) - 1)
        return int(found.time_ms[row]) // 60_000 * 60

    def labels(self, insts: list[Instrument], start_s: float, end_s: float) -> list[Shock]:
        """What really happened carries no labels."""
        return []

    def inject(self, one: Shock) -> None:
        raise ReplicaError("a recorded market cannot be shocked: revise single bars, or use --data simulated")

    def _list(self, venue: str, symbol: str, bars: Bars) -> None:
        key = f"{venue}:{symbol}"
        if key in self._bars:
            bars = join([self._bars[key], bars])
            bars = bars.take(np.unique(bars.ts, return_index=True)[1])
        equity = venue == "yahoo"
        base, quote = (symbol, "USD") if equity else _legs(symbol)
        scale = 100 if equity else _scale(bars.close)
        lots = 1 if equity else _scale(bars.volume)
        volume = float(np.median(bars.volume))
        kind = "equity" if equity else "crypto"
        inst = Instrument(key, kind, float(bars.close[0]), scale, lots, volume, base, quote)  # type: ignore[arg-type]
        self._listed[venue, symbol] = inst
        self._bars[key] = bars

    def _improve(self, venue: str, symbol: str, trades: Trades) -> None:
        """What the recorded bars lack, their trades know: turnover, counts and the takers' share."""
        bars = self._bars[f"{venue}:{symbol}"]
        owner = trades.time_ms // 60_000 * 60
        rows = list(bars.rows())
        for row in rows:
            first, last = np.searchsorted(owner, (row["ts"], row["ts"] + 60))
            made = bar_of(trades.take(slice(int(first), int(last))), row["ts"])
            known = next(made.rows(), row)
            row |= {name: known[name] for name in ("turnover", "trades", "taker_volume", "taker_turnover")}
        self._bars[f"{venue}:{symbol}"] = bars_from(rows)


def _read_bars(folder: Path) -> Iterator[tuple[str, str, Bars]]:
    for file in sorted(folder.glob("bars_1m/*.parquet")):
        if match := re.fullmatch(r"iaqf\d+_(\w+?)_(\w+)_1m", file.stem):
            venue, pair = match[1], match[2].upper()
            yield venue, _venue_symbol(venue, pair), _bars(pl.read_parquet(file))
        elif match := re.fullmatch(r"freqtrade_([a-z]+)_(eth|btc)_1m", file.stem):
            yield "binance", f"{match[1]}{match[2]}".upper(), _bars(pl.read_parquet(file))
        elif file.stem.startswith("lean_"):
            venue = "coinbase" if "coinbase" in file.stem else "yahoo"
            for (symbol,), rows in pl.read_parquet(file).partition_by("symbol", as_dict=True).items():
                yield venue, _venue_symbol(venue, str(symbol)), _bars(rows)


def _read_trades(folder: Path) -> Iterator[tuple[str, str, Trades]]:
    for file in sorted(folder.glob("trades/*_binance_aggtrades_raw.parquet")):
        symbol = file.stem.split("_")[-4].upper()
        rows = pl.read_parquet(file).sort("a")
        numbers = rows.with_columns(pl.col("p", "q").cast(pl.Float64))
        columns = (numbers[name].to_numpy() for name in ("a", "p", "q", "f", "l", "T", "m"))
        yield "binance", symbol, Trades(*columns)


def _bars(rows: pl.DataFrame) -> Bars:
    """Columns in our names; turnover is close x volume where the recording has none."""
    named = rows.rename({old: new for old, new in _RENAMED.items() if old in rows.columns})
    named = named.with_columns(pl.col("ts").dt.epoch("s")).sort("ts")
    spare = {
        "turnover": pl.col("close") * pl.col("volume"),
        "trades": pl.lit(0),
        "taker_volume": pl.lit(0.0),
        "taker_turnover": pl.lit(0.0),
    }
    named = named.with_columns(**{name: value for name, value in spare.items() if name not in named.columns})
    whole = {"ts", "trades"}
    typed = named.select(pl.col(name).cast(pl.Int64 if name in whole else pl.Float64) for name in COLUMNS)
    return Bars(*(typed[name].to_numpy() for name in COLUMNS))


def _venue_symbol(venue: str, pair: str) -> str:
    base, quote = _legs(pair) if venue in ("coinbase", "kraken") else (pair, "")
    if venue == "coinbase":
        return f"{base}-{quote}"
    return f"{base.replace('BTC', 'XBT')}{quote}" if venue == "kraken" else pair


def _legs(symbol: str) -> tuple[str, str]:
    """Base and quote of a pair such as BTCUSDT, BTC-USD or XBTUSD."""
    plain = symbol.replace("-", "")
    quote = next((one for one in _QUOTES if plain.endswith(one)), "")
    return plain.removesuffix(quote), quote


def _scale(values: np.ndarray) -> int:
    """The power of ten that makes (almost) all of these values whole."""
    sample = values[:2000]
    for digits in range(9):
        if np.allclose(sample, np.round(sample, digits), rtol=0, atol=1e-9):
            return int(10**digits)
    return 10**8


def _partial(row: Row, share: float, price_scale: int) -> Row:
    close = round((row["open"] + (row["close"] - row["open"]) * share) * price_scale) / price_scale
    grown = {
        name: round(row[name] * share, 8) for name in ("volume", "turnover", "taker_volume", "taker_turnover")
    }
    high, low = max(row["open"], close), min(row["open"], close)
    return {**row, **grown, "high": high, "low": low, "close": close, "trades": int(row["trades"] * share)}
