"""An anomaly recomputed from stored rows, each kind by its own definition."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from flows.cli.explain_feed import explain_gap, explain_latency, explain_stale
from flows.cli.explain_spread import explain_break, explain_spread
from flows.cli.explanation import Check, Explanation
from flows.cli.lake import Connection, Row, rows
from flows.context import Context
from pipelines.analytics import moments
from pipelines.analytics.detectors import VOLATILITY_BARS
from pipelines.analytics.endings import deviation_pct
from pipelines.analytics.history import Bars
from pipelines.analytics.history import rows as rows_of
from pipelines.analytics.params import RETURNS, SPAN
from pipelines.market import CONTINUOUS
from warehouse.buckets import SLOT, counted_from, with_closing
from warehouse.stage import frame, literal

Recompute = Callable[[Connection, Context, Row, Explanation], None]
CHANGED = (
    "Something differs: rows of this window came or were revised after the anomaly was computed "
    "(see bar_revisions and ledger), or the sample before it was larger then."
)


def explain_anomaly(con: Connection, context: Context, row: Row) -> Explanation:
    """What was judged, against what, and whether the same comes out now."""
    told = Explanation(row["reason"])
    told.facts = {name: row[name] for name in ("kind", "source", "symbol", "interval", "severity", "run_id")}
    told.facts |= {"bar": f"{row['ts']:%Y-%m-%d %H:%M} UTC", "known at": row["known_at"]}
    KINDS[row["kind"]](con, context, row, told)
    if not all(check.is_equal for check in told.checks):
        told.notes.append(CHANGED)
    return told


def take_back(told: Explanation, row: Row) -> None:
    """Says of an anomaly that does not stand any more when it was taken back, and why."""
    told.headline = f"withdrawn at {row['withdrawn_at']:%Y-%m-%d %H:%M:%S} UTC; it had said: {told.headline}"
    told.facts |= {"withdrawn": row["withdrawn_at"], "by run": row["withdrawn_by"]}
    differing = [check.number for check in told.checks if not check.is_equal]
    cause = (
        f"{' and '.join(differing)} came out otherwise"
        if differing
        else "its bar is within the limits in force then"
    )
    told.notes = [note for note in told.notes if note != CHANGED]
    told.notes.append(
        f"Withdrawn because the bar was judged again and {cause}: it was revised, or bars before it came or were "
        "revised after it had been judged (see bar_revisions and ledger)."
    )


def _price_spike(con: Connection, context: Context, row: Row, told: Explanation) -> None:
    told.sql = f"""
