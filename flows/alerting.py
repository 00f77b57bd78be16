"""The rules in force applied to what a run derived: events and outbox rows, ready for its transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

import duckdb
import polars as pl

from flows.collection import status_of
from flows.context import Context
from flows.orders import catalogue_of
from pipelines.alerts.grouping import Route, at_least
from pipelines.alerts.history import Orders, read_alerts, read_orders, write_events
from pipelines.alerts.judge import judge as judge_rows
from pipelines.alerts.outgoing import outgoing
from pipelines.alerts.rules import Rule, RuleError, Severity, built_in, in_force, rule_from
from pipelines.alerts.silences import Silence
from pipelines.alerts.states import Alert, open_labels, step
from pipelines.derived import Derived
from pipelines.market import Series, utc
from pipelines.settings import provenance
from reports.options import Limits, RuleInForce, SiteOptions
from warehouse import outbox
from warehouse.stage import frame

log = logging.getLogger(__name__)

LOOK_BACK = timedelta(hours=8)
"""Ended alerts kept in view: longer than the repeat interval and than a bar that may be judged again."""
ORIGINS = {"built-in": "built in", "config": "configuration", "user": "alerts add"}
PRIVATE = ("data_dir", "site_dir", "channel.")
"""Settings that stay off the pages: they may be public, and these name folders and people."""
CATCH_UP = timedelta(hours=6)
"""Rows older than this against their source's clock are history: they make anomalies, not alerts."""
_ROWS_OF = ("source", "symbol", "interval")


@dataclass(frozen=True)
class Watch:
    """What one run judges by and shows: every rule there is, and what users have silenced."""

    rules: list[Rule]
    silences: tuple[Silence, ...] = ()


@dataclass(frozen=True)
class Spoken:
    """What the rules of a watch had to say: alert events, and messages for the outbox."""

    events: list[Alert]
    messages: list[dict[str, Any]]
    watch: Watch


def orders_of(con: duckdb.DuckDBPyConnection, context: Context) -> Orders:
    """Rules and silences that users have made."""
    return read_orders(con, catalogue_of(context))


def rules_of(context: Context, orders: Orders) -> list[Rule]:
    """Built-in, configured and user-made rules; a later one of the same name replaces an earlier.

    A configured rule that cannot be judged is left out and logged: `config check` and `doctor` tell its line, and
    one mistyped column keeps no minute from its data.
    """
    catalogue = catalogue_of(context)
    configured = []
    for rule in context.settings.rules:
        try:
            configured += [rule_from(rule.table(), catalogue)] if rule.enabled else []
        except RuleError as error:
            log.error("%s; the rule is not judged: `tapewatch config check`", error)
    return [*built_in([str(i) for i in context.plan.intervals]), *configured, *orders.rules]


def watch_of(con: duckdb.DuckDBPyConnection, context: Context) -> Watch:
    """The watch as it is now; worked out once a run, so that a wrong rule is logged once."""
    orders = orders_of(con, context)
    return Watch(rules_of(context, orders), orders.silences)


def judge(
    con: duckdb.DuckDBPyConnection,
    context: Context,
    derived: Derived | None,
    feeds: pl.DataFrame | None,
    market_now: datetime,
    now: datetime,
    run_id: str,
    pairs: pl.DataFrame | None = None,
) -> Spoken:
    """Judges a run's new rows; call it holding the writer's lock, before the transaction that writes them."""
    watch = watch_of(con, context)
    before = read_alerts(con, utc(market_now) - LOOK_BACK)
    series = _live_rows(derived) if derived is not None else None
    judged = judge_rows(watch.rules, utc(market_now), series, pairs, feeds, open_labels(before))
    events = step(before, judged, watch.rules, utc(market_now), run_id)
    newest = {alert.id: alert for alert in [*before, *events]}
    sent = outgoing(
        list(newest.values()),
        outbox.told_by_channel(con),
        utc(market_now),
        routes_of(context),
        watch.silences,
        simulated=context.is_simulated,
        wall=utc(now),
    )
    return Spoken(events, sent, watch)


