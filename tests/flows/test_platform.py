"""The whole platform, really started: supervisor, replica, Prefect server, worker, site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from flows.collection import status_of
from flows.context import plan_of
from flows.minute import WINDOWS
from pipelines.settings import load
from tests.platforms import Platform

pytestmark = pytest.mark.prefect


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """A demo whose supervisor was killed in the middle of its first start: warehouse and database half made."""
    running = Platform(tmp_path_factory.mktemp("demo"))
    catalog = running.folder / "data" / "warehouse" / "catalog.sqlite"
    deadline = time.monotonic() + 60
    try:
        while not catalog.exists():
            assert time.monotonic() < deadline, running.text
            time.sleep(0.05)
        assert len(running.alive()) >= 4
    finally:
        running.kill()
    return running


@pytest.fixture(scope="module")
def demo(killed: Platform) -> Iterator[Platform]:
    """The next start on the same folder, which nobody has repaired."""
    assert killed.wait_until_gone() == []
    running = Platform(killed.folder)
    try:
        running.wait_for("Tapewatch is running", 120)
        yield running
    finally:
        running.kill()


def test_nothing_survives_a_killed_supervisor(killed: Platform):
    assert killed.wait_until_gone() == []


@pytest.mark.capability("OPS-05")
def test_the_demo_starts_everything_and_its_first_site_says_simulated(demo: Platform):
    assert "Prefect UI" in demo.text
    assert {"replica", "server", "worker", "collector"} <= set(demo.state["children"])
    for page in ("index.html", "symbols/binance-BTCUSDT.html", "methods.html"):
        assert "SIMULATED DATA" in (demo.folder / "site" / page).read_text()
    with urllib.request.urlopen(str(demo.state["site"])) as reply:
        assert b"Tapewatch" in reply.read()


def test_every_deployment_of_prefect_yaml_is_registered_with_documented_parameters(demo: Platform):
    api = demo.api
    deadline = time.monotonic() + 90
    wanted = {
        "minute",
        "pairs",
        "quality",
        "heal",
        "report",
        "digest",
        "daily",
        "maintenance",
        "backfill",
        "import",
        "alerts-admin",
        "collection",
    }
    while True:
        found = {item["name"]: item for item in api._call("POST", "/deployments/filter", {})}
        if set(found) >= wanted or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert set(found) >= wanted
    for name in ("minute", "backfill", "import", "report"):
        described = found[name]["parameter_openapi_schema"]["properties"].values()
        assert all(parameter.get("description") for parameter in described), name


def test_the_first_quality_checks_do_not_wait_for_their_schedule(demo: Platform):
    asked = {"deployments": {"name": {"any_": ["quality"]}}, "flow_runs": {"start_time": {}}}
    deadline = time.monotonic() + 180
    while not any(not run["auto_scheduled"] for run in demo.api._call("POST", "/flow_runs/filter", asked)):
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.capability("RES-05", "IND-11")
def test_a_scheduled_minute_completes_rebuilds_the_site_and_writes_down_what_crashed(demo: Platform):
    api = demo.api
    crashed = _crashed(demo)
    deadline = time.monotonic() + 150
    done = []
    while not done and time.monotonic() < deadline:
        runs = api.scheduled_runs("minute", "2000-01-01T00:00:00Z")
        done = [run for run in runs if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]
        time.sleep(0.5)
    assert [run["state_type"] for run in done[:1]] == ["COMPLETED"]
    builds = (demo.folder / "data" / "run" / "builds.log").read_text().split()
    assert done[0]["id"] in builds
    (run,) = _sql(demo, f"SELECT lag_s, rows_loaded FROM runs WHERE run_id = '{done[0]['id']}'")
    assert 0 < run["lag_s"] < 60
    assert run["rows_loaded"] > 0
    told: object = []
    while not told and time.monotonic() < deadline:  # a minute done before leaves it to the next
        told = _sql(demo, f"SELECT flow, state, detail FROM runs WHERE run_id = '{crashed}'")
    assert told == [{"flow": "maintenance", "state": "Crashed", "detail": "killed"}]
    assert (
        _parameters_of(demo, done[0]["id"])
        == plan_of(load(demo.folder / "data" / "demo.toml", {})).params.digest
    )
    unplanned = "state = 'Completed' AND scheduled_for IS NULL AND run_id NOT LIKE 'cli-%'"
    assert _sql(demo, f"SELECT flow, run_id FROM runs WHERE {unplanned}") == []


@pytest.mark.capability("API-17", "OPS-04")
def test_collection_is_stopped_from_the_prefect_ui_and_started_from_the_command_line(demo: Platform):
    data = demo.folder / "data"
    found = demo.api._call("POST", "/deployments/filter", {"deployments": {"name": {"any_": ["collection"]}}})
    order = {"parameters": {"action": "stop", "reason": "lunch"}}
    demo.ask("POST", f"/deployments/{found[0]['id']}/create_flow_run", order)
    deadline = time.monotonic() + 120
    while status_of(data)["state"] != "stopped" or status_of(data)["sources"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert "stopped by Prefect UI" in status_of(data)["reason"]
    started = subprocess.run(
        [sys.executable, "-m", "flows.cli", "start"],
        env=demo.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "collection was started" in started.stdout, started.stderr
    while not status_of(data)["sources"]:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert status_of(data)["state"] == "running"
    told = [json.loads(line)["event"] for line in (data / "logs" / "collector.log").read_text().splitlines()]
    assert [event.split()[0] for event in told[-3:]] == ["collecting", "collected:", "collecting"]


def _crashed(demo: Platform) -> str:
    """The id of a run that ended without a word of its own."""
    found = demo.api._call(
        "POST", "/deployments/filter", {"deployments": {"name": {"any_": ["maintenance"]}}}
    )
    state = {"type": "SCHEDULED", "state_details": {"scheduled_time": datetime.now(UTC).isoformat()}}
    run = demo.ask("POST", f"/deployments/{found[0]['id']}/create_flow_run", {"state": state})
    ended = {"type": "CRASHED", "name": "Crashed", "message": "killed"}
    demo.ask("POST", f"/flow_runs/{run['id']}/set_state", {"state": ended, "force": True})
    return str(run["id"])


def _parameters_of(demo: Platform, run: str) -> str:
    """What the lineage of a run's windows says its indicators were made by."""
    wanted = {"event": {"name": ["prefect.asset.materialization.succeeded"]}}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for event in demo.ask("POST", "/events/filter", {"filter": wanted, "limit": 50})["events"]:
            of_run = any(one["prefect.resource.id"] == f"prefect.flow-run.{run}" for one in event["related"])
            if of_run and event["resource"]["prefect.resource.id"] == WINDOWS:
                return str(event["payload"]["indicator parameters"])
        time.sleep(0.5)
    raise AssertionError(f"no lineage of the windows of {run}")


