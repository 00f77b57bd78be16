"""Files in and out: `import` and `export`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.cli.conftest import Said, write_bars

Command = Callable[..., Said]
NOON = datetime(2024, 3, 1, 12)
HEAD = "ts,open,high,low,close,volume\n"
GOOD = "2024-03-01T12:00Z,1,2,1,2,5\n2024-03-01T12:01Z,2,3,2,3,5\n"
BAD = "2024-03-01T12:02Z,abc,3,2,3,5\n2024-03-01T12:03Z,2,1,2,3,5\n"


@pytest.mark.capability("API-16")
@pytest.mark.capability("ING-13")
def test_a_bad_row_is_quarantined_with_its_line_and_good_rows_are_loaded_once(
    bare: Path, tapewatch: Command
) -> None:
    (bare / "bars.csv").write_text(HEAD + GOOD + BAD)
    said = ("import", "bars.csv", "--source", "mine", "--symbol", "aaa", "--no-derive")
    first = tapewatch(*said)
    assert first.code == 0
    assert "4 rows in, 2 loaded, 0 revised, 0 known already, 2 bad" in first.out
    assert "first in line 4" in first.out
    query = first.out.split("see them: tapewatch sql ")[1].strip().strip('"')
    rows = tapewatch("sql", query, "--json").json()
    assert {(row["line"], row["payload"]) for row in rows} == {
        (4, "2024-03-01T12:02Z,abc,3,2,3,5"),
        (5, "2024-03-01T12:03Z,2,1,2,3,5"),
    }
    again = tapewatch(*said, "--json").json()
    assert (again["again"], again["rows_good"], again["rows_loaded"], again["rows_quarantined"]) == (
        True,
        2,
        0,
        0,
    )
    assert tapewatch("sql", "SELECT count(*) AS n FROM bars", "--json").json() == [{"n": 2}]


@pytest.mark.capability("ING-13")
def test_a_corrected_file_revises_what_it_changes(bare: Path, tapewatch: Command) -> None:
    for name, count, step in (("one.csv", 3, 0.0), ("two.csv", 4, 1.0)):
        bars = [(NOON + timedelta(minutes=i), 10 + step * (i == 1), 1.0) for i in range(count)]
        write_bars(bare / name, {"A": bars})
    for name in ("one.csv", "two.csv"):
        said = tapewatch("import", name, "--source", "mine", "--no-derive")
    assert "4 rows in, 1 loaded, 1 revised, 2 known already, 0 bad" in said.out


def test_a_row_that_a_file_says_twice_is_repeated_and_not_bad(bare: Path, tapewatch: Command) -> None:
    (bare / "bars.csv").write_text(HEAD + GOOD + GOOD + BAD)
    said = tapewatch("import", "bars.csv", "--source", "mine", "--symbol", "A", "--no-derive")
    assert "6 rows in, 2 loaded, 0 revised, 0 known already, 2 repeated, 2 bad" in said.out


def test_a_refused_row_that_names_no_minute_is_said_to(bare: Path, tapewatch: Command) -> None:
    (bare / "bars.csv").write_text(HEAD + GOOD + "yesterday,1,1,1,1,1\n")
    said = tapewatch("import", "bars.csv", "--source", "mine", "--symbol", "A", "--no-derive")
    assert "1 of them have no time that can be read: which minutes they were is unknown" in said.out


def test_a_file_without_one_good_row_is_one(bare: Path, tapewatch: Command) -> None:
    (bare / "bars.csv").write_text(HEAD + BAD)
    said = tapewatch(
        "import", "bars.csv", "--source", "mine", "--symbol", "A", "--interval", "1m", "--no-derive"
    )
    assert said.code == 1
    assert "not one row was good" in said.err


def test_columns_can_be_named(bare: Path, tapewatch: Command) -> None:
    (bare / "odd.csv").write_text("5,2024-03-01T12:00Z,2,1,2,1\n6,2024-03-01T12:01Z,3,2,3,2\n")
    columns = "volume,ts,close,open,high,low"
    said = tapewatch(
        "import", "odd.csv", "--source", "mine", "--symbol", "A", "--columns", columns, "--no-derive"
    )
    assert said.code == 0
    assert tapewatch("sql", "SELECT close, volume FROM bars ORDER BY ts", "--json").json() == [
        {"close": 2.0, "volume": 5.0},
        {"close": 3.0, "volume": 6.0},
    ]


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["nothing.csv", "--source", "mine"], 1, "nothing.csv: no such file"),
        ([".", "--source", "mine"], 1, "is a folder"),
        (["x.csv", "--source", " "], 2, "--source: name the venue"),
        (["x.csv", "--source", "mine", "--interval", "fast"], 2, "--interval: not an interval: 'fast'"),
    ],
)
def test_what_cannot_be_imported_is_said(
    bare: Path, tapewatch: Command, argv: list[str], code: int, words: str
) -> None:
    said = tapewatch("import", *argv)
    assert said.code == code
    assert words in said.err


@pytest.mark.capability("API-15")
@pytest.mark.parametrize(
    ("name", "read"), [("b.csv", pl.read_csv), ("b.parquet", pl.read_parquet), ("b.json", pl.read_json)]
)
def test_a_view_becomes_a_file(
    lake: Path, tmp_path: Path, tapewatch: Command, name: str, read: Callable[[Path], pl.DataFrame]
) -> None:
    span = ["--start", "2024-03-04T00:10", "--end", "2024-03-04T00:20"]
    said = tapewatch("export", "bars", "--symbol", "lab:X", *span, "-o", str(tmp_path / name), "--json")
    assert said.json()["rows"] == 10
    frame = read(tmp_path / name)
    assert frame.height == 10
    assert frame["symbol"].unique().to_list() == ["X"]


@pytest.mark.capability("API-15")
def test_an_unknown_view_or_ending_is_said(lake: Path, tmp_path: Path, tapewatch: Command) -> None:
    assert tapewatch("export", "analytics", "--symbol", "X", "-o", str(tmp_path / "a.csv")).code == 0
    assert {"zscore", "volatility"} <= set(pl.read_csv(tmp_path / "a.csv").columns)
    said = tapewatch("export", "brs", "-o", str(tmp_path / "b.csv"))
    assert said.code == 1
    assert "did you mean bars" in said.err
    assert tapewatch("export", "bars", "-o", str(tmp_path / "b.xls")).code == 2
    assert (
        tapewatch("export", "bars", "--start", "2024-03-05", "--end", "2024-03-04", "-o", "b.csv").code == 2
    )
