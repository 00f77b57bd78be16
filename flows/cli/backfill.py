"""`tapewatch backfill`: history from a source."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows import history
from flows.brought import Brought
from flows.cli.call import Injected
from flows.cli.lake import close_to, context_of
from flows.cli.tables import print_json
from flows.context import writing
from flows.runs import own_id
from flows.times import moment
from pipelines.settings import Settings
from warehouse.errors import TapewatchError, UsageError

BAR = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def backfill(
    *,
    start: str,
    end: str = "now",
    source: str = "",
    symbol: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    derive: bool = True,
    call: Injected,
) -> int:
    """History through the same path as live; again, or after a kill, it only brings what is missing.

    Exit code 1 where a venue refused a part of it; the same command again asks for that part only.

    Example: tapewatch backfill --source binance --symbol BTCUSDT --start 2024-03-01 --end 2024-03-08

    Parameters
    ----------
    start
        First minute, UTC: an ISO time, or 7d for seven days ago.
    end
        End, not included: an ISO time or now.
    source
        One source; else all that are configured.
    symbol
        One or more symbols; else all of the source.
    derive
        Compute windows, indicators and anomalies of what was loaded (--no-derive skips).
    """
    now = datetime.now(UTC)
    since, until = moment(start, "--start", now), None if end == "now" else moment(end, "--end", now)
    if since >= (until or now):
        raise UsageError(f"--start {start} is not before --end {end}")
    context = context_of(call)
    wanted = plan(context.settings, source, symbol or [])
    done: dict[str, Brought] = {}
    with writing(context) as con, _progress(call.json) as bar:
        for name, symbols in wanted.items():
            job = bar.add_task(name, total=None)

            def show(part: int, parts: int, what: str, job: Any = job) -> None:
                bar.update(job, completed=part, total=parts, description=what)

            done[name] = history.backfill(con, context, own_id(), since, until, name, symbols, derive, show)
    return _tell(call.json, done)


def plan(settings: Settings, source: str, symbols: Sequence[str]) -> dict[str, list[str]]:
    """Source -> symbols to bring, none = all of it; symbols without a source go to those that have them configured.

    Raises UsageError for a source that is not configured and a symbol that nobody has.
    """
    configured = {one.name: one.symbols for one in settings.sources}
    if source and source.lower() not in configured:
        hint = close_to(source, configured)
        raise UsageError(f"--source: {source!r} is not configured{hint}; there are {', '.join(configured)}")
    if source or not symbols:
        return {name: list(symbols) for name in ([source.lower()] if source else configured)}
    asked = {symbol.upper() for symbol in symbols}
    found = {name: sorted(asked & set(own)) for name, own in configured.items()}
    if missing := asked - {symbol for own in found.values() for symbol in own}:
        hint = close_to(min(missing), [symbol for own in configured.values() for symbol in own])
        raise UsageError(f"--symbol: {', '.join(sorted(missing))} is not configured; name its --source{hint}")
    return {name: own for name, own in found.items() if own}


def _progress(quiet: bool) -> Progress:
    console = Console(file=sys.stderr, width=None if sys.stderr.isatty() else 100)
    return Progress(*BAR, console=console, transient=True, disable=quiet or not sys.stderr.isatty())


def _tell(as_json: bool, done: dict[str, Brought]) -> int:
    if as_json:
        print_json([{"source": name, **vars(brought)} for name, brought in done.items()])
    for name, brought in done.items():
        if not as_json:
            print(
                f"{name}: {brought.rows_loaded:,} bars loaded, {brought.rows_revised:,} revised, "
                f"{brought.rows_quarantined:,} quarantined; {brought.chunks_known} of {brought.chunks} chunks were "
                f"there already; {brought.derived()}"
            )
        for problem in brought.problems:
            print(f"{name}: {problem}", file=sys.stderr)
    if any(brought.problems for brought in done.values()):
        raise TapewatchError(
            "some of it could not be brought; the same command again asks only for what is missing"
        )
    return 0
