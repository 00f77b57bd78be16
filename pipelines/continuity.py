"""Which trades are still missing: ids follow each other, so a jump is a hole, known by its first and last id.

The state is a small file beside the segments. It may be older than the warehouse (a run was killed between its
commit and its note) or be lost: a hole is compared with what is stored before anyone fetches it again.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

TRIES = 3
"""Answers without a missing trade after which the minute asks no more: healing does."""
MOST_MISSING = 5_000_000
"""A longer jump is no hole: a lone id far from the others is nonsense, and if all jump, watching begins anew."""


@dataclass(frozen=True)
class Hole:
    """Trades `first`..`last` are missing, between trades at `after` and `before` (naive UTC)."""

    symbol: str
    first: int
    last: int
    after: datetime
    before: datetime
    tries: int = 0
    told: bool = False
    """Whether it stands in the ledger of gaps."""

    @property
    def missing(self) -> int:
        return self.last - self.first + 1

    @property
    def is_awaited(self) -> bool:
        """Whether the minute still asks for it."""
        return self.tries < TRIES


@dataclass(frozen=True)
class Reached:
    """A symbol's newest known trade, and since when its ids are watched."""

    last: int
    at: datetime
    since: datetime


@dataclass
class Continuity:
    """The ids of one source: `reached` by symbol, and the holes before."""

    reached: dict[str, Reached] = field(default_factory=dict)
    holes: list[Hole] = field(default_factory=list)

    def take(self, trades: pl.DataFrame) -> None:
        """New trades (symbol, trade_id, ts) in any order, known ones among them."""
        for (symbol,), rows in trades.partition_by("symbol", as_dict=True).items():
            ordered = rows.unique("trade_id").sort("trade_id")
            self._take(str(symbol), ordered["trade_id"].to_numpy(), ordered["ts"].to_numpy())

    def fill(self, symbol: str, ids: Sequence[int]) -> None:
        """These trades are there: their holes shrink or go."""
        if not len(ids):
            return
        known = np.unique(np.asarray(ids, np.int64))
        holes: list[Hole] = []
        for hole in self.holes:
            inside = (
                known[(known >= hole.first) & (known <= hole.last)] if hole.symbol == symbol else known[:0]
            )
            edges = [hole.first - 1, *inside.tolist(), hole.last + 1]
            for before, after in pairwise(edges):
                if after > before + 1:
                    holes.append(replace(hole, first=before + 1, last=after - 1))
        self.holes = holes

    @property
    def awaited(self) -> list[Hole]:
        """The holes that are still asked for."""
        return [hole for hole in self.holes if hole.is_awaited]

    def tried(self, asked: Container[tuple[str, int]]) -> list[Hole]:
        """The venue answered without these (symbol, first id): one try more each; returns those given up.

        A hole that is given up stays known as one, so that nobody takes its minutes for whole.
        """
        given_up = []
        for at, hole in enumerate(self.holes):
            if (hole.symbol, hole.first) in asked and hole.is_awaited:
                self.holes[at] = replace(hole, tries=hole.tries + 1)
                given_up += [self.holes[at]] if not self.holes[at].is_awaited else []
        return given_up

    def forget(self, before: datetime) -> list[Hole]:
        """Holes that are older than what is kept."""
        gone = [hole for hole in self.holes if hole.before < before]
        self.holes = [hole for hole in self.holes if hole.before >= before]
        return gone

    def whole_minutes(self, symbol: str) -> tuple[datetime, datetime] | None:
        """[since, until) in which every minute's trades are known, the holes' aside; None for an unknown symbol."""
        found = self.reached.get(symbol)
        if found is None:
            return None
        since = found.since.replace(second=0, microsecond=0) + timedelta(minutes=1)
        return since, found.at.replace(second=0, microsecond=0)

    def _take(self, symbol: str, ids: NDArray[np.int64], times: NDArray[np.datetime64]) -> None:
        near = np.abs(ids - int(np.median(ids))) <= MOST_MISSING
        ids, times = ids[near], times[near]
        found = self.reached.get(symbol)
        if found is None or int(ids[0]) - found.last > MOST_MISSING:
            found = Reached(int(ids[0]), times[0].item(), times[0].item())
        self.fill(symbol, ids[ids < found.last].tolist())
        fresh = ids > found.last
        edges = np.concatenate(([found.last], ids[fresh]))
        moments = [found.at, *times[fresh].tolist()]
        for jump in np.flatnonzero(np.diff(edges) > 1).tolist():
            hole = Hole(
                symbol, int(edges[jump]) + 1, int(edges[jump + 1]) - 1, moments[jump], moments[jump + 1]
            )
            self.holes.append(hole)
        self.reached[symbol] = Reached(int(edges[-1]), moments[-1], found.since)


def load(path: Path) -> Continuity | None:
    """The noted state; None where there is none or it cannot be read."""
    try:
        noted = orjson.loads(path.read_bytes())
        reached = {
            s: Reached(r["last"], _time(r["at"]), _time(r["since"])) for s, r in noted["reached"].items()
        }
        holes = [
            Hole(**hole | {key: _time(hole[key]) for key in ("after", "before")}) for hole in noted["holes"]
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Continuity(reached, holes)


def save(path: Path, state: Continuity) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(orjson.dumps(asdict(state)))
    draft.replace(path)


def begun(newest: Mapping[str, tuple[int, datetime]]) -> Continuity:
    """A state that begins with the newest stored trades: symbol -> id, time."""
    return Continuity({symbol: Reached(last, at, at) for symbol, (last, at) in newest.items()})


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
