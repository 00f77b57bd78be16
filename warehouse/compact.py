"""Keeps the lake's files few: small ones merged, deleted rows written out, old snapshots and files let go.

Every minute adds a Parquet file to each table it touches; a reader that opens hundreds of them is slow. All of it
runs beside readers: files go only once nothing younger than `keep` can refer to them. Each table has its own short
transaction, so that a minute's load waits for one table at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from warehouse.connect import LAKE, Location, transaction
from warehouse.stage import frame, literal

SMALL = 32 * 1024 * 1024
"""Bytes from which a file stays as it is: merging it again each hour would only write it again."""
DELETED_SHARE = 0.2
"""Share of deleted rows from which a file is written anew without them."""


@dataclass(frozen=True)
class Compaction:
    """Files that became fewer: tables worked on, data files of the newest snapshot before and after."""

    tables: int
    files_before: int
    files_after: int


@dataclass(frozen=True)
class Expiry:
    """What was let go: snapshots, and files that no snapshot refers to any more or ever did."""

    snapshots: int
    files: int
    orphans: int


def compact(con: duckdb.DuckDBPyConnection, location: Location) -> Compaction:
    """Merges small files of every table and rewrites those with many deleted rows; answers stay the same."""
    before = _tables(con)
    work = [(schema, table) for schema, table, files, deletes in before if files > 1 or deletes]
    for schema, table in work:
        of = f"{literal(LAKE)}, {literal(table)}, schema => {literal(schema)}"
        with transaction(con, location):
            con.execute(
                f"CALL ducklake_rewrite_data_files({of}, delete_threshold => {DELETED_SHARE})"
            ).fetchall()
        with transaction(con, location):
            con.execute(f"CALL ducklake_merge_adjacent_files({of}, max_file_size => {SMALL})").fetchall()
    return Compaction(len(work), sum(row[2] for row in before), sum(row[2] for row in _tables(con)))


def expire(con: duckdb.DuckDBPyConnection, location: Location, now: datetime, keep: timedelta) -> Expiry:
    """Lets go what is older than `keep` before `now` (wall clock): time travel and open readers reach that far.

    Orphans are files of writers that were killed before their COMMIT; they wait as long, because on a shared
    catalog another host may still be writing.
    """
    until = (now.astimezone(UTC) - keep).isoformat(sep=" ")
    counts = []
    for step in ("expire_snapshots", "cleanup_old_files", "delete_orphaned_files"):
        with transaction(con, location):
            told = con.execute(
                f"CALL ducklake_{step}({literal(LAKE)}, older_than => TIMESTAMPTZ {literal(until)})"
            )
            counts.append(len(told.fetchall()))
    return Expiry(*counts)


def _tables(con: duckdb.DuckDBPyConnection) -> list[tuple[str, str, int, int]]:
    """schema, table, data files, delete files of every table."""
    found = frame(
        con,
        f"""
        SELECT t.schema_name, i.table_name, i.file_count, i.delete_file_count
        FROM ducklake_table_info({literal(LAKE)}) AS i
        JOIN duckdb_tables() AS t ON t.database_name = {literal(LAKE)} AND t.table_name = i.table_name
        """,
    )
    return list(found.iter_rows())
