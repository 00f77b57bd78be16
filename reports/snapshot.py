"""What one render knows: every frame it needs, read once, and the facts several pages derive from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import polars as pl

from pipelines.market import CONTINUOUS, MINUTE, Series, naive
from reports import charts
from reports.options import SiteOptions
from warehouse import read
from warehouse.read import findings, market, operations

KEEP_MINUTES = 1500
TAIL_BARS = 240
SHORT_TAIL_BARS = 120
INDICATOR_ROWS = 20
LOOK_BACK = timedelta(days=5)
Row = dict[str, Any]


@dataclass(frozen=True)
class Feed:
    """A source's freshness: `data_to` is the end of its newest closed minute, naive UTC."""

    source: str
    calendar: str
    series: int
    data_to: datetime | None
    closed: bool
    opens_at: datetime | None
    worst: str
    worst_lag_s: float | None


@dataclass
class Snapshot:
    """The frames of one render; times naive UTC. `at` is the market's time."""

    options: SiteOptions
    at: datetime
    series: pl.DataFrame
    minutes: pl.DataFrame
    measures: pl.DataFrame
    quarters: pl.DataFrame
    windows: pl.DataFrame
    anomalies: pl.DataFrame
    fits: pl.DataFrame
    spreads: pl.DataFrame
    alerts: pl.DataFrame
    deliveries: pl.DataFrame
    runs: pl.DataFrame
    latency: pl.DataFrame
    quality: pl.DataFrame
    gaps: pl.DataFrame
    sessions: pl.DataFrame
    states: pl.DataFrame
    correlations: pl.DataFrame
    stats: pl.DataFrame
    digests: list[str] = field(default_factory=list)
    digest_titles: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def keys(self) -> list[Series]:
        return [Series(*row) for row in self.series.select("source", "symbol").iter_rows()]

    @cached_property
    def watched(self) -> frozenset[Series]:
        """The series that are polled; all there are where the warehouse has none of those (history only)."""
        asked = self.options.watched
        return frozenset(key for key in self.keys if asked is None or key in asked) or frozenset(self.keys)

    @cached_property
    def watched_anomalies(self) -> pl.DataFrame:
        """The anomalies, newest first, without those of series that are not watched and of their pairs."""
        others = [key for key in self.keys if key not in self.watched]
        if not others:
            return self.anomalies
        names = [f"{key.source}\n{key.symbol}" for key in others]
        pairs = [fit["pair"] for fit in self.newest_fits if not self.watched.issuperset(legs(fit))]
        name = pl.concat_str("source", "symbol", separator="\n", ignore_nulls=True)
        return self.anomalies.filter(~name.is_in(names), ~pl.col("symbol").is_in(pairs).fill_null(False))

    @cached_property
    def is_small(self) -> bool:
        """Whether the minute can afford each symbol's own files."""
        return self.series.height <= self.options.minute_series

    @cached_property
    def calendars(self) -> dict[Series, str]:
        return {
            Series(s, y): c or CONTINUOUS
            for s, y, c in self.series.select("source", "symbol", "calendar").iter_rows()
        }

    @cached_property
    def bars(self) -> dict[Series, pl.DataFrame]:
        """Each series' newest one-minute bars, oldest first."""
        return by_series(self.minutes)

    @cached_property
    def tails(self) -> dict[Series, charts.Columns]:
        """Each series' last one-minute bars with their indicators, as chart columns."""
        tail = self.minutes.group_by("source", "symbol", maintain_order=True).tail(self.tail_bars)
        one = self.measures.filter(pl.col("interval") == "1m").drop("interval")
        return dict(
            charts.by_series(tail.join(one, on=["source", "symbol", "ts"], how="left", maintain_order="left"))
        )

    @cached_property
    def digits(self) -> dict[Series, int]:
        """How many decimals each series' prices have."""
        return {key: charts.digits_of(tail.values["close"]) for key, tail in self.tails.items()}

    @property
    def tail_bars(self) -> int:
        return TAIL_BARS if self.is_small else SHORT_TAIL_BARS

    @cached_property
    def closes(self) -> dict[Series, pl.DataFrame]:
        """Each series' quarter-hour closes."""
        return by_series(self.quarters)

    @cached_property
    def panes(self) -> dict[Series, list[Row]]:
        """Each series' newest complete window per interval, narrowest first: the numbers the rules see."""
        order = {name: n for n, name in enumerate(self.options.intervals)}
        found: dict[Series, list[Row]] = {}
        on = ["source", "symbol", "interval", "ts"]
        rows = [self._newest_minutes(), self.windows] if self.windows.height else [self._newest_minutes()]
        joined = pl.concat(rows, how="diagonal_relaxed").join(self.measures, on=on, how="left")
        for row in joined.iter_rows(named=True):
            found.setdefault(Series(row["source"], row["symbol"]), []).append(row)
        return {key: sorted(rows, key=lambda r: order.get(r["interval"], 99)) for key, rows in found.items()}

    def _newest_minutes(self) -> pl.DataFrame:
        """The newest one-minute bar of each series in the columns of `ohlcv`."""
        rows = minute_rows(self.minutes)
        newest = rows.with_columns(rows=pl.len().over("source", "symbol")).group_by(
            "source", "symbol", maintain_order=True
        )
        return newest.last().drop("revision", "known_at")

    @cached_property
    def flagged(self) -> dict[Series, pl.DataFrame]:
        """Each series' anomalies, newest first."""
        return by_series(self.anomalies)

    @cached_property
    def holes(self) -> dict[Series, pl.DataFrame]:
        """Each series' gaps in its minutes."""
        return by_series(self.gaps.filter(pl.col("kind") == "minutes"))

    @cached_property
    def figures(self) -> dict[Series, list[Row]]:
        """Each series' statistics over trailing windows."""
        return {key: rows.to_dicts() for key, rows in by_series(self.stats).items()}

    @cached_property
    def open_alerts(self) -> list[Row]:
        """Pending and firing alerts, worst first."""
        rank = {"critical": 0, "high": 1, "medium": 2, "info": 3}
        rows = [r for r in self.alerts.iter_rows(named=True) if r["state"] == "firing"]
        return sorted(rows, key=lambda r: (rank.get(r["severity"], 9), -naive(r["started_at"]).timestamp()))

    @cached_property
    def newest_fits(self) -> list[Row]:
        """The newest fit of every pair with its live z-score: those that hold first, then the most stretched."""
        live = {(r["pair"], r["interval"]): r for r in self.spreads.iter_rows(named=True)}
        fits = []
        for fit in self.fits.filter(pl.col("age") == 1).iter_rows(named=True):
            now = live.get((fit["pair"], fit["interval"]))
            z = now["zscore"] if now and now["zscore"] is not None else fit["zscore"]
            fits.append(fit | {"z": z, "z_at": now["ts"] if now else fit["fitted_at"]})
        return sorted(
            fits, key=lambda f: (not f["is_cointegrated"], -abs(f["z"]) if f["z"] is not None else 1)
        )

    @cached_property
    def watched_fits(self) -> list[Row]:
        """The newest fits of pairs whose legs are both watched."""
        return [fit for fit in self.newest_fits if self.watched.issuperset(legs(fit))]

    @cached_property
    def pair_names(self) -> dict[str, str]:
        """A pair's name in the warehouse -> its legs' symbols."""
        return {fit["pair"]: f"{fit['symbol_y']} / {fit['symbol_x']}" for fit in self.newest_fits}

    @cached_property
    def feeds(self) -> list[Feed]:
        """Each polled source's newest minute and whether its exchange is open, from the sessions of its calendar.

        A series that was only imported, or is watched no more, is not a feed: it cannot be late.
        """
        newest = {
            Series(s, y): ts
            for s, y, ts in self.minutes.group_by("source", "symbol").agg(pl.col("ts").max()).iter_rows()
        }
        feeds = []
        polled = set(self.states["source"]) if self.states.height else {key.source for key in self.keys}
        for source in dict.fromkeys(key.source for key in self.keys if key.source in polled):
            watched = self.options.watched
            keys = [
                key
                for key in self.keys
                if key.source == source and key in newest and (watched is None or key in watched)
            ]
            if not keys:
                continue
            calendar = self.calendars[keys[0]]
            closed, opens_at = self.hours[calendar]
            slowest = min(keys, key=lambda key: newest[key])
            ended = newest[slowest] + timedelta(minutes=1)
            start = max(ended, opens_at) if opens_at and not closed else ended
            feeds.append(
                Feed(
                    source=source,
                    calendar=calendar,
                    series=len(keys),
                    data_to=max(newest[key] for key in keys) + timedelta(minutes=1),
                    closed=closed,
                    opens_at=opens_at,
                    worst=slowest.symbol,
                    worst_lag_s=None if closed else (self.at - start).total_seconds(),
                )
            )
        return feeds

    def stale_from(self, key: Series) -> datetime:
        """When the newest minute is too old to stand for now, by the exchange's hours; it may be past."""
        ended: datetime = self.bars[key]["ts"][-1] + MINUTE
        _, opens_at = self.hours[self.calendars[key]]
        return max(ended, opens_at or ended) + timedelta(seconds=self.options.limits.stale_s)

    @cached_property
    def hours(self) -> dict[str, tuple[bool, datetime | None]]:
        """Calendar -> (closed now, the open that matters)."""
        return {calendar: self._hours(calendar) for calendar in set(self.calendars.values())}

    def _hours(self, calendar: str) -> tuple[bool, datetime | None]:
        """(closed now, the open that matters): the running session's open, or the next one when closed."""
        if calendar == CONTINUOUS:
            return False, None
        days = self.sessions.filter(pl.col("calendar") == calendar)
        running = days.filter((pl.col("open_ts") <= self.at) & (pl.col("close_ts") > self.at))
        if running.height:
            return False, running["open_ts"][0]
        coming = days.filter(pl.col("open_ts") > self.at).sort("open_ts")
        return True, coming["open_ts"][0] if coming.height else None


