"""A slow, a silent and a holey feed are rows of `anomalies`, once an episode, and `explain` recomputes each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import anomalies, walk
from flows.cli.explain_anomaly import explain_anomaly
from flows.cli.explanation import Explanation
from flows.cli.lake import rows
from flows.covering import run_covering
from flows.runs import LANDED, stage_of
from pipelines.analytics import feed
from pipelines.analytics.detectors import SCHEMA, Thresholds
from pipelines.market import naive
from pipelines.replica.server import Replica
from pipelines.settings_sections import Windows
from pipelines.settings_sources import Source
from tests.lakes import Lake, new_lake
from tests.test_ingest import NOW, now_of
from warehouse.connect import transaction

FROM = NOW.replace(tzinfo=None, second=0) - timedelta(minutes=30)


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=NOW, speed=0, seed=7) as running:
        yield running


@pytest.fixture
def lake(replica: Replica, tmp_path: Path) -> Iterator[Lake]:
    source = Source("binance", ("BTCUSDT",), base_url=replica.url, timeout=timedelta(seconds=1))
    made = new_lake(tmp_path, sources=(source,), windows=Windows(intervals=("5m",)))
    yield made
    made.con.close()


def run_minute(lake: Lake, replica: Replica, name: str, waits: list[float]) -> None:
    """A minute whose replies waited so many milliseconds for the disk."""
    run = walk.Run(lake.context, lake.con, name, now_of(replica))
    for one in lake.context.feeds():
        walk.ingest(run, one)
    run.ingested[0] = replace(run.ingested[0], latencies_ms={LANDED: waits})
    run.took_ms[stage_of(LANDED, "binance")] = waits
    walk.derive_and_alert(run)
    walk.record(run, "Completed")


def told(lake: Lake, kind: str) -> list[tuple[dict[str, Any], Explanation]]:
    found = rows(lake.con, f"SELECT * FROM anomalies WHERE kind = '{kind}' ORDER BY ts")
    return [(row, explain_anomaly(lake.con, lake.context, row)) for row in found]


@pytest.mark.capability("ANO-04")
def test_a_slow_minute_and_a_silence_are_told_once_and_explained(lake: Lake, replica: Replica) -> None:
    run_minute(lake, replica, "run-0", [101.0, 250.0])
    ((slow, why),) = told(lake, "latency")
    assert (slow["source"], slow["symbol"], slow["severity"]) == ("binance", None, "medium")
    assert (slow["value"], why.as_json()["equal"]) == (248.51, True)
    assert "99 % quantile of 2 replies = 248.51 ms > 100 ms" in why.formulas[0]
    end = now_of(replica).isoformat()
    replica.fault("missing_minutes", venue="binance*", **{"from": end, "to": "2026-11-21T00:00:00Z"})
    for number, seconds in enumerate((120, 120, 60), 1):
        replica.clock.advance(seconds)
        run_minute(lake, replica, f"run-{number}", [150.0])
    assert len(told(lake, "latency")) == 1
    ((silent, why),) = told(lake, "stale")
    assert (silent["severity"], silent["run_id"]) == ("critical", "run-2")
    newest = lake.one("SELECT max(ts) FROM bars")
    assert silent["ts"] == newest + timedelta(minutes=1)
    assert 180 < silent["value"] <= 300
    assert why.as_json()["equal"], why.checks
    assert "clock - first missing bar" in why.formulas[0]


def test_a_hole_is_an_anomaly_of_its_minutes(lake: Lake, replica: Replica) -> None:
    hole = {"from": f"{FROM.isoformat()}Z", "to": f"{(FROM + timedelta(minutes=7)).isoformat()}Z"}
    replica.fault("missing_minutes", venue="binance*", **hole)
    run_minute(lake, replica, "run-0", [1.0])
    for name in ("run-c", "run-d"):
        run_covering(lake.context, lake.con, name, naive(datetime.now(UTC)))
    ((row, why),) = told(lake, "gap")
    assert (row["symbol"], row["ts"], row["value"], row["run_id"]) == ("BTCUSDT", FROM, 7.0, "run-c")
    assert why.as_json()["equal"], why.checks
    replica.heal()
    replica.clock.advance(60)
    assert told(lake, "gap")[0][1].as_json()["equal"]


def test_an_hour_later_the_same_is_news_again(lake: Lake) -> None:
    def said(minutes: int) -> pl.DataFrame:
        return feed.latency("binance", None, None, FROM + timedelta(minutes=minutes), 200.0, Thresholds())

    with transaction(lake.con, lake.context.location):
        anomalies.write(lake.con, said(0), "run-1", FROM)
    assert [anomalies.fresh(lake.con, said(later)).height for later in (1, 59, 60)] == [0, 0, 1]
    elsewhere = said(1).with_columns(source=pl.lit("yahoo"))
    assert anomalies.fresh(lake.con, elsewhere).height == 1
    assert anomalies.fresh(lake.con, pl.DataFrame(schema=SCHEMA)).is_empty()
