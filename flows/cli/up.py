"""`tapewatch up` and `down`: the platform on live data."""

from __future__ import annotations

import os
import signal
import time

from flows.cli.call import Injected
from flows.run_lock import holder_of
from flows.times import whole_minutes
from flows.up import Wanted, start
from warehouse.errors import TapewatchError

PATIENCE = 12.0
"""Seconds: a platform stops within ten."""


def up(*, minutes: int = 0, call: Injected) -> int:
    """Prefect server and worker, collector and file server on this machine, until Ctrl-C.

    Example: tapewatch up --config tapewatch.toml

    Parameters
    ----------
    minutes
        End by itself after so many scheduled micro-batches; 0 runs until Ctrl-C.
    """
    return start(Wanted(minutes=whole_minutes(minutes), config=call.config))


def down(*, call: Injected) -> None:
    """Stop the platform that was started on this data folder, from another terminal.

    Example: tapewatch down
    """
    data = call.settings.data_dir
    lock = data / "run" / "tapewatch.lock"
    process = holder_of(lock)
    if process is None:
        print(f"nothing runs on {data}")
        return
    try:
        os.kill(process, signal.SIGTERM)
    except PermissionError:
        raise TapewatchError(
            f"process {process} belongs to somebody else: stop it as the user who started it"
        ) from None
    deadline = time.monotonic() + PATIENCE
    while holder_of(lock) == process:
        if time.monotonic() > deadline:
            raise TapewatchError(
                f"process {process} still runs after {PATIENCE:.0f} s; `kill -9 {process}` ends it and all its children"
            )
        time.sleep(0.1)
    print(f"stopped (process {process})")
