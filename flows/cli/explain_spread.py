"""Anomalies of a pair recomputed from both legs' closes: a stretched spread, a correlation that has broken."""

from __future__ import annotations

import numpy as np
import polars as pl

from flows.cli.explain_pair import closes_sql
from flows.cli.explanation import Check, Explanation
from flows.cli.lake import Connection, Row, rows
from flows.context import Context
from flows.pair_universe import scan_params
from pipelines.analytics import windows
from pipelines.analytics.breaks import breaks
from pipelines.analytics.examine import scaled
from pipelines.analytics.spread import spread_path, walk_forward_beta
from pipelines.analytics.windows import Floats
from pipelines.market import Interval
from warehouse.stage import frame, literal

_GONE = (
    "The fit or the closes it was judged by are not in the warehouse any more, so it cannot be recomputed."
)


def explain_spread(con: Connection, context: Context, row: Row, told: Explanation) -> None:
    """The newest spread by the line of the bars before it, against the spreads before it by the same line."""
    params = scan_params(context)
    if (closes := _closes(con, row, told)) is None or len(closes[1]) <= params.window:
        told.notes.append(_GONE)
        return
    y, x = scaled(closes[1], params.log).T
    betas, alphas = walk_forward_beta(y, x, refit=params.refit)
    beta, alpha = betas[-1], alphas[-1]
    near = slice(-1 - params.window, None)
    spread = y[near] - alpha - beta * x[near]
    mean, std = (statistic(spread[:-1]) for statistic in (np.mean, windows.sample_std))
    _, (zscore,), _ = spread_path(y, x, params.window, refit=params.refit, since=len(y) - 1)
    told.sample_name = f"The {params.window} spreads before the judged bar"
    told.sample = [
        {"ts": ts, "spread": float(value)}
        for ts, value in zip(closes[0][-1 - params.window :].to_list(), spread[:-1], strict=False)
    ]
    limit = context.plan.thresholds.spread_z
    scale = "log " if params.log else ""
    told.formulas = [
        f"spread = {scale}y - {alpha:.6g} - {beta:.6g} x {scale}x = {spread[-1]:.6g}, the line fitted on bars before",
        f"(spread - mean) / std = ({spread[-1]:.6g} - {mean:.6g}) / {std:.6g} = {zscore:.6g}; |z| > {limit:g}: abnormal",
    ]
    zscore = float(zscore)
    told.checks = [
        Check("value", row["value"], zscore),
        Check("baseline", row["baseline"], limit),
        Check("ratio", row["ratio"], abs(zscore) / limit),
        Check("zscore", row["zscore"], zscore),
    ]


def explain_break(con: Connection, context: Context, row: Row, told: Explanation) -> None:
    """Both rank correlations and how many standard errors lie between them."""
    closes, step = _closes(con, row, told), Interval.parse(row["interval"]).seconds
    found = None
    if closes is not None:
        seconds = closes[0].dt.epoch("s").to_numpy()
        found = breaks(closes[1], seconds, step, np.array([0]), np.array([1]))
    if found is None:
        told.notes.append(_GONE)
        return
    corr, usual, zscore = (float(values[0]) for values in (found.corr, found.usual, found.zscore))
    limits = context.plan.thresholds
    told.facts["window"] = f"the newest {found.n} log returns; usual: the {found.n_usual} before them"
    told.formulas = [
        f"rank correlation of the newest {found.n} = {corr:.6g}, of the {found.n_usual} before = {usual:.6g}",
        f"(atanh {corr:.6g} - atanh {usual:.6g}) / sqrt(1.06 / {found.n - 3} + 1.06 / {found.n_usual - 3}) = {zscore:.6g}",
        f"|{zscore:.6g}| > {limits.corr_z:g} and |{corr - usual:.6g}| > {limits.corr_change:g}: abnormal",
    ]
    told.checks = [
        Check("value", row["value"], corr),
        Check("baseline", row["baseline"], usual),
        Check("ratio", row["ratio"], corr / usual if usual else None),
        Check("zscore", row["zscore"], zscore),
    ]


def _closes(con: Connection, row: Row, told: Explanation) -> tuple[pl.Series, Floats] | None:
    """Open times and both legs' closes, oldest first, that the pair was fitted on; None without the fit."""
    fits = rows(
        con,
        f"SELECT * FROM pair_stats WHERE pair = {literal(row['symbol'])} AND interval = {literal(row['interval'])} "
        f"AND fitted_at = {literal(row['ts'])}",
    )
    if not fits or not fits[0]["n"]:
        return None
    told.sql = closes_sql(fits[0])
    found = frame(con, told.sql).sort("ts")
    told.sample_name, told.sample = "The newest 5 of the bars in common", found.tail(5).to_dicts()
    return found["ts"], np.ascontiguousarray(found.select("y", "x").to_numpy())
