"""`minute_cpu`: CPU seconds of a whole run of the minute as a process: imports, Prefect, work, site.

Each run is one of the deployment, started with the command the worker starts it with, and has a new minute to load.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from flows.context import assemble, writing
from flows.demo_config import CRYPTO, EQUITIES
from flows.history import backfill
from flows.processes import die_with_parent, free_port
from flows.up import prefect_environment
from pipelines.market import floor_minute
from pipelines.replica.server import Replica
from pipelines.settings import load
from tests.bench.framework import Measured, Size, measured

LIMIT_S = 5.0
BEHIND = timedelta(minutes=10)
SERVER_S = 120.0


def run_minute_cpu(size: Size) -> Measured:
    """The demo's universe on the replica, runs a minute apart against a Prefect server; the cheapest counts."""
    # The first of all compiles what it imports.
    runs = 2 if size.quick else 4
    folder = size.folder / "process"
    folder.mkdir()
    # Some minutes behind, so that no run waits for its minute to end.
    with Replica(now=datetime.now(UTC) - BEHIND) as replica:
        config = _config(folder, replica.url)
        context = assemble(load(config, {}))
        with _server(folder) as environment:
            with writing(context) as con:
                backfill(con, context, "bench", datetime.now(UTC) - BEHIND - timedelta(hours=6), None)
            _wait(environment["PREFECT_API_URL"] + "/health", folder)
            environment["TAPEWATCH_CONFIG"] = str(config)
            subprocess.run(
                [sys.executable, "-m", "flows.deploy", "minute"],
                env=environment,
                check=True,
                capture_output=True,
            )
            spent = []
            for _ in range(runs):
                replica.clock.advance(60)
                at = floor_minute(datetime.fromtimestamp(replica.clock.now(), UTC))
                spent.append(_cpu_of_run(environment, folder, _flow_run(environment["PREFECT_API_URL"], at)))
        with writing(context) as con:
            loaded = [
                rows
                for (rows,) in con.execute("SELECT rows_loaded FROM runs WHERE flow = 'minute'").fetchall()
            ]
    if len(loaded) != runs or not all(loaded):
        raise RuntimeError(f"not every run had a minute to load: {loaded}")
    return measured(
        "minute_cpu", f"One run of the flow `minute` with {len(CRYPTO) + len(EQUITIES)} symbols, as a process", min(spent), "s",
        limit=LIMIT_S, note=f"User and system time of {runs} runs: {', '.join(f'{s:.2f}' for s in spent)} s; aim 3.",
    )  # fmt: skip


def _flow_run(api: str, at: datetime) -> str:
    """A run of the deployment for the minute `at`, as the worker is about to start it; its id."""
    with httpx.Client(base_url=api) as client:
        deployment = client.get("/deployments/name/minute/minute").raise_for_status().json()["id"]
        body = {"parameters": {"at": at.isoformat()}, "state": {"type": "PENDING"}}
        # SQLite may be locked while the server plans its schedules.
        for _ in range(20):
            made = client.post(f"/deployments/{deployment}/create_flow_run", json=body)
            if made.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(0.5)
        return str(made.raise_for_status().json()["id"])


def _cpu_of_run(environment: dict[str, str], folder: Path, flow_run: str) -> float:
    with (folder / "run.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.engine", "minute"],
            env=environment | {"PREFECT__FLOW_RUN_ID": flow_run}, stdout=log, stderr=log,
        )  # fmt: skip
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the run failed:\n{(folder / 'run.log').read_text()[-2000:]}")
    return usage.ru_utime + usage.ru_stime


@contextmanager
def _server(folder: Path) -> Iterator[dict[str, str]]:
    """A Prefect server of its own on loopback, on its way up; the environment that leads to it."""
    port = free_port("127.0.0.1", 4610)
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("TAPEWATCH_", "PREFECT_"))
    }
    own.pop("PYTHONDONTWRITEBYTECODE", None)
    own |= prefect_environment(folder, "127.0.0.1", port)
    parent = os.getpid()
    with (folder / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=own, stdout=log, stderr=log, preexec_fn=lambda: die_with_parent(parent),
        )  # fmt: skip
    try:
        yield own
    finally:
        server.kill()
        server.wait()


def _wait(url: str, folder: Path) -> None:
    deadline = time.monotonic() + SERVER_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the Prefect server did not start: {(folder / 'server.log').read_text()[-1000:]}")


def _config(folder: Path, url: str) -> Path:
    path = folder / "tapewatch.toml"
    path.write_text(
        f"""data_dir = {json.dumps(str(folder / "data"))}
site_dir = {json.dumps(str(folder / "site"))}
[[source]]
name = "binance"
symbols = {json.dumps(CRYPTO)}
base_url = {json.dumps(url)}
[[source]]
name = "yahoo"
symbols = {json.dumps(EQUITIES)}
calendar = "XNYS"
base_url = {json.dumps(url)}
"""
    )
    return path
