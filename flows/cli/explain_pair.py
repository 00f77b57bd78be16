"""A pair's newest verdict, made again from the stored closes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from flows.cli.explanation import Check, Explanation
from flows.cli.lake import Connection, Row, close_to, rows
from flows.context import Context
from flows.pair_universe import scan_params
from pipelines.analytics.cointegration import benjamini_hochberg
from pipelines.analytics.examine import examine
from pipelines.analytics.fits import fit, own_unit_root
from warehouse.errors import TapewatchError
from warehouse.stage import frame, literal

SHARED = ("q_bh", "tested", "adf_p_y", "adf_p_x")
"""What does not follow from the common bars of the two alone: q from all pairs tested with them, a leg's own unit root
from all of its bars."""
SHOWN = 5


def newest_fit(con: Connection, pair: str) -> Row:
    """The newest row of `pair_stats`; TapewatchError where there is none."""
    found = rows(
        con, f"SELECT * FROM pair_stats WHERE pair = {literal(pair)} ORDER BY fitted_at DESC LIMIT 1"
    )
    if found:
        return found[0]
    known = [row["pair"] for row in rows(con, "SELECT DISTINCT pair FROM pair_stats ORDER BY pair")]
    raise TapewatchError(
        f"{pair}: no such pair was fitted{close_to(pair, known)}; `tapewatch pair A B` fits any two series"
    )


def explain_pair(con: Connection, context: Context, row: Row) -> Explanation:
    """The verdict's numbers from the newest bars both legs had then, by the settings in force now."""
    told = Explanation(f"{row['symbol_y']} against {row['symbol_x']}: {row['reason']}")
    told.facts = {name: row[name] for name in ("interval", "fitted_at", "n", "state", "q_bh", "tested")}
    told.facts["run_id"] = _run_of(con, row)
    told.sql = closes_sql(row)
    closes = frame(con, told.sql).sort("ts")
    told.sample_name = f"The newest {SHOWN} of the bars in common"
    told.sample = closes.tail(SHOWN).to_dicts()
    if row["state"] == "untested":
        told.notes.append("It was not tested, so there is no number to compute again.")
        return told
    legs = tuple(f"{row[f'source_{leg}']}:{row[f'symbol_{leg}']}" for leg in "yx")
    params = replace(scan_params(context), interval=row["interval"], lookback=row["n"])
    wide = closes.select("ts", pl.col("y").alias(legs[0]), pl.col("x").alias(legs[1]))
    # Whether it holds is decided by q, which only the whole scan gives.
    scan = replace(examine(wide, [(legs[0], legs[1])], params), q=np.array([row["q_bh"]]))
    again = fit(wide, scan, np.arange(1), row["fitted_at"]).row(0, named=True)
    told.checks = [
        Check(name, float(value), None if again[name] is None else float(again[name]))
        for name, value in row.items()
        if isinstance(value, int | float) and name not in SHARED
    ]
    told.checks += _alone(con, context, row)
    told.checks += _together(con, context, row, told)
    told.formulas = [
        f"y = {again['alpha_ols']:.6g} + {again['beta_ols']:.6g} x on the logarithms; its residual's unit root: "
        f"t = {again['eg_stat']:.6g} with {again['lags']} lags, p = {again['eg_p']:.4g}",
        f"x on y: t = {again['eg_stat_swapped']:.6g} with {again['lags_swapped']} lags, p = {again['eg_p_swapped']:.4g}",
        f"p_max = max of the two = {again['p_max']:.4g}; q = {row['q_bh']:.4g} after correcting for {row['tested'] or 'all'} pairs",
    ]
    if not all(check.is_equal for check in told.checks):
        told.notes.append("Something differs: bars were revised or came later, or [pairs] was changed since.")
    return told


def _run_of(con: Connection, row: Row) -> str | None:
    found = rows(
        con,
        f"SELECT run_id FROM calc.pair_stats WHERE pair = {literal(row['pair'])} "
        f"AND interval = {literal(row['interval'])} AND fitted_at = {literal(row['fitted_at'])}",
    )
    return str(found[0]["run_id"]) if found else None


def _alone(con: Connection, context: Context, row: Row) -> list[Check]:
    """Each leg's own unit root, from the newest bars it had then."""
    params, checks = scan_params(context), []
    for leg in "yx":
        closes = frame(
            con,
            f"SELECT ts, close FROM ohlcv WHERE source = {literal(row[f'source_{leg}'])} "
            f"AND symbol = {literal(row[f'symbol_{leg}'])} AND interval = {literal(row['interval'])} AND is_complete "
            f"AND ts <= {literal(row['fitted_at'])} ORDER BY ts DESC LIMIT {params.lookback}",
        ).sort("ts")
        checks.append(Check(f"adf_p_{leg}", row[f"adf_p_{leg}"], own_unit_root(closes["close"], params)))
    return checks


def _together(con: Connection, context: Context, row: Row, told: Explanation) -> list[Check]:
    """q again from the larger p of every pair the run tested; a note where not all of them were stored."""
    known = frame(
        con,
        f"SELECT pair, p_max FROM calc.pair_stats WHERE run_id = {literal(told.facts['run_id'])} "
        f"AND interval = {literal(row['interval'])} AND p_max IS NOT NULL ORDER BY pair",
    )
    if known.height != row["tested"]:
        told.notes.append(
            f"q is over {row['tested']} pairs of which {known.height} were fitted anew in that run (a closed market's are "
            "not), so it cannot be computed again."
        )
        return []
    q = benjamini_hochberg(known["p_max"].to_numpy(), scan_params(context).dependent)
    return [Check("q_bh", row["q_bh"], float(q[known["pair"].to_list().index(row["pair"])]))]


def closes_sql(row: Row) -> str:
    """The newest bars both legs had at a fit (a row of `pair_stats`), as many as it was made of."""
    where = " AND ".join(
        f"{leg}.{name} = {literal(row[f'{name}_{leg}'])}" for leg in "yx" for name in ("source", "symbol")
    )
    return (
        "SELECT y.ts, y.close AS y, x.close AS x FROM ohlcv AS y JOIN ohlcv AS x USING (interval, ts)\n"
        f"WHERE {where} AND interval = {literal(row['interval'])} AND y.is_complete AND x.is_complete\n"
        f"  AND ts <= {literal(row['fitted_at'])} ORDER BY ts DESC LIMIT {row['n']}"
    )
