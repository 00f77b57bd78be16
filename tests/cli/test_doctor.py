"""What `doctor` says of single things, without a command and a platform around it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from flows.cli.doctor_lake import lag_finding, message_findings
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


@pytest.mark.parametrize(
    ("state", "reason", "told"), [("ok", None, "ok"), ("partial", "NOSUCH: HTTP 400", "warn")]
)
def test_a_source_that_gives_only_a_part_of_its_symbols_is_not_well(state: str, reason: str, told: str):
    row = {"source": "binance", "lag_s": 20.0, "asked_s_ago": 20.0, "state": state, "reason": reason}
    assert lag_finding(row | {"newest_bar": NOON, "is_open": True}, is_running=True).state == told
