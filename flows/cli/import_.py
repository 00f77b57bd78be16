"""`tapewatch import`: bars or trades from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

from flows.brought import Brought
from flows.cli.call import Injected
from flows.cli.lake import Connection, Row, context_of, rows
from flows.cli.tables import print_json
from flows.context import writing
from flows.user_files import import_file
from pipelines.market import Interval
from warehouse.errors import TapewatchError, UsageError
from warehouse.stage import literal

REASONS = 5


def import_(
    file: Path,
    /,
    *,
    source: str,
    symbol: str = "",
    interval: str = "",
    columns: str = "",
    derive: bool = True,
    call: Injected,
) -> int:
    """A CSV, Parquet or Binance bulk file; bad rows go to quarantine with their line; again changes nothing.

    Example: tapewatch import BTCUSDT-1m-2024-03.zip --source binance

    Parameters
    ----------
    file
        CSV with or without header (also gzip), Parquet, or Binance bulk zip; a .CHECKSUM beside is verified.
    source
        Name of the venue the rows belong to; any name.
    symbol
        Symbol of all rows; else the file's own column, else a Binance file's name.
    interval
        Width of the bars, such as 1m; else by the distance between the rows.
    columns
        The meaning of each column where neither header nor order tells it: ts,open,close,high,low,volume
    derive
        Compute windows, indicators and anomalies of what was loaded (--no-derive skips).
    """
    _check(file, source, interval)
    named = [name.strip() for name in columns.split(",")] if columns else []
    context = context_of(call)
    run_id = str(uuid4())
    with writing(context) as con:
        brought = import_file(
            con, context, run_id, file.expanduser(), source, symbol or None, interval or None, derive, named
        )
        refused = _refused(con, run_id)
    if call.json:
        print_json(_answer(file, run_id, brought, refused))
    else:
        _tell(file, run_id, brought, refused)
    return 0 if brought.rows_good or not brought.rows_in else 1


def _check(file: Path, source: str, interval: str) -> None:
    if not source.strip():
        raise UsageError("--source: name the venue the rows belong to; any name will do, such as mine")
    if interval:
        try:
            Interval.parse(interval)
        except ValueError as error:
            raise UsageError(f"--interval: {error}") from None
    if not file.expanduser().is_file():
        what = "is a folder; name a file in it" if file.expanduser().is_dir() else "no such file"
        raise TapewatchError(f"{file}: {what}")


def _refused(con: Connection, run_id: str) -> list[Row]:
    """What this import put into quarantine: each reason, how often, and its first line."""
    return rows(
        con,
        "SELECT reason, count(*) AS rows, min(line) AS first_line, arg_min(detail, line) AS detail "
        f"FROM quarantine WHERE run_id = {literal(run_id)} GROUP BY reason ORDER BY rows DESC, reason",
    )


def _answer(file: Path, run_id: str, brought: Brought, refused: list[Row]) -> Row:
    names = (
        "rows_in",
        "rows_good",
        "rows_repeated",
        "rows_loaded",
        "rows_revised",
        "rows_quarantined",
        "rows_timeless",
        "windows",
        "anomalies",
    )
    return {
        "file": str(file),
        "run_id": run_id,
        **{name: getattr(brought, name) for name in names},
        "again": brought.chunks > 0 and brought.chunks_known == brought.chunks,
        "reasons": refused,
    }


def _tell(file: Path, run_id: str, brought: Brought, refused: list[Row]) -> None:
    known = brought.rows_good - brought.rows_loaded - brought.rows_revised
    bad = brought.rows_in - brought.rows_good - brought.rows_repeated
    repeated = f"{brought.rows_repeated:,} repeated, " if brought.rows_repeated else ""
    print(
        f"{file}: {brought.rows_in:,} rows in, {brought.rows_loaded:,} loaded, {brought.rows_revised:,} revised, "
        f"{known:,} known already, {repeated}{bad:,} bad"
    )
    if brought.chunks and brought.chunks_known == brought.chunks:
        print("this file was imported before: no change")
    if brought.windows or brought.anomalies:
        print(f"derived: {brought.derived()}")
    for reason in refused[:REASONS]:
        line = f", first in line {reason['first_line']}" if reason["first_line"] is not None else ""
        detail = f" ({reason['detail']})" if reason["detail"] else ""
        print(f"  quarantined {reason['rows']:,} x {reason['reason']}{line}{detail}")
    if len(refused) > REASONS:
        more = sum(reason["rows"] for reason in refused[REASONS:])
        print(f"  and {more:,} for {len(refused) - REASONS} other reasons")
    if brought.rows_timeless:
        print(
            f"  {brought.rows_timeless:,} of them have no time that can be read: which minutes they were is unknown, "
            "and coverage counts none of them as lost"
        )
    if refused:
        print(
            "see them: "
            + f"tapewatch sql \"SELECT line, reason, detail, payload FROM quarantine WHERE run_id = '{run_id}'\""
        )
    if brought.rows_in and not brought.rows_good:
        print(f"error: {file}: not one row was good; the reasons are in quarantine", file=sys.stderr)
