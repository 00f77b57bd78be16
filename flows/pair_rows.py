"""What is stored of the pairs, and what a run adds to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import duckdb
import numpy as np
import polars as pl

from flows import anomalies
from flows.correlating import replace_correlations
from flows.pair_universe import slug
from pipelines.analytics.detectors import SCHEMA
from pipelines.analytics.examine import Scan
from pipelines.analytics.panels import pair_name
from pipelines.analytics.scan import scan_series
from pipelines.analytics.windows import Integers
from warehouse.stage import literal, literals, stage


@dataclass(frozen=True)
class Found:
    """The rows of a run, ready to be written; `whole` are the pairs whose series takes the place of all that is stored."""

    stats: pl.DataFrame
    series: pl.DataFrame
    whole: frozenset[str]
    correlations: pl.DataFrame
    symbols: pl.DataFrame
    anomalies: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=SCHEMA))


def due(
    con: duckdb.DuckDBPyConnection, scan: Scan, which: Integers, as_of: Mapping[str, datetime]
) -> tuple[Integers, dict[str, datetime]]:
    """The pairs with a newer bar than their last fit, and pair -> newest bar of theirs both legs have reached.

    A closed market is tested with the others but makes no new row, unless a corrected bar has cost the pair its newest
    points: then the fit is made anew.
    """
    interval = literal(scan.params.interval)
    stored = con.execute(
        f"SELECT pair, max(fitted_at) FROM calc.pair_stats WHERE interval = {interval} GROUP BY pair"
    ).fetchall()
    fitted, never = dict(stored), datetime(1970, 1, 1)
    times = {i: min(as_of[leg] for leg in scan.pairs[i]) for i in which.tolist()}
    points, last = _newest_points(con, scan), scan.newest()
    new = [
        i
        for i in which.tolist()
        if times[i] > fitted.get(name := slug(scan.pairs[i]), never)
        or (i in last and points.get(name, last[i]) < last[i])
    ]
    return np.array(new, dtype=np.int64), {slug(scan.pairs[i]): times[i] for i in new}


def new_points(
    con: duckdb.DuckDBPyConnection, scan: Scan, which: Integers, refit: timedelta
) -> tuple[pl.DataFrame, frozenset[str]]:
    """Points to write, and the pairs whose points take the place of all that is stored.

    Between two refits only the new bars are added: writing all anew each time would fill the disk with what
    snapshots keep of the old.
    """
    if not which.size:
        return pl.DataFrame(), frozenset()
    stored, last = _newest_points(con, scan), scan.newest()
    names, after = {}, {}
    for i in which.tolist():
        name, kept = slug(scan.pairs[i]), stored.get(slug(scan.pairs[i]))
        names[pair_name(scan.pairs[i])] = name
        if kept and i in last and _period(kept, refit) == _period(last[i], refit):
            after[pair_name(scan.pairs[i])] = kept
    points = named(scan_series(scan, which, after), names)
    return points, frozenset(points["pair"].unique()) - {names[name] for name in after}


def _newest_points(con: duckdb.DuckDBPyConnection, scan: Scan) -> dict[str, datetime]:
    """Pair -> newest stored point."""
    interval = literal(scan.params.interval)
    rows = con.execute(
        f"SELECT pair, max(ts) FROM calc.pair_series WHERE interval = {interval} GROUP BY pair"
    ).fetchall()
    return dict(rows)


def named(rows: pl.DataFrame, names: Mapping[str, str]) -> pl.DataFrame:
    """The rows with the pairs' names of tables and addresses."""
    return rows.with_columns(pl.col("pair").replace_strict(names, default=None)) if rows.height else rows


def stage_rows(con: duckdb.DuckDBPyConnection, found: Found, run_id: str) -> None:
    """Hands the rows to the connection, before the writer's lock is taken."""
    run = pl.lit(run_id).alias("run_id")
    stage(con, "new_fits", found.stats.with_columns(run))
    stage(con, "new_points", found.series.with_columns(run))
    stage(con, "new_correlations", found.correlations.with_columns(run))
    stage(con, "new_symbol_stats", found.symbols.with_columns(run))


def write_rows(con: duckdb.DuckDBPyConnection, found: Found, run_id: str, now: datetime) -> None:
    """Writes what is staged and the anomalies; needs an open transaction. now: naive UTC."""
    anomalies.write(con, found.anomalies, run_id, now)
    if found.stats.height:
        first = literal(found.stats["fitted_at"].min())
        con.execute(
            "DELETE FROM calc.pair_stats AS t USING new_fits AS s WHERE t.pair = s.pair AND t.interval = s.interval "
            f"AND t.fitted_at = s.fitted_at AND t.fitted_at >= {first}"
        )
    _insert(con, "calc.pair_stats", "new_fits", found.stats.height)
    if found.whole:
        interval = literals(found.series["interval"].unique())
        con.execute(
            f"DELETE FROM calc.pair_series WHERE interval IN {interval} AND pair IN {literals(sorted(found.whole))}"
        )
    _insert(con, "calc.pair_series", "new_points", found.series.height)
    replace_correlations(con, found.correlations, "new_correlations")
    if found.symbols.height:
        _replace(con, "calc.symbol_stats", "new_symbol_stats", ("source", "symbol", "interval", "lookback"))


def _period(at: datetime, refit: timedelta) -> int:
    return int((at - datetime(1970, 1, 1)) / refit)


def _insert(con: duckdb.DuckDBPyConnection, table: str, staged: str, rows: int) -> None:
    if rows:
        con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {staged}")


def _replace(con: duckdb.DuckDBPyConnection, table: str, staged: str, key: Sequence[str]) -> None:
    same = " AND ".join(f"t.{name} = s.{name}" for name in key)
    con.execute(f"DELETE FROM {table} AS t USING {staged} AS s WHERE {same}")
    con.execute(f"INSERT INTO {table} BY NAME SELECT * FROM {staged}")