def routes_of(context: Context) -> dict[str, Route]:
    """What each configured channel is told at once; `file` keeps digests only."""
    return {
        channel.name: Route(
            severities=at_least(cast(Severity, channel.min_severity)),
            cooldown=channel.cooldown,
            repeat_after=channel.repeat,
            escalate_after=channel.escalate_after,
            escalate_to=(channel.escalate_to,) if channel.escalate_to else (),
        )
        for channel in context.settings.channels
        if channel.enabled and channel.kind != "file"
    }


def write(con: duckdb.DuckDBPyConnection, spoken: Spoken, now: datetime, run_id: str) -> None:
    """Events and messages, inside the caller's transaction: an alert is never without its message."""
    write_events(con, spoken.events, now, run_id)
    outbox.enqueue(con, spoken.messages, now, run_id)


def newest_pairs(con: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The newest `pair_stats` row of each pair and interval."""
    return frame(
        con,
        "SELECT * FROM pair_stats QUALIFY row_number() OVER (PARTITION BY pair, interval ORDER BY fitted_at DESC) = 1",
    )


def site_options(
    context: Context, market_now: datetime, run_id: str | None, now: datetime, watch: Watch
) -> SiteOptions:
    """What a render is told from outside."""
    silences = [one for one in watch.silences if one.is_in_force(now)]
    limits = context.plan.thresholds
    settings = context.settings
    return SiteOptions(
        collection=status_of(settings.data_dir),
        now=now,
        market_now=market_now,
        simulated=context.is_simulated,
        prefect_url=f"http://{settings.prefect.host}:{settings.prefect.port}",
        run_id=run_id,
        intervals=("1m", *(str(i) for i in context.plan.intervals)),
        limits=Limits(
            volume_ratio=limits.volume_ratio,
            volume_z=limits.volume_z,
            volatility_ratio=limits.volatility_ratio,
            zscore=limits.spread_z,
            rsi_high=limits.rsi_high,
            rsi_low=limits.rsi_low,
            price_dev_pct=limits.price_pct,
            latency_ms=limits.latency_ms,
            corr_z=limits.corr_z,
            corr_change=limits.corr_change,
            stale_s=limits.stale_s,
        ),
        rules=[_in_force(rule, silences) for rule in in_force(watch.rules, now)],
        silences=silences,
        channels=list(routes_of(context)),
        watched={Series(source.name, symbol) for source in settings.sources for symbol in source.symbols},
        settings=[
            ("", row.key, row.value, row.origin.rpartition("/")[2])
            for row in provenance(settings)
            if row.origin != "default" and not row.key.startswith(PRIVATE)
        ],
    )


def _live_rows(derived: Derived) -> pl.DataFrame | None:
    """The rows of polled sources that are recent by their source's clock, complete ones only.

    Of a series that begins here, of each interval the newest row alone: nobody watched what its first fetch brings
    of the time before. Over a hole there is no deviation from the bars before.
    """
    if derived.rows.is_empty() or not derived.clocks:
        return None
    horizon = pl.col("source").replace_strict(
        {source: until - CATCH_UP for source, until in derived.clocks.items()},
        default=None,
        return_dtype=pl.Datetime("us"),
    )
    begins = (pl.col("bars_seen").min() == 1).over(_ROWS_OF)
    is_newest = pl.col("ts") == pl.col("ts").max().over(_ROWS_OF)
    return (
        derived.rows.with_columns(begins=begins)
        .filter(pl.col("is_complete"), pl.col("ts") >= horizon)
        .filter(~pl.col("begins") | is_newest)
        .with_columns(dev_20_pct=pl.when("is_joined").then("dev_20_pct"))
        .drop("begins")
    )


def _in_force(rule: Rule, silences: Sequence[Silence]) -> RuleInForce:
    quiet = [one for one in silences if one.is_about(rule.name)]
    return RuleInForce(
        name=rule.name,
        when=rule.when,
        interval=", ".join(rule.intervals),
        severity=rule.severity,
        on=", ".join(rule.on),
        hold=f"{rule.for_} bars" if rule.for_ > 1 else "",
        clear=rule.clear or "",
        origin=ORIGINS[rule.origin],
        expires=rule.expires_at,
        silences=quiet,
    )
