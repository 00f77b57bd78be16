"""The command a flow run is started with: `python -m flows.engine [minute|lean]`.

The worker starts a scheduled run's process about ten seconds early and Prefect's engine then waits for its
minute. For the minute everything is imported and open by then; the heavier flows use the plain engine.
"""

from __future__ import annotations

import gc
import os
import runpy
import sys
from types import ModuleType

from flows.processes import die_with_parent

NUMERIC = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def one_thread(names: tuple[str, ...]) -> None:
    """One thread for the numeric libraries that these variables are for, unless somebody has said otherwise."""
    for name in names:
        os.environ.setdefault(name, "1")


def without_pandas() -> None:
    """DuckDB imports pandas at its first bound parameter: half a second for nothing that some flows need."""
    sys.modules["pandas"] = None  # type: ignore[assignment]


def without_the_unused() -> None:
    """What Prefect and httpx import for others: fifteen kinds of notification, and httpx as a command with its colours."""
    sys.modules.setdefault("prefect.blocks.notifications", ModuleType("prefect.blocks.notifications"))
    sys.modules["httpx._main"] = None  # type: ignore[assignment]


def warm_minute() -> None:
    """Everything the minute's flow can have ahead of its minute.

    Modules are there to stay: looking for garbage among them, while they come and ever after, is an eighth of the work.
    """
    one_thread((*NUMERIC, "POLARS_MAX_THREADS"))
    without_pandas()
    without_the_unused()
    gc.disable()
    runpy.run_module("flows.warming")
    gc.freeze()
    gc.enable()


def main() -> None:
    """Warms the minute if asked to, then hands over to Prefect's engine."""
    die_with_parent()
    wanted, sys.argv[1:] = sys.argv[1:], []
    if "minute" in wanted:
        warm_minute()
    if "lean" in wanted:
        without_pandas()
    one_thread(NUMERIC)
    runpy.run_module("prefect.engine", run_name="__main__")


if __name__ == "__main__":
    main()
