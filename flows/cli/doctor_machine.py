"""The machine and what runs on it: ports, disk, clocks, Prefect's server and worker."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from flows.cli.finding import Finding, fail, ok, warn
from flows.context import Context
from flows.prefect_api import PrefectApi
from flows.processes import free_port
from flows.times import ago
from pipelines.ingest import Feed
from pipelines.sources.base import SourceError
from warehouse.errors import TapewatchError

GIB = 1 << 30
LITTLE, TOO_LITTLE = 5 * GIB, GIB // 2
SKEW_WARN_S, SKEW_FAIL_S = 2.0, 30.0
"""The minute is fetched one second after its end: a clock two seconds fast asks before it is over."""
WORKER_SILENT_S = PAGES_OLD_S = 180.0

Platform = dict[str, Any]


def machine_findings(context: Context, running: Platform) -> Iterator[Finding]:
    """Ports, disk, clocks, server, worker, pages, in this order."""
    yield from _ports(context, running)
    yield _disk(context)
    yield from _clocks(context)
    yield from _prefect(context, running)
    if running["running"] and running["site"]:
        yield _pages(context)


def _ports(context: Context, running: Platform) -> Iterator[Finding]:
    settings = context.settings
    if running["running"]:
        yield ok(
            "ports", f"site {running['site'] or 'not up yet'}, Prefect {running['prefect'] or 'not up yet'}"
        )
        return
    wanted = [("site", settings.site.host, settings.site.port)]
    if not settings.prefect.api_url:
        wanted.append(("prefect", settings.prefect.host, settings.prefect.port))
    for name, host, port in wanted:
        try:
            free = free_port(host, port)
        except (OSError, socket.gaierror) as error:
            yield fail(
                "ports", f"{name}: cannot listen on {host}: {error}", f"set [{name}] host to 127.0.0.1"
            )
            continue
        if free == port:
            yield ok("ports", f"{name}: {host}:{port} is free")
        else:
            yield warn("ports", f"{name}: {host}:{port} is taken by another program; {free} would be used",
                       f"stop that program, or set [{name}] port")  # fmt: skip


def _disk(context: Context) -> Finding:
    folder = context.settings.data_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    told = f"{free / GIB:.1f} GiB free at {context.settings.data_dir}"
    mend = "make room, or move data_dir; [retention] says how long things are kept"
    return (
        fail("disk", told, mend)
        if free < TOO_LITTLE
        else warn("disk", told, mend)
        if free < LITTLE
        else ok("disk", told)
    )


def _clocks(context: Context) -> Iterator[Finding]:
    """Each source's own clock against this machine's, all asked at once."""
    try:
        feeds = context.feeds()
    except TapewatchError as error:
        yield fail("sources", str(error), "install the plug-in, or remove the [[source]]")
        return
    with ThreadPoolExecutor(max_workers=max(len(feeds), 1)) as pool:
        yield from pool.map(lambda feed: _clock(feed, context.is_simulated), feeds)


def _clock(feed: Feed, simulated: bool) -> Finding:
    name = feed.source.name
    before = datetime.now(UTC)
    try:
        theirs = feed.source.server_time()
    except SourceError as error:
        return warn(
            "clock", f"{name}: no answer: {error}", "check the network, a proxy, or the source's base_url"
        )
    after = datetime.now(UTC)
    # A clock that tells whole seconds (a Date header) is half a second behind on average.
    slack = (after - before).total_seconds() / 2 + (0.5 if theirs.microsecond == 0 else 0.0)
    skew = ((before + (after - before) / 2) - theirs).total_seconds() - (
        0.5 if theirs.microsecond == 0 else 0.0
    )
    if simulated and abs(skew) > SKEW_FAIL_S:
        return ok("clock", f"{name}: the replica's market is {-skew / 3600:+.1f} h away; its clock counts")
    told = f"{name}: this machine is {abs(skew):.1f} s {'ahead' if skew > 0 else 'behind'} (+- {slack:.1f} s)"
    mend = "set the clock: `timedatectl set-ntp true`, or start chrony"
    if abs(skew) - slack > SKEW_FAIL_S:
        return fail("clock", told, mend)
    return warn("clock", told, mend) if abs(skew) - slack > SKEW_WARN_S else ok("clock", told)


def _prefect(context: Context, running: Platform) -> Iterator[Finding]:
    start = "start the platform: `tapewatch up` (or `tapewatch demo`)"
    url = running["prefect"]
    if not running["running"] and not context.settings.prefect.api_url:
        yield warn("server", "no platform runs on this data folder", start)
        return
    if not url:
        yield warn("server", "the platform is still starting", "ask again in half a minute")
        return
    api = PrefectApi(f"{url.rstrip('/')}/api")
    if not api.is_healthy():
        log = context.settings.data_dir / "logs" / "server.log"
        yield fail(
            "server",
            f"Prefect does not answer at {urlsplit(url).netloc}",
            f"see {log}; then `tapewatch down` and up",
        )
        return
    yield ok("server", f"Prefect answers at {url}")
    yield _worker(api, context)


def _worker(api: PrefectApi, context: Context) -> Finding:
    """A worker shows by its runs: the minute makes one each minute."""
    log = context.settings.data_dir / "logs" / "worker.log"
    try:
        runs = api.newest_runs(1)
    except OSError as error:
        return fail("worker", f"Prefect does not tell its runs: {error}", f"see {log}")
    if not runs or not runs[0].get("start_time"):
        return warn("worker", "no run has begun yet", f"wait for the next minute; then see {log}")
    began = datetime.fromisoformat(runs[0]["start_time"].replace("Z", "+00:00"))
    silent = (datetime.now(UTC) - began).total_seconds()
    told = f"last run {runs[0].get('name', '')} began {silent:.0f} s ago: {runs[0].get('state_name', '')}"
    if silent > WORKER_SILENT_S:
        return fail("worker", told, f"see {log}; then `tapewatch down` and up")
    is_bad = runs[0].get("state_type") in ("FAILED", "CRASHED")
    return warn("worker", told, "its log is in the Prefect UI") if is_bad else ok("worker", told)


def _pages(context: Context) -> Finding:
    """When a minute last brought the site up to date."""
    log = context.settings.data_dir / "run" / "builds.log"
    if not log.exists():
        return warn("pages", "no minute has rendered them yet", "wait for the next minute")
    age = time.time() - log.stat().st_mtime
    told = f"{context.settings.site_dir}: rendered {ago(age)} ago"
    if age < PAGES_OLD_S:
        return ok("pages", told)
    return warn("pages", told, "see the lines on runs and worker; `tapewatch report` renders them at once")
