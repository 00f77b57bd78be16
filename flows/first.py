"""What a platform does before its first minute: history, what follows from it, pairs, and the first site.

`python -m flows.first`, started by the supervisor; prints its progress. Everything in it may be repeated.
"""

from __future__ import annotations

import logging
import sys
import time
from datetime import UTC, datetime, timedelta

import duckdb
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows import history
from flows.context import Context, assemble, writing
from flows.pairs import run_pairs
from flows.report import run_report
from flows.runs import own_id
from pipelines.sources.base import SourceError
from warehouse.errors import TapewatchError


def main() -> int:
    """Backfills each source's configured reach, fits the pairs, renders every page; 1 if a part failed."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    context = assemble()
    console = Console(force_terminal=sys.stdout.isatty(), width=None if sys.stdout.isatty() else 100)
    failed = 0
    with writing(context) as con:
        for source in context.settings.sources:
            failed += _backfill(con, context, own_id(), source.name, source.history, console)
        for name, step in (
            ("pairs", lambda: run_pairs(context, con, own_id(), datetime.now(UTC))),
            ("site", lambda: run_report(context, con, own_id())),
        ):
            started = time.monotonic()
            try:
                step()
            except TapewatchError as error:
                failed += 1
                console.print(f"{name}: {error}")
            console.print(f"{name:<10} done in {time.monotonic() - started:.1f} s")
    return 1 if failed else 0


def _backfill(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    source: str,
    reach: timedelta,
    console: Console,
) -> int:
    start = _market_now(context, source) - reach
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=not console.is_terminal) as bar:
        job = bar.add_task(f"{source:<10} history", total=None)
        try:
            brought = history.backfill(
                con, context, run_id, start, None, source,
                progress=lambda done, total, what: bar.update(
                    job, completed=done, total=total, description=f"{source:<10} {what}"
                ),
            )  # fmt: skip
        except TapewatchError as error:
            console.print(f"{source}: {error}")
            return 1
    for problem in brought.problems[:5]:
        console.print(f"{source}: {problem}")
    console.print(
        f"{source:<10} {brought.rows_loaded:,} bars loaded, {brought.chunks_known} of {brought.chunks} chunks known, "
        f"{brought.windows:,} windows, {brought.anomalies:,} anomalies in {time.monotonic() - started:.1f} s"
    )
    return 1 if brought.problems and not brought.rows_loaded and not brought.chunks_known else 0


def _market_now(context: Context, source: str) -> datetime:
    """The source's own clock, ours where it does not answer; a replica may play another year."""
    feed = next(feed for feed in context.feeds() if feed.source.name == source)
    try:
        return feed.source.server_time()
    except SourceError:
        return datetime.now(UTC)


if __name__ == "__main__":
    sys.exit(main())
