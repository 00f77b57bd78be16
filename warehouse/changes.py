"""Whether tables are still what they were: DuckLake's own record of what each snapshot changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb

from warehouse.connect import LAKE
from warehouse.stage import literal

SAME_ROWS = frozenset({"merge_adjacent", "rewrite_delete"})
"""Changes of files that leave a table's rows as they are."""
CHANGE = re.compile(r"(\w+):(\d+)")
"""One change of a snapshot, `inserted_into_table:13`; what is made anew is told by name and is nobody's table yet."""
CATALOG = f"__ducklake_metadata_{LAKE}"
"""DuckLake's own tables. Its function `snapshots()` reads all of a week's, whatever is asked of it: 25,000 of them
cost 0.4 s, these tables a twentieth."""
MADE_AT = "snapshot_time::TIMESTAMPTZ::TIMESTAMP"


@dataclass(frozen=True)
class Mark:
    """A state of the lake: the snapshot, when it was made (another lake counts from 1 too), and what is watched."""

    snapshot: int
    made_at: datetime
    tables: Mapping[str, str]
    """DuckLake's number of a table -> its name."""


def newest_mark(con: duckdb.DuckDBPyConnection, tables: Iterable[str]) -> Mark:
    """The state that this transaction reads. tables: names without their schema."""
    wanted = set(tables)
    found = con.execute(f"SELECT table_name, table_id FROM ducklake_table_info('{LAKE}')").fetchall()
    ((own,),) = con.execute(f"SELECT id FROM {LAKE}.current_snapshot()").fetchall()
    return _mark(con, str(own), {str(n): name for name, n in found if name in wanted})


def moved_on(con: duckdb.DuckDBPyConnection, before: Mark) -> Mark:
    """The state after a commit of ours, with the same tables watched; still holding the writer's lock."""
    return _mark(con, f"(SELECT max(snapshot_id) FROM {CATALOG}.ducklake_snapshot)", before.tables)


def _mark(con: duckdb.DuckDBPyConnection, which: str, tables: Mapping[str, str]) -> Mark:
    ((snapshot, made_at),) = con.execute(
        f"SELECT snapshot_id, {MADE_AT} FROM {CATALOG}.ducklake_snapshot WHERE snapshot_id = {which}"
    ).fetchall()
    return Mark(snapshot, made_at, tables)


def changed_since(con: duckdb.DuckDBPyConnection, mark: Mark) -> set[str] | None:
    """Which watched tables hold other rows than at the mark; None where its snapshot is not known any more."""
    rows = con.execute(
        f"SELECT snapshot_id, {MADE_AT}, changes_made FROM {CATALOG}.ducklake_snapshot "
        f"LEFT JOIN {CATALOG}.ducklake_snapshot_changes USING (snapshot_id) "
        f"WHERE snapshot_id >= {literal(mark.snapshot)} ORDER BY snapshot_id"
    ).fetchall()
    if not rows or rows[0][:2] != (mark.snapshot, mark.made_at):
        return None
    return {
        mark.tables[number]
        for _, _, changes in rows[1:]
        for kind, number in CHANGE.findall(changes or "")
        if kind not in SAME_ROWS and number in mark.tables
    }
