"""What a render is told from outside: the clocks, what is simulated, and the limits the rules use."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pipelines.alerts.silences import Silence
from pipelines.market import Interval, Series, utc


@dataclass(frozen=True)
class Limits:
    """The thresholds in force; charts shade and colour by them, `methods.html` states them."""

    volume_ratio: float = 3.0
    volume_z: float = 3.0
    volatility_ratio: float = 3.0
    zscore: float = 2.0
    stop: float = 4.0
    rsi_high: float = 70.0
    rsi_low: float = 30.0
    price_dev_pct: float = 5.0
    latency_ms: float = 100.0
    corr_z: float = 5.0
    corr_change: float = 0.3
    stale_s: float = 180.0


@dataclass(frozen=True)
class RuleInForce:
    """A rule as the pages list it; `hold` is its `for`, `expires` aware UTC (None: never), `silences` are of it."""

    name: str
    when: str
    interval: str = ""
    severity: str = ""
    on: str = ""
    hold: str = ""
    clear: str = ""
    origin: str = "built in"
    expires: datetime | None = None
    silences: Sequence[Silence] = ()


@dataclass(frozen=True)
class SiteOptions:
    """One render's view of the world.

    now:           the wall clock (aware UTC)
    market_now:    the market's own clock, which decides what is old; default `now`
    intervals:     windows the pages show, narrowest first
    silences:      those in force at `now`
    channels:      names of the channels that are told at once; without one, only the site tells
    watched:       the series that are polled, so that others cannot be late; None: all there are
    touched:       series whose history came beside the minute: all their files are written anew
    settings:      (section, key, value, where it comes from), shown on the methods page; never a secret
    minute_series: up to how many series the minute also rewrites each symbol's page and API files;
                   beyond it the minute writes overview, pulse and the charts' tails, the full render the rest
    """

    now: datetime
    market_now: datetime | None = None
    simulated: bool = False
    prefect_url: str | None = None
    run_id: str | None = None
    intervals: Sequence[str] = ("1m", "5m", "15m", "30m", "1h", "4h", "1d")
    limits: Limits = field(default_factory=Limits)
    rules: Sequence[RuleInForce] = ()
    silences: Sequence[Silence] = ()
    channels: Sequence[str] = ()
    watched: Collection[Series] | None = None
    touched: Collection[Series] = ()
    settings: Sequence[tuple[str, str, str, str]] = ()
    warehouse: str = "data/warehouse"
    last_digest: datetime | None = None
    chart_days: int = 5
    pair_window: int = 20
    pair_points: int = 1000
    max_pairs: int = 300
    minute_series: int = 60
    version: str = ""
    collection: Mapping[str, Any] = field(default_factory=dict)
    """What is collected now, for `api/status.json`."""

    @property
    def at(self) -> datetime:
        """The market's time of this render, aware UTC."""
        return utc(self.market_now or self.now)

    @property
    def widths(self) -> Mapping[str, timedelta]:
        return {name: Interval.parse(name).delta for name in self.intervals}


Model = dict[str, Any]
"""What a template is given: plain values, no markup."""
