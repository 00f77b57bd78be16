"""A series as people name it: `source:SYMBOL`, or SYMBOL where only one source has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from flows.cli.lake import Connection, close_to
from flows.context import Context
from pipelines.market import Series
from warehouse.errors import TapewatchError


def stored_series(con: Connection) -> list[Series]:
    """Every series the warehouse has met."""
    found = con.execute("SELECT source, symbol FROM series ORDER BY source, symbol").fetchall()
    return [Series(source, symbol) for source, symbol in found]


def every_series(con: Connection, context: Context) -> list[Series]:
    """Those that the warehouse has met and those that are configured."""
    wanted = [Series(source.name, symbol) for source in context.settings.sources for symbol in source.symbols]
    return [*stored_series(con), *wanted]


def stranger(pattern: str, known: Iterable[str]) -> str:
    """What is odd about a pattern of series or pairs that fits none of the known `source:SYMBOL`; else nothing.

    A pair is written A~B; what stands on each side of it is looked at.
    """
    names = list(known)
    plain = [*names, *(name.partition(":")[2] for name in names), *(name.partition(":")[0] for name in names)]
    for part in pattern.lower().split("~"):
        if not any(fnmatchcase(name.lower(), part) for name in plain):
            return f"{pattern} fits no series here{close_to(part, plain)}"
    return ""


def named(text: str, known: Sequence[Series]) -> Series:
    """The stored series that `text` means, any case; TapewatchError lists the candidates, or what is like it."""
    word = text.strip().lower()
    fitting = [series for series in known if word in (str(series).lower(), series.symbol.lower())]
    exact = [series for series in fitting if str(series).lower() == word]
    if len(exact or fitting) == 1:
        return (exact or fitting)[0]
    if fitting:
        raise TapewatchError(f"{text} is ambiguous: write {' or '.join(map(str, fitting))}")
    hint = close_to(word, [*map(str, known), *(series.symbol for series in known)])
    shown = ", ".join(map(str, known[:20])) + (" ..." if len(known) > 20 else "")
    raise TapewatchError(f"{text}: no such series in the warehouse{hint}; there are {shown or 'none'}")
