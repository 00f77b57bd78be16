"""Frames on their way into and out of the lake, and values on their way into SQL."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime

import duckdb
import polars as pl


class _Stream:
    """A frame that offers Arrow's C stream and nothing else: for a polars frame itself DuckDB asks for pyarrow."""

    def __init__(self, rows: pl.DataFrame) -> None:
        self.rows = rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.rows.__arrow_c_stream__(requested_schema)


def stage(con: duckdb.DuckDBPyConnection, name: str, frame: pl.DataFrame) -> int:
    """Makes the temporary table `name` from the frame and returns its rows; fastest in a transaction."""
    frame_to_stage = _Stream(frame)  # DuckDB finds it by its name; `register` takes four times as long  # noqa: F841
    con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM frame_to_stage")
    return frame.height


def insert(con: duckdb.DuckDBPyConnection, table: str, frame: pl.DataFrame) -> None:
    """Inserts the frame into a table of the lake by the names of its columns; inside a transaction."""
    frame_to_insert = _Stream(frame)  # noqa: F841
    con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM frame_to_insert")


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