def legs(fit: Row) -> tuple[Series, Series]:
    """The two series of a fit: y, x."""
    return Series(fit["source_y"], fit["symbol_y"]), Series(fit["source_x"], fit["symbol_x"])


def minute_rows(bars: pl.DataFrame) -> pl.DataFrame:
    """One-minute bars in the columns of `ohlcv`; as there, only neighbouring minutes have a return."""
    one = ["source", "symbol"]
    joined = pl.col("ts") - pl.col("ts").shift(1).over(one) == MINUTE
    change = (pl.col("close") / pl.col("close").shift(1).over(one)).log()
    return bars.with_columns(
        interval=pl.lit("1m"),
        minutes=pl.lit(1, pl.Int32),
        minutes_expected=pl.lit(1, pl.Int32),
        is_complete=pl.lit(True),
        ret_log=pl.when(joined).then(change),
        std_dprice=pl.lit(None, pl.Float64),
        std_logret=pl.lit(None, pl.Float64),
    )


def by_series(frame: pl.DataFrame) -> dict[Series, pl.DataFrame]:
    """Splits a frame by (source, symbol), order kept."""
    if not frame.height:
        return {}
    parts = frame.partition_by("source", "symbol", as_dict=True, maintain_order=True)
    return {Series(*(str(part) for part in key)): rows for key, rows in parts.items()}


