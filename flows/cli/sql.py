"""`tapewatch sql`: questions to the warehouse."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flows.cli.call import Injected
from flows.cli.lake import context_of
from flows.cli.sql_answers import Format
from flows.cli.sql_shell import piped, shell
from flows.context import reading
from warehouse.errors import UsageError


def sql(
    query: str = "",
    /,
    *,
    format: Format = "table",
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    call: Injected,
) -> None:
    """Read-only SQL while everything runs; without a query a shell with history and completion.

    Statements also come through a pipe: `tapewatch sql < questions.sql`. Readers never block the writer.

    Example: tapewatch sql "SELECT symbol, max(ts) FROM bars GROUP BY ALL" --format csv

    Parameters
    ----------
    query
        One or more statements; none opens the shell.
    format
        table, csv, json or parquet, to standard output unless --output says where.
    output
        File for the answer.
    """
    form: Format = "json" if call.json else format
    if form == "parquet" and output is None and sys.stdout.isatty():
        raise UsageError("--format parquet: a terminal cannot show it; add -o FILE, or redirect it")
    context = context_of(call)
    with reading(context) as con:
        if not query and sys.stdin.isatty():
            shell(con, context.settings.data_dir / "sql_history", form)
            return
        text = query or sys.stdin.read()
        if not text.strip():
            raise UsageError('no SQL came in; write tapewatch sql "SELECT ..."')
        piped(con, text, form, output)
