"""The command a flow run is started with: `python -m flows.engine [minute]`.

The worker starts a scheduled run's process about ten seconds early and Prefect's engine then waits for its
minute. For the minute everything is imported and open by then; the heavier flows use the plain engine.
"""

from __future__ import annotations

import os
import runpy
import sys

from flows.processes import die_with_parent


def main() -> None:
    """Warms the minute if asked to, then hands over to Prefect's engine."""
    die_with_parent()
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    wanted, sys.argv[1:] = sys.argv[1:], []
    if "minute" in wanted:
        # DuckDB imports pandas at its first bound parameter: half a second for nothing the minute needs.
        sys.modules["pandas"] = None  # type: ignore[assignment]
        runpy.run_module("flows.warming")
    runpy.run_module("prefect.engine", run_name="__main__")


if __name__ == "__main__":
    main()
