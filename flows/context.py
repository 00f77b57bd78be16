"""Settings become things: sources, the lake, the plan of what is derived. The only place that assembles them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import polars as pl

from flows.chosen import key_of, streams_of
from flows.in_force import settings_in_force
from flows.limits import known_limits
from pipelines.analytics.detectors import Thresholds
from pipelines.analytics.params import IndicatorParams, columns, hidden_columns
from pipelines.derived import Plan
from pipelines.ingest import Feed, Stores
from pipelines.market import CONTINUOUS, Interval, Series, naive
from pipelines.settings import Settings
from pipelines.settings_sources import Source as SourceSettings
from pipelines.sources import factory, registry
from pipelines.sources.base import Source, SourceOptions
from pipelines.sources.bulk import FOLDERS, BulkArchive
from pipelines.sources.standby import Standby
from pipelines.sources.streams import Stream
from warehouse.calendars import sessions_between
from warehouse.connect import Location, connect
from warehouse.errors import TapewatchError
from warehouse.migrate import migrate, write_open_sql

HISTORY_SHARE = 0.7
"""Part of a source's request budget that history may use: a live minute beside it always finds the rest."""
HISTORY_PATIENCE_S = 180.0
MINUTE_PATIENCE_S = 20.0
"""How long one fetch may take with all retries and waits."""
LOOPBACK = ("127.", "localhost", "[::1]")


@dataclass(frozen=True)
class Context:
    """What every flow and command works with."""

    settings: Settings
    location: Location
    landing: Path
    plan: Plan

    @property
    def is_simulated(self) -> bool:
        """Whether the data comes from this machine: then it is the replica's, and every page says so."""
        return any(_is_loopback(source.base_url) for source in self.settings.sources)

    @property
    def recent(self) -> Path:
        """Where a run leaves the newest bars for the next one; may be deleted at any time."""
        return self.settings.data_dir / "recent"

    @property
    def series_calendars(self) -> dict[str, str]:
        """Source -> calendar; `source:SYMBOL` -> calendar of a symbol that follows another one."""
        return self.calendars | {
            str(Series(source.name, symbol)): calendar
            for source in self.settings.sources
            for symbol, calendar in source.calendars
        }

    @property
    def calendars(self) -> dict[str, str]:
        return {source.name: source.calendar for source in self.settings.sources}

    def feeds(self, for_history: bool = False) -> list[Feed]:
        """The configured sources with their adapters; TapewatchError for one that is not installed.

        for_history: patient ones that leave a part of the source's request budget to the live minute.
        """
        configured = {source.name: source for source in self.settings.sources}
        feeds = []
        for source in self.settings.sources:
            # A replica plays all venues at one address; what is simulated never falls back on the real world.
            place = source.base_url if _is_loopback(source.base_url) else ""
            standbys = [
                Standby(
                    self._adapter(configured.get(name) or SourceSettings(name, base_url=place)), source.name
                )
                for name in source.fallback
            ]
            feeds.append(
                Feed(
                    self._adapter(source, for_history),
                    source.symbols,
                    source.calendar,
                    tuple(standbys),
                    self._archive(source),
                    dict(source.calendars),
                )
            )
        return feeds

    def _archive(self, source: SourceSettings) -> Source | None:
        """Binance's own archives, unless the source is asked elsewhere; a replica keeps them at its one address."""
        place = source.bulk_url or source.base_url
        if source.name not in FOLDERS or (place and not source.bulk_url and not _is_loopback(place)):
            return None
        return BulkArchive(source.name, SourceOptions(base_url=place or None, timeout_s=30.0))

    def streams(self) -> list[tuple[Stream, tuple[str, ...]]]:
        """The streams of the sources that have one and want it, each with its symbols."""
        return streams_of(self.settings)

    def _adapter(self, source: SourceSettings, for_history: bool = False) -> Source:
        make = factory(source.name)
        if make is None:
            raise TapewatchError(
                f"source {source.name}: no such adapter here; there are {', '.join(sorted(registry()))}"
            )
        return make(
            SourceOptions(
                base_url=source.base_url or None,
                timeout_s=source.timeout.total_seconds(),
                total_s=HISTORY_PATIENCE_S if for_history else MINUTE_PATIENCE_S,
                weight_share=source.budget * (HISTORY_SHARE if for_history else 1.0),
                weight_limit=source.rate_limit or None,
                state_path=self.settings.data_dir / "sources" / f"{source.name}.json",
                key=key_of(source),
            )
        )

    def stores(self, con: duckdb.DuckDBPyConnection, run_id: str) -> Stores:
        return Stores(con, self.location, self.landing, run_id, self.series_calendars)


