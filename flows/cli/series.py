"""A series as people name it: `source:SYMBOL`, or SYMBOL where only one source has it."""

from __future__ import annotations

from collections.abc import Sequence

from flows.cli.lake import Connection, close_to
from pipelines.market import Series
from warehouse.errors import TapewatchError


def stored_series(con: Connection) -> list[Series]:
    """Every series the warehouse has met."""
    found = con.execute("SELECT source, symbol FROM series ORDER BY source, symbol").fetchall()
    return [Series(source, symbol) for source, symbol in found]


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
