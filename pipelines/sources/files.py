"""Bars and trades out of a user's own file: CSV with or without a header, Parquet, gzip, Binance bulk zip.

    open -> find the layout -> read the values -> drop the doubles

Nothing is lost on the way: a row that cannot be read is a reject with its line and its own words. What a
good row says is judged by the quality gate, as for every other source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pipelines.market import BAR_SCHEMA, TRADE_SCHEMA, Interval
from pipelines.sources import files_columns as layouts
from pipelines.sources.base import REJECT_SCHEMA
from pipelines.sources.files_columns import Kind, Layout
from pipelines.sources.files_rows import Order, bars_of, placed, trades_of, without_doubles
from pipelines.sources.files_text import (
    CHUNK_BYTES,
    FileError,
    Lines,
    check_checksum,
    fields_of,
    is_parquet,
    read_lines,
    separator_of,
    table_of,
)

LINE_SCHEMA: dict[str, pl.DataType] = {"payload": pl.String(), "line": pl.Int64()}
FILE_REJECT_SCHEMA: dict[str, pl.DataType] = {**REJECT_SCHEMA, "line": pl.Int64()}
PARQUET_ROWS = 250_000
_SNIFFED = 20


class FileRows(NamedTuple):
    """Rows of a file. `frame` is BAR_SCHEMA or TRADE_SCHEMA with `payload` (the row as it stands there,
    null for Parquet) and `line` (1 = the file's first line, or Parquet's first row);
    `rejects` is FILE_REJECT_SCHEMA; `doubles` counts rows that said again what another one says."""

    kind: Kind
    interval: Interval | None
    """Of bars; None for trades."""
    frame: pl.DataFrame
    rejects: pl.DataFrame
    doubles: int = 0


@dataclass
class _Reading:
    """What is known about a file while its parts are read."""

    path: Path
    order: Order
    columns: tuple[str, ...]
    layout: Layout | None = None
    separator: str = ","
    seen: list[pl.DataFrame] = field(default_factory=list)


def read_file(
    path: Path,
    source: str,
    now: datetime,
    *,
    symbol: str | None = None,
    interval: Interval | None = None,
    columns: Sequence[str] = (),
) -> FileRows:
    """The whole file at once; see `read_parts`."""
    parts = list(read_parts(path, source, now, symbol=symbol, interval=interval, columns=columns))
    return FileRows(
        parts[0].kind,
        parts[0].interval,
        pl.concat([part.frame for part in parts]),
        pl.concat([part.rejects for part in parts]),
        sum(part.doubles for part in parts),
    )


def read_parts(
    path: Path,
    source: str,
    now: datetime,
    *,
    symbol: str | None = None,
    interval: Interval | None = None,
    columns: Sequence[str] = (),
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[FileRows]:
    """The file in parts of a few hundred thousand rows, in its own order; at least one part.

    symbol:   for all rows; else the file's own column, else a Binance bulk file's name
    interval: of bars; else a bulk file's name, else the usual distance between the rows
    columns:  the meaning of each column, where neither header nor order tells it
    now:      the market's clock; a bar that is not over by then is `is_closed = false`

    Raises FileError where the file as a whole cannot be used: its message says what would help.
    """
    check_checksum(path)
    order = Order(path, source.strip().lower(), now, symbol.strip().upper() if symbol else None, interval)
    reading = _Reading(path, order, tuple(columns))
    tables = _parquet_tables(reading) if is_parquet(path) else _text_tables(reading, chunk_bytes)
    for table, rejects in tables:
        yield _part(reading, table, rejects)


def _part(reading: _Reading, table: pl.DataFrame, rejects: pl.DataFrame) -> FileRows:
    """One stretch of the file as typed rows."""
    layout = reading.layout
    assert layout is not None
    if layout.kind == "trades":
        frame, bad = trades_of(table, layout, reading.order)
        schema = TRADE_SCHEMA
    else:
        frame, bad = bars_of(table, layout, reading.order)
        schema = BAR_SCHEMA
    frame, contradicted, doubles = without_doubles(frame, layout.kind, reading.seen)
    told = [_rejected(part) for part in (rejects, bad, contradicted)]
    frame = frame.select(pl.col(name).cast(kind) for name, kind in {**schema, **LINE_SCHEMA}.items())
    interval = reading.order.interval if layout.kind == "bars" else None
    return FileRows(layout.kind, interval, frame, pl.concat(told).sort("line"), doubles)


def _rejected(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.select(
        (pl.col(name) if name in rows.columns else pl.lit(None)).cast(kind).alias(name)
        for name, kind in FILE_REJECT_SCHEMA.items()
    )


def _parquet_tables(reading: _Reading) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Slices of a Parquet file with their columns named by position."""
    try:
        lazy = pl.scan_parquet(reading.path)
        names = lazy.collect_schema().names()
        total = lazy.select(pl.len()).collect().item()
    except pl.exceptions.PolarsError as error:
        raise FileError(f"{reading.path}: not a readable Parquet file: {error}") from None
    reading.layout = _chosen(reading, len(names)) or layouts.by_names(names, reading.path)
    for offset in range(0, max(total, 1), PARQUET_ROWS):
        rows = lazy.slice(offset, PARQUET_ROWS).collect()
        rows = rows.rename({name: f"c{index}" for index, name in enumerate(names)})
        line = pl.int_range(offset + 1, offset + rows.height + 1, eager=True).alias("line")
        table = rows.with_columns(line, payload=pl.lit(None, dtype=pl.String))
        yield table, pl.DataFrame(schema=FILE_REJECT_SCHEMA)


