"""The whole platform on one machine: replica (demo), Prefect server, worker and file server, started and stopped together.

The supervisor is small and imports nothing heavy. It restarts what dies, and whatever happens to it, the kernel
ends its children; what they had acknowledged is on disk.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from flows.demo_config import DEMO_FILE, demo_environment, demo_toml, write_demo_toml, write_overrides
from flows.prefect_api import PrefectApi
from flows.processes import Child, free_port
from flows.run_lock import RunLock
from flows.site_server import open_server
from flows.standing import STANDING, place_in
from pipelines.settings import STARTED_IN, Settings, load
from warehouse.errors import TapewatchError

POOL = "tapewatch"
SERVER_PATIENCE = 120.0
FAST_DEATH = 10.0
"""A child that lives shorter than this many seconds three times in a row has a cause that restarting won't mend."""
TELL_S = 15.0
"""Seconds between two looks for runs that ended badly."""
REPLICA_PORT = 8900
FIRST_CHECK = timedelta(seconds=90)
"""When the first quality checks run after the start, from its minute on: their schedule may be a quarter hour away."""


@dataclass(frozen=True)
class Wanted:
    """How the platform is started: demo or live, after how many scheduled minutes it ends by itself, and how
    much history the demo loads first (such as `8d`; None: its usual reach).
    """

    demo: bool = False
    minutes: int | None = None
    config: Path | None = None
    history: str | None = None


