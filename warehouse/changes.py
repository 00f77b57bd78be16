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
    """The state that this transaction, or a new one, reads. tables: names without their schema."""
    wanted = set(tables)
    found = con.execute(f"SELECT table_name, table_id FROM ducklake_table_info('{LAKE}')").fetchall()
    return _newest(con, {str(number): name for name, number in found if name in wanted})


def moved_on(con: duckdb.DuckDBPyConnection, before: Mark) -> Mark:
    """The newest state, with the same tables watched; holding the writer's lock after a commit, that commit's."""
    return _newest(con, before.tables)


def _newest(con: duckdb.DuckDBPyConnection, tables: Mapping[str, str]) -> Mark:
    ((snapshot,),) = con.execute(f"SELECT id FROM {LAKE}.current_snapshot()").fetchall()
    ((made_at,),) = con.execute(
        f"SELECT snapshot_time::TIMESTAMP FROM {LAKE}.snapshots() WHERE snapshot_id = {literal(snapshot)}"
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
