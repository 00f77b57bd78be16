"""What history lacks although its venue has answered, asked of the venue's archive: healing does not look so far back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from uuid import uuid4

import duckdb
import polars as pl

from flows.context import Context
from flows.covering_history import cover_loaded
from flows.minute_gaps import REACH
from pipelines import landing
from pipelines.fallback import DOWN
from pipelines.ingest import Feed, Ingested, Stores, ingest_requests
from pipelines.market import naive, utc
from pipelines.sources.base import BarRequest
from pipelines.sources.bulk import BulkArchive

FILES = 200
"""Days of a symbol in one batch."""


def fill_from_archive(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    stores: Stores,
    feed: Feed,
    span: tuple[datetime, datetime],
    market_now: datetime,
) -> list[Ingested]:
    """Loads what the source's archive has of the minutes that are missing in `span` and too old for the healer.

    span: naive UTC. market_now: aware UTC. Empty where there is no archive, or nothing to ask it for. A file that is
    not there is an answer, no failure.
    """
    archive, first, last = feed.archive, span[0], min(span[1], naive(market_now) - REACH)
    if not isinstance(archive, BulkArchive) or first >= last:
        return []
    covered = cover_loaded(context, con, feed.source.name, first.date(), last.date())
    within = pl.col("from_ts").is_between(first, last, closed="left")
    missing = covered.missing.filter(within).sort("to_ts", descending=True)
    requests = [
        request
        for symbol, since, until in missing.select("symbol", "from_ts", "to_ts").iter_rows()
        for request in archive.plan(symbol, utc(since), utc(until), market_now)
    ]
    return [
        _ask(archive, stores, requests[at : at + FILES], market_now) for at in range(0, len(requests), FILES)
    ]


def _ask(archive: BulkArchive, stores: Stores, requests: list[BarRequest], market_now: datetime) -> Ingested:
    batch = landing.batch_id(archive.name, "heal", market_now, f"{archive.venue}-{uuid4().hex[:8]}")
    got = ingest_requests(archive, stores, requests, batch, "heal", market_now, market_now)
    return replace(got, failures=tuple(one for one in got.failures if one.retryable or one.reason in DOWN))
