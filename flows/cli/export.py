"""`tapewatch export`: a view as a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flows.cli.call import Injected
from flows.cli.lake import context_of
from flows.cli.series import stored_series, stranger
from flows.cli.tables import print_json
from flows.context import reading
from flows.times import moment
from warehouse.errors import UsageError
from warehouse.export import FORMATS, export_view

Format = Literal["csv", "parquet", "json"]


def export(
    view: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    format: Format | None = None,
    symbol: str = "",
    start: str = "",
    end: str = "",
    call: Injected,
) -> None:
    """Any public view, whole or a part of it, written at once or not at all.

    Example: tapewatch export bars --symbol BTCUSDT --start 2024-03-01 --format parquet -o bars.parquet

    Parameters
    ----------
    view
        A public view, such as bars, ohlcv, anomalies.
    output
        The file to write.
    format
        csv, parquet or json; else as the file's name ends.
    symbol
        Only this one: SYMBOL or source:SYMBOL, also as a leg of a pair.
    start
        First time, UTC.
    end
        End, not included.
    """
    form = format or output.suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise UsageError(f"--format: {output} does not end in .csv, .parquet or .json; say which it shall be")
    since, until = (
        moment(text, option) if text else None for text, option in ((start, "--start"), (end, "--end"))
    )
    if since and until and since >= until:
        raise UsageError(f"--start {start} is not before --end {end}")
    path = output.expanduser()
    with reading(context_of(call)) as con:
        written = export_view(con, view, symbol or None, since, until, form, path)
        fault = stranger(symbol, map(str, stored_series(con))) if symbol and not written else ""
    if call.json:
        print_json({"view": view, "file": str(path), "format": form, "rows": written})
    else:
        print(f"{path}: {written:,} rows of {view}")
    if fault:
        print(fault, file=sys.stderr)
