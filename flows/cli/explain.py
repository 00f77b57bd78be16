"""`tapewatch explain`: why it fired."""

from __future__ import annotations

from flows.cli.call import Injected
from flows.cli.unbuilt import not_built


def explain(id: str, /, *, call: Injected) -> None:
    """Recompute an alert or anomaly from stored rows: window, baseline, formula with numbers, run, SQL.

    Example: tapewatch explain 4f0c2d11 --json

    Parameters
    ----------
    id
        Id of a row of alerts or anomalies.
    """
    del call, id
    not_built("explain")
