"""What the pages ask of the warehouse: few wide reads on the public views, each one frame for all series.

`market` reads bars, windows, indicators and trades; `findings` what was found in them; `operations` what the platform
did and how complete its data is. Every function takes an open connection and naive UTC times, and gives a polars
frame; few of them ask for one series. Reads on minute data carry a literal lower bound on `ts`, without which DuckLake
would open every day's files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import duckdb
import polars as pl

from warehouse import stage

Connection = duckdb.DuckDBPyConnection


def frame(con: Connection, sql: str, values: Mapping[str, object] | None = None) -> pl.DataFrame:
    """The answer of a SELECT as a polars frame (through Arrow, without pyarrow).

    `$name` in the text becomes the value as a literal: DuckLake prunes files by literal bounds only.
    """
    known = values or {}
    return stage.frame(con, re.sub(r"\$(\w+)", lambda found: stage.literal(known[found[1]]), sql))


@contextmanager
def one_snapshot(con: Connection) -> Iterator[None]:
    """All reads inside see the same state of the lake; the catalog is asked once, which halves a read's cost.

    Inside a transaction that is open already nothing is begun.
    """
    try:
        con.execute("BEGIN TRANSACTION READ ONLY")
    except duckdb.TransactionException:
        yield
        return
    try:
        yield
    finally:
        con.execute("COMMIT")


def columns(con: Connection, view: str) -> list[tuple[str, str]]:
    """(name, type) of a public view's columns."""
    return [(row[0], row[1]) for row in con.execute(f'DESCRIBE "{view}"').fetchall()]
