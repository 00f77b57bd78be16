"""Klines spelt the way Binance always spells them: from the bytes of hundreds of replies straight into columns.

A reply is plain if its marks are those of whole klines and nothing stands between the marks but digits and points.
Such replies are read as one table; all others, and those in which a number is at fault, are for whoever reads
row by row (pipelines.sources.klines) and can say what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipelines.sources.reading import LATEST_MS

ROW = b'[,"","","","","",,"",,"","",""]'
"""The marks of one kline: open time, five texts, end, a text, the count of trades, three texts nobody reads."""
ENDS = bytes.maketrans(b"]", b"\n")
WHOLE, DECIMAL = ("ts", "end", "trades"), ("open", "high", "low", "close", "volume", "turnover")
READ = ("ts", "open", "high", "low", "close", "volume", "end", "turnover", "trades")
LINE = dict.fromkeys(("before", *READ, "taker", "taker_turnover", "unused"), pl.String) | dict.fromkeys(
    DECIMAL, pl.Float64
)
"""A kline as a line: the comma that stood before its bracket is left, so something is before its time."""


def plain_rows(body: bytes) -> int | None:
    """How many klines a reply holds; None if it is not plain."""
    marks = body.translate(None, b"0123456789.")
    rows = len(marks) // (len(ROW) + 1)
    return rows if marks == b"[" + b",".join([ROW] * rows) + b"]" else None


def read_plain(bodies: Sequence[bytes]) -> pl.DataFrame | None:
    """The klines of plain replies one below the other: READ, each float the one nearest to its text.

    None if some number is missing, malformed or out of range.
    """
    lines = [body.translate(ENDS, b'["')[:-1] for body in bodies]
    text = b",".join([b"", *lines])
    table = pl.scan_csv(text, has_header=False, schema=LINE, quote_char=None).select(READ)
    whole = pl.col(WHOLE)
    # JSON has no 07 among its bare numbers, a damaged reply may.
    is_spelt = ~(whole.str.starts_with("0") & (whole.str.len_bytes() > 1))
    is_known = pl.col("ts").cast(pl.Int64) <= LATEST_MS
    try:
        rows = table.with_columns(
            whole.cast(pl.Int64), good=pl.all_horizontal(is_spelt, is_known, pl.col(DECIMAL).is_finite())
        ).collect()
    except pl.exceptions.PolarsError:
        return None
    return rows.drop("good") if rows["good"].fill_null(value=False).all() else None
