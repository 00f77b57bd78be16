"""One run of healing under way: where it works, what its ways have said, and what it has done so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import duckdb
import polars as pl

from flows.context import Context
from flows.covering import DAYS, Covered, run_covering, store
from flows.heal_trades import TradesHealed
from pipelines.market import naive
from warehouse.connect import writer


@dataclass
class Healed:
    """What one run did: minutes that were missing, that came and by which way, and that were given up."""

    missing: int = 0
    came: dict[str, int] = field(default_factory=dict)
    lost: int = 0
    no_trade: int = 0
    still_open: int = 0
    trades: TradesHealed = field(default_factory=TradesHealed)
    problems: list[str] = field(default_factory=list)


@dataclass
class Answers:
    """What the ways said about a source's missing minutes: symbol -> one sentence a way, and who did not answer."""

    said: dict[str, list[str]] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    quiet: set[str] = field(default_factory=set)
    """Symbols whose own venue answered in full and leaves out minutes without a trade."""
    silent: list[pl.DataFrame] = field(default_factory=list)
    """Minutes (symbol, ts) that the own venue listed without a value."""

    def say(self, symbol: str, words: str) -> None:
        told = self.said.setdefault(symbol, [])
        if words not in told:
            told.append(words)


class Healing:
    """One run under way: where it works, and what it has done so far."""

    def __init__(self, context: Context, con: duckdb.DuckDBPyConnection, run_id: str, now: datetime) -> None:
        self.context, self.con, self.run_id = context, con, run_id
        self.ahead = now - datetime.now(UTC)
        self.done = Healed()
        self.has_asked = False
        self.days = DAYS

    def now(self) -> datetime:
        """The wall clock of this run, naive UTC; each look at it is a little later."""
        return naive(datetime.now(UTC) + self.ahead)

    def look(self, days: int = DAYS) -> Covered:
        """Coverage and gaps as they are now, written; of so many days at least."""
        return run_covering(self.context, self.con, self.run_id, self.now(), days)

    def store(self, covered: Covered, events: pl.DataFrame) -> None:
        """These events into the ledger of gaps."""
        with writer(self.context.location):
            told = Covered(pl.DataFrame(), events, covered.missing)
            store(self.context, self.con, told, self.run_id, self.now())


def minutes_in(runs: pl.DataFrame) -> int:
    """How many minutes the runs hold together."""
    return int(runs["minutes"].sum())


def came_in_words(came: Mapping[str, int]) -> str:
    """`12 came from binance, 3 from coinbase`; `none came`."""
    told = [f"{count}{' came' if n == 0 else ''} from {way}" for n, (way, count) in enumerate(came.items())]
    return ", ".join(told) or "none came"
