"""A whole platform as a process: supervisor, Prefect server, worker, site; started, spoken to, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from flows.prefect_api import PrefectApi
from flows.processes import die_with_parent, free_port

START = """
import sys
from pathlib import Path
from flows.up import Wanted, start
sys.exit(start(Wanted(demo={demo}, minutes={minutes}, history={history!r}, config={config})))
"""
FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Platform:
    """A platform in a folder of its own: the demo, or live with a configuration; `text` is what it printed so far."""

    def __init__(
        self, folder: Path, minutes: int | None = None, config: Path | None = None, history: str | None = "2h"
    ) -> None:
        self.folder = folder
        self.log = folder / "out.txt"
        self.began = self.log.stat().st_size if self.log.exists() else 0
        self.environment = dict(os.environ) | {
            "TAPEWATCH_DATA_DIR": str(folder / "data"),
            "TAPEWATCH_SITE_DIR": str(folder / "site"),
            "TAPEWATCH_PREFECT__PORT": str(free_port("127.0.0.1", 0)),
            "TAPEWATCH_SITE__PORT": str(free_port("127.0.0.1", 0)),
        }
        where = f"Path({str(config)!r})" if config else None
        code = START.format(demo=config is None, minutes=minutes, history=history, config=where)
        parent = os.getpid()
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], env=self.environment, stdout=out, stderr=out,
                preexec_fn=lambda: die_with_parent(parent),
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.log.read_bytes()[self.began :].decode()

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "data" / "run" / "state.json").read_text())
        return found

    @property
    def api(self) -> PrefectApi:
        return PrefectApi(f"{self.state['prefect']}/api")

    def wait_for(self, words: str, seconds: float) -> None:
        """Until it has printed the words; AssertionError with all it printed if it ends or takes longer."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert self.process.poll() is None, f"ended early:\n{self.text}"
            assert time.monotonic() < deadline, f"no {words!r} within {seconds} s:\n{self.text}"
            time.sleep(0.1)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Prefect's answer; asked again for two minutes while the server is away, busy (503) or has no such thing yet."""
        deadline = time.monotonic() + 120
        while True:
            try:
                return self.api._call(method, path, body, timeout=60)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.3)

    def trigger(self, deployment: str, flow: str | None = None, **parameters: Any) -> str:
        """A run as the button in Prefect's UI would make it; its id. Waits for the deployment to be registered."""
        found = self.ask("GET", f"/deployments/name/{flow or deployment}/{deployment}")
        made = self.ask("POST", f"/deployments/{found['id']}/create_flow_run", {"parameters": parameters})
        return str(made["id"])

    def outcome(self, run: str, seconds: float) -> str:
        """The run's final state; AssertionError if it has none in time."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                state = str(self.api._call("GET", f"/flow_runs/{run}")["state_type"])
            except OSError:
                state = "no answer"
            if state in FINAL:
                return state
            assert time.monotonic() < deadline, f"run {run} is {state} after {seconds} s:\n{self.text}"
            time.sleep(0.2)

    def minute(self, seconds: float) -> str:
        """How a triggered run of the minute ends; one that met the schedule's own gave way to it, and is asked for again."""
        for _ in range(3):
            state = self.outcome(self.trigger("minute"), seconds)
            if state != "CANCELLED":
                break
        return state

    def kill_child(self, name: str) -> None:
        """kill -9 of a child and its group; the supervisor has to mend it."""
        os.killpg(int(self.state["children"][name]), signal.SIGKILL)

    def kill(self) -> None:
        """kill -9 of the supervisor."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def alive(self) -> list[str]:
        """Command lines of the processes whose environment or arguments name the folder."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                said = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.folder).encode() in said:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:120])
        return found

    def wait_until_gone(self, seconds: float = 5) -> list[str]:
        """What is still alive of it after that time; nothing, if all is well."""
        deadline = time.monotonic() + seconds
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.alive()
