"""Few files, same answers, and readers that notice nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.warehouse.conftest import MINUTE, NOON, Lake, bars
from warehouse.compact import compact, expire
from warehouse.connect import connect, transaction

WHOLE = "SELECT count(*), sum(close), min(ts), max(ts) FROM bars"


def load_minutes(lake: Lake, count: int) -> None:
    for number in range(count):
        lake.load(bars(start=NOON + number * MINUTE, count=1, close=100.0 + number))


def files(lake: Lake) -> list[Path]:
    return list(Path(lake.location.storage_uri).glob("core/bars/**/*.parquet"))


def test_many_small_files_become_one_with_the_same_rows(lake):
    load_minutes(lake, 8)
    before = lake.rows(WHOLE)
    done = compact(lake.con, lake.location)
    assert done.files_after < done.files_before
    assert len(lake.rows("FROM ducklake_list_files('lake', 'bars', schema => 'core')")) == 1
    assert lake.rows(WHOLE) == before


def test_compacting_twice_changes_nothing(lake):
    load_minutes(lake, 3)
    compact(lake.con, lake.location)
    again = compact(lake.con, lake.location)
    assert again.files_before == again.files_after


def test_a_file_of_mostly_deleted_rows_is_written_anew(lake):
    lake.load(bars(count=10))
    with transaction(lake.con, lake.location):
        lake.con.execute(f"DELETE FROM core.bars WHERE ts < TIMESTAMP '{NOON + 6 * MINUTE}'")
    compact(lake.con, lake.location)
    deletes = lake.rows("SELECT sum(delete_file_count) FROM ducklake_table_info('lake')")
    assert (deletes, lake.one("SELECT count(*) FROM bars")) == ([(0,)], 4)


@pytest.mark.capability("STO-06")
def test_a_reader_that_is_open_meanwhile_reads_on(lake):
    load_minutes(lake, 6)
    inside, outside = (connect(lake.location, read_only=True) for _ in range(2))
    inside.execute("BEGIN")
    before = inside.execute(WHOLE).fetchall()
    outside.execute(WHOLE).fetchall()
    compact(lake.con, lake.location)
    expire(lake.con, lake.location, datetime.now(UTC), timedelta(days=7))
    load_minutes_after = bars(start=NOON + timedelta(hours=1), count=2)
    lake.load(load_minutes_after)
    assert inside.execute(WHOLE).fetchall() == before
    assert outside.execute("SELECT count(*) FROM bars").fetchall() == [(8,)]
    inside.execute("COMMIT")
    assert inside.execute("SELECT count(*) FROM bars").fetchall() == [(8,)]


def test_files_go_once_nothing_as_young_as_keep_needs_them(lake):
    load_minutes(lake, 5)
    compact(lake.con, lake.location)
    kept = expire(lake.con, lake.location, datetime.now(UTC), timedelta(days=7))
    assert (kept.snapshots, kept.files, len(files(lake))) == (0, 0, 6)
    gone = expire(lake.con, lake.location, datetime.now(UTC) + timedelta(days=8), timedelta(days=7))
    assert gone.snapshots > 0
    assert gone.files >= 5
    assert len(files(lake)) == 1
    assert lake.one("SELECT count(*) FROM bars") == 5


def test_what_a_killed_writer_left_is_removed_after_a_while(lake):
    lake.load(bars())
    orphan = files(lake)[0].with_name("ducklake-0198c0de-0000-7000-8000-000000000000.parquet")
    orphan.write_bytes(files(lake)[0].read_bytes())
    expire(lake.con, lake.location, datetime.now(UTC), timedelta(days=7))
    assert orphan.exists()
    done = expire(lake.con, lake.location, datetime.now(UTC) + timedelta(days=8), timedelta(days=7))
    assert not orphan.exists()
    assert done.orphans == 1
    assert lake.one("SELECT count(*) FROM bars") == 3