def take(con: read.Connection, options: SiteOptions) -> Snapshot:
    """Reads everything a minute's render needs: about a dozen queries, whatever the number of symbols."""
    at = naive(options.at)
    series = market.series(con)
    small = series.height <= options.minute_series
    minutes = market.minutes(
        con, at - (LOOK_BACK if small else timedelta(hours=3)), KEEP_MINUTES if small else 240
    )
    day = at - timedelta(days=1)
    return Snapshot(
        options=options,
        at=at,
        series=series,
        minutes=minutes,
        measures=market.newest_indicators(
            con, options.widths, at, TAIL_BARS if small else SHORT_TAIL_BARS, INDICATOR_ROWS if small else 1
        ),
        quarters=quarters_of(minutes) if small else market.quarter_closes(con, at - timedelta(hours=26)),
        windows=market.windows(con, options.widths, at),
        anomalies=findings.anomalies(con, at - timedelta(days=2)),
        fits=findings.pair_fits(con),
        spreads=findings.pair_newest(con, day),
        alerts=operations.alerts(con, at - timedelta(days=7)),
        deliveries=operations.deliveries(con, at - timedelta(days=7)),
        runs=operations.runs(con, day),
        latency=operations.latency(con, at - timedelta(hours=3)),
        quality=operations.quality(con, at - timedelta(days=7)),
        gaps=operations.gaps(con, at - LOOK_BACK),
        sessions=market.sessions(con, at - timedelta(days=7), at + timedelta(days=7)),
        states=operations.source_states(con),
        correlations=findings.correlations(con),
        stats=findings.symbol_stats(con),
    )


def quarters_of(minutes: pl.DataFrame) -> pl.DataFrame:
    """Quarter-hour closes of one-minute bars that are sorted by time."""
    return minutes.group_by("source", "symbol", pl.col("ts").dt.truncate("15m"), maintain_order=True).agg(
        pl.col("close").last()
    )
