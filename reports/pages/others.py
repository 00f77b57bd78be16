"""The quiet pages: digests that were sent, backtests to come, how every number is made."""

from __future__ import annotations

import re
from typing import Any

import polars as pl

from pipelines.analytics.detectors import VOLATILITY_BARS, VOLATILITY_MIN_BARS
from reports.pages.shell import Page
from reports.snapshot import Snapshot

FORMULAS: tuple[tuple[str, str, str], ...] = (
    ("Times and counts", "since = began = anomalies.ts = the open of the first abnormal bar; an alert fires at a bar's close (alerts.started_at, fired_at)",
     "A one-minute bar that opens at 19:04 is known, and alerts, at 19:05. Counted are abnormal bars, each window width and kind by itself; a line of the anomalies page "
     "joins those of one width that follow each other; an episode of a digest joins the widths too, if no pause is over 15 minutes (or two bars)."),
    ("Volume against its baseline", "volume_ratio = volume / median(volume at the same minute of the session, last 20 sessions)",
     "The judged bar and its whole session are never in the sample. Where the minute itself has fewer than 5 sessions, all bars of its half hour of the session stand in, "
     "and the reason says so; fewer than 5 sessions even then: no value. The last half hour of a session that closes early is compared with the last half hours of the others."),
    ("Robust z of volume", "volume_robust_z = 0.6745 (ln v − median ln v) / MAD(ln v)",
     "Where MAD is 0 the mean absolute deviation stands in (1.2533 × meanAD); where that is 0 too: no value."),
    ("z-score", "zscore_20 = (close − mean of the 20 closes before) / std of the 20 closes before (ddof 1)",
     "With the judged bar inside the window no z over 4.25 could ever occur."),
    ("Deviation", "dev_20_pct = 100 (close / mean of the 20 closes before − 1)", "The price rule compares it with its limit on every window from 1m to 1h."),
    ("RSI", "RSI_14 = 100 U / (U + D), U and D Wilder means of gains and losses, seeded by the mean of the first 14",
     "Equal to TA-Lib; the first 14 bars have none."),
    ("Bollinger bands", "mid = SMA_20; upper, lower = mid ± 2 σ_20 (ddof 0)", "Equal to TA-Lib."),
    ("MACD", "macd = EMA_12 − EMA_26; signal = EMA_9(macd); histogram = macd − signal", "EMAs are seeded by a simple mean; the first value is at bar 34."),
    ("Volatility", "volatility_20 = std of 20 log returns (ddof 1); volatility_ann = volatility_20 × √(bars a year)",
     "Bars a year come from the exchange's own sessions: 525,600 minutes for 24/7 venues. An anomaly where volatility_20 of 15m or 1h is several times "
     "its own median over the bars before; the judged bar is not in it."),
    ("VWAP", "Σ price × volume / Σ volume", "Per bar in the tables; since the day began (UTC) as the chart's dashed line."),
    ("Mover's sigma", "σ = ln(1 + return of 1 h) / (√4 × std of the quarter-hour log returns of the day before that hour)",
     "Says how unusual the hour is for this symbol, so that a quiet one can lead the list."),
    ("Correlation", "Pearson of log returns on common bars; 95 % interval by Fisher's z",
     "Levels are never correlated: two independent walks often look alike. At 1m trades that do not fall together pull it towards zero (Epps): compare 5m and 1h."),
    ("Correlation break", "z = (atanh r − atanh r₀) / √(1.06 / (n − 3) + 1.06 / (n₀ − 3)); r of the newest 60 log returns, r₀ of those before, both of ranks",
     "Abnormal if |z| > 5 and r has changed by more than 0.3. Of ranks, since one shock in both legs decides Pearson's alone: on pairs that never change, with returns of "
     "Student's t (4 degrees), 0.5 % of looks would fire, of ranks none of 9,000; a break from 0.8 to 0 is found in 99 of 100."),
    ("Hedge ratio", "β by least squares; Theil-Sen: the median of the slopes between all bars, with Sen's interval; Kalman: a line that may wander",
     "Theil-Sen equals scipy's to the bit; over 600 bars and without the extra “fast” 200,000 slopes stand for all. Its interval is too narrow where the spread has memory."),
    ("Cointegration", "Engle-Granger on log prices in both orders; p = max(p_yx, p_xy); q = Benjamini-Hochberg over all pairs of the scan, closed markets too",
     "Fewer than 100 common bars: no verdict, with the reason. Two legs that both keep a level of their own (p < 0.001) are no pair. "
     "Measured on 600 bars: 60 universes of 20 independent walks gave 1 false pair in 11,400; of 5 planted pairs with a half-life of 6.6 bars among 20 walks 4.87 were found, 3 % of the finds were false. Slower pairs need longer windows."),
    ("Break, hold-out", "halves tested alone; the last third judged by the line of the bars before it",
     "A break is flagged where a half is not cointegrated at 20 % but the whole is, or both halves are and the whole is not; the hold-out confirms at p ≤ 0.10."),
    ("Half-life", "−ln 2 / ln φ of an AR(1) on the spread", "Only where the pair is cointegrated and 0 < φ < 1."),
    ("Spread z", "spread = ln y − α − β ln x; z = (spread − mean) / std (ddof 1) of the spreads of the 20 bars before, by the same α and β",
     "α and β by least squares over the scan's bars before the judged one, from its 101st on, renewed every [pairs] refit (15 minutes) and kept in between: "
     "neither line nor window has seen the bar. This β stands in pair_series.beta; pair_stats.beta_ols is of all bars of the fit, the judged ones too. [pairs] window sets the 20."),
)  # fmt: skip


