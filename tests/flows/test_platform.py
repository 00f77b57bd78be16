"""The whole platform, really started: supervisor, replica, Prefect server, worker, site."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.prefect_api import PrefectApi
from flows.processes import free_port

pytestmark = pytest.mark.prefect
START = """
import sys
from flows.up import Wanted, start
sys.exit(start(Wanted(demo=True, minutes={minutes}, history="6h")))
"""


class Running:
    """A demo in a folder of its own; `lines` is what it printed so far."""

    def __init__(self, folder: Path, minutes: int | None = None) -> None:
        self.folder = folder
        self.log = folder / "out.txt"
        environment = dict(os.environ) | {
            "TAPEWATCH_DATA_DIR": str(folder / "data"),
            "TAPEWATCH_SITE_DIR": str(folder / "site"),
            "TAPEWATCH_PREFECT__PORT": str(free_port("127.0.0.1", 14200)),
            "TAPEWATCH_SITE__PORT": str(free_port("127.0.0.1", 18787)),
        }
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", START.format(minutes=minutes)], env=environment, stdout=out, stderr=out
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert self.process.poll() is None, f"ended early:\n{self.text}"
            assert time.monotonic() < deadline, f"no {words!r} within {seconds} s:\n{self.text}"
            time.sleep(0.1)

    @property
    def state(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "data" / "run" / "state.json").read_text())
        return found


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("demo"))
    try:
        running.wait_for("Tapewatch is running", 120)
        yield running
    finally:
        running.process.kill()
        running.process.wait()


def _alive(folder: Path) -> list[str]:
    """Command lines of processes whose environment or arguments name the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            said = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in said:
            found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120])
    return found


@pytest.mark.capability("OPS-05")
def test_the_demo_starts_everything_and_its_first_site_says_simulated(demo: Running):
    assert "Prefect UI" in demo.text
    assert {"replica", "server", "worker"} <= set(demo.state["children"])
    for page in ("index.html", "symbols/binance-BTCUSDT.html", "methods.html"):
        assert "SIMULATED DATA" in (demo.folder / "site" / page).read_text()
    with urllib.request.urlopen(str(demo.state["site"])) as reply:
        assert b"Tapewatch" in reply.read()


def test_every_deployment_of_prefect_yaml_is_registered_with_documented_parameters(demo: Running):
    api = PrefectApi(f"{demo.state['prefect']}/api")
    deadline = time.monotonic() + 90
    wanted = {"minute", "pairs", "quality", "report", "digest", "daily", "maintenance", "backfill", "import"}
    while True:
        found = {item["name"]: item for item in api._call("POST", "/deployments/filter", {})}
        if set(found) >= wanted or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    assert set(found) >= wanted
    for name in ("minute", "backfill", "import", "report"):
        described = found[name]["parameter_openapi_schema"]["properties"].values()
        assert all(parameter.get("description") for parameter in described), name


def test_a_scheduled_minute_completes_loads_its_bars_and_rebuilds_the_site(demo: Running):
    api = PrefectApi(f"{demo.state['prefect']}/api")
    deadline = time.monotonic() + 150
    done = []
    while not done and time.monotonic() < deadline:
        runs = api.scheduled_runs("minute", "2000-01-01T00:00:00Z")
        done = [run for run in runs if run["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]
        time.sleep(0.5)
    assert [run["state_type"] for run in done[:1]] == ["COMPLETED"]
    builds = (demo.folder / "data" / "run" / "builds.log").read_text().split()
    assert done[0]["id"] in builds


def test_a_second_platform_on_the_same_folder_is_refused_in_plain_words(demo: Running):
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


def test_a_killed_worker_comes_back_and_no_run_stays_running(demo: Running):
    api = PrefectApi(f"{demo.state['prefect']}/api")
    worker = int(dict(demo.state["children"])["worker"])
    os.killpg(worker, signal.SIGKILL)
    demo.wait_for("worker ended with -9; starting it again", 10)
    time.sleep(1)
    stale = api._filter("tapewatch", ("RUNNING",))
    assert stale == []


def test_sigterm_ends_every_process_within_ten_seconds(demo: Running):
    began = time.monotonic()
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(15) == 0
    assert time.monotonic() - began < 12
    assert _alive(demo.folder) == []


def test_nothing_survives_a_killed_supervisor_and_the_next_start_needs_no_repair(demo: Running):
    again = Running(demo.folder)
    again.log.write_text("")
    try:
        again.wait_for("Prefect server starting", 30)
        time.sleep(2)
        again.process.kill()
        again.process.wait()
        deadline = time.monotonic() + 5
        while _alive(demo.folder) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert _alive(demo.folder) == []
        third = Running(demo.folder)
        third.wait_for("Tapewatch is running", 90)
        third.process.send_signal(signal.SIGTERM)
        assert third.process.wait(15) == 0
    finally:
        again.process.kill()
