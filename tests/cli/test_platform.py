"""`status`, `doctor`, `down`, `run` and `backfill`, without a Prefect server and beside a replica."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.cli.status import last_runs, run_line
from flows.collection import wish_of
from pipelines.replica.server import Replica
from tests.cli.conftest import Said

Command = Callable[..., Said]
NOON = datetime(2026, 7, 8, 12, 0, 30, tzinfo=UTC)
HOLDER = """
import signal, sys
from pathlib import Path
from flows.run_lock import RunLock
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


@pytest.mark.capability("API-17")
def test_collection_is_stopped_started_and_told_of_from_the_command_line(
    bare: Path, tapewatch: Command
) -> None:
    assert "collection was stopped" in tapewatch("stop", "--reason", "venue maintenance").out
    wish = wish_of(bare / "data")
    assert (wish.collect, wish.reason) == (False, "venue maintenance")
    assert "venue maintenance" in tapewatch("status").out
    said = tapewatch("start").out
    assert "collection was started" in said
    assert "no collector runs" in said
    assert wish_of(bare / "data").collect
    assert tapewatch("status", "--json").json()["collection"]["state"] == "absent"


@pytest.mark.capability("OPS-05")
def test_down_stops_what_holds_the_data_folder(bare: Path, tapewatch: Command) -> None:
    assert tapewatch("down") == (0, f"nothing runs on {bare / 'data'}\n", "")
    lock = bare / "data" / "run" / "tapewatch.lock"
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert tapewatch("status", "--json").json()["pid"] == holder.pid
        assert tapewatch("down").out == f"stopped (process {holder.pid})\n"
        assert holder.wait(10) == 0
    assert tapewatch("status", "--json").json()["running"] is False


@pytest.mark.parametrize(
    "argv",
    [
        ["sql", "SELECT 1"],
        ["pair", "a", "b"],
        ["explain", "x"],
        ["report"],
        ["alerts", "list"],
        ["export", "bars", "-o", "x.csv"],
    ],
    ids=lambda argv: argv[0],
)
def test_without_a_warehouse_each_command_says_where_to_begin(
    bare: Path, tapewatch: Command, argv: list[str]
) -> None:
    said = tapewatch(*argv)
    assert said.code == 1
    assert "nothing was loaded yet; start with `tapewatch demo`" in said.err
    assert not (bare / "data").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ["up", "--minutes", "-1"],
        ["demo", "--minutes", "-1"],
        ["run", "nothing"],
        ["run", "minute", "--at", "x"],
    ],
)
def test_wrong_usage_starts_nothing(bare: Path, tapewatch: Command, argv: list[str]) -> None:
    assert tapewatch(*argv).code == 2
    assert not (bare / "data").exists()


def test_doctor_tells_every_problem_of_the_configuration(bare: Path, tapewatch: Command) -> None:
    (bare / "tapewatch.toml").write_text("[site]\nprot = 1\nport = 0\n")
    said = tapewatch("doctor", "--json")
    assert said.code == 2
    assert [row["state"] for row in said.json()] == ["fail", "fail"]
    assert "tapewatch.toml:2: site.prot" in said.json()[0]["detail"]


def test_a_minute_and_its_history_without_a_server(bare: Path, tapewatch: Command) -> None:
    with Replica(now=NOON, speed=0) as replica, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (bare / "tapewatch.toml").write_text(
            f'[site]\nport = {port}\n[[source]]\nname = "binance"\nsymbols = ["BTCUSDT"]\nbase_url = "{replica.url}"\n'
        )
        span = ["--start", "2026-07-08T10:00", "--end", "2026-07-08T11:00"]
        assert tapewatch("backfill", *span, "--no-derive", "--json").json()[0]["rows_loaded"] == 60
        again = tapewatch("backfill", *span, "--symbol", "btcusdt", "--no-derive", "--json").json()[0]
        assert (again["rows_loaded"], again["chunks_known"]) == (0, 1)
        assert tapewatch("run", "heal").code == 0  # it derives history that nobody has
        ran = tapewatch("run", "minute", "--json")
        assert (ran.code, ran.json()["failed"]) == (0, {})
        assert ran.json()["loaded"]["binance"] == 60
        lines = tapewatch("doctor", "--json")
        status = tapewatch("status", "--json").json()
        (source,) = [row for row in tapewatch("sources", "list", "--json").json() if row["name"] == "binance"]
    assert lines.code == 0, lines.out
    found = {row["check"]: row for row in lines.json()}
    assert {
        "config",
        "ports",
        "disk",
        "clock",
        "server",
        "warehouse",
        "keys",
        "derived",
        "lag",
        "gaps",
        "landing",
    } <= set(found)
    assert f"127.0.0.1:{port} is taken by another program" in " ".join(row["detail"] for row in lines.json())
    assert found["derived"]["state"] == "ok"
    assert all(row["mend"] for row in lines.json() if row["state"] != "ok")
    assert status["sources"][0]["newest_bar"] == "2026-07-08T11:59:00Z"
    assert status["runs"][0]["flow"] == "minute"
    assert source["state"] == "ok"
    assert (bare / "site" / "index.html").is_file()


def test_a_run_has_its_flows_name_and_what_it_did_while_the_server_answers() -> None:
    at = datetime(2026, 11, 27, 9, 41)
    stored = [
        {"run_id": "a", "flow": "minute", "scheduled_for": at, "started_at": at, "took_s": 2.25, "state": "Completed",
         "rows_loaded": 15, "rows_quarantined": 2, "lag_s": 1.9},
        {"run_id": "c", "flow": "backfill", "scheduled_for": None, "started_at": at.replace(minute=30), "took_s": 90.0,
         "state": "Completed", "rows_loaded": 9000, "rows_quarantined": 0, "lag_s": None},
    ]  # fmt: skip
    prefect = [
        {"run_id": "b", "flow": "minute", "scheduled_for": at.replace(minute=42), "started_at": at.replace(minute=42),
         "took_s": 0.0, "state": "Running"},
        {"run_id": "a", "flow": "minute", "scheduled_for": at, "started_at": at - timedelta(seconds=2), "took_s": 4.5,
         "state": "Completed"},
    ]  # fmt: skip
    lines = [
        run_line(row, datetime(2026, 11, 27, 9, 42, 5, tzinfo=UTC)) for row in last_runs(stored, prefect)
    ]
    assert [tuple(line.values()) for line in lines] == [
        ("minute", "09:42", "09:42:00", "running", "5 s so far", None, ""),
        ("minute", "09:41", "09:41:00", "completed, 2 rows refused", "2.2 s", 15, "1.9 s"),
        ("backfill", "by hand", "09:30:00", "completed", "90 s", 9000, ""),
    ]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--source", "binnance", "--start", "1d"], "did you mean binance?"),
        (["--symbol", "BTCUSDX", "--start", "1d"], "did you mean BTCUSDT?"),
        (["--start", "2024-03-02", "--end", "2024-03-01"], "is not before"),
    ],
)
def test_a_backfill_of_what_is_not_configured_is_said(
    bare: Path, tapewatch: Command, argv: list[str], words: str
) -> None:
    said = tapewatch("backfill", *argv)
    assert said.code == 2
    assert words in said.err


def test_the_minute_loads_no_statistics_and_no_expectations() -> None:
    code = (
        "import sys; import flows.cli.run, flows.cli.run_minute; "
        "print({'statsmodels', 'scipy', 'great_expectations', 'prefect', 'exchange_calendars'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.strip() == "set()"
