"""Whether tables are still what they were: DuckLake's own record of what each snapshot changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb

from warehouse.connect import LAKE
from warehouse.stage import literal

SAME_ROWS = frozenset({"merge_adjacent", "rewrite_delete"})
"""Changes of files that leave a table's rows as they are."""


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
    return _mark(con, f"WHERE snapshot_id = {own}", {str(n): name for name, n in found if name in wanted})


def moved_on(con: duckdb.DuckDBPyConnection, before: Mark) -> Mark:
    """The state after a commit of ours, with the same tables watched; still holding the writer's lock."""
    return _mark(con, "ORDER BY snapshot_id DESC LIMIT 1", before.tables)


def _mark(con: duckdb.DuckDBPyConnection, which: str, tables: Mapping[str, str]) -> Mark:
    ((snapshot, made_at),) = con.execute(
        f"SELECT snapshot_id, snapshot_time::TIMESTAMP FROM {LAKE}.snapshots() {which}"
    ).fetchall()
    return Mark(snapshot, made_at, tables)


def changed_since(con: duckdb.DuckDBPyConnection, mark: Mark) -> set[str] | None:
    """Which watched tables hold other rows than at the mark; None where its snapshot is not known any more."""
    rows = con.execute(
        f"SELECT snapshot_id, snapshot_time::TIMESTAMP, changes FROM {LAKE}.snapshots() "
        f"WHERE snapshot_id >= {literal(mark.snapshot)} ORDER BY snapshot_id"
    ).fetchall()
    if not rows or rows[0][:2] != (mark.snapshot, mark.made_at):
        return None
    return {
        mark.tables[name]
        for _, _, changes in rows[1:]
        for kind, names in (changes or {}).items()
        if kind not in SAME_ROWS
        for name in names
        if name in mark.tables
    }
