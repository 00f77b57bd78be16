"""Frames on their way into and out of the lake, and values on their way into SQL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl


def stage(con: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame) -> int:
    """Makes the temporary table `name` from the frame and returns its rows.

    By way of a Parquet file: it keeps nulls and types exactly and needs no Arrow package, at 2-3 ms a call.
    Temporary tables must be made before BEGIN: a transaction writes one database only.
    """
    with tempfile.TemporaryDirectory(prefix="tapewatch-") as folder:
        path = Path(folder) / "stage.parquet"
        frame.write_parquet(path, compression="uncompressed", statistics=False)
        con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM read_parquet({literal(str(path))})")
    return frame.height


def frame(con: duckdb.DuckDBPyConnection, sql: str) -> pl.DataFrame:
    """The query's rows; timestamps come as naive UTC microseconds."""
    return pl.DataFrame(con.sql(sql))


def scalar(con: duckdb.DuckDBPyConnection, sql: str) -> object:
    """The first value of the query's first row; None if there is no row."""
    row = con.execute(sql).fetchall()
    return row[0][0] if row else None


def literal(value: object) -> str:
    """`value` as a SQL literal.

    Literals, not bound parameters: DuckLake prunes files by literal bounds, and the first bound
    parameter makes DuckDB import pandas (0.6 s of a minute's run).
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case datetime():
            moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
            return f"TIMESTAMP '{moment.isoformat(sep=' ')}'"
        case date():
            return f"DATE '{value.isoformat()}'"
        case str():
            return "'" + value.replace("'", "''") + "'"
    raise TypeError(f"no SQL literal for {type(value).__name__}")


def literals(values: Iterable[object]) -> str:
    """A parenthesised list for IN; never empty, since `IN ()` is no SQL."""
    return "(" + (", ".join(literal(value) for value in values) or "NULL") + ")"
