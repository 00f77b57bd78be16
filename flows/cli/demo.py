"""`tapewatch demo`: the platform on the replica."""

from __future__ import annotations

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built


def demo(*, minutes: int = 0, port: int = 0, seed: int = 0, call: Injected) -> None:
    """The platform on the replica: history, then a micro-batch each minute. Every page says SIMULATED DATA.

    Example: tapewatch demo --minutes 2

    Parameters
    ----------
    minutes
        End by itself after so many scheduled micro-batches; 0 runs until Ctrl-C.
    port
        Port of the site, 0 for the configured one.
    seed
        Seed of the simulated market.
    """
    del call, minutes, port, seed
    not_built("demo")