def assemble(settings: Settings | None = None) -> Context:
    """The context of the given settings, else of the configuration in force.

    A data folder that the demo made keeps its own configuration: no command mixes real data into it.
    """
    chosen = settings_in_force(settings)
    home = chosen.data_dir / "warehouse"
    catalog = chosen.warehouse.catalog.reveal() if chosen.warehouse.catalog else ""
    return Context(
        settings=chosen,
        location=Location(home, catalog, chosen.warehouse.storage),
        landing=chosen.data_dir / "landing",
        plan=plan_of(chosen),
    )


def plan_of(settings: Settings) -> Plan:
    """Which windows, indicators, baselines and limits the settings ask for."""
    given = settings.indicators
    params = IndicatorParams(
        sma=given.sma,
        ema=given.ema,
        rsi=_other_than(14, given.rsi.period),
        macd=(given.macd.fast, given.macd.slow, given.macd.signal),
        bollinger=(given.bollinger.period, given.bollinger.width),
        atr=_other_than(14, given.atr.period),
    )
    return Plan(
        intervals=tuple(sorted(Interval.parse(text) for text in settings.windows.intervals if text != "1m")),
        params=params,
        thresholds=Thresholds(
            rsi_high=given.rsi.overbought,
            rsi_low=given.rsi.oversold,
            min_sessions=settings.baseline.min_sessions,
        ),
        sessions=settings.baseline.sessions,
        min_sessions=settings.baseline.min_sessions,
        limits=known_limits(settings),
    )


@contextmanager
def writing(context: Context) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that may write, its schema brought up to date."""
    con = connect(context.location)
    try:
        prepare(con, context)
        yield con
    finally:
        con.close()


@contextmanager
def reading(context: Context) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection; TapewatchError where there is no warehouse yet."""
    con = connect(context.location, read_only=True)
    try:
        yield con
    finally:
        con.close()


def prepare(con: duckdb.DuckDBPyConnection, context: Context) -> None:
    """The schema of this version, and `open.sql` beside the catalog."""
    params = context.plan.params
    hidden = hidden_columns(params)
    intervals = {str(interval): interval.seconds for interval in context.plan.intervals}
    migrate(con, context.location, columns(params) | hidden, frozenset(hidden), intervals)
    write_open_sql(context.location)


def sessions_around(con: duckdb.DuckDBPyConnection, calendar: str, at: datetime) -> pl.DataFrame:
    """Stored sessions of a calendar in the month before `at` and the week after; empty for 24/7.

    Raises TapewatchError where none are stored: without them closed hours would look like lost data.
    """
    if calendar == CONTINUOUS:
        return pl.DataFrame()
    moment = naive(at)
    found = sessions_between(con, calendar, moment - timedelta(days=31), moment + timedelta(days=7))
    if found.is_empty():
        raise TapewatchError(
            f"the sessions of {calendar} around {moment:%Y-%m-%d} are not in the warehouse; "
            "run the `daily` flow (`tapewatch run daily`), which fills them"
        )
    return found


def _other_than(usual: int, periods: tuple[int, ...]) -> int:
    """The configured period beside the usual one, which every warehouse has anyway."""
    return next((period for period in periods if period != usual), usual)


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).netloc
    return host.startswith(LOOPBACK)
