"""`tapewatch demo`: the platform on the replica."""

from __future__ import annotations

from flows.cli.call import Injected
from flows.times import whole_minutes
from flows.up import Wanted, start


def demo(*, minutes: int = 0, call: Injected) -> int:
    """The platform on the replica: history, then a micro-batch each minute. Every page says SIMULATED DATA.

    With --minutes, exit code 0 only if every run completed and each of them rebuilt the site.

    Example: tapewatch demo --minutes 2

    Parameters
    ----------
    minutes
        End by itself after so many scheduled micro-batches; 0 runs until Ctrl-C.
    """
    return start(Wanted(demo=True, minutes=whole_minutes(minutes), config=call.config))
