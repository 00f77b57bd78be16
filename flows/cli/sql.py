"""`tapewatch sql`: questions to the warehouse."""

from __future__ import annotations

from typing import Literal

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built

Format = Literal["table", "csv", "json", "parquet"]


def sql(query: str = "", /, *, format: Format = "table", call: Injected) -> None:
    """Read-only SQL while everything runs; without a query a shell with history and completion.

    Example: tapewatch sql "SELECT symbol, max(ts) FROM bars GROUP BY ALL" --format csv

    Parameters
    ----------
    query
        One or more statements; none opens the shell.
    format
        table, csv, json or parquet (to standard output).
    """
    del call, query, format
    not_built("sql")
