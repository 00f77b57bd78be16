"""`python -m tests.bench.one_run`: one run of the flow `minute` as `flows.engine` starts it, but not by a worker."""

from __future__ import annotations

import runpy
import sys

from flows.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    sys.modules["pandas"] = None  # type: ignore[assignment]
    runpy.run_module("flows.warming")
    sys.modules["flows.minute"].minute()
