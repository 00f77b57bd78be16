"""A user's file of bars or trades into the lake, by the same gate and ledger as the minute.

Used by the `import` flow, the command of that name and the inbox. Sessions come first, because a bar's windows and
baseline follow its exchange's calendar; what is derived comes last, once for the whole file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl

from flows.brought import Brought
from flows.context import Context
from flows.covering_history import cover_history
from flows.deriving import derive_pending
from flows.history_turn import history_turn
from flows.runs import recorded
from flows.trading_days import fill_sessions
from pipelines.market import CONTINUOUS, MINUTE, Interval, floor_minute, naive
from pipelines.quality import gate
from pipelines.quality.contract import TRADES, bars
from pipelines.quality.quarantine import QUARANTINE_SCHEMA, to_quarantine
from pipelines.sources.files import FileRows, read_parts
from pipelines.sources.files_values import OUT_OF_RANGE
from warehouse.asked import SPAN_SCHEMA, asked_spans, note_asked
from warehouse.errors import TapewatchError
from warehouse.load import Batch, Loaded, load_bars, load_interval_bars, load_trades
from warehouse.trades import trade_minutes

MINUTES = "-minutes"
"""How the id of a batch ends whose bars were made of imported trades."""


def import_file(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    path: Path,
    source: str,
    symbol: str | None = None,
    interval: str | None = None,
    with_derive: bool = True,
    columns: Sequence[str] = (),
) -> Brought:
    """A user's file into `bars`, `trades` or (other intervals) `ohlcv`; bad rows to quarantine with their line.

    Any source and symbol; columns: their meanings, where neither header nor order tells them.
    Raises TapewatchError where the file as a whole cannot be used.
    """
    with history_turn(context), recorded(con, context, run_id, "import") as tally:
        brought = _import(con, context, run_id, path, source, symbol, interval, with_derive, columns)
        brought.tell(tally)
        tally.detail = f"{path.name}: {tally.detail}"
    return brought


def _import(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    run_id: str,
    path: Path,
    source: str,
    symbol: str | None,
    interval: str | None,
    with_derive: bool,
    columns: Sequence[str],
) -> Brought:
    brought = Brought()
    name = source.strip().lower()
    parsed = Interval.parse(interval) if interval else None
    calendars = {name: context.calendars.get(name, CONTINUOUS)}
    now = datetime.now(UTC)
    digest = _file_digest(path, name, symbol, interval, *columns)
    traded: list[datetime] = []
    reached: list[datetime] = []
    held: list[pl.DataFrame] = []
    parts = read_parts(path, name, now, symbol=symbol, interval=parsed, columns=columns)
    for number, part in enumerate(parts):
        if calendars[name] != CONTINUOUS and part.frame.height:
            first, last = part.frame["ts"].min(), part.frame["ts"].max()
            assert isinstance(first, datetime)
            assert isinstance(last, datetime)
            fill_sessions(con, context, calendars[name], first.date(), last.date())
        batch = Batch(
            batch_id=f"{name}-import-{digest}-{number}",
            source=name,
            kind="import",
            run_id=run_id,
            known_at=naive(now),
            rows_in=part.frame.height + part.rejects.height + part.doubles,
            sha256=digest,
            path=str(path),
        )
        good, repeated, loaded = _load_part(con, context, batch, part, calendars, now)
        brought.rows_timeless += part.rejects.filter(
            pl.col("ts").is_null() | (pl.col("reason") == OUT_OF_RANGE)
        ).height
        brought.rows_good += good.height
        brought.rows_repeated += repeated
        brought.add(batch.rows_in, loaded)
        bounds = [ts for ts in (good["ts"].min(), good["ts"].max()) if isinstance(ts, datetime)]
        if part.kind == "trades":
            traded += bounds
        if bounds and (part.kind == "trades" or part.interval == Interval(60)):
            held.append(good.select("source", "symbol", from_ts="ts", to_ts="ts"))
            reached += [] if loaded.already else bounds
    if held:
        told = _told_by_file(held).join(asked_spans(con, name), on=list(SPAN_SCHEMA), how="anti")
        note_asked(con, context.location, told, run_id, naive(now))
    if traded:
        batch_id = f"{name}-import-{digest}{MINUTES}"
        _load_minutes(con, context, Batch(batch_id, name, "import", run_id, naive(now)), traded, calendars)
    if with_derive:
        derive_pending(con, context, run_id, {}, brought)
        if reached:
            cover_history(con, context, run_id, name, min(reached), max(reached))
    return brought


def _load_part(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    batch: Batch,
    part: FileRows,
    calendars: dict[str, str],
    now: datetime,
) -> tuple[pl.DataFrame, int, Loaded]:
    """The rows that the gate accepted, how many only repeated another, and what loading them changed."""
    contract = TRADES if part.interval is None else bars(part.interval)
    gated = gate.split(part.frame, contract, now)
    stamp = (batch.source, batch.run_id, batch.batch_id, now)
    bad = [to_quarantine(f.with_columns(file=pl.lit(Path(batch.path).name)), *stamp)
           for f in (gated.quarantined, part.rejects) if f.height]  # fmt: skip
    quarantined = pl.concat([pl.DataFrame(schema=QUARANTINE_SCHEMA), *bad])
    accepted = gated.accepted.drop("payload", "line", strict=False)
    frames = (accepted, quarantined, calendars)
    if part.kind == "trades":
        loaded = load_trades(con, context.location, batch, *frames)
    elif part.interval == Interval(60):
        loaded = load_bars(con, context.location, batch, *frames)
    else:
        loaded = load_interval_bars(con, context.location, batch, str(part.interval), *frames)
    return accepted, gated.collapsed + part.doubles, loaded


def _told_by_file(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """From its first to its last minute a file tells of a series all there was (SPAN_SCHEMA)."""
    spans = pl.concat(parts).group_by("source", "symbol").agg(pl.col("from_ts").min(), pl.col("to_ts").max())
    return spans.with_columns(
        pl.col("from_ts").dt.truncate("1m"),
        pl.col("to_ts").dt.truncate("1m") + MINUTE,
        kind=pl.lit("import"),
        answered=pl.lit(True),
    )


def _load_minutes(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    batch: Batch,
    traded: list[datetime],
    calendars: dict[str, str],
) -> None:
    """The minutes of a file's trades as bars, so that windows and indicators follow from them as from any others."""
    since, until = floor_minute(min(traded)), floor_minute(max(traded)) + timedelta(minutes=1)
    bars = trade_minutes(con, batch.source, since, until, MINUTES)
    load_bars(con, context.location, batch, bars, pl.DataFrame(schema=QUARANTINE_SCHEMA), calendars)


def _file_digest(path: Path, *parts: str | None) -> str:
    """What the batch is known by: the file's bytes and what it was said to be."""
    digest = hashlib.sha256(repr(parts).encode())
    try:
        with path.open("rb") as stream:
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except OSError as error:
        raise TapewatchError(f"{path}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()[:24]