def _sql(demo: Platform, query: str) -> object:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "sql", query, "--format", "json"],
        env=demo.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return json.loads(done.stdout)


def test_a_second_platform_on_the_same_folder_is_refused_in_plain_words(demo: Platform):
    environment = dict(os.environ) | {
        "TAPEWATCH_DATA_DIR": str(demo.folder / "data"),
        "TAPEWATCH_SITE_DIR": str(demo.folder / "site"),
    }
    second = subprocess.run(
        [sys.executable, "-m", "flows.cli", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "is running already" in second.stderr
    assert "tapewatch down" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_killed_worker_comes_back_and_no_run_stays_running(demo: Platform):
    api = demo.api
    worker = demo.state["children"]["worker"]
    demo.kill_child("worker")
    demo.wait_for("worker ended with -9; starting it again", 10)
    time.sleep(1)
    stale = api._filter("tapewatch", ("RUNNING",))
    assert stale == []
    assert demo.state["children"]["worker"] != worker


@pytest.mark.capability("OPS-05")
def test_down_ends_every_process_within_ten_seconds_by_sigterm(demo: Platform):
    began = time.monotonic()
    down = subprocess.run(
        [sys.executable, "-m", "flows.cli", "down"],
        env=demo.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert down.stdout == f"stopped (process {demo.process.pid})\n", down.stderr
    assert demo.process.wait(15) == 0
    assert time.monotonic() - began < 14
    assert demo.alive() == []
