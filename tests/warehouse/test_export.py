"""The warehouse in files that any tool reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from tests.lakes import empty
from tests.warehouse.conftest import MINUTE, NOON, Lake, bars, trades
from warehouse.connect import connect, transaction
from warehouse.errors import WarehouseError
from warehouse.export import export_plain, export_view, public_views

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    context = empty(tmp_path_factory.mktemp("full"))
    lake = Lake(context, connect(context.location))
    lake.load(bars(count=5))
    lake.load(bars("ETHUSDT", count=5, close=20.0))
    lake.load(bars(start=NOON - 40 * DAY, count=5))
    lake.load_trades(trades(), "binance-stream-1")
    lake.load_trades(trades(start=NOON - 3 * DAY, first_id=100), "binance-stream-2")
    yield lake
    lake.con.close()


def export(lake: Lake, view: str, path, symbol=None, start=None, end=None) -> int:
    return export_view(lake.con, view, symbol, start, end, path.suffix[1:], path)


@pytest.mark.capability("API-15")
@pytest.mark.parametrize(
    ("name", "read"), [("b.csv", pl.read_csv), ("b.parquet", pl.read_parquet), ("b.json", pl.read_json)]
)
def test_a_view_as_a_file_has_the_views_rows(full, tmp_path, name, read):
    assert export(full, "bars", tmp_path / name, "BTCUSDT", NOON, NOON + 3 * MINUTE) == 3
    written = read(tmp_path / name)
    assert written["close"].to_list() == [100.0] * 3
    assert written.columns == [row[0] for row in full.rows("DESCRIBE bars")]
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_every_public_view_can_be_exported(full, tmp_path):
    for view in public_views(full.con):
        assert export(full, view, tmp_path / f"{view}.csv") == full.one(f"SELECT count(*) FROM {view}")


@pytest.mark.parametrize("symbol", ["BTCUSDT", "btcusdt", "binance:BTCUSDT"])
def test_a_symbol_may_stand_with_its_source(full, tmp_path, symbol):
    assert export(full, "bars", tmp_path / "b.csv", symbol) == 10


def test_an_unknown_view_is_told_with_what_was_meant(full, tmp_path):
    with pytest.raises(WarehouseError, match="no view is called 'bras'; did you mean bars"):
        export(full, "bras", tmp_path / "b.csv")
    with pytest.raises(WarehouseError, match="no view is called"):
        export(full, "bars; DROP TABLE core.bars", tmp_path / "b.csv")


def test_a_filter_the_view_cannot_answer_is_told(full, tmp_path):
    with pytest.raises(WarehouseError, match="view runs has no symbols"):
        export(full, "runs", tmp_path / "r.csv", "BTCUSDT")
    with pytest.raises(WarehouseError, match="no format 'xlsx': write one of csv, parquet, json"):
        export(full, "bars", tmp_path / "b.xlsx")


def test_quotes_in_a_symbol_are_only_a_symbol(lake, tmp_path):
    name = "O'NEIL\"); DROP--"
    lake.load(bars(name, count=2))
    assert export(lake, "bars", tmp_path / "o'neil.csv", name) == 2


def test_a_folder_that_is_not_there_is_told(full, tmp_path):
    with pytest.raises(WarehouseError, match="check that the folder is there"):
        export(full, "bars", tmp_path / "nowhere" / "b.csv")


def test_a_pairs_row_is_found_by_either_leg(lake, tmp_path):
    with transaction(lake.con, lake.location):
        lake.con.execute(
            "INSERT INTO calc.pair_stats (pair, interval, fitted_at, source_y, symbol_y, source_x, symbol_x) "
            f"VALUES ('p', '1m', TIMESTAMP '{NOON}', 'binance', 'ETHUSDT', 'binance', 'BTCUSDT')"
        )
    for symbol in ("ETHUSDT", "binance:BTCUSDT"):
        assert export(lake, "pair_stats", tmp_path / "p.csv", symbol) == 1


@pytest.fixture(scope="module")
def plain_file(full: Lake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "tapewatch.duckdb"
    export_plain(full.location, path)
    return path


def test_the_plain_copy_opens_without_any_extension(plain_file):
    code = (
        "import duckdb, sys; con = duckdb.connect(sys.argv[1], read_only=True, "
        "config={'autoinstall_known_extensions': False, 'autoload_known_extensions': False}); "
        "print(con.execute('SELECT count(*) FROM bars').fetchall(), con.execute('SELECT count(*) FROM ticks').fetchall())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(plain_file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[(10,)]", "[(3,)]"]


@pytest.mark.capability("STO-01", "STO-02")
def test_the_plain_copy_has_every_view_bounded(full, plain_file):
    plain = duckdb.connect(str(plain_file), read_only=True)
    names = {name for (name,) in plain.execute("SELECT table_name FROM information_schema.tables").fetchall()}
    assert names == set(public_views(full.con))
    assert plain.execute("SELECT min(ts) FROM bars").fetchall() == [(NOON,)]
    assert plain.execute("SELECT min(ts) FROM trades").fetchall() == [(NOON,)]
    same = f"SELECT * FROM ohlcv WHERE interval = '1m' AND ts > TIMESTAMP '{NOON}' ORDER BY ALL"
    assert plain.execute(same).fetchall() == full.rows(same)
    assert plain.execute("SELECT symbol, price FROM latest_price ORDER BY 1").fetchall() == [
        ("BTCUSDT", 100.0),
        ("ETHUSDT", 20.0),
    ]
    plain.close()


def test_the_plain_copy_is_replaced_whole_beside_its_readers(lake, tmp_path):
    path = tmp_path / "tapewatch.duckdb"
    lake.load(bars(count=10))
    export_plain(lake.location, path)
    reader = duckdb.connect(str(path), read_only=True)
    lake.load(bars(start=NOON + timedelta(hours=1), count=1))
    export_plain(lake.location, path)
    assert reader.execute("SELECT count(*) FROM bars").fetchall() == [(10,)]
    reader.close()
    again = duckdb.connect(str(path), read_only=True)
    assert again.execute("SELECT count(*) FROM bars").fetchall() == [(11,)]
    again.close()
    assert [file.name for file in tmp_path.iterdir() if "tmp" in file.name or "wal" in file.name] == []
