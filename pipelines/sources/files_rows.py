"""A table of a user's file as bars or trades: values typed, the symbol found, doubles told apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from pipelines.market import MINUTE, Interval, naive
from pipelines.sources.files_columns import Kind, Layout, bulk_name
from pipelines.sources.files_text import FileError, fields_of
from pipelines.sources.files_values import numbers, sides, times, wholes

_PRICES = ("open", "high", "low", "close")
KEYS: dict[Kind, tuple[str, str]] = {"bars": ("symbol", "ts"), "trades": ("symbol", "trade_id")}
IDS_A_MICROSECOND = 1000
FEW = 5
"""So many contradictions may be bad rows, for the gate to judge; more are another order of columns."""


@dataclass
class Order:
    """What the user asked for; `interval` and `symbol` are filled in from the file where he left them out."""

    path: Path
    source: str
    now: datetime
    symbol: str | None
    interval: Interval | None


def bars_of(table: pl.DataFrame, layout: Layout, order: Order) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The table's bars, and the rows that cannot be read (line, payload, symbol, ts, reason, detail).

    A file without a volume column has volume 0, as Yahoo gives it for currencies.
    """
    read = _common(table, layout, order)
    values = {name: _number(table, layout, name) for name in (*_PRICES, "volume", "turnover")}
    trades = _column(table, layout, "trades")
    read = read.with_columns(
        **values,
        trades=wholes(trades) if trades is not None else pl.lit(None, dtype=pl.Int64),
        venue=pl.lit(order.source),
    )
    if "volume" not in layout.columns:
        read = read.with_columns(volume=pl.lit(0.0))
    needed = [name for name in (*_PRICES, "volume") if name in layout.columns]
    good, bad = _readable(read, table, layout, needed)
    if not layout.has_header:
        _refuse_wrong_order(good, layout, order)
    order.interval = order.interval or _interval_of_name(order.path) or guessed_interval(good)
    closed = pl.col("ts") + order.interval.delta <= naive(order.now)
    return good.with_columns(is_closed=closed), bad


def trades_of(table: pl.DataFrame, layout: Layout, order: Order) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The table's trades, and the rows that cannot be read; without ids, ids are made from the times."""
    _refuse_single_fills(order)
    read = _common(table, layout, order).with_columns(
        price=_number(table, layout, "price"),
        qty=_number(table, layout, "qty"),
        side=_side(table, layout),
        fills=_fills(table, layout),
    )
    ids = _column(table, layout, "trade_id")
    if ids is None:
        read = read.with_columns(trade_id=_made_ids())
    else:
        read = read.with_columns(trade_id=wholes(ids))
    needed = ["price", "qty", *(["trade_id"] if ids is not None else [])]
    return _readable(read, table, layout, needed)


def _common(table: pl.DataFrame, layout: Layout, order: Order) -> pl.DataFrame:
    """line, payload, source, symbol, ts, and reason and detail of a time that cannot stand."""
    timed = times(table[f"c{layout.columns['ts']}"], order.now)
    own = _column(table, layout, "symbol")
    symbol = (
        pl.lit(_one_symbol(order))
        if own is None
        else pl.lit(own.cast(pl.String).str.strip_chars().str.to_uppercase())
    )
    read = pl.concat([table.select("line", "payload"), timed], how="horizontal")
    read = read.with_columns(source=pl.lit(order.source), symbol=symbol)
    return read if own is None or order.symbol is None else _only_symbol(read, order)


