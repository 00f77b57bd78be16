"""The list of pairs, and one pair's page: legs, spread, z, rolling correlation, every statistic and its verdict."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from pipelines.market import Interval
from reports.pages.overview import pair_row
from reports.pages.shell import Page, pair_slug, symbol_path
from reports.pages.symbols import limit_facts
from reports.snapshot import Row, Snapshot, legs
from reports.text import is_missing, number, probability


def index_page(snap: Snapshot) -> Page:
    rows = [pair_row(fit) for fit in snap.newest_fits]
    tested = [row for row in rows if row["p_max"] is not None]
    scanned = max((row["tested"] or 0 for row in tested), default=0) or len(tested)
    held = [row["q_bh"] for row in tested if row["is_cointegrated"]]
    model = {
        "rows": rows[: snap.options.max_pairs],
        "total": len(rows),
        "tested": len(tested),
        "scanned": scanned,
        "cointegrated": len(held),
        "perhaps_false": max(held, default=0.0) * len(held),
        "by_chance": 0.05 * scanned,
        "raw": sum(row["eg_p"] is not None and row["eg_p"] < 0.05 for row in rows),
        "limits": snap.options.limits,
    }
    return Page("pairs/index.html", "pairs.html", "Pairs", model)


def pair_page(snap: Snapshot, fit: Row, tail: pl.DataFrame) -> Page:
    """One pair's page; `tail` is its newest points of `pair_series`, oldest first."""
    name = pair_slug(fit)
    y, x = legs(fit)
    row = pair_row(fit)
    spells = excursions(tail, fit["interval"], snap.options.limits.zscore)
    model = {
        "fit": row,
        "y": y,
        "x": x,
        "y_path": symbol_path(y),
        "x_path": symbol_path(x),
        "verdict": verdict(fit),
        "groups": statistics_of(fit, _newest_beta(tail)),
        "spells": spells[:12],
        "points": tail.height,
        "window": snap.options.pair_window,
        "limits": snap.options.limits,
        "slug": name,
        "chart": {
            "kind": "pair",
            "slug": name,
            "pair": row["name"],
            "title": f"{row['name']}: legs, spread, z-score, correlation",
            "y": y.symbol,
            "x": x.symbol,
            "beta": fit["beta_ols"],
            "interval": fit["interval"],
            "bars": 240,
            "limits": limit_facts(snap.options.limits),
            "version": "1",
        },
    }
    return Page(
        f"pairs/{name}.html",
        "pair.html",
        row["name"],
        model,
        section="pairs/index.html",
        data=(
            ("JSON", f"api/pairs/{name}.json"),
            ("series CSV", f"api/pairs/{name}.series.csv"),
            ("robust JSON", f"api/pairs/{name}.robust.json"),
        ),
        scripts=("assets/lightweight-charts.js", "assets/charts.js"),
    )


def verdict(fit: Row) -> dict[str, str]:
    """One sentence and its tone: what the tests together say."""
    if fit["p_max"] is None:
        return {"tone": "info", "word": "not judged", "text": fit["reason"] or "too few common bars"}
    if fit["is_cointegrated"] and fit["break_flag"]:
        return {
            "tone": "high",
            "word": "cointegrated, but with a break",
            "text": fit["reason"] or "the halves of the sample disagree: do not trust the mean",
        }
    if fit["is_cointegrated"]:
        return {
            "tone": "ok",
            "word": "cointegrated",
            "text": fit["reason"] or "both orders reject, also after correcting for all pairs tested",
        }
    return {"tone": "info", "word": "not cointegrated", "text": fit["reason"] or "the larger of the two p-values does not reject after correction"}  # fmt: skip


class Figure(NamedTuple):
    """One number of a fit: what it is called, where it stands (`view.column`), and how it reads; "" where there is none."""

    label: str
    source: str
    text: str


def statistics_of(fit: Row, z_beta: float | None) -> list[tuple[str, list[Figure]]]:
    """(group, figures): every number of the fit, by what it answers.

    z_beta: the hedge ratio of the newest z, which was fitted before its bar and not on all bars as the others.
    """

    def of(label: str, column: str, digits: int = -1) -> Figure:
        return Figure(label, f"pair_stats.{column}", _figure(fit[column], digits))

    def between(label: str, low: str, high: str, digits: int) -> Figure:
        ends = [_figure(fit[name], digits) for name in (low, high)]
        return Figure(label, f"pair_stats.{low}, {high}", " to ".join(ends) if all(ends) else "")

    return [
        ("Hedge", [
            of("β, least squares", "beta_ols", 4), Figure("β of the newest z, fitted before it", "pair_series.beta", _figure(z_beta, 4)),
            of("α, least squares", "alpha_ols", 4), of("β, Theil-Sen", "beta_theil_sen", 4), between("  its 95 % interval", "beta_lo", "beta_hi", 4),
            of("β, Kalman now", "beta_kalman", 4), of("R²", "r2", 4),
        ]),
        ("Cointegration", [
            of("Engle-Granger, y on x", "eg_stat", 3), of("  p", "eg_p"), of("Engle-Granger, x on y", "eg_stat_swapped", 3), of("  p", "eg_p_swapped"),
            of("larger p decides", "p_max"), of("q over all pairs tested", "q_bh"), of("  pairs tested together", "tested", 0),
            of("Lagged differences, y on x", "lags", 0), of("  x on y", "lags_swapped", 0), of("Unit root of y alone, p", "adf_p_y"), of("  of x alone", "adf_p_x"),
            of("Johansen trace, r = 0 (5 %: 15.49)", "johansen_trace_0", 2), of("Johansen trace, r ≤ 1 (5 %: 3.84)", "johansen_trace_1", 2),
        ]),
        ("Reversion", [
            of("Half-life, bars", "half_life_bars", 1), between("  its 95 % interval", "half_life_lo", "half_life_hi", 1), of("Last third by the earlier line, p", "holdout_p"),
            of("Correlation of log returns", "corr", 3), of("z-score at the fit", "zscore", 2), of("Common bars", "n", 0),
        ]),
    ]  # fmt: skip


def _newest_beta(tail: pl.DataFrame) -> float | None:
    known = tail["beta"].drop_nulls().to_list()
    return float(known[-1]) if known else None


def _figure(value: float | None, digits: int) -> str:
    """A number with so many digits, a probability where they are negative; "" where there is none."""
    if is_missing(value):
        return ""
    return number(value, digits) if digits >= 0 else probability(value)


def excursions(tail: pl.DataFrame, interval: str, limit: float) -> list[dict[str, Any]]:
    """Stretches with |z| at or over the limit, newest first: from, to, peak, bars."""
    step = Interval.parse(interval).delta
    spells: list[dict[str, Any]] = []
    before: datetime | None = None
    for ts, z in tail.select("ts", "zscore").iter_rows():
        if z is None or abs(z) < limit:
            continue
        if spells and before is not None and ts - before <= 2 * step and (spells[-1]["peak"] > 0) == (z > 0):
            spell = spells[-1]
            spell["to"], spell["bars"] = ts, spell["bars"] + 1
            spell["peak"] = z if abs(z) > abs(spell["peak"]) else spell["peak"]
        else:
            spells.append({"from": ts, "to": ts, "peak": z, "bars": 1})
        before = ts
    return spells[::-1]
