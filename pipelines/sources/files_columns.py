"""Which column of a user's file means what: names and their usual aliases, and layouts without a header."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pipelines.sources.files_text import FileError

Kind = Literal["bars", "trades"]

_TIME = (
    "ts opentime timestamp timestamputc timestampms timeutc datetimeutc datetime unix unixtime unixtimestamp "
    "time date start starttime barstart windowstart periodstart t transacttime tradetime"
)
BAR_ALIASES: Mapping[str, str] = {
    "ts": _TIME,
    "open": "open openprice o 1open first",
    "high": "high highprice h 2high max",
    "low": "low lowprice l 3low min",
    "close": "close closeprice c 4close last",
    "volume": "volume vol v basevolume volumebase 5volume volumetraded amount",
    "turnover": "turnover quotevolume quoteassetvolume quotevol volumequote turnoverquote amount",
    "trades": "trades tradecount tradescount count numberoftrades numtrades n transactions nooftrades",
    "symbol": "symbol ticker instrument sym pair productid",
}
TRADE_ALIASES: Mapping[str, str] = {
    "ts": _TIME,
    "trade_id": "tradeid id aggtradeid aggregatetradeid aggid tid a",
    "price": "price p px rate tradeprice",
    "qty": "qty quantity q size amount volume vol v baseqty",
    "side": "side takerside aggressor aggressorside direction",
    "is_buyer_maker": "isbuyermaker buyermaker m",
    "first_id": "firsttradeid firstid f",
    "last_id": "lasttradeid lastid l",
    "symbol": "symbol ticker instrument sym pair productid s",
}
"""For each of our columns the names it goes by, best first, in lower case without blanks and underscores."""

NEEDED: Mapping[Kind, tuple[str, ...]] = {
    "bars": ("ts", "open", "high", "low", "close"),
    "trades": ("ts", "price", "qty"),
}
_AGG_TRADES = {
    "a": "trade_id",
    "p": "price",
    "q": "qty",
    "f": "first_id",
    "l": "last_id",
    "T": "ts",
    "m": "is_buyer_maker",
}
_KLINES = ("ts", "open", "high", "low", "close", "volume", "", "turnover", "trades", "", "", "")
_BARS = ("ts", "open", "high", "low", "close", "volume", "trades")
_TRADES = ("ts", "trade_id", "price", "qty", "side")
_BULK_AGG_TRADES = ("trade_id", "price", "qty", "first_id", "last_id", "ts", "is_buyer_maker", "")
_BULK_TRADES = ("trade_id", "price", "qty", "", "ts", "is_buyer_maker", "")
_WORD_BOOLEANS = {"true", "false"}
_SIDES = {"buy", "sell", "b", "s"}


class Layout(NamedTuple):
    """What a file holds: bars or trades, and for each of our columns the index of the file's."""

    kind: Kind
    columns: dict[str, int]
    names: tuple[str, ...]
    """The file's own names, for messages; positions where it has no header."""
    has_header: bool


def by_names(names: Sequence[str], where: Path) -> Layout:
    """The layout of named columns. Raises FileError that lists what was found and what is needed."""
    if {"a", "p", "q", "T"} <= set(names):
        found = {ours: names.index(theirs) for theirs, ours in _AGG_TRADES.items() if theirs in names}
        return Layout("trades", found, tuple(names), True)
    bars, trades = _match(names, BAR_ALIASES), _match(names, TRADE_ALIASES)
    for kind, found in (("bars", bars), ("trades", trades)):
        if set(NEEDED[kind]) <= set(found):  # type: ignore[index]
            _refuse_vague_volume(kind, found, names, where)
            return Layout(kind, found, tuple(names), True)  # type: ignore[arg-type]
    missing = [name for name in NEEDED["bars"] if name not in bars]
    raise FileError(
        f"{where}: columns {', '.join(names)}: neither bars (ts,open,high,low,close,volume; "
        f"missing {', '.join(missing)}) nor trades (ts,trade_id,price,qty,side); rename them in the header "
        "or give --columns"
    )


def _match(names: Sequence[str], aliases: Mapping[str, str]) -> dict[str, int]:
    """Our column -> index; each of the file's columns is used once, the best alias first."""
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    taken: dict[str, int] = {}
    for ours, words in aliases.items():
        for word in words.split():
            if word in plain and plain.index(word) not in taken.values():
                taken[ours] = plain.index(word)
                break
    return taken