def placed(uneven: pl.DataFrame, layout: Layout, separator: str, order: Order) -> pl.DataFrame:
    """Lines of another number of fields (payload and more) with the symbol and ts that they say; null where they do not.

    A field that nothing follows may be cut: it says nothing.
    """
    cells = [fields_of(payload, separator)[:-1] for payload in uneven["payload"]]

    def said(name: str) -> pl.Series:
        at = layout.columns[name]
        return pl.Series([row[at] if at < len(row) else None for row in cells], dtype=pl.String)

    timed = times(said("ts"), order.now)
    ts = timed.select(pl.when(pl.col("reason").is_null()).then("ts")).to_series()
    own = said("symbol").str.to_uppercase() if "symbol" in layout.columns else None
    symbol = pl.lit(_one_symbol(order)) if own is None else own.replace("", None)
    return uneven.with_columns(ts=ts, symbol=symbol)


class NamelessError(FileError):
    """Neither the file nor the user says whose prices these are."""


def _one_symbol(order: Order) -> str:
    name = bulk_name(order.path)
    if not (symbol := order.symbol or (name.symbol if name else None)):
        raise NamelessError(f"{order.path}: whose prices are these? Give --symbol, or a column named symbol")
    return symbol


def _only_symbol(read: pl.DataFrame, order: Order) -> pl.DataFrame:
    """Of a file with several symbols the one asked for; one other symbol is given the name asked for.

    Rows of the others are marked by a null `line` and vanish.
    """
    found = read["symbol"].drop_nulls().unique().sort().to_list()
    if order.symbol in found:
        return read.with_columns(line=pl.when(pl.col("symbol") == order.symbol).then("line"))
    if len(found) > 1:
        raise FileError(
            f"{order.path}: no {order.symbol} in it, but {', '.join(found[:8])}; name one of these"
        )
    return read.with_columns(symbol=pl.lit(order.symbol))


def _column(table: pl.DataFrame, layout: Layout, name: str) -> pl.Series | None:
    return table[f"c{layout.columns[name]}"] if name in layout.columns else None


def _number(table: pl.DataFrame, layout: Layout, name: str) -> pl.Series:
    values = _column(table, layout, name)
    return (
        numbers(values) if values is not None else pl.repeat(None, table.height, dtype=pl.Float64, eager=True)
    ).alias(name)


def _side(table: pl.DataFrame, layout: Layout) -> pl.Series:
    for name, is_maker in (("side", False), ("is_buyer_maker", True)):
        if (values := _column(table, layout, name)) is not None:
            return sides(values, is_maker=is_maker).alias("side")
    return pl.repeat(None, table.height, dtype=pl.String, eager=True)


def _fills(table: pl.DataFrame, layout: Layout) -> pl.Series:
    first, last = (_column(table, layout, name) for name in ("first_id", "last_id"))
    if first is None or last is None:
        return pl.repeat(1, table.height, dtype=pl.Int64, eager=True)
    return (wholes(last) - wholes(first) + 1).alias("fills")


def _made_ids() -> pl.Expr:
    """An id from the time and the place among the trades of the same microsecond: so it stays the same."""
    place = pl.int_range(pl.len()).over("symbol", "ts")
    return pl.col("ts").cast(pl.Int64) * IDS_A_MICROSECOND + place


