"""A venue that stands in for another one: asked in its own spelling, its bars under the series' own name.

`venue` says where a bar came from; `source` and `symbol` are those of the series it fills.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import polars as pl

from pipelines.sources.base import BarRequest, Failure, FetchResult, Parsed, Quiet, Reply, Source
from pipelines.sources.pairs import translate


class Standby:
    """`adapter` in place of the source `name`: symbols go in and come out as that source writes them."""

    quiet: Quiet = "absent"

    def __init__(self, adapter: Source, name: str) -> None:
        self.adapter = adapter
        self.name = name
        self.calendar = adapter.calendar

    @property
    def venue(self) -> str:
        return self.adapter.name

    def symbol_there(self, symbol: str) -> str | None:
        """How the venue writes the source's symbol; None where it has not the same thing."""
        return translate(symbol, self.name, self.venue)

    def server_time(self) -> datetime:
        return self.adapter.server_time()

    def plan(
        self, symbol: str, since: datetime, until: datetime, now: datetime | None = None
    ) -> list[BarRequest]:
        """None at all where the venue has not the same thing, or not any more."""
        there = self.symbol_there(symbol)
        parts = self.adapter.plan(there, since, until, now) if there else []
        return [BarRequest(symbol, part.since, part.until) for part in parts]

    def fetch(self, requests: Sequence[BarRequest]) -> FetchResult:
        """The venue's own replies; a failure names the source's symbol."""
        asked = [(request, self.symbol_there(request.symbol)) for request in requests]
        strange = [self._not_the_same(request.symbol) for request, there in asked if there is None]
        got = self.adapter.fetch([replace(request, symbol=there) for request, there in asked if there])
        return FetchResult(got.replies, [*map(self._named, got.failures), *strange])

    def parse(self, replies: Sequence[Reply], market_now: datetime) -> Parsed:
        """Bars under the source's name, without those in which nothing was traded: they prove nothing elsewhere."""
        bars, rejects, failures, _ = self.adapter.parse(replies, market_now)
        back = {symbol: self._symbol_here(symbol) for symbol in {reply.symbol for reply in replies}}
        traded = bars.filter(pl.col("volume") > 0)
        return Parsed(
            self._as_ours(traded, back).sort("symbol", "ts"),
            self._as_ours(rejects, back),
            [self._named(failure) for failure in failures],
        )

    def validate(self, symbols: Sequence[str]) -> dict[str, str]:
        """Symbols that the venue cannot stand in for, each with why."""
        there = {symbol.strip().upper(): self.symbol_there(symbol.strip().upper()) for symbol in symbols}
        problems = self.adapter.validate([name for name in there.values() if name])
        strange = {symbol: self._not_the_same(symbol).detail for symbol, name in there.items() if not name}
        return strange | {
            symbol: problems[name] for symbol, name in there.items() if name and name in problems
        }

    def _as_ours(self, frame: pl.DataFrame, back: dict[str, str]) -> pl.DataFrame:
        return frame.with_columns(
            source=pl.lit(self.name), symbol=pl.col("symbol").replace(list(back), list(back.values()))
        )

    def _symbol_here(self, symbol: str) -> str:
        return translate(symbol, self.venue, self.name) or symbol

    def _named(self, failure: Failure) -> Failure:
        return replace(failure, symbol=self._symbol_here(failure.symbol))

    def _not_the_same(self, symbol: str) -> Failure:
        detail = f"{self.venue} has nothing that is {self.name}'s {symbol}: another currency is no substitute"
        return Failure(symbol, "unknown_symbol", detail, retryable=False)
