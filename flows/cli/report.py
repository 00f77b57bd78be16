"""`tapewatch report`: the site, now."""

from __future__ import annotations

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built


def report(*, at: str = "", call: Injected) -> None:
    """Render the site now, from what the warehouse holds.

    Example: tapewatch report --at 2024-03-01T12:00Z

    Parameters
    ----------
    at
        The moment to show, UTC; else now.
    """
    del call, at
    not_built("report")
