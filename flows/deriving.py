"""What waits of loaded history gets its windows, indicators and anomalies: once for all chunks, by whoever comes next.

Its loader derives it at the end; what a killed one left behind, the healer.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import duckdb

from flows import touched
from flows.brought import Brought
from flows.context import Context
from flows.history_turn import history_turn, is_history_turn_taken
from pipelines import derive
from pipelines.market import Series, naive
from warehouse import build
from warehouse.connect import transaction, writer

ROWS_A_PART = 150_000
"""Bars of history that are derived at once: a few seconds of the lake's writer."""


def derive_pending(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    clocks: dict[str, datetime],
    brought: Brought,
) -> None:
    """Windows, indicators and anomalies of everything that waits.

    In parts of some series each, so that neither memory nor the wait of a live minute for the lake grows with it;
    the batches count as derived with the last part: whoever is killed before leaves them to the next.
    """
    with history_turn(context):
        parts = _parts(con)
        for number, part in enumerate(parts, 1):
            now = naive(datetime.now(UTC))
            with writer(context.location):
                found = derive.derive(con, clocks, context.plan, part=part)
                if number < len(parts):
                    found = replace(found, batches=(), clocks={})
                with transaction(con, context.location):
                    derive.write(con, found, context.plan, run_id, now)
            if found.rows.height:
                named = found.rows.select("source", "symbol").unique()
                touched.note(context, (Series(*row) for row in named.iter_rows()))
            brought.windows += found.windows.height
            brought.anomalies += found.anomalies.height


def derive_abandoned(con: duckdb.DuckDBPyConnection, context: Context, run_id: str) -> None:
    """Derives history whose loader was killed before it could; nothing while somebody loads or derives history."""
    if not is_history_turn_taken(context):
        waiting = build.pending_batches(con)
        if derive.HISTORY_KINDS & set(waiting["kind"]):
            derive_pending(con, context, run_id, {}, Brought())


def _parts(con: duckdb.DuckDBPyConnection) -> list[derive.Part]:
    """The waiting series in groups of about ROWS_A_PART bars; at least one part."""
    waiting = build.pending_batches(con)
    groups: list[list[tuple[str, str]]] = []
    held = ROWS_A_PART
    for source, symbol, rows in build.waiting_rows(con, waiting).iter_rows():
        if held + rows > ROWS_A_PART:
            groups.append([])
            held = 0
        groups[-1].append((source, symbol))
        held += rows
    ids = frozenset(waiting["batch_id"])
    return (
        [derive.Part(batches=ids, series=frozenset(group)) for group in groups]
        if groups[1:]
        else [derive.WHOLE]
    )