SELECT avg(close) AS mean, stddev_samp(close) AS std, list(close ORDER BY ts) AS closes
FROM (
    SELECT ts, close FROM {_bars_of(row)}
    WHERE {_key(row)} AND ts < {literal(row["ts"])}
    ORDER BY ts DESC LIMIT {RETURNS}
);"""
    sample = rows(
        con,
        f"SELECT ts, close FROM {_bars_of(row)} WHERE {_key(row)} AND ts <= {literal(row['ts'])} "
        f"ORDER BY ts DESC LIMIT {RETURNS + 1}",
    )[::-1]
    told.sample_name, told.sample = f"The {RETURNS} closes before the judged bar", sample[:-1]
    if len(sample) != RETURNS + 1 or sample[-1]["ts"] != row["ts"]:
        told.notes.append(_GONE)
        return
    close, before = sample[-1]["close"], np.array([one["close"] for one in sample[:-1]])
    middle, squares = moments.folded(moments.spread, [RETURNS], before[:, None])[RETURNS]
    mean, std = float(middle[0]), math.sqrt(squares[0] / (RETURNS - 1))
    deviation = float(deviation_pct(np.array(close), np.array(mean)))
    zscore = (close - mean) / std if std > 0 else None
    limit = _limit(row, context.plan.thresholds.price_pct)
    told.formulas = [
        f"mean of the {RETURNS} closes before = {mean:.10g}, their standard deviation = {std:.6g}",
        f"100 x (close - mean) / mean = 100 x ({close:.10g} - {mean:.10g}) / {mean:.10g} = {deviation:.6g} %",
        f"|{deviation:.6g} %| > {limit:g} %: abnormal",
    ]
    told.checks = [Check("value", row["value"], close), Check("baseline", row["baseline"], mean),
                   _ratio(row, close, mean), Check("zscore", row["zscore"], zscore)]  # fmt: skip


def _volume(con: Connection, context: Context, row: Row, told: Explanation) -> None:
    calendar = _calendar(con, row)
    told.sql = _volume_sql(row, calendar, context.plan.sessions, "b.bucket = j.bucket")
    found = rows(con, told.sql)
    minute = "The same minute"
    if 0 < len(found) < context.plan.min_sessions:
        slot = f"b.bucket // {SLOT} = j.bucket // {SLOT}"
        told.sql = _volume_sql(row, calendar, context.plan.sessions, slot)
        found, minute = rows(con, told.sql), "The same half hour, since the minute had too few sessions,"
    told.sample_name = f"{minute} of up to {context.plan.sessions} sessions before"
    told.sample = [{name: one[name] for name in ("session", "ts", "volume")} for one in found]
    judged = rows(con, f"SELECT volume FROM {_bars_of(row)} WHERE {_key(row)} AND ts = {literal(row['ts'])}")
    if not judged or not found:
        told.notes.append(_GONE)
        return
    volume, median = judged[0]["volume"], statistics.median(one["volume"] for one in found)
    told.facts["bucket"] = f"{found[0]['bucket']} minutes of the session ({calendar})"
    logs = sorted(math.log(one["volume"]) for one in found if one["volume"] > 0)
    zscore = _robust_z(volume, logs, context.plan.min_sessions, told)
    limit = _limit(row, context.plan.thresholds.volume_ratio)
    told.formulas.insert(0, f"median of {len(found)} volumes = {median:.10g}")
    told.formulas.insert(
        1, f"volume / median = {volume:.10g} / {median:.10g} = {volume / median:.6g} > {limit:g}: abnormal"
    )
    told.checks = [Check("value", row["value"], volume), Check("baseline", row["baseline"], median),
                   _ratio(row, volume, median), Check("zscore", row["zscore"], zscore)]  # fmt: skip


def _robust_z(volume: float, logs: list[float], enough: int, told: Explanation) -> float | None:
    """Iglewicz and Hoaglin's z of ln(volume), as `baseline.robust_z`."""
    if volume <= 0 or len(logs) < enough:
        return None
    middle = statistics.median(logs)
    apart = [abs(one - middle) for one in logs]
    mad, mean_ad = statistics.median(apart), statistics.fmean(apart)
    if mad > 0:
        zscore = 0.6745 * (math.log(volume) - middle) / mad
        told.formulas.append(
            f"0.6745 x (ln volume - median ln) / MAD = 0.6745 x ({math.log(volume):.6g} - {middle:.6g}) / {mad:.6g} "
            f"= {zscore:.6g}"
        )
        return zscore
    return (math.log(volume) - middle) / (1.2533 * mean_ad) if mean_ad > 0 else None


def _volume_sql(row: Row, calendar: str, sessions: int, same: str) -> str:
    """The sample by the public views: bars of earlier sessions at the `same` time of theirs, the newest first."""
    since = row["ts"] - timedelta(days=round(sessions * 1.6) + 6)
    return f"""
WITH placed AS (
    SELECT o.ts, o.volume, CASE WHEN o.ts < s.close_ts THEN s.open_ts ELSE date_trunc('day', o.ts) END AS anchor,
           {counted_from("o.ts")} AS counted
    FROM (
        SELECT '{calendar}' AS calendar, ts, volume FROM {_bars_of(row)}
        WHERE {_key(row)} AND ts >= {literal(since)} AND ts <= {literal(row["ts"])}
    ) AS o
    ASOF LEFT JOIN {with_closing("sessions")} AS s ON o.calendar = s.calendar AND o.ts >= s.open_ts
),
bucketed AS (
    SELECT ts, volume, anchor::DATE AS session, (epoch(ts - counted) // 60)::INTEGER AS bucket FROM placed
),
judged AS (SELECT session, bucket FROM bucketed WHERE ts = {literal(row["ts"])})
SELECT b.session, b.ts, b.volume, b.bucket FROM bucketed AS b JOIN judged AS j ON {same} AND b.session < j.session
QUALIFY dense_rank() OVER (ORDER BY b.session DESC) <= {sessions} ORDER BY b.session DESC, b.ts DESC;"""


def _rsi(con: Connection, context: Context, row: Row, told: Explanation) -> None:
    told.sql = f"""
SELECT ts, close, rsi_14 FROM ohlcv JOIN indicators USING (source, symbol, interval, ts)
WHERE {_series(row)} AND ts <= {literal(row["ts"])} ORDER BY ts DESC LIMIT 16;"""
    whole = _history(con, row)
    if whole.is_empty() or whole["ts"][-1] != row["ts"]:
        told.notes.append(_GONE)
        return
    path = rows_of(Bars.of(whole), [0, whole.height], context.plan.params)
    now = float(path["rsi_14"][-1])
    gain, loss = (float(path[f"rsi_14_{side}"][-1]) for side in ("gain", "loss"))
    told.sample_name = "The newest closes and their RSI"
    newest = whole.tail(6).with_columns(rsi_14=pl.Series(path["rsi_14"][-6:])).select("ts", "close", "rsi_14")
    told.sample = newest.to_dicts()
    told.facts["window"] = (
        f"Wilder's averages over all {whole.height} bars since {whole['ts'][0]:%Y-%m-%d %H:%M} UTC"
    )
    side = "above" if now > row["baseline"] else "below"
    told.formulas = [
        f"Wilder's average gain = {gain:.6g}, average loss = {loss:.6g}",
        f"100 x gain / (gain + loss) = {now:.6g}, {side} {row['baseline']:g}; the bar before was not",
    ]
    told.checks = [Check("value", row["value"], now), _ratio(row, now, row["baseline"])]


