"""Every run of ours says in its name what it is about."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from flows.deploy import load_flow, manifest
from flows.run_names import named, run_name

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
        ({"file": "/home/ann/bars.csv", "source": "x"}, "digest 2026-03-10T12:00Z bars.csv x"),
    ],
)
def test_a_name_holds_the_minute_and_what_was_asked(parameters: dict[str, object], name: str):
    assert named("digest", NOON, parameters) == name


def test_every_deployment_names_its_runs():
    flows = [load_flow(one["entrypoint"]) for one in manifest()["deployments"]]
    assert [flow.name for flow in flows if flow.flow_run_name is not run_name] == []
