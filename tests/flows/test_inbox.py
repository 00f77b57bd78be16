"""Files dropped into the inbox are imported once and put away."""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.inbox import Taken, folder, take_in
from tests.lakes import Lake, new_lake

HEAD = "ts,open,high,low,close,volume\n"
ROWS = "2024-03-01T12:00Z,1,2,1,2,5\n2024-03-01T12:01Z,2,3,2,3,5\n"
KLINE = "1709294400000,1,2,1,2,5,1709294459999,9,3,1,1,0\n"


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    made = new_lake(tmp_path)
    yield made
    made.con.close()


def drop(lake: Lake, name: str, content: str | bytes) -> Path:
    path = folder(lake.context) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def zipped(lake: Lake, name: str, told: str = "") -> Path:
    """A Binance bulk file with its checksum beside it."""
    path = drop(lake, f"{name}.zip", b"")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.csv", KLINE)
    digest = told or hashlib.sha256(path.read_bytes()).hexdigest()
    drop(lake, f"{name}.zip.CHECKSUM", f"{digest}  {name}.zip\n")
    return path


def look(lake: Lake) -> Taken:
    return take_in(lake.con, lake.context, time.time() + 60)


def kept(lake: Lake) -> set[str]:
    inbox = folder(lake.context)
    return {str(path.relative_to(inbox)) for path in inbox.rglob("*") if path.is_file()}


@pytest.mark.capability("ING-13")
def test_files_are_loaded_under_the_names_their_places_give_and_put_away(lake: Lake):
    drop(lake, "kraken/xbtusd.csv", HEAD + ROWS)
    drop(lake, "mine/ABC/2024.csv", HEAD + ROWS)
    zipped(lake, "ADABTC-1m-2024-03-01")
    taken = look(lake)
    assert (len(taken.done), taken.failed) == (3, {})
    series = lake.rows("SELECT source, symbol, count(*) FROM bars GROUP BY ALL ORDER BY ALL")
    assert series == [("binance", "ADABTC", 1), ("kraken", "XBTUSD", 2), ("mine", "ABC", 2)]
    assert kept(lake) == {
        "done/kraken/xbtusd.csv",
        "done/mine/ABC/2024.csv",
        "done/ADABTC-1m-2024-03-01.zip",
        "done/ADABTC-1m-2024-03-01.zip.CHECKSUM",
    }
    assert lake.rows("SELECT count(*) FROM coverage WHERE missing > 0") == [(0,)]
    assert look(lake) == Taken()


def test_a_file_that_came_before_changes_nothing_and_is_put_beside_the_first(lake: Lake):
    for _ in range(2):
        drop(lake, "kraken/XBTUSD.csv", HEAD + ROWS)
        look(lake)
    assert lake.one("SELECT count(*) FROM bars") == 2
    assert kept(lake) == {"done/kraken/XBTUSD.csv", "done/kraken/XBTUSD.2.csv"}


def test_files_that_cannot_be_used_are_put_aside_with_the_reason_and_stop_no_other(lake: Lake):
    bad: list[tuple[str, str | bytes, str]] = [
        ("kraken/ZIP.zip", b"PK\x03\x04 no zip at all", "damaged zip"),
        ("kraken/GARBAGE.csv", b"\x00\xff\x13\x37" * 100, "GARBAGE.csv"),
        ("kraken/ROWS.csv", HEAD + "2024-03-01T12:00Z,x,2,1,2,5\n", "not one of 1 rows was good"),
        ("lonely.csv", HEAD + ROWS, "inbox/kraken/lonely.csv"),
    ]
    for name, content, _ in bad:
        drop(lake, name, content)
    drop(lake, "kraken/GOOD.csv", HEAD + ROWS)
    taken = look(lake)
    assert set(taken.failed) == {name for name, _, _ in bad}
    assert list(taken.done) == ["kraken/GOOD.csv"]
    for name, _, said in bad:
        assert said in (folder(lake.context) / "failed" / f"{name}.reason.txt").read_text()


def test_a_wrong_checksum_is_told_and_nothing_of_the_file_is_loaded(lake: Lake):
    zipped(lake, "ADABTC-1m-2024-03-01", told="0" * 64)
    assert "damaged or was replaced" in look(lake).failed["ADABTC-1m-2024-03-01.zip"]
    assert lake.one("SELECT count(*) FROM bars") == 0
    assert "failed/ADABTC-1m-2024-03-01.zip.CHECKSUM" in kept(lake)


def test_what_is_still_being_written_is_left_alone(lake: Lake):
    path = drop(lake, "kraken/XBTUSD.csv", HEAD + ROWS)
    drop(lake, "kraken/.hidden.csv", HEAD)
    drop(lake, "kraken/HALF.csv.part", HEAD)
    assert take_in(lake.con, lake.context) == Taken()
    os.utime(path, (0, 0))
    assert list(take_in(lake.con, lake.context).done) == ["kraken/XBTUSD.csv"]
    assert kept(lake) == {"done/kraken/XBTUSD.csv", "kraken/.hidden.csv", "kraken/HALF.csv.part"}
