"""`tapewatch export`: a view as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built

Format = Literal["csv", "parquet", "json"]


def export(
    view: str,
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    format: Format = "csv",
    symbol: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
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
        csv, parquet or json.
    symbol
        Only these symbols.
    start
        First time, UTC.
    end
        End, not included.
    """
    del call, view, output, format, symbol, start, end
    not_built("export")
