"""`backfill_30d`: a month of twenty symbols' minutes from the replica, with a live minute beside it all the time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from flows import history, walk
from flows.context import Context, assemble, prepare, writing
from pipelines.settings import load
from tests.bench.framework import Measured, Size, measured
from tests.chaos.processes import ReplicaProcess
from warehouse.connect import connect

NOW = datetime(2026, 3, 10, 15, 0, 20, tzinfo=UTC)
SYMBOLS = {"binance": 12, "binance_futures": 8}
LIMIT_S = 60.0
LIVE_S = 20.0
"""What a minute may take to be on time: the flow has 45 s, its processes and pages take the rest."""
PAUSE_S = 3.0
"""Between two live minutes: the market's clock goes on by one in each."""


def run_backfill_30d(size: Size) -> Measured:
    """The backfill as a process of its own; minutes one after another until it has ended."""
    days = 3 if size.quick else 30
    folder = size.folder / "backfill"
    folder.mkdir()
    replica = ReplicaProcess(folder, NOW.isoformat(), seed=7)
    try:
        config = _config(folder, replica)
        context = assemble(load(config, {}))
        _minute(context)
        with (folder / "backfill.log").open("wb") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.history", str(config), str(days)],
                stdout=subprocess.PIPE,
                stderr=log,
            )
            live = []
            while child.poll() is None:
                replica.advance(60)
                live.append(_minute(context))
                time.sleep(PAUSE_S)
        if child.returncode:
            raise RuntimeError(f"the backfill failed:\n{(folder / 'backfill.log').read_text()[-2000:]}")
        assert child.stdout
        took, cpu, loaded = json.loads(child.stdout.read())
        agrees = _is_whole(context, days)
    finally:
        replica.kill()
    return measured(
        "backfill_30d", f"{days} days of {sum(SYMBOLS.values())} symbols from the replica to windows and indicators", took, "s",
        limit=LIMIT_S if days == 30 else None, agreement=agrees and max(live) < LIVE_S,
        note=f"{loaded:,} bars, {cpu:.1f} s of processor. {len(live)} live minutes beside it: median "
        f"{sorted(live)[len(live) // 2]:.1f} s, longest {max(live):.1f} s (limit {LIVE_S:.0f}).",
    )  # fmt: skip


def _minute(context: Context) -> float:
    """One live minute from question to commit; seconds."""
    started = time.perf_counter()
    con = connect(context.location)
    try:
        prepare(con, context)
        run = walk.Run(context, con, str(uuid4()), datetime.now(UTC), walk.recall(context, con))
        for feed in context.feeds():
            walk.ingest(run, feed)
        walk.derive_and_alert(run)
        walk.record(run, "Completed")
    finally:
        con.close()
    return time.perf_counter() - started


def _is_whole(context: Context, days: int) -> bool:
    """Whether every minute of the span is there once, with its indicators."""
    with writing(context) as con:
        found = con.execute(
            "SELECT source, symbol, count(*), count(DISTINCT ts), min(ts) FROM core.bars GROUP BY ALL"
        ).fetchall()
        rows = con.execute("SELECT count(*) FROM calc.indicators WHERE interval = '1m'").fetchall()[0][0]
    first = (NOW.replace(second=0) - timedelta(days=days)).replace(tzinfo=None)
    whole = all(n == distinct >= days * 1440 and since == first for *_, n, distinct, since in found)
    return whole and len(found) == sum(SYMBOLS.values()) and rows == sum(row[2] for row in found)


def _config(folder: Path, replica: ReplicaProcess) -> Path:
    listed = replica.ask("symbols")
    path = folder / "tapewatch.toml"
    lines = [
        f"data_dir = {json.dumps(str(folder / 'data'))}",
        f"site_dir = {json.dumps(str(folder / 'site'))}",
    ]
    for name, count in SYMBOLS.items():
        lines += ["[[source]]", f'name = "{name}"', f"symbols = {json.dumps(listed[name][:count])}"]
        # Half of what a venue allows a minute would have the futures' month wait for the next one.
        lines += [f'base_url = "{replica.url}"', "stream = false", 'history = "1h"', "budget = 1.0"]
    path.write_text("\n".join(lines) + "\n")
    return path


def main(config: str, days: int) -> None:
    """The backfill itself: prints its seconds, its processor seconds and the bars it loaded."""
    context = assemble(load(Path(config), {}))
    con = connect(context.location)
    prepare(con, context)
    started = time.perf_counter()
    brought = history.backfill(con, context, str(uuid4()), NOW.replace(second=0) - timedelta(days=days))
    took = time.perf_counter() - started
    usage = resource.getrusage(resource.RUSAGE_SELF)
    if brought.problems:
        raise SystemExit("; ".join(brought.problems))
    print(json.dumps([took, usage.ru_utime + usage.ru_stime, brought.rows_loaded]))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(sys.argv[1], int(sys.argv[2]))