def _readable(
    read: pl.DataFrame, table: pl.DataFrame, layout: Layout, needed: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows whose time, symbol and needed numbers are there, and the others with the first thing amiss."""
    reason, detail = pl.col("reason"), pl.col("detail")
    given = table.select(
        pl.col(f"c{layout.columns[name]}").cast(pl.String).alias(f"given_{name}") for name in needed
    )
    read = pl.concat([read, given], how="horizontal").filter(pl.col("line").is_not_null())
    is_nameless = pl.col("symbol").is_null() | (pl.col("symbol") == "")
    checks = [(is_nameless, pl.lit("no symbol"), pl.lit("the symbol column is empty"))]
    for name in needed:
        shown = pl.format(name + ' is "{}"', pl.col(f"given_{name}").fill_null(""))
        checks.append((pl.col(name).is_null(), pl.lit(f"unreadable {name}"), shown))
    for bad, why, how in checks:
        detail = pl.when(reason.is_null() & bad).then(how).otherwise(detail)
        reason = pl.when(reason.is_null() & bad).then(why).otherwise(reason)
    judged = read.with_columns(reason=reason, detail=detail).drop(given.columns)
    return judged.filter(pl.col("reason").is_null()), judged.filter(pl.col("reason").is_not_null())


def _refuse_wrong_order(good: pl.DataFrame, layout: Layout, order: Order) -> None:
    """Columns without names are taken in our order; where most moving bars contradict it, it is another."""
    moving = good.filter(pl.col("high") != pl.col("low"))
    body = pl.concat_list("open", "close")
    wrong = moving.filter((pl.col("high") < body.list.max()) | (pl.col("low") > body.list.min())).height
    if wrong >= FEW and wrong * 2 > moving.height:
        names = ",".join(sorted(layout.columns, key=layout.columns.__getitem__))
        raise FileError(
            f"{order.path}: {wrong} of {moving.height} moving bars contradict the order {names} (high below "
            "open or close, or low above); the file has no header: put the true order as its first line, "
            "for example ts,open,close,high,low,volume, or give --columns ts,open,close,high,low,volume"
        )


def _refuse_single_fills(order: Order) -> None:
    name = bulk_name(order.path)
    if name and name.what == "trades" and order.source.startswith("binance"):
        raise FileError(
            f"{order.path}: single fills; trades of {order.source} are aggregates here, with other ids: "
            f"import {name.symbol}-aggTrades-... instead, or give another --source"
        )


def _interval_of_name(path: Path) -> Interval | None:
    name = bulk_name(path)
    try:
        return Interval.parse(name.what) if name else None
    except ValueError:
        return None


def guessed_interval(bars: pl.DataFrame) -> Interval:
    """The most frequent distance between neighbouring bars of a symbol; a minute where there is none."""
    steps = bars.sort("symbol", "ts").select(
        step=pl.col("ts").diff().over("symbol").dt.total_seconds(),
    )["step"]
    usual = steps.filter(steps > 0).mode()
    return Interval(int(usual.min())) if len(usual) else Interval(int(MINUTE.total_seconds()))  # type: ignore[arg-type]


def without_doubles(
    frame: pl.DataFrame, kind: Kind, seen: list[pl.DataFrame]
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """The first row of each key; the later ones that say something else; how many said the same.

    `seen` remembers the keys of earlier parts (symbol, key, digest of the values, line), a frame a part;
    those whose span of keys this part does not touch are left alone, so a sorted file costs no search.
    """
    key = list(KEYS[kind])
    unsaid = (*key, "line", "payload", "reason", "detail", "is_closed")
    said = [name for name in frame.columns if name not in unsaid]
    marked = frame.with_columns(digest=pl.struct(said).hash(0))
    keys = marked.select(*key, "digest", "line")
    first = pl.concat([*(part for part in seen if _touch(part, keys, key[1])), keys])
    first = first.unique(subset=key, keep="first", maintain_order=True)
    seen.append(keys.join(first.select("line"), on="line", how="semi"))
    joined = marked.join(first, on=key, how="left", suffix="_first", maintain_order="left")
    kept = joined.filter(pl.col("line") == pl.col("line_first"))
    if kept.height == frame.height:
        return frame, frame.clear(), 0
    again = joined.filter(pl.col("line") != pl.col("line_first"))
    other = again.filter(pl.col("digest") != pl.col("digest_first")).with_columns(
        reason=pl.lit("duplicate row"),
        detail=pl.format("line {} has the same {} and other values; it stands", "line_first", pl.lit(key[1])),
    )
    return kept.select(frame.columns), other.select(frame.columns), again.height - other.height


def _touch(part: pl.DataFrame, keys: pl.DataFrame, key: str) -> bool:
    if part.is_empty() or keys.is_empty():
        return False
    (low, high), (start, end) = ((each[key].min(), each[key].max()) for each in (part, keys))
    return bool(low <= end and start <= high)  # type: ignore[operator]