def digests_page(snap: Snapshot) -> Page:
    rows = [
        {
            "name": name,
            "when": _when(name),
            "says": snap.digest_titles.get(name, "").rpartition("Tapewatch: ")[2],
        }
        for name in snap.digests
        if name != "index.html" and not name.endswith(".json")
    ]
    return Page("digests/index.html", "digests.html", "Digests", {"rows": rows[:500], "total": len(rows)})


def _when(name: str) -> str:
    """`2026-11-27 09:52 UTC` out of a file's name."""
    found = re.search(r"(\d{4})-?(\d{2})-?(\d{2})[T_ -]?(\d{2})[:-]?(\d{2})", name)
    return "{}-{}-{} {}:{} UTC".format(*found.groups()) if found else ""


def backtests_page(snap: Snapshot) -> Page:
    return Page("backtests/index.html", "backtests.html", "Backtests", {"at": None}, live=False)


def methods_page(snap: Snapshot) -> Page:
    options = snap.options
    limits = options.limits
    model = {
        "formulas": FORMULAS,
        "limits": [
            (
                "Volume ratio",
                f"> {limits.volume_ratio:g}×, and robust z > {limits.volume_z:g} where there is one",
            ),
            (
                "Volatility, 15m and 1h",
                f"> {limits.volatility_ratio:g}× its median over the {VOLATILITY_BARS} bars before, of "
                f"{VOLATILITY_MIN_BARS} at least",
            ),
            ("z-score, spread z", f"|z| > {limits.zscore:g}"),
            ("RSI, on 1h, when it enters", f"> {limits.rsi_high:g} or < {limits.rsi_low:g}"),
            ("Gap", "any expected minute that is not there"),
            ("Price move: deviation from the mean of 20", f"> {limits.price_dev_pct:g} %"),
            (
                "Correlation break",
                f"rank correlation of the newest returns {limits.corr_z:g} standard errors and {limits.corr_change:g} "
                "from the usual",
            ),
            ("Receive-to-landed latency", f"> {limits.latency_ms:g} ms"),
            ("Stale feed after", f"{limits.stale_s:g} s without a closed minute while the exchange is open"),
        ],
        "rules": options.rules,
        "settings": options.settings,
        "intervals": options.intervals,
        "warehouse": options.warehouse,
        "certificate": _certificate(snap),
    }
    return Page("methods.html", "methods.html", "Methods", model, live=False)


def _certificate(snap: Snapshot) -> dict[str, Any] | None:
    """The newest look-ahead certificate; None before the first night."""
    rows = snap.quality.filter(suite="certificate")
    newest = rows.filter(pl.col("checked_at") == pl.col("checked_at").max()).sort("passed", "check_name")
    if newest.is_empty():
        return None
    return {
        "at": newest["checked_at"][0],
        "is_clean": bool(newest["passed"].all()),
        "rows": newest.select("check_name", "observed", "passed").to_dicts(),
    }
