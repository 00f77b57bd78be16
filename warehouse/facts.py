"""What the models read: the lake's one-minute bars and windows, or copies of what it has of a few series."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import duckdb

from warehouse.buckets import counted_from
from warehouse.render import Sql, render
from warehouse.stage import literal, literals

FOREVER = datetime(9999, 1, 1)


class Facts(NamedTuple):
    """The tables that are read: of one-minute bars, and of the windows stored before."""

    bars: str
    windows: str


IN_LAKE = Facts("core.bars", "calc.windows")
OF_PART = Facts("part_bars", "part_windows")
"""Copies of some series' rows, made by `stage_facts`; the bars with their sessions."""


def anchored_bars(since: datetime, until: datetime, only: str = "true", table: str = IN_LAKE.bars) -> Sql:
    """The SELECT of the one-minute bars in [since, until) with their sessions; `only` is a condition on `bars`."""
    if table == OF_PART.bars:
        span = f"bars.ts >= {literal(since)} AND bars.ts < {literal(until)}"
        return Sql(f"SELECT bars.* FROM {table} AS bars WHERE {span} AND {only}")
    counted = Sql(counted_from("b.ts"))
    return Sql(
        render(
            "anchored_bars", since=since, until=until, only=Sql(only), table=Sql(table), counted_from=counted
        )
    )


def stage_facts(
    con: duckdb.DuckDBPyConnection,
    series: Collection[tuple[str, str]] | None = None,
    others_since: datetime | None = None,
) -> Facts:
    """The tables to work on: the lake's; or, for work on a few series, copies of what it has of them.

    others_since: the copies have the rows of all others from then on. A file of the lake holds a day of every series:
    each question about some of them would read them all.
    """
    if series is None:
        return IN_LAKE
    later = f" OR {{0}}.ts >= {literal(others_since)}" if others_since else ""
    chosen = {name: f"(true{among(series, name)}{later.format(name)})" for name in ("bars", "windows")}
    bars = anchored_bars(datetime(1, 1, 1), FOREVER, chosen["bars"])
    con.execute(f"CREATE OR REPLACE TEMP TABLE {OF_PART.bars} AS {bars}")
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE {OF_PART.windows} AS "
        f"SELECT windows.* FROM {IN_LAKE.windows} AS windows WHERE {chosen['windows']}"
    )
    return OF_PART


def among(series: Collection[tuple[str, str]] | None, table: str) -> str:
    """A condition that the rows of `table` are of these series; nothing where all are meant."""
    if series is None:
        return ""
    listed = ", ".join(map(literals, series)) or "(NULL, NULL)"
    return f" AND ({table}.source, {table}.symbol) IN ({listed})"
