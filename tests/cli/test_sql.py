"""`tapewatch sql`: formats, errors, read-only, pipes and the shell."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from flows.cli import sql_shell
from flows.cli.call import Call
from flows.cli.lake import context_of
from flows.context import reading, writing
from tests.cli.conftest import Said
from warehouse.connect import transaction

Command = Callable[..., Said]
TWO = "SELECT symbol, ts FROM bars WHERE source = 'lab' ORDER BY ts, symbol LIMIT 2"


def test_a_question_in_each_format(lake: Path, tmp_path: Path, tapewatch: Command) -> None:
    assert (
        tapewatch("sql", TWO, "--format", "csv").out
        == "symbol,ts\nX,2024-03-04 00:00:00\nY,2024-03-04 00:00:00\n"
    )
    assert tapewatch("sql", TWO, "--json").json()[1] == {"symbol": "Y", "ts": "2024-03-04T00:00:00Z"}
    assert tapewatch("sql", TWO).out.splitlines()[0].split() == ["symbol", "ts"]
    file = tmp_path / "two.parquet"
    assert tapewatch("sql", TWO, "--format", "parquet", "-o", str(file)).code == 0
    assert pl.read_parquet(file)["symbol"].to_list() == ["X", "Y"]


def test_columns_of_one_name_are_all_kept(lake: Path, tapewatch: Command) -> None:
    assert tapewatch("sql", "SELECT 1 AS a, 2 AS a", "--json").json() == [{"a": 1, "a_1": 2}]


def test_several_statements_and_tables_of_one_s_own(lake: Path, tapewatch: Command) -> None:
    said = tapewatch("sql", "CREATE TEMP TABLE t AS SELECT 7 AS x; SELECT x + 1 AS y FROM t", "--json")
    assert said.json() == [{"y": 8}]


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO bars (symbol) VALUES ('A')",
        "DROP VIEW bars",
        "CREATE TABLE mine (x INT)",
        "DELETE FROM core.bars",
    ],
)
def test_nothing_can_be_changed(lake: Path, tapewatch: Command, query: str) -> None:
    said = tapewatch("sql", query)
    assert said.code == 1
    assert said.err.startswith("error: the warehouse is read-only here: ")


def test_duckdb_s_words_are_shown_as_they_are(lake: Path, tapewatch: Command) -> None:
    said = tapewatch("sql", "SELECT clse FROM bars")
    assert said.code == 1
    assert 'Referenced column "clse" not found' in said.err
    assert "this should not happen" not in said.err


def test_statements_come_through_a_pipe(
    lake: Path, tapewatch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1 AS one;\nSELECT 2 AS two;\n"))
    assert tapewatch("sql", "--format", "csv").out == "one\n1\ntwo\n2\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(".columns gaps\nSELECT 1 AS one;\n\nSELECT\n2 AS two\n"))
    said = tapewatch("sql", "--format", "csv").out
    assert "from_ts" in said
    assert said.endswith("one\n1\ntwo\n2\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("  \n"))
    assert tapewatch("sql").code == 2


def test_a_reader_in_the_middle_of_its_answer_blocks_no_writer(lake: Path) -> None:
    context = context_of(Call())
    with reading(context) as reader, writing(context) as con:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM runs").fetchone()

        def write() -> None:
            with transaction(con, context.location):
                con.execute(
                    "INSERT INTO ops.runs (run_id, flow, finished_at) VALUES ('r', 'test', now()::TIMESTAMP)"
                )

        writer = threading.Thread(target=write)
        writer.start()
        writer.join(20)
        assert not writer.is_alive()
        assert reader.execute("SELECT count(*) FROM runs").fetchone() == before


def test_the_shell_reads_statements_over_lines_and_survives_errors(
    lake: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = iter(
        [
            ".tables",
            "SELECT 40 + 2",
            "  AS answer;",
            "SELECT nope;",
            ".nothing",
            "\\d gaps",
            "help",
            "exit",
            "SELECT 99;",
        ]
    )
    monkeypatch.setattr("builtins.input", lambda _prompt: next(typed))
    with reading(context_of(Call())) as con:
        sql_shell.shell(con, lake / "history", "csv")
        names = sql_shell.completions(con)
    shown = capsys.readouterr().out
    assert "volume_baseline\n" in shown
    assert "answer\n42\n" in shown
    assert 'error: Binder Error: Referenced column "nope"' in shown
    assert "error: .nothing: no such command" in shown
    assert "from_ts" in shown
    assert shown.count("Start with:") == 1
    assert "99" not in shown
    assert {"bars", "dev_20_pct", ".tables"} <= set(names)
    assert (lake / "history").is_file()