class Platform:
    """The running platform; `run` returns the exit code."""

    def __init__(self, wanted: Wanted, settings: Settings) -> None:
        self.wanted = wanted
        self.settings = settings
        self.data = settings.data_dir
        self.stopping = False
        self.children: dict[str, Child] = {}
        self.noted: dict[str, object] = {}
        self.told: set[str] = set()
        self.host = settings.prefect.host
        self.config = wanted.config or settings.path

    def run(self) -> int:
        """Starts everything, watches it, and stops it again."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop_soon)
        _refuse_mixed_data(self.data, self.wanted.demo)
        with RunLock(self.data / "run" / "tapewatch.lock"):
            started = datetime.now(UTC)
            try:
                return self._run(started)
            finally:
                self._stop_all()

    def _run(self, started: datetime) -> int:
        prefect_port = self._port("Prefect", self.host, self.settings.prefect.port)
        site_port = self._port("site", self.settings.site.host, self.settings.site.port)
        if self.wanted.demo:
            self._start_replica(prefect_port, site_port)
        environment = self._environment(prefect_port, site_port)
        self.api = PrefectApi(self.settings.prefect.api_url or environment["PREFECT_API_URL"])
        if not self.settings.prefect.api_url:
            self._start("server", [*_python("prefect"), "server", "start", "--host", self.host,
                                   "--port", str(prefect_port)], environment)  # fmt: skip
            is_new = not (Path(environment["PREFECT_HOME"]) / "prefect.db").exists()
            _say("Prefect server starting" + " (its database is made first)" * is_new)
        first = self._start("first", _python("flows.first"), environment, console=True)
        self.settings.site_dir.mkdir(parents=True, exist_ok=True)
        with open_server(self.settings.site_dir, self.settings.site.host, site_port) as files:
            threading.Thread(target=files.serve_forever, daemon=True).start()
            ready = self._until("Prefect server", self.api.is_healthy, SERVER_PATIENCE, first)
            deploy = self._start("deploy", _python("flows.deploy"), environment) if ready else None
            while first.is_running and not self.stopping:
                time.sleep(0.1)
            if self.stopping or deploy is None:
                return 0 if self.stopping else 1
            if first.exit_code:
                _say("history or the first site is incomplete; the minutes will catch up")
            self.children.pop("first")
            self._wait_for_minute(deploy)
            self.api.reap(POOL)
            self._start("worker", [*_python("prefect"), "worker", "start", "--pool", POOL, "--name", "tapewatch",
                                   "--type", "process"], environment)  # fmt: skip
            if any(source.stream for source in self.settings.sources):
                self._start("collector", _python("flows.collect"), environment)
            self._announce(prefect_port, site_port)
            self.noted = self._note(prefect_port, site_port, started)
            self._write_state()
            return self._watch(datetime.now(UTC))

    def _watch(self, since: datetime) -> int:
        """Keeps the children alive until told to stop or the wanted minutes are over."""
        checked = told = 0.0
        while not self.stopping:
            time.sleep(0.25)
            for child in list(self.children.values()):
                if not child.is_running:
                    self._revive(child)
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self._tell_failures(since)
            if self.wanted.minutes and time.monotonic() - checked > 2:
                checked = time.monotonic()
                code = self._finished(since, self.wanted.minutes)
                if code is not None:
                    return code
        return 0

    def _finished(self, since: datetime, minutes: int) -> int | None:
        """0 or 1 when so many scheduled minutes have ended and the site was rebuilt by each, else None."""
        try:
            runs = self.api.scheduled_runs("minute", since.isoformat())
        except OSError:
            return None
        ended = [r for r in runs if r["state_type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")]
        if len(ended) < minutes:
            return None
        built = self._rebuilt_by()
        for run in ended[:minutes]:
            fine = run["state_type"] == "COMPLETED" and run["id"] in built
            page = "site rebuilt" if run["id"] in built else "site NOT rebuilt"
            _say(f"{run['expected_start_time'][:16]} minute: {run['state_name']}, {page}")
            if not fine:
                return 1
        return 0

    def _tell_failures(self, since: datetime) -> None:
        """Each run that ended badly, once."""
        try:
            found = self.api.ended_badly(since.isoformat())
        except OSError:
            return
        for run in reversed(found):
            if run["id"] not in self.told:
                self.told.add(run["id"])
                said = ((run.get("state") or {}).get("message") or "").partition("\n")[0][:300]
                _say(
                    f"{run['name']}: {run['state_name']}{f': {said}' if said else ''}; `tapewatch doctor` tells more"
                )

    def _rebuilt_by(self) -> set[str]:
        """Ids of the runs whose render reached the site: each leaves its id in the site's log of builds."""
        path = self.data / "run" / "builds.log"
        return set(path.read_text().split()) if path.exists() else set()

    def _revive(self, child: Child) -> None:
        if child.name == "deploy":
            if child.exit_code:
                _say(f"deploy failed:\n{child.last_words()}")
            self.children.pop(child.name)
            self._check_soon()
            return
        young = time.monotonic() - child.started_at < FAST_DEATH
        _say(f"{child.name} ended with {child.exit_code}; starting it again")
        if young:
            if child.restarts >= 3:
                raise TapewatchError(f"{child.name} dies at once:\n{child.last_words()}\nmore in {child.log}")
            time.sleep(1 + child.restarts)
        if child.name == "worker":
            try:
                self.api.reap(POOL)
            except OSError as error:
                _say(f"Prefect does not answer yet ({error}); stale runs are reaped by maintenance")
        child.start()
        self._write_state()

    def _check_soon(self) -> None:
        """The first quality checks in the middle of a minute to come, where they keep no micro-batch waiting."""
        for pause in (2, 4, None):  # a busy server says 503 and means: in a moment
            try:
                self.api.schedule("quality", datetime.now(UTC).replace(second=0, microsecond=0) + FIRST_CHECK)
                return
            except OSError as error:
                if pause is None:
                    _say(
                        f"the first quality checks wait for their schedule: Prefect does not answer ({error})"
                    )
                else:
                    time.sleep(pause)

    def _start_replica(self, prefect_port: int, site_port: int) -> None:
        port = self._port("replica", "127.0.0.1", REPLICA_PORT)
        self._start("replica", [*_python("pipelines.replica"), "--port", str(port)], dict(os.environ))
        self.data.mkdir(parents=True, exist_ok=True)
        self.config = self.data / DEMO_FILE
        address = f"http://127.0.0.1:{port}"
        text = demo_toml(self.settings, address, prefect_port, site_port, self.wanted.history)
        if not write_demo_toml(self.config, text):
            _say(
                f"{self.config} is yours; only folders, ports and the replica's address (base_url) are this start's own"
            )
        write_overrides(self.settings, self.config, address, prefect_port, site_port, self.wanted.history)
        self.settings = load(self.config, demo_environment(os.environ, self.data))
        _say(f"exchange replica on {address} (simulated market)")

    def _environment(self, prefect_port: int, site_port: int) -> dict[str, str]:
        own = demo_environment(os.environ, self.data) if self.wanted.demo else dict(os.environ)
        own.pop("PYTHONDONTWRITEBYTECODE", None)
        own |= prefect_environment(self.data, self.host, prefect_port)
        own[STANDING] = str(place_in(self.data))
        own[STARTED_IN] = str(Path.cwd())
        if self.settings.prefect.api_url:
            own["PREFECT_API_URL"] = self.settings.prefect.api_url
        if self.config:
            own["TAPEWATCH_CONFIG"] = str(self.config)
        if not self.wanted.demo:
            own |= {"TAPEWATCH_PREFECT__PORT": str(prefect_port), "TAPEWATCH_SITE__PORT": str(site_port)}
        return own

    def _start(
        self, name: str, command: list[str], environment: Mapping[str, str], console: bool = False
    ) -> Child:
        child = Child(name, command, environment, self.data / "logs" / f"{name}.log", console=console)
        self.children[name] = child
        child.start()
        return child

    def _until(self, what: str, condition: object, patience: float, beside: Child) -> bool:
        """Waits for the condition while `beside` may still run; False when stopped, TapewatchError when too late."""
        deadline = time.monotonic() + patience
        while not self.stopping:
            if condition():  # type: ignore[operator]
                return True
            server = self.children.get("server")
            if server is not None and not server.is_running:
                raise TapewatchError(
                    f"{what} ended at its start:\n{server.last_words()}\nmore in {server.log}"
                )
            if time.monotonic() > deadline:
                raise TapewatchError(
                    f"{what} did not answer within {patience:.0f} s; see {self.data / 'logs'}"
                )
            time.sleep(0.2)
        return False

    def _wait_for_minute(self, deploy: Child) -> None:
        while not self.stopping and deploy.is_running and "minute/minute" not in deploy.last_words(50):
            time.sleep(0.1)
        if deploy.exit_code:
            raise TapewatchError(f"the deployments could not be registered:\n{deploy.last_words()}")

    def _port(self, what: str, host: str, wanted: int) -> int:
        port = free_port(host, wanted)
        if port != wanted:
            _say(f"port {wanted} is taken: the {what} uses {port}")
        return port

    def _announce(self, prefect_port: int, site_port: int) -> None:
        kind = "SIMULATED DATA" if self.wanted.demo else "live"
        _say(f"Tapewatch is running ({kind}). Ctrl-C stops it.")
        _say(f"  site        http://{self.settings.site.host}:{site_port}/")
        _say(f"  Prefect UI  http://{self.host}:{prefect_port}/")
        _say("  SQL         tapewatch sql")

    def _note(self, prefect_port: int, site_port: int, started: datetime) -> dict[str, object]:
        """What `status`, `down` and `doctor` want to know, beside the children's process ids."""
        return {
            "pid": os.getpid(),
            "demo": self.wanted.demo,
            "started_at": started.isoformat(timespec="seconds"),
            "prefect": f"http://{self.host}:{prefect_port}",
            "site": f"http://{self.settings.site.host}:{site_port}/",
        }

    def _write_state(self) -> None:
        children = {name: child.pid for name, child in self.children.items()}
        path = self.data / "run" / "state.json"
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps({**self.noted, "children": children}, indent=1))
        draft.replace(path)

    def _stop_soon(self, number: int, _frame: object) -> None:
        if not self.stopping:
            _say(f"stopping ({signal.Signals(number).name})")
        self.stopping = True

    def _stop_all(self) -> None:
        """Worker first, so that a run in its commit may end; everything is gone within ten seconds."""
        if "collector" in self.children:
            self.children["collector"].ask_to_stop()
        for name, patience in (
            ("first", 2.0),
            ("deploy", 1.0),
            ("worker", 4.0),
            ("collector", 1.0),
            ("server", 2.0),
            ("replica", 1.0),
        ):
            if name in self.children:
                self.children.pop(name).stop(patience)
        (self.data / "run" / "state.json").unlink(missing_ok=True)


def prefect_environment(data: Path, host: str, port: int) -> dict[str, str]:
    """Prefect's settings: own home, quick polling, a database that stays small, nothing sent out."""
    return {
        "PREFECT_HOME": str(data / "prefect"),
        "PREFECT_API_URL": f"http://{host}:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P1D",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(7 * 86400),
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_CLI_PROMPT": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "PYTHONUNBUFFERED": "1",
    }


def start(wanted: Wanted) -> int:
    """Runs the platform in the foreground until it is stopped; returns the exit code."""
    return Platform(wanted, load(wanted.config)).run()


def _refuse_mixed_data(data: Path, demo: bool) -> None:
    marker = data / DEMO_FILE
    if demo and not marker.exists() and (data / "warehouse" / "catalog.sqlite").exists():
        raise TapewatchError(
            f"{data} holds real data, and the demo's is simulated; run it elsewhere: "
            "TAPEWATCH_DATA_DIR=demo-data TAPEWATCH_SITE_DIR=demo-site tapewatch demo"
        )
    if not demo and marker.exists():
        raise TapewatchError(
            f"{data} holds the demo's simulated data; run `make clean`, or choose another folder with data_dir"
        )


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _say(text: str) -> None:
    print(text, flush=True)
