"""The processes under fire: the replica and the runner, started, spoken to, killed."""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from flows.collect import NOTE_S
from flows.collection import status_of
from flows.processes import die_with_parent

PATIENCE_S = 120.0


class ReplicaProcess:
    """The exchanges, with a clock that only we move; killed and restarted they know the time and the corrections."""

    def __init__(self, folder: Path, now: str, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.now = now
        self.port = _free_port()
        self.script = folder / "revisions.json"
        self.script.write_text("[]")
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = ["pipelines.replica", "--port", str(self.port), "--now", self.now, "--speed", "0",
                   "--seed", str(self.seed), "--faults", str(self.script)]  # fmt: skip
        self.process = _python(command, self.folder / "replica.log")
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                self.ask("clock")
            except httpx.HTTPError:
                time.sleep(0.05)
            else:
                return
        raise RuntimeError(f"the replica did not start; see {self.folder / 'replica.log'}")

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def ask(self, what: str, **params: Any) -> Any:
        return self._call("GET", what, params=params)

    def tell(self, what: str, body: Any) -> Any:
        return self._call("POST", what, json=body)

    def heal(self) -> None:
        self._call("DELETE", "faults")

    def advance(self, seconds: float) -> None:
        self.now = self.tell("clock", {"advance": seconds})["iso"]

    def _call(self, method: str, what: str, **more: Any) -> Any:
        # Without certificates: reading them takes ten times as long as asking.
        reply = httpx.request(method, f"{self.url}/control/{what}", timeout=30, verify=False, **more)
        return reply.raise_for_status().json()


class CollectorProcess:
    """The collector, which must lose no trade that the venue still has, however it dies."""

    def __init__(self, config: Path, data: Path, log: Path) -> None:
        self.data, self.log = data, log
        self.environment = {**os.environ, "TAPEWATCH_CONFIG": str(config)}
        self.start()

    def start(self) -> None:
        self.process = _python(["flows.collect"], self.log, self.environment)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """As `tapewatch stop` does: what it has heard is sealed when this returns."""
        self.process.terminate()
        self.process.wait(PATIENCE_S)

    def frames(self) -> int | None:
        """How many it has landed since it was started; None while it has not said anything."""
        said = status_of(self.data)
        if said["pid"] != self.process.pid:
            return None
        return sum(one["frames"] for one in said["sources"].values())

    def wait_until_connected(self) -> None:
        self._wait(lambda: self.frames() is not None and self._is_connected())

    def wait_until_heard(self, more_than: int) -> None:
        """Until more frames than that have come and nothing new for two of its notes."""
        before: list[int | None] = [None]

        def is_calm() -> bool:
            time.sleep(2 * NOTE_S)
            before.append(self.frames())
            return (before[-1] or 0) > more_than and before[-1] == before[-2]

        self._wait(is_calm)

    def _wait(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the collector hears nothing; see {self.log}")
            time.sleep(0.1)

    def _is_connected(self) -> bool:
        lines = [line for one in status_of(self.data)["sources"].values() for line in one["connections"]]
        return bool(lines) and all(line["state"] == "connected" for line in lines)


class Runner:
    """Runs of the minute, one at a time."""

    def __init__(self, config: Path, log: Path) -> None:
        environment = {
            **os.environ, "TAPEWATCH_CONFIG": str(config), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        self.process = _python(["tests.chaos.runner"], log, environment, talk=True)
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.acknowledged: dict[str, int] = {}
        self.state = ""
        self.run_s = 1.0
        """How long a run that nobody kills takes, as far as seen."""

    def run(self, kill_after: float | None = None, what: str = "run") -> int:
        """One run, of the minute or of `heal`; its exit code, negative if it was killed. kill_after: s from its start."""
        assert self.process.stdin
        self.process.stdin.write(f"{what}\n".encode())
        self.process.stdin.flush()
        started, code, timer = time.monotonic(), 0, None
        for line in self._until_end():
            word, _, rest = line.partition(" ")
            if word == "started" and kill_after is not None:
                timer = threading.Timer(kill_after, _kill, [int(rest)])
                timer.start()
            elif word == "ack":
                batch, rows = rest.split()
                self.acknowledged[batch] = max(int(rows), self.acknowledged.get(batch, 0))
            elif word == "done":
                self.state = rest
            elif word == "ended":
                code = int(rest)
        if timer:
            timer.cancel()
        if code == 0 and what == "run":
            self.run_s += 0.3 * (time.monotonic() - started - self.run_s)
        return code

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _until_end(self) -> Iterator[str]:
        while True:
            line = self.lines.get(timeout=PATIENCE_S)
            if line == "":
                raise RuntimeError("the runner has gone")
            yield line
            if line.startswith("ended"):
                return

    def _listen(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line.decode().strip())
        self.lines.put("")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _python(
    command: list[str], log: Path, environment: dict[str, str] | None = None, talk: bool = False
) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", *command], env=environment, stderr=out,
            stdin=subprocess.PIPE if talk else subprocess.DEVNULL, stdout=subprocess.PIPE if talk else out,
            preexec_fn=lambda: die_with_parent(parent),
        )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
