"""`late_tick`: a bar that comes an hour and a half late and corrected, in a lake of 4 million bars and in one of a day.

What it touches is made anew from the lake: its windows, the indicators after it, the anomalies judged by them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import orjson

from flows.context import Context
from pipelines.landing import batch_id
from pipelines.market import MINUTE
from pipelines.sources.base import Reply
from tests.bench import lake
from tests.bench.framework import Measured, Size, measured, seconds
from tests.bench.minute import HISTORY, SYMBOLS, Ours
from tests.bench.tape import SOURCE, Tape
from warehouse.compact import compact
from warehouse.connect import connect

LATE, TIMES = 90, 7
WITHIN = 1.5
FEW = 10
"""Series of the small lake, which begins the day before: both bars lie in the middle of a day."""


def run_late_tick(size: Size) -> Measured:
    """The same correction in both lakes by turns, so that a busy machine is busy for both."""
    last = HISTORY + 15
    large = Tape.of(SYMBOLS, last)
    small_last = last % lake.DAY + lake.DAY
    small = Tape.of(FEW, small_last)
    lakes = [
        (Ours(*_large(size.folder / "minute", large, last)), large, last),
        (Ours(*lake.built(size.folder / "late", small, small_last)), small, small_last),
    ]
    for ours, _, _ in lakes:
        # As the hourly upkeep leaves both: `minute` has left a file for each of its minutes in the large one alone.
        compact(ours.con, ours.context.location)
    spent: tuple[list[float], list[float]] = [], []
    rebuilt: tuple[list[object], list[object]] = [], []
    for turn in range(TIMES):
        for number, (ours, tape, end) in enumerate(lakes):
            reply, now = _corrected(tape, turn, end - LATE - turn), tape.at(end)
            batch = batch_id(SOURCE, "rest", now + (turn + 1) * MINUTE)
            spent[number].extend(seconds(lambda: ours.run([reply], now, batch), 1)[0])  # noqa: B023
            found = ours.work.derived
            rebuilt[number].append((found.windows.height, found.rows.height, ours.work.loads[0].rows_revised))
    stored = [ours.con.execute("SELECT count(*) FROM core.bars").fetchall()[0][0] for ours, _, _ in lakes]
    for ours, _, _ in lakes:
        ours.con.close()
    here, there = (1000 * float(np.median(values)) for values in spent)
    windows, rows, _ = rebuilt[0][-1]  # type: ignore[misc]
    return measured(
        "late_tick",
        f"One bar corrected {LATE} minutes late, payload to committed windows; {stored[0] / 1e6:.1f} million bars stored",
        here, "ms",
        peer=f"the same where {stored[1] / 1e6:.2f} million bars are stored", theirs=there, agreement=rebuilt[0] == rebuilt[1],
        limit=WITHIN * there,
        note=f"Median of {TIMES}, by turns, both lakes as the hourly upkeep leaves them. Rebuilt in both: {windows} windows and {rows} rows of indicators.",
    )  # fmt: skip


def _large(folder: Path, tape: Tape, minutes: int) -> tuple[Context, duckdb.DuckDBPyConnection]:
    """The lake that `minute` has left, if it was measured before; else the same anew."""
    context = lake.context_of(folder, tuple(tape.names))
    if not context.location.exists:
        return lake.built(folder, tape, minutes)
    con = connect(context.location)
    con.execute("SET threads = 1")
    return context, con


def _corrected(tape: Tape, row: int, minute: int) -> Reply:
    """What the venue says about a minute of a series after it has thought again."""
    reply = tape.replies(minute, minute + 1)[row]
    [kline] = orjson.loads(reply.body)
    kline[2], kline[4] = f"{float(kline[2]) + 0.02:.8f}", f"{float(kline[4]) + 0.01:.8f}"
    return replace(reply, body=orjson.dumps([kline]))
