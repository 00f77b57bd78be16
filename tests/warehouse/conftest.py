"""A real lake for each test: made once, copied, so that a test does not wait for its DDL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from flows.context import Context
from tests.lakes import empty
from tests.warehouse.market import CALENDARS, MINUTE, NOON, NOTHING, bars, trades
from warehouse.connect import connect
from warehouse.load import Batch, Loaded, load_bars, load_trades
from warehouse.stage import scalar

__all__ = ["MINUTE", "NOON", "Lake", "aware", "bars", "trades"]


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


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return empty(tmp_path)


@pytest.fixture
def lake(context: Context) -> Iterator[Lake]:
    con = connect(context.location)
    yield Lake(context, con)
    con.close()


def aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC)
