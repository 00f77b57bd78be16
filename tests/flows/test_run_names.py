"""Every run of ours says in its name what it is about."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows import run_names
from flows.run_names import named

NOON = datetime(2026, 3, 10, 12, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ({"now": None, "only_if_due": True}, "digest 2026-03-10T12:00Z"),
        ({"at": datetime(2026, 3, 9, 23, 59)}, "digest 2026-03-09T23:59Z"),
        ({"action": "stop", "name": "", "reason": "power"}, "digest 2026-03-10T12:00Z stop"),
        (
            {
                "start": datetime(2026, 3, 1),
                "end": None,
                "source": "binance",
                "symbols": ["BTCUSDT", "ETHUSDT"],
            },
            "digest 2026-03-10T12:00Z binance BTCUSDT,ETHUSDT 2026-03-01T00:00Z",
        ),
        (
            {"start": "2026-03-01", "end": "2026-03-02T06:00:00+01:00"},
            "digest 2026-03-10T12:00Z 2026-03-01T00:00Z 2026-03-02T05:00Z",
        ),
        ({"start": "last tuesday"}, "digest 2026-03-10T12:00Z last tuesday"),
        ({"file": "/home/ann/bars.csv", "source": "x"}, "digest 2026-03-10T12:00Z bars.csv x"),
    ],
)
def test_a_name_holds_the_minute_and_what_was_asked(parameters: dict[str, object], name: str):
    assert named("digest", NOON, parameters) == name


def test_every_flow_names_its_runs():
    texts = {path.name: path.read_text() for path in Path(run_names.__file__).parent.glob("*.py")}
    flows = {name: re.findall(r"^@flow\(([^\n]*)\)$", text, re.MULTILINE) for name, text in texts.items()}
    assert sum(map(len, flows.values())) == sum(text.count("@flow(") for text in texts.values()) >= 13
    assert [
        name for name, found in flows.items() for one in found if "flow_run_name=run_name" not in one
    ] == []