def _chosen(reading: _Reading, width: int) -> Layout | None:
    return layouts.by_choice(reading.columns, width, reading.path) if reading.columns else None


def _text_tables(reading: _Reading, chunk_bytes: int) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
    """Stretches of a text file as columns of text, with the lines that have another number of fields."""
    for lines in read_lines(reading.path, chunk_bytes):
        if reading.layout is None:
            lines = _find_layout(reading, lines)
        assert reading.layout is not None
        table, uneven = table_of(lines, len(reading.layout.names), reading.separator)
        wrong = _explain_uneven(uneven, lines, len(reading.layout.names))
        yield table, placed(wrong, reading.layout, reading.separator, reading.order)
    if reading.layout is None:
        raise FileError(f"{reading.path}: there is not one line in it")


def _find_layout(reading: _Reading, lines: Lines) -> Lines:
    """Notes separator and layout from the first lines; returns the lines without header and preamble."""
    head = [(index, text) for index, text in enumerate(lines.texts[:_SNIFFED]) if _counts(text)]
    if not head:
        raise FileError(f"{reading.path}: its first {_SNIFFED} lines are empty or comments")
    reading.separator = separator_of([text for _, text in head])
    cells = [(index, fields_of(text, reading.separator)) for index, text in head]
    header = next((item for item in cells[:5] if layouts.is_header(item[1])), None)
    if header is None:
        width = max((len(row) for _, row in cells), key=[len(row) for _, row in cells].count)
        first = next(row for _, row in cells if len(row) == width)
        reading.layout = _chosen(reading, width) or layouts.by_position(first, reading.path)
        return lines
    named = layouts.by_names(header[1], reading.path) if not reading.columns else None
    reading.layout = named or _chosen(reading, len(header[1]))
    skipped = header[0] + 1
    return Lines(lines.first + skipped, lines.texts[skipped:], lines.is_cut)


def _counts(text: str) -> bool:
    return bool(text.strip()) and not text.lstrip().startswith("#")


def _explain_uneven(uneven: pl.DataFrame, lines: Lines, width: int) -> pl.DataFrame:
    """Lines with too few or too many fields; the file's last one may just have been cut."""
    last = lines.first + len(lines.texts) - 1
    is_cut = pl.lit(lines.is_cut) & (pl.col("line") == last)
    comment = pl.col("payload").str.strip_chars_start().str.starts_with("#")
    return uneven.filter(~comment).with_columns(
        reason=pl.when(is_cut).then(pl.lit("truncated line")).otherwise(pl.lit("wrong number of fields")),
        detail=pl.format("{} fields where {} are expected", "fields", pl.lit(width)),
    )


__all__ = ["FILE_REJECT_SCHEMA", "FileError", "FileRows", "read_file", "read_parts"]
