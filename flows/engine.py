"""The command a minute's run is started with: everything is imported and open before the minute strikes.

The worker starts the process about ten seconds early and Prefect's engine then waits for the minute. Heavier
flows use Prefect's plain engine.
"""

from __future__ import annotations

import os
import runpy
import sys

# DuckDB would import pandas at the first bound parameter, half a second for nothing: the minute has none.
sys.modules["pandas"] = None  # type: ignore[assignment]
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from flows import minute  # noqa: E402
from warehouse.errors import TapewatchError  # noqa: E402

if __name__ == "__main__":
    try:
        minute.warm()
    except TapewatchError as error:
        print(f"not warmed: {error}", file=sys.stderr)
    runpy.run_module("prefect.engine", run_name="__main__")
