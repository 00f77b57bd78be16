"""One statement's answer as a table, CSV, JSON or Parquet."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import duckdb
import orjson

from flows.cli.lake import Connection
from flows.cli.tables import table
from warehouse.errors import TapewatchError, UsageError

Format = Literal["table", "csv", "json", "parquet"]
SHOWN = 1000
"""Rows of a table for eyes; the other formats have all."""
BATCH = 5000


WRITES = ("INSERT", "UPDATE", "DELETE", "MERGE_INTO", "ALTER", "DROP", "CREATE")
READ_ONLY = (
    "the warehouse is read-only here: data comes in by `tapewatch import` and `tapewatch backfill`; tables of your own "
    "live in memory (CREATE TEMP TABLE)"
)


def run_all(con: Connection, text: str, form: Format, output: Path | None = None) -> None:
    """Every statement of the text in order; TapewatchError with DuckDB's own words at the first that fails."""
    try:
        statements = con.extract_statements(text)
    except duckdb.Error as error:
        raise TapewatchError(str(error)) from None
    if output is not None and len(statements) != 1:
        raise UsageError(f"--output: one statement makes one file, and here are {len(statements)}")
    for statement in statements:
        try:
            answer(con, statement, form, output)
        except duckdb.Error as error:
            told = f"{READ_ONLY} (DuckDB: {error})" if statement.type.name in WRITES else str(error)
            raise TapewatchError(told) from None


def answer(con: Connection, statement: duckdb.Statement, form: Format, output: Path | None) -> None:
    """Runs the statement and writes what it gives, to `output` or standard output; one that gives nothing is silent.

    Raises duckdb.Error, and TapewatchError where the answer cannot be written there.
    """
    result = con.sql(statement)
    if result is None:
        return
    if form in ("csv", "parquet"):
        _copy(result, form, output)
    elif form == "json":
        _write(output, _json(result))
    elif output is not None:
        raise TapewatchError(f"{output}: a table is for eyes; add --format csv, json or parquet")
    else:
        _table(result)


def _copy(result: duckdb.DuckDBPyRelation, form: Format, output: Path | None) -> None:
    """By DuckDB itself and a file, so that an answer of any size passes; `output` appears when it is complete."""
    with tempfile.TemporaryDirectory(prefix="tapewatch-") as folder:
        draft = Path(folder) / f"answer.{form}"
        if form == "csv":
            result.write_csv(str(draft), header=True)
        else:
            result.write_parquet(str(draft), compression="zstd")
        if output is not None:
            _place(draft, output)
            return
        with draft.open("rb") as answered:
            shutil.copyfileobj(answered, _bytes_out())
        sys.stdout.flush()


def _place(draft: Path, output: Path) -> None:
    try:
        shutil.move(draft, output.expanduser())
    except OSError as error:
        raise TapewatchError(f"{output}: cannot be written: {error.strerror}") from None


def _json(result: duckdb.DuckDBPyRelation) -> Iterator[bytes]:
    """A JSON list with one object a line; times as ISO 8601 with Z."""
    option = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS
    names = _distinct(result.columns)
    yield b"["
    separator = b"\n"
    while found := result.fetchmany(BATCH):
        for row in found:
            yield separator + orjson.dumps(dict(zip(names, row, strict=True)), default=str, option=option)
            separator = b",\n"
    yield b"\n]\n"


def _write(output: Path | None, parts: Iterator[bytes]) -> None:
    if output is None:
        for part in parts:
            sys.stdout.write(part.decode())
        return
    with tempfile.TemporaryDirectory(prefix="tapewatch-") as folder:
        draft = Path(folder) / "answer.json"
        with draft.open("wb") as file:
            file.writelines(parts)
        _place(draft, output)


def _table(result: duckdb.DuckDBPyRelation) -> None:
    names = _distinct(result.columns)
    found = result.fetchmany(SHOWN + 1)
    shown: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in found[:SHOWN]]
    table(shown, names)
    if len(found) > SHOWN:
        print(f"the first {SHOWN} rows; --format csv has all of them", file=sys.stderr)


def _distinct(names: list[str]) -> list[str]:
    """Column names of which none is lost when rows become objects: the second `ts` is `ts_1`."""
    given: dict[str, int] = {}
    out = []
    for name in names:
        count = given.get(name, 0)
        given[name] = count + 1
        out.append(f"{name}_{count}" if count else name)
    return out


def _bytes_out() -> Any:
    """Standard output for bytes; where it takes only text (a captured one), what is written is decoded."""
    return getattr(sys.stdout, "buffer", None) or _Decoding()


class _Decoding:
    def write(self, data: bytes) -> int:
        return sys.stdout.write(data.decode())
