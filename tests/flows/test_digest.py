"""What a digest gathers, to whom it goes, and that nothing is told twice or left out."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from flows.brought import Brought
from flows.context import Context
from flows.deriving import derive_pending
from flows.digest import channels, is_due, run_digest
from flows.user_files import import_file
from pipelines.settings_alerts import Channel
from pipelines.settings_sections import Digest
from tests.warehouse.conftest import MINUTE, NOON, Lake, aware, bars
from warehouse.connect import transaction
from warehouse.stage import literals

HOUR = timedelta(hours=1)
DEPEG = datetime(2023, 3, 11, 6)


def wall() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def run(lake: Lake, now: datetime = NOON, context: Context | None = None):
    return run_digest(context or lake.context, lake.con, f"run-{now:%H%M}", aware(now))


def with_channels(context: Context, *given: Channel, **digest) -> Context:
    return replace(context, settings=replace(context.settings, channels=given, digest=Digest(**digest)))


def insert(lake: Lake, table: str, *row: object) -> None:
    columns = lake.rows(f"DESCRIBE {table}")
    with transaction(lake.con, lake.location):
        lake.con.execute(
            f"INSERT INTO {table} VALUES {literals((*row, *[None] * (len(columns) - len(row))))}"
        )


def anomaly(
    lake: Lake, known_at: datetime, ts: datetime | None = None, number: int = 1, severity: str = "high"
) -> None:
    judged = ts or known_at
    insert(
        lake, "calc.anomalies", f"a{number}", "binance", "BTCUSDT", "5m", judged, "volume",
        412.0, 64.0, 6.4, None, severity, "", "run-1", known_at,
    )  # fmt: skip


@pytest.mark.capability("ALR-11")
def test_a_digest_tells_what_became_known_since_the_last_one(lake):
    anomaly(lake, NOON - 2 * HOUR, number=1)
    assert run(lake, NOON - HOUR).facts["episodes_total"] == 1
    anomaly(lake, NOON - MINUTE, number=2, severity="critical")
    told = run(lake).facts
    assert [(row["worst_id"], row["severity"], row["state"]) for row in told["episodes"]] == [
        ("a2", "critical", "open")
    ]
    assert run(lake, NOON + HOUR).facts["episodes_total"] == 0
    assert lake.rows("SELECT since_ts, until_ts FROM ops.digests ORDER BY until_ts")[1] == (NOON - HOUR, NOON)


def test_an_episode_of_many_minutes_is_one_line(lake):
    for minute in range(5):
        anomaly(lake, NOON - minute * 5 * MINUTE, number=minute)
    facts = run(lake, NOON + MINUTE).facts
    assert (facts["episodes_total"], facts["episodes"][0]["bars"]) == (1, 5)


def test_the_file_is_always_told_and_channels_that_want_digests(lake):
    wants, declines, off = (
        Channel("mail", "slack"),
        Channel("ops", "slack", digest=False),
        Channel("x", "slack", False),
    )
    assert channels(lake.context) == ["file"]
    assert channels(with_channels(lake.context, wants, declines, off)) == ["file", "mail"]
    assert channels(with_channels(lake.context, wants, declines, channels=("ops",))) == ["file", "ops"]


def test_the_digest_becomes_a_page_and_is_sent(lake):
    done = run(lake)
    assert (done.channels, done.sent) == (1, 1)
    assert lake.rows("SELECT channel, state FROM deliveries") == [("file", "sent")]
    (page,) = (lake.context.settings.site_dir / "digests").glob("*.html")
    assert page.name == "20260310T1200Z.html"
    assert lake.rows("SELECT flow, state FROM runs") == [("digest", "Completed")]


def test_a_digest_that_cannot_be_written_leaves_nothing_behind(lake, monkeypatch):
    monkeypatch.setattr("flows.digest.outbox.enqueue", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(lake)
    assert (lake.one("SELECT count(*) FROM ops.digests"), lake.one("SELECT count(*) FROM deliveries")) == (
        0,
        0,
    )
    assert lake.rows("SELECT state, detail FROM runs") == [("Failed", "ZeroDivisionError: division by zero")]


def test_alerts_pairs_gaps_checks_and_runs_are_told(lake):
    evidence = json.dumps({"bars": 1})
    insert(
        lake, "ops.alert_events", "e1", "price", "v1", "f1", "binance", "BTCUSDT", None, "5m", "firing", "critical",
        6.2, 5.0, evidence, NOON - 10 * MINUTE, NOON - 10 * MINUTE, "run-1",
    )  # fmt: skip
    with transaction(lake.con, lake.location):
        lake.con.execute(
            "INSERT INTO calc.pair_stats (pair, interval, fitted_at, source_y, symbol_y, source_x, symbol_x, "
            f"is_cointegrated, zscore) VALUES ('p', '1m', TIMESTAMP '{NOON}', 'binance', 'A', 'binance', 'B', true, 3.0)"
        )
        for step in range(4):
            lake.con.execute(
                f"INSERT INTO calc.pair_series VALUES ('p', '1m', TIMESTAMP '{NOON + step * MINUTE}', {step}, 0, 0, 1, 'r')"
            )
    insert(
        lake,
        "calc.gap_events",
        "binance",
        "BTCUSDT",
        NOON - HOUR,
        NOON - HOUR / 2,
        30,
        "open",
        "feed",
        "",
        NOON,
    )
    insert(
        lake,
        "ops.quality",
        "hourly",
        "bars: key unique",
        "bars",
        "critical",
        False,
        "1 rows",
        "0 rows",
        1,
        "r",
        NOON - MINUTE,
    )
    insert(lake, "ops.runs", "r1", "minute", NOON, NOON - MINUTE, NOON - MINUTE, "Failed", 5, 5, 0)
    facts = run(lake, NOON + MINUTE).facts
    assert [row["id"] for row in facts["alerts"]] == ["e1"]
    assert [(row["pair"], row["spark"]) for row in facts["pairs"]] == [("p", [0.0, 1.0, 2.0, 3.0])]
    assert facts["gaps_total"] == 1
    assert [row["check_name"] for row in facts["checks"]["failed"]] == ["bars: key unique"]
    assert (facts["runs"]["total"], facts["runs"]["failed_flows"]) == (1, ["minute"])
    assert {row["source"]: row["state"] for row in facts["sources"]} == {
        "binance": "not asked yet",
        "yahoo": "not asked yet",
    }


def test_a_market_elsewhere_in_time_is_told_in_its_own_time(lake):
    """A replica that plays March 2023: its anomaly of just now is still on."""
    insert(lake, "core.source_states", "binance", "ok", None, DEPEG, NOON, "r")
    anomaly(lake, NOON, ts=DEPEG - 5 * MINUTE)
    facts = run(lake, NOON + MINUTE).facts
    assert facts["until"] == "2023-03-11T06:00:00+00:00"
    assert facts["episodes"][0]["state"] == "open"


def test_the_schedule_waits_until_the_digest_is_due(lake):
    assert is_due(lake.con, HOUR, aware(NOON))
    run(lake)
    assert not is_due(lake.con, HOUR, aware(NOON + HOUR / 2))
    assert is_due(lake.con, HOUR, aware(NOON + HOUR - MINUTE))


@pytest.mark.capability("ALR-11")
def test_an_import_of_old_history_shows_up_in_the_next_digest(lake):
    """A coin that loses its peg years ago: its anomalies are known since the import."""
    run(lake, wall() - HOUR)
    price = np.concatenate([np.ones(60), np.linspace(0.97, 0.88, 10), np.full(30, 0.88)])
    lake.load(bars("USDCUSDT", DEPEG, 100, price), kind="import", known_at=wall())
    derive_pending(lake.con, lake.context, "run-i", {}, Brought())
    facts = run(lake, wall() + MINUTE).facts
    told = facts["history"]
    worst = told["episodes"][0]
    assert (worst["symbol"], worst["kind"], worst["severity"], worst["state"]) == (
        "USDCUSDT", "price_spike", "critical", "over",
    )  # fmt: skip
    assert (told["bars"], told["series"], told["from"][:16]) == (100, 1, "2023-03-11T06:00")
    assert told["anomalies"] == lake.one("SELECT count(*) FROM anomalies")
    assert facts["episodes_total"] == 0


def test_what_history_holds_is_one_line_and_its_gravest(lake):
    anomaly(lake, NOON, ts=NOON - HOUR, number=0, severity="medium")
    for number, severity in enumerate(["medium"] * 5 + ["high"] * 9 + ["critical"] * 2, start=1):
        anomaly(lake, NOON, ts=NOON - timedelta(days=30, hours=number), number=number, severity=severity)
    insert(
        lake, "calc.anomalies", "peg", "binance", "USDCUSDT", "1h", NOON - timedelta(days=30), "price_spike",
        0.91, 0.99, 0.92, None, "critical", "", "run-1", NOON,
    )  # fmt: skip
    facts = run(lake, NOON + MINUTE).facts
    assert [row["worst_id"] for row in facts["episodes"]] == ["a0"]
    told = facts["history"]
    assert (told["anomalies"], told["episodes_total"], len(told["episodes"])) == (17, 12, 8)
    assert told["counts"] == {"critical": 3, "high": 9, "medium": 5, "info": 0}
    assert [row["severity"] for row in told["episodes"][:4]] == ["critical"] * 3 + ["high"]
    # The third critical one is the worst of its series, and so comes before the second of the other.
    assert [row["symbol"] for row in told["episodes"][:3]] == ["BTCUSDT", "USDCUSDT", "BTCUSDT"]
    assert run(lake, NOON + HOUR).facts["history"] is None


@pytest.mark.realdata
@pytest.mark.capability("ALR-11")
def test_the_depeg_of_usdc_is_critical_in_the_digest(lake, shared_data):
    path = shared_data / "bars_1m" / "iaqf2023_binance_usdcusdt_1m.parquet"
    if not path.exists():
        pytest.skip(f"no USDCUSDT minutes of March 2023 at {path}")
    import_file(lake.con, lake.context, "run-i", path, "binance", "USDCUSDT", "1m")
    facts = run(lake, wall() + MINUTE).facts
    on_that_day = [
        row for row in facts["history"]["episodes"] if row["since"][:10] <= "2023-03-11" <= row["last"][:10]
    ]
    told = {(row["symbol"], row["severity"], row["kind"]) for row in on_that_day}
    assert ("USDCUSDT", "critical", "price_spike") in told
