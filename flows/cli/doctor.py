"""`tapewatch doctor`: what is wrong and how to mend it."""

from __future__ import annotations

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built


def doctor(*, call: Injected) -> None:
    """Config, ports, disk, clock, server, worker, warehouse, lag, gaps, dead letters, and how to mend each.

    Example: tapewatch doctor
    """
    del call
    not_built("doctor")
