"""A command's answer: a table for eyes, or with --json a list of objects for programs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.call import Call


def show(call: Call, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], title: str = "") -> None:
    """Prints the rows: `columns` choose and order what eyes see; JSON has every key of the rows."""
    listed = list(rows)
    if call.json:
        print_json([dict(row) for row in listed])
    else:
        table(listed, columns, title)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], title: str = "") -> None:
    """The rows for eyes, numbers to the right."""
    shape = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        is_number = any(type(row.get(column)) in (int, float) for row in rows)
        shape.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        shape.add_row(*(Text(spelt(row.get(column))) for column in columns))
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 200)
    if not rows and title:
        console.print(title)
    console.print(shape if rows else "nothing to show")


def print_json(value: Any) -> None:
    """One JSON value: times as ISO 8601 UTC with Z, what is not a number as null."""
    text = orjson.dumps(
        value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
    )
    sys.stdout.write(text.decode() + "\n")


def spelt(value: Any) -> str:
    """A cell for eyes: six significant digits, times to the second, nothing for null."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, date):
        return value.isoformat()
    return ", ".join(map(spelt, value)) if isinstance(value, list | tuple) else str(value)
