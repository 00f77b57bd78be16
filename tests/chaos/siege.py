"""The siege: a real platform (supervisor, Prefect server, worker) of which something is killed in every minute."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.chaos.processes import PATIENCE_S, ReplicaProcess
from tests.platforms import Platform

RUN_S = 3.0
"""About how long a run of the minute takes from its first line; kills fall into it."""
UNREACHABLE = "no answer"


class Siege:
    """A platform on the game's folder and configuration; kills in turn so that every kind of process is hit."""

    def __init__(self, folder: Path, config: Path, replica: ReplicaProcess, dice: random.Random) -> None:
        self.folder, self.config, self.replica, self.dice = folder, config, replica, dice
        self.kills: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.kinds: dict[str, Callable[[], None]] = {
            "worker": lambda: self.platform.kill_child("worker"),
            "flow run": self._kill_run,
            "collector under the platform": lambda: self.platform.kill_child("collector"),
            "server": lambda: self.platform.kill_child("server"),
            "replica under the platform": self.replica.kill,
            "supervisor": self._kill_supervisor,
        }
        self._start()

    def minute(self, number: int) -> None:
        """One triggered run, and a kill somewhere in its life; what was killed is back when this returns."""
        kind = list(self.kinds)[number % len(self.kinds)]
        self.run = self.platform.trigger("minute")
        self._until_running()
        time.sleep(self.dice.random() * RUN_S)
        self.kinds[kind]()
        self.kills[kind] += 1
        if kind.startswith("replica"):
            self.replica.start()
        if kind == "supervisor":
            self._start()
        self.outcomes[f"{kind}: {self._outcome().lower()}"] += 1

    def end(self) -> list[str]:
        """A last run in peace; then everything is stopped. What did not come back, in words."""
        self.replica.heal()
        if (state := self.platform.minute(PATIENCE_S)) != "COMPLETED":
            self.wrong.append(f"the run after the siege is {state}")
        self.wrong += [f"run {run['name']} stays {run['state_type']}" for run in self._stuck()]
        if code := self.platform.stop():
            self.wrong.append(f"the platform stopped with {code}")
        self.wrong += [f"left behind: {command}" for command in self._left_behind()]
        return self.wrong

    def stop(self) -> None:
        self.platform.kill()

    def _start(self) -> None:
        self.platform = Platform(self.folder, config=self.config)
        self.platform.wait_for("Tapewatch is running", PATIENCE_S)

    def _until_running(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while self._state() in ("SCHEDULED", "PENDING", UNREACHABLE) and time.monotonic() < deadline:
            time.sleep(0.1)

    def _state(self) -> str:
        try:
            return str(self.platform.api._call("GET", f"/flow_runs/{self.run}")["state_type"])
        except OSError:
            return UNREACHABLE

    def _outcome(self) -> str:
        """Its final state; one that has none within a minute's patience would hold the slot of those after it."""
        try:
            return self.platform.outcome(self.run, PATIENCE_S)
        except AssertionError as error:
            self.wrong.append(str(error).splitlines()[0])
            return "STUCK"

    def _kill_run(self) -> None:
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    environ = (entry / "environ").read_bytes()
                    command = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
                if self.run.encode() in environ and b"flows.engine" in command:
                    os.kill(int(entry.name), signal.SIGKILL)
                    return

    def _kill_supervisor(self) -> None:
        self.platform.kill()
        self.wrong += [f"outlived the supervisor: {command}" for command in self._left_behind()]

    def _left_behind(self) -> list[str]:
        """Processes of the platform that are alive; the game's own replica and runner are not its."""
        ours = ("pipelines.replica", "tests.chaos")
        deadline = time.monotonic() + 10
        while True:
            found = [c for c in self.platform.alive() if not any(name in c for name in ours)]
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _stuck(self) -> list[dict[str, str]]:
        """Runs still said to be alive although nothing was asked for; a scheduled one may end meanwhile."""
        deadline = time.monotonic() + 60
        while True:
            found = self.platform.api._filter("tapewatch", ("RUNNING", "CANCELLING"))
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.5)
