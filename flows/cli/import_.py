"""`tapewatch import`: bars or trades from a file."""

from __future__ import annotations

from pathlib import Path

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built


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
) -> None:
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
    del call, file, source, symbol, interval, columns, derive
    not_built("import")