def _volatility(con: Connection, context: Context, row: Row, told: Explanation) -> None:
    told.sql = f"""
SELECT ts, volatility_20 FROM indicators
WHERE {_series(row)} AND ts <= {literal(row["ts"])} ORDER BY ts DESC LIMIT {VOLATILITY_BARS + 1};"""
    stored = rows(con, told.sql)
    returns = [one["ret_log"] for one in rows(
        con,
        f"SELECT ts, ret_log FROM {_bars_of(row)} WHERE {_key(row)} AND ts <= {literal(row['ts'])} "
        f"ORDER BY ts DESC LIMIT {SPAN}",
    )]  # fmt: skip
    newest = [one for one in returns if one is not None][:RETURNS]
    before = [one["volatility_20"] for one in stored[1:] if one["volatility_20"] is not None]
    if not stored or stored[0]["ts"] != row["ts"] or len(newest) < RETURNS or not before:
        told.notes.append(_GONE)
        return
    _, squares = moments.folded(moments.spread, [RETURNS], np.array(newest[::-1])[:, None])[RETURNS]
    now, usual = math.sqrt(squares[0] / (RETURNS - 1)), statistics.median(before)
    told.facts["window"] = f"{RETURNS} log returns; usual: the {len(before)} volatilities before"
    limit = context.plan.thresholds.volatility_ratio
    told.formulas = [
        f"standard deviation of the newest {RETURNS} log returns = {now:.6g}",
        f"median of the {len(before)} volatilities before = {usual:.6g}",
        f"{now:.6g} / {usual:.6g} = {now / usual:.6g} > {limit:g}: abnormal",
    ]
    told.checks = [Check("value", row["value"], now), Check("baseline", row["baseline"], usual),
                   _ratio(row, now, usual)]  # fmt: skip


KINDS: dict[str, Recompute] = {
    "price_spike": _price_spike,
    "volume": _volume,
    "rsi_extreme": _rsi,
    "volatility": _volatility,
    "spread": explain_spread,
    "corr_break": explain_break,
    "latency": explain_latency,
    "stale": explain_stale,
    "gap": explain_gap,
}
_GONE = "The bars it was computed from are not (all) in the warehouse any more, so it cannot be recomputed."


def _history(con: Connection, row: Row) -> pl.DataFrame:
    """The whole series up to the judged bar, as the indicators saw it."""
    return frame(
        con,
        f"SELECT ts, high, low, close, volume, ret_log FROM {_bars_of(row)} WHERE {_key(row)} "
        f"AND ts <= {literal(row['ts'])} ORDER BY ts",
    )


def _series(row: Row) -> str:
    return f"{_key(row)} AND interval = {literal(row['interval'])}"


def _key(row: Row) -> str:
    return f"source = {literal(row['source'])} AND symbol = {literal(row['symbol'])}"


def _bars_of(row: Row) -> str:
    """What the judged bars are rows of: minutes as loaded, or complete windows; of volumes the source's own alone."""
    of = f"interval = {literal(row['interval'])}" + (
        " AND is_complete AND NOT lent" if row["kind"] == "volume" else ""
    )
    if row["interval"] == "1m" and row["kind"] == "volume":
        return "(FROM bars WHERE origin <> 'fallback')"
    if row["interval"] == "1m" and row["kind"] == "price_spike":
        return "bars"
    return f"(FROM ohlcv WHERE {of})"


def _calendar(con: Connection, row: Row) -> str:
    found = rows(con, f"SELECT calendar FROM series WHERE {_key(row)}")
    return str(found[0]["calendar"]) if found else CONTINUOUS


def _limit(row: Row, usual: float) -> float:
    """What the bar had to exceed: its reason tells where that was a limit of its own."""
    own = re.search(r"own limit is (\S+)", row["reason"] or "")
    return float(own[1]) if own else usual


def _ratio(row: Row, value: Any, baseline: Any) -> Check:
    return Check("ratio", row["ratio"], value / baseline if value is not None and baseline else None)
