"""The collector: a long-running service that follows every configured stream and lands what it hears.

`python -m flows.collect`, started beside the worker by `tapewatch up` and `demo`, or alone by `tapewatch collect`.
It knows nothing of Prefect or the warehouse: the minute's flow loads what it has sealed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

from flows import logs
from flows.chosen import streams_of
from flows.collection import state_path, streams_folder, wish_of, write
from flows.in_force import settings_in_force
from pipelines.backlog import Pace
from pipelines.segments import SegmentError, owned, seal_leftovers
from pipelines.settings import Settings
from pipelines.sources.feed_socket import Batching
from pipelines.sources.follow import Line, lines
from pipelines.sources.streams import Stream
from pipelines.spool import Spool, SpoolOptions

log = logging.getLogger(__name__)

NOTE_S = 1.0
TURN_S = 5.0
LOOKS = 5
STOP_S = 1.5
"""How long connections have to say goodbye; what they were saying is landed anyway."""


@dataclass
class Intake:
    """One source while it is followed."""

    stream: Stream
    spool: Spool
    lines: list[Line]
    pace: Pace = field(default_factory=Pace)

    def as_dict(self) -> dict[str, Any]:
        counts = self.spool.counts
        return {
            "frames": counts.frames,
            "per_second": self.pace.look(time.monotonic(), counts.frames),
            "backlog": self.spool.backlog(),
            "bytes": counts.bytes,
            "dropped": counts.dropped,
            "segments": counts.segments,
            "problem": counts.problem,
            "receive_to_landed_ms": self.spool.latency_ms(),
            "connections": [line.status.as_dict() for line in self.lines],
        }


class Collector:
    """Follows the streams while that is wished, and notes its state each second; `leave` ends it."""

    def __init__(self, settings: Settings, patient: bool = False) -> None:
        self.settings = settings
        self.patient = patient
        self.data_dir = settings.data_dir
        self.folder = streams_folder(self.data_dir)
        self.leaving = asyncio.Event()
        self.intakes: list[Intake] = []

    async def run(self) -> None:
        """Until `leave`; where another collector is at work a patient one waits, else SegmentError is raised."""
        with ExitStack() as held:
            if not await self._own(held):
                return
            sealed = seal_leftovers(self.folder, self.settings.collector.codec == "zstd")
            if sealed:
                log.info("%d segments of an earlier collector sealed", len(sealed))
            while not self.leaving.is_set():
                if wish_of(self.data_dir).collect:
                    await self._collect()
                else:
                    await self._pass(NOTE_S)
            self._note("stopped")

    async def _own(self, held: ExitStack) -> bool:
        """Takes the right to write; whoever only looks whether it is taken holds it for a moment too."""
        for turn in count(1):
            try:
                held.enter_context(owned(self.folder))
                return True
            except SegmentError as error:
                if turn >= LOOKS and not self.patient:
                    raise
                if self.leaving.is_set():
                    return False
                if turn == LOOKS:
                    log.warning("%s; waiting for its end", error)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.leaving.wait(), 0.1 if turn < LOOKS else TURN_S)
        return False

    def leave(self) -> None:
        self.leaving.set()

    async def _collect(self) -> None:
        stop = asyncio.Event()
        self.intakes = self._open(stop)
        tasks = [asyncio.create_task(line.run()) for intake in self.intakes for line in intake.lines]
        log.info(
            "collecting %s", ", ".join(intake.stream.name for intake in self.intakes) or "nothing: no stream"
        )
        try:
            while wish_of(self.data_dir).collect and not self.leaving.is_set():
                await self._pass(NOTE_S)
                for task in [task for task in tasks if task.done()]:
                    tasks.remove(task)
                    task.result()
        finally:
            stop.set()
            if tasks:
                await asyncio.wait(tasks, timeout=STOP_S)
            for task in tasks:
                task.cancel()
            for intake in self.intakes:
                await asyncio.to_thread(intake.spool.close)
            log.info(
                "collected: %s", {intake.stream.name: intake.spool.counts.frames for intake in self.intakes}
            )
            self.intakes = []

    def _open(self, stop: asyncio.Event) -> list[Intake]:
        chosen = self.settings.collector
        options = SpoolOptions(chosen.queue_mb << 20, chosen.codec == "zstd")
        batching = Batching(chosen.linger_ms / 1000, chosen.batch_kb << 10)
        intakes = []
        for stream, symbols in streams_of(self.settings):
            spool = Spool(self.folder, stream.name, options)
            followed = [Line(stream, group, spool.put, stop, batching) for group in lines(stream, symbols)]
            intakes.append(Intake(stream, spool, followed))
        return intakes

    async def _pass(self, seconds: float) -> None:
        self._note("running" if self.intakes else "stopped")
        with suppress(TimeoutError):
            await asyncio.wait_for(self.leaving.wait(), seconds)

    def _note(self, state: str) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        sources = {intake.stream.name: intake.as_dict() for intake in self.intakes}
        with suppress(OSError):  # a full disk is in the sources' own `problem`
            write(
                state_path(self.data_dir),
                {"state": state, "pid": os.getpid(), "seen_at": now, "sources": sources},
            )


async def serve(settings: Settings, patient: bool = False) -> None:
    """Collects until SIGTERM, SIGINT or SIGHUP."""
    collector = Collector(settings, patient)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, collector.leave)
    await collector.run()


def main() -> None:
    settings = settings_in_force()
    logs.set_up(settings.log_level, settings.log_format)
    asyncio.run(serve(settings, patient=True))


if __name__ == "__main__":
    main()