def _refuse_vague_volume(kind: str, found: dict[str, int], names: Sequence[str], where: Path) -> None:
    """`Volume BTC, Volume USDT`: which one is in base units must not be guessed."""
    vague = [name for name in names if name.lower().startswith("vol")]
    if kind == "bars" and "volume" not in found and vague:
        raise FileError(
            f"{where}: which of {', '.join(vague)} is the volume in base units? Name it volume in the header "
            "(and the one in quote currency turnover), or give --columns"
        )


def is_header(cells: Sequence[str]) -> bool:
    """Two names we know make a header; one does where no cell is a number."""
    words = {
        word for table in (BAR_ALIASES, TRADE_ALIASES) for text in table.values() for word in text.split()
    }
    known = len({re.sub(r"[^a-z0-9]", "", cell.lower()) for cell in cells} & words)
    return known >= 2 or (known == 1 and not any(re.fullmatch(r"[-+]?[\d.]+", cell) for cell in cells))


def by_position(cells: Sequence[str], where: Path) -> Layout:
    """The layout of a file without a header, by the number of its columns and what its first row holds.

    Six or seven are our own order (ts, open, high, low, close, volume, trades), twelve a Binance kline;
    rows with true or false at the end are Binance's bulk trades.
    """
    width = len(cells)
    names = tuple(f"column {index + 1}" for index in range(width))
    kind, order = _order(cells)
    if not order:
        raise FileError(
            f"{where}: {width} columns without a header; put a header as the first line, "
            "such as ts,open,high,low,close,volume, or give --columns"
        )
    return Layout(kind, {name: index for index, name in enumerate(order[:width]) if name}, names, False)


def _order(cells: Sequence[str]) -> tuple[Kind, tuple[str, ...]]:
    width, words = len(cells), [cell.lower() for cell in cells]
    if width in (7, 8) and words[6] in _WORD_BOOLEANS and words[5] not in _WORD_BOOLEANS:
        return "trades", _BULK_AGG_TRADES
    if width in (6, 7) and words[5] in _WORD_BOOLEANS:
        return "trades", _BULK_TRADES
    if width == 12:
        return "bars", _KLINES
    if width == 4 or (width == 5 and (words[4] in _SIDES or not words[4])):
        return "trades", _TRADES
    return ("bars", _BARS) if width in (5, 6, 7) else ("bars", ())


def by_choice(columns: Sequence[str], width: int, where: Path) -> Layout:
    """The layout the user dictates: one name for each column, `-` or nothing for one to leave out."""
    wanted = [column.strip().lower() for column in columns]
    if len(wanted) != width:
        raise FileError(f"{where}: --columns names {len(wanted)} columns, the file has {width}")
    known = {*BAR_ALIASES, *TRADE_ALIASES}
    unknown = [name for name in wanted if name not in known and name not in ("", "-")]
    if unknown:
        raise FileError(
            f"{where}: --columns: no column {', '.join(unknown)}; allowed: {', '.join(sorted(known))}, -"
        )
    found = {name: index for index, name in enumerate(wanted) if name in known}
    kind: Kind = "trades" if "price" in found else "bars"
    missing = [name for name in NEEDED[kind] if name not in found]
    if missing:
        raise FileError(
            f"{where}: --columns has no {', '.join(missing)}; {kind} need {', '.join(NEEDED[kind])}"
        )
    return Layout(kind, found, tuple(wanted), False)


_BULK_NAME = re.compile(
    r"(?P<symbol>[A-Z0-9]{2,}(?:_[A-Z0-9]+)?)-(?P<what>\d+(?:s|m|h|d|w|mo)|aggTrades|trades)-\d{4}-\d{2}"
)


class BulkName(NamedTuple):
    """What the name of a Binance bulk file says: `BTCUSDT-1m-2024-03.zip`."""

    symbol: str
    what: str


def bulk_name(path: Path) -> BulkName | None:
    """The symbol and kind in a Binance bulk file's name; None for any other name."""
    found = _BULK_NAME.match(path.name)
    return BulkName(found["symbol"], found["what"]) if found else None
