"""`tapewatch run`: one flow run in the foreground."""

from __future__ import annotations

from typing import Literal

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built

Flow = Literal["minute", "daily", "report", "digest", "maintenance"]


def run(flow: Flow, /, *, at: str = "", call: Injected) -> None:
    """One run of a flow here and now, without a server.

    Example: tapewatch run minute --at 2024-03-01T12:00Z

    Parameters
    ----------
    flow
        Which flow.
    at
        The minute it stands for, UTC; else now.
    """
    del call, flow, at
    not_built("run")
