"""Run for its effect by `flows.engine`: the minute's module imported, the lake attached."""

from __future__ import annotations

import sys

from flows import minute
from warehouse.errors import TapewatchError

try:
    minute.warm()
except TapewatchError as problem:
    print(f"not warmed: {problem}", file=sys.stderr)
