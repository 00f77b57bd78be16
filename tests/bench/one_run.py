"""`python -m tests.bench.one_run`: one run of the flow `minute` as `flows.engine` starts it, but not by a worker."""

from __future__ import annotations

import sys

from flows.engine import warm_minute
from flows.processes import die_with_parent

if __name__ == "__main__":
    die_with_parent()
    warm_minute()
    sys.modules["flows.minute"].minute()
