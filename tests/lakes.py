"""Lakes for tests of the core: one is made and migrated, the others are copies of its folder."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import polars as pl

from flows.context import Context, assemble, prepare
from pipelines import derive
from pipelines.derived import Derived, Plan
from pipelines.ingest import Stores
from pipelines.market import BAR_SCHEMA, naive
from pipelines.minute import Work, past_at_hand, remember, wanted_of, work_out, write
from pipelines.quality.quarantine import QUARANTINE_SCHEMA
from pipelines.recent.past import Past
from pipelines.settings import Settings
from pipelines.settings_sections import Windows
from pipelines.settings_sources import Source
from warehouse.connect import Location, connect, transaction, writer
from warehouse.load import Batch, Delivery, Loaded, load_bars
from warehouse.stage import frame

WINDOW = ["source", "symbol", "interval", "ts"]
NOTHING = pl.DataFrame(schema=QUARANTINE_SCHEMA)
_template: list[TemporaryDirectory[str]] = []


class Lake:
    """A context, a connection that may write, and the few acts that the tests repeat."""

    def __init__(self, context: Context, con: duckdb.DuckDBPyConnection) -> None:
        self.context, self.con = context, con
        self.calendars = dict(context.calendars)
        self.batches = 0

    def load(self, bars: pl.DataFrame, kind: str = "rest", batch_id: str = "") -> Loaded:
        self.batches += 1
        source = bars["source"][0]
        name = batch_id or f"{source}-{kind}-{self.batches}"
        batch = Batch(name, source, kind, "run-1", naive(datetime.now(UTC)), rows_in=bars.height)
        return load_bars(self.con, self.context.location, batch, bars, NOTHING, self.calendars)

    def minute(self, bars: Sequence[pl.DataFrame], clocks: Mapping[str, datetime], past: Past | None) -> Work:
        """One minute as the flow has it: the frames, one a source, loaded and derived, in one transaction at best."""
        self.batches += 1
        now, run = naive(datetime.now(UTC)), f"run-{self.batches}"
        deliveries = []
        for rows in bars:
            source = rows["source"][0]
            batch = Batch(f"{source}-rest-{self.batches:06}", source, "rest", run, now, rows_in=rows.height)
            deliveries.append(Delivery(batch, rows, NOTHING))
        context = self.context
        stores = Stores(self.con, context.location, context.landing, run, self.calendars)
        with writer(context.location):
            work = work_out(stores, deliveries, clocks, context.plan, past)
            with transaction(self.con, context.location):
                write(self.con, work, context.plan, run, now)
            remember(self.con, context.recent, work, past)
        return work

    def past(self, *sources: str) -> Past | None:
        """What a run finds at hand."""
        return past_at_hand(self.con, self.context.recent, wanted_of(self.context.plan, sources))

    def derive(self, clocks: Mapping[str, datetime] | None = None, plan: Plan | None = None) -> Derived:
        chosen, now = plan or self.context.plan, naive(datetime.now(UTC))
        with writer(self.context.location):
            found = derive.derive(self.con, dict(clocks or {}), chosen)
            with transaction(self.con, self.context.location):
                derive.write(self.con, found, chosen, "run-1", now)
        return found

    def frame(self, sql: str) -> pl.DataFrame:
        return frame(self.con, sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def one(self, sql: str) -> Any:
        return self.rows(sql)[0][0]


def settings_at(folder: Path, **changes: Any) -> Settings:
    """Few sources, and one window: each more that a test does not look at would be derived by every load of it."""
    usual = {
        "sources": (Source("binance", ("BTCUSDT", "ETHUSDT")), Source("yahoo", ("SPY",))),
        "windows": Windows(intervals=("5m",)),
    }
    return Settings(data_dir=folder / "data", site_dir=folder / "site", **(usual | changes))


def copied(made: Path, home: Path) -> Location:
    """A copy of a warehouse's folder that nobody has open."""
    shutil.copytree(made, home)
    return settled(Location(home))


def settled(location: Location) -> Location:
    """The lake whose folder was copied to its place: its catalog is told where its data lies now."""
    with sqlite3.connect(location.home / "catalog.sqlite") as catalog:
        catalog.execute(
            "UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'", [f"{location.storage_uri}/"]
        )
    catalog.close()
    return location


def empty(folder: Path, **changes: Any) -> Context:
    """The context of an empty, migrated lake below `folder`; changes: fields of Settings."""
    context = assemble(settings_at(folder, **changes))
    copied(template(), context.location.home)
    return context


def new_lake(folder: Path, **changes: Any) -> Lake:
    """An empty, migrated lake below `folder`, open; changes: fields of Settings."""
    return _opened(empty(folder, **changes))


def lake_like(made: Path, folder: Path, **changes: Any) -> Lake:
    """A lake below `folder` with all that was left below `made`: loaded, landed and kept at hand."""
    shutil.copytree(made / "data", folder / "data")
    context = assemble(settings_at(folder, **changes))
    settled(context.location)
    return _opened(context)


def _opened(context: Context) -> Lake:
    con = connect(context.location)
    prepare(con, context)
    return Lake(context, con)


def template() -> Path:
    """The warehouse's folder of an empty, migrated lake; made once a session."""
    if not _template:
        folder = TemporaryDirectory(prefix="tapewatch-template-")
        context = assemble(settings_at(Path(folder.name)))
        con = connect(context.location)
        prepare(con, context)
        con.close()
        _template.append(folder)
    return Path(_template[0].name) / "data" / "warehouse"


def bars_of(rows: Mapping[str, Any], source: str, symbol: str = "ABC") -> pl.DataFrame:
    """Closed bars with everything that `rows` does not say filled in."""
    close = pl.Series(rows["close"], dtype=pl.Float64)
    usual = {
        "source": source, "symbol": symbol, "open": close, "high": close, "low": close, "volume": 1.0,
        "turnover": None, "trades": None, "venue": source, "is_closed": True,
    }  # fmt: skip
    return pl.DataFrame(usual | dict(rows)).select(pl.col(c).cast(kind) for c, kind in BAR_SCHEMA.items())
