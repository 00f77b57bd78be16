"""`tapewatch up`, `down` and `status`: the platform on live data."""

from __future__ import annotations

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built


def up(*, minutes: int = 0, call: Injected) -> None:
    """Prefect server and worker, collector and file server on this machine, until Ctrl-C.

    Example: tapewatch up --config tapewatch.toml

    Parameters
    ----------
    minutes
        End by itself after so many scheduled micro-batches; 0 runs until Ctrl-C.
    """
    del call, minutes
    not_built("up")


def down(*, call: Injected) -> None:
    """Stop the platform that was started on this data folder, from another terminal.

    Example: tapewatch down
    """
    del call
    not_built("down")


def status(*, call: Injected) -> None:
    """What runs, each source's lag, and the last runs.

    Example: tapewatch status --json
    """
    del call
    not_built("status")
