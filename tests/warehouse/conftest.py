"""A real lake for each test: made once, copied, so that a test does not wait for its DDL."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pytest

from flows.context import Context, assemble, prepare
from pipelines.market import BAR_SCHEMA, TRADE_SCHEMA
from pipelines.quality.quarantine import QUARANTINE_SCHEMA
from pipelines.settings import Settings
from pipelines.settings_sources import Source
from warehouse.connect import connect
from warehouse.load import Batch, Loaded, load_bars, load_trades
from warehouse.stage import scalar

NOON = datetime(2026, 3, 10, 12)
MINUTE = timedelta(minutes=1)
NOTHING = pl.DataFrame(schema=QUARANTINE_SCHEMA)
CALENDARS = {"binance": "24/7", "yahoo": "XNYS"}


@dataclass
class Lake:
    """A lake with its context and one connection that may write."""

    context: Context
    con: duckdb.DuckDBPyConnection

    @property
    def location(self):
        return self.context.location

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.con.execute(sql).fetchall()

    def one(self, sql: str) -> Any:
        return scalar(self.con, sql)

    def load(
        self, frame: pl.DataFrame, batch_id: str = "", kind: str = "rest", known_at: datetime = NOON
    ) -> Loaded:
        """The bars as one batch of the first row's source."""
        source = frame["source"][0]
        name = batch_id or f"{source}-{kind}-{hash(frame.write_json()) & 0xFFFFFFFF:x}"
        batch = Batch(name, source, kind, "run-1", known_at, rows_in=frame.height)
        return load_bars(self.con, self.location, batch, frame, NOTHING, CALENDARS)

    def load_trades(self, frame: pl.DataFrame, batch_id: str, kind: str = "stream") -> Loaded:
        batch = Batch(batch_id, frame["source"][0], kind, "run-1", NOON, rows_in=frame.height)
        return load_trades(self.con, self.location, batch, frame, NOTHING, CALENDARS)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of an empty, migrated lake."""
    folder = tmp_path_factory.mktemp("template")
    context = assemble(settings_at(folder))
    con = connect(context.location)
    prepare(con, context)
    con.close()
    return folder


def copied(template: Path, folder: Path) -> Context:
    """The context of a copy of the template below `folder`."""
    shutil.copytree(template / "data", folder / "data")
    made = assemble(settings_at(folder))
    catalog = sqlite3.connect(made.location.home / "catalog.sqlite")
    with catalog:
        catalog.execute(
            "UPDATE ducklake_metadata SET value = ? WHERE key = 'data_path'",
            [f"{made.location.storage_uri}/"],
        )
    catalog.close()
    return made


@pytest.fixture
def context(template: Path, tmp_path: Path) -> Context:
    return copied(template, tmp_path)


@pytest.fixture
def lake(context: Context) -> Iterator[Lake]:
    con = connect(context.location)
    yield Lake(context, con)
    con.close()


def settings_at(folder: Path, **changes: Any) -> Settings:
    sources = (Source("binance", ("BTCUSDT", "ETHUSDT")), Source("yahoo", ("SPY",)))
    return Settings(data_dir=folder / "data", site_dir=folder / "site", sources=sources, **changes)


def bars(
    symbol: str = "BTCUSDT",
    start: datetime = NOON,
    count: int = 3,
    close: float | np.ndarray = 100.0,
    source: str = "binance",
    **changes: Any,
) -> pl.DataFrame:
    """Closed one-minute bars from `start` on, one a minute, that go nowhere unless `close` says so."""
    price = np.full(count, close, dtype=float) if np.isscalar(close) else np.asarray(close, dtype=float)
    columns = {
        "source": source, "symbol": symbol, "ts": [start + MINUTE * i for i in range(count)],
        "open": price, "high": price * 1.001, "low": price * 0.999, "close": price, "volume": 10.0,
        "turnover": price * 10.0, "trades": 5, "venue": source, "is_closed": True,
    }  # fmt: skip
    return pl.DataFrame(columns | changes).select(
        pl.col(name).cast(kind) for name, kind in BAR_SCHEMA.items()
    )


def trades(
    symbol: str = "BTCUSDT", start: datetime = NOON, count: int = 3, first_id: int = 1
) -> pl.DataFrame:
    """Trades a second apart."""
    columns = {
        "source": "binance", "symbol": symbol, "trade_id": range(first_id, first_id + count),
        "ts": [start + timedelta(seconds=i) for i in range(count)],
        "price": 100.0, "qty": 1.0, "side": "buy", "fills": 1,
    }  # fmt: skip
    return pl.DataFrame(columns).select(pl.col(name).cast(kind) for name, kind in TRADE_SCHEMA.items())


def aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)
