"""What the collector does: it runs, is heard, drops nothing, and knows its trades."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flows.cli.finding import Finding, fail, ok, warn
from flows.collection import status_of, streams_folder
from flows.context import Context
from pipelines import continuity


def stream_findings(context: Context, running: dict[str, Any]) -> Iterator[Finding]:
    """One line a stream, and one for a collector that is not there; none where nothing streams."""
    followed = [stream.name for stream, _ in context.streams()]
    if not followed:
        return
    found = status_of(context.settings.data_dir)
    if found["state"] == "stopped":
        yield warn("collector", str(found["reason"]), "`tapewatch start` collects again")
    elif found["state"] == "silent":
        yield fail("collector", f"process {found['pid']} says nothing since {found['seen_at']}",
                   f"`kill {found['pid']}`: the platform starts it again")  # fmt: skip
    elif found["state"] == "absent" and running["running"]:
        yield fail(
            "collector", "it does not run beside the platform", "see logs/collector.log in the data folder"
        )
    elif found["state"] == "absent":
        yield ok("collector", f"not running; it would follow {', '.join(followed)}")
    for name, source in found["sources"].items() if found["state"] == "running" else ():
        yield _stream(name, source)
    for name in followed:
        noted = continuity.load(streams_folder(context.settings.data_dir) / f"{name}.ids.json")
        if noted and noted.awaited:
            missing = sum(hole.missing for hole in noted.awaited)
            yield warn("trades", f"{name}: {missing:,} trades are missing in {len(noted.awaited)} holes",
                       "the next minutes fetch them by id")  # fmt: skip


def _stream(name: str, source: dict[str, Any]) -> Finding:
    lost = [line for line in source["connections"] if line["state"] != "connected"]
    if source["problem"]:
        return fail(
            "collector", f"{name}: {source['problem']}", "free space, or check the folder's owner and rights"
        )
    if lost:
        return warn("collector", f"{name}: {lost[0]['state']}: {lost[0]['reason']}",
                    "it tries again by itself; check the network and stream_url if it goes on")  # fmt: skip
    if source["dropped"]:
        return warn("collector", f"{name}: {source['dropped']:,} frames dropped: the disk was too slow",
                    "a faster disk, or a larger queue_mb; missing trades are fetched by id")  # fmt: skip
    return ok(
        "collector",
        f"{name}: {source['frames']:,} frames, landed within {source['receive_to_landed_ms']['p99']} ms (p99)",
    )
