"""What `doctor` says of single things, without a command and a platform around it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.cli.doctor_lake import lag_finding, message_findings, run_findings
from tests.lakes import new_lake

NOON = datetime(2026, 11, 20, 12)


def test_a_channel_that_fails_is_told_before_its_messages_are_dead(tmp_path: Path):
    lake = new_lake(tmp_path)
    assert [found.state for found in message_findings(lake.con)] == ["ok"]
    for attempts, error in ((0, None), (1, "connection refused")):
        lake.con.execute(
            "INSERT INTO ops.outbox VALUES ('m-1', 'hook', 'g', 'queued', ?, now(), ?, '{}', now(), 'run-1')",
            [attempts, error],
        )
    (found,) = message_findings(lake.con)
    assert (found.state, found.detail) == ("warn", "1 to hook wait after a failed try: connection refused")
    lake.con.close()


def test_a_flow_whose_runs_end_badly_is_told_until_one_is_completed(tmp_path: Path):
    lake = new_lake(tmp_path)
    began = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=10)

    def ran(state: str, detail: str | None = None, flow: str = "minute") -> list[tuple[str, str]]:
        nonlocal began
        began += timedelta(minutes=1)
        lake.con.execute(
            "INSERT INTO ops.runs VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, NULL, NULL, ?)",
            [f"{flow}-{began}", flow, began, began, began + timedelta(seconds=5), state, detail],
        )
        return [(found.state, found.detail) for found in run_findings(lake.con)]

    fine = [("ok", "no flow's last run ended badly")]
    assert ran("Completed") == fine
    assert ran("Failed", "TypeError: no such page") == [
        (
            "warn",
            f"minute: the last run ended badly, since {began:%Y-%m-%d %H:%M}: Failed: TypeError: no such page",
        )
    ]
    first = began
    assert ran("Completed", flow="quality")[0][0] == "warn"
    ((state, told),) = ran("Crashed")
    assert (state, told) == (
        "fail",
        f"minute: the last 2 runs ended badly, since {first:%Y-%m-%d %H:%M}: Crashed",
    )
    assert ran("Completed") == fine
    lake.con.close()


@pytest.mark.parametrize(
    ("state", "reason", "told"), [("ok", None, "ok"), ("partial", "NOSUCH: HTTP 400", "warn")]
)
def test_a_source_that_gives_only_a_part_of_its_symbols_is_not_well(state: str, reason: str, told: str):
    row = {"source": "binance", "lag_s": 20.0, "asked_s_ago": 20.0, "state": state, "reason": reason}
    assert lag_finding(row | {"newest_bar": NOON, "is_open": True}, is_running=True).state == told
