"""A disk that is really full, at every step of a batch: words that help, nothing by halves, and it goes on after."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lakes import Lake, new_lake
from tests.warehouse.market import bars
from warehouse.errors import WarehouseError

STEP = 4096
MUCH = 1 << 18


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def _leave(disk: Path, free: int) -> Path:
    """A file that leaves so many bytes free."""
    filler = disk / "filler"
    state = os.statvfs(disk)
    filler.write_bytes(bytes(max(state.f_bavail * state.f_frsize - free, 0)))
    return filler


def _books(lake: Lake) -> tuple[int, int, int]:
    """Bars, revisions they have seen, batches in the ledger."""
    counts = "SELECT count(*), sum(revision - 1)::BIGINT, (SELECT count(*) FROM core.ledger) FROM core.bars"
    return lake.rows(counts)[0]


@pytest.mark.capability("STO-05")
def test_a_full_disk_is_told_in_words_and_the_batch_is_loaded_whole_when_there_is_room(small_disk: Path):
    lake = new_lake(small_disk)
    lake.load(bars(count=5, close=1.0), batch_id="binance-rest-first")
    met = []
    for free in range(0, MUCH, STEP):
        filler = _leave(small_disk, free)
        try:
            loaded = lake.load(bars(count=5, close=2.0), batch_id="binance-rest-second")
        except WarehouseError as error:
            met.append(str(error))
        else:
            break
        finally:
            filler.unlink()
        assert _books(lake) == (5, 0, 1)
    assert (loaded.rows_revised, _books(lake)) == (5, (5, 5, 2))
    assert all("the warehouse's disk is full" in words and "free space" in words for words in met)
    assert {True, False} == {"COMMIT" in words for words in met}
    lake.con.close()
