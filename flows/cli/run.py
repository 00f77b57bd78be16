"""`tapewatch run`: one flow run in the foreground."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any, Literal

from flows.cli.call import Injected
from flows.cli.lake import context_of
from flows.cli.tables import print_json, spelt
from flows.context import writing
from flows.runs import own_id
from flows.times import moment

Flow = Literal["minute", "daily", "report", "digest", "maintenance", "pairs", "quality", "heal"]
STEPS = {
    "minute": ("flows.cli.run_minute", "run_minute"),
    "daily": ("flows.daily", "run_daily"),
    "report": ("flows.report", "run_report"),
    "digest": ("flows.digest", "run_digest"),
    "maintenance": ("flows.maintain", "run_maintenance"),
    "pairs": ("flows.pairs", "run_pairs"),
    "quality": ("flows.quality", "run_quality"),
    "heal": ("flows.healing", "run_heal"),
}
"""Each in its own module, so that the minute loads neither scipy nor Great Expectations."""


def run(flow: Flow, /, *, at: str = "", call: Injected) -> int:
    """One run of a flow here and now, by the same steps as in Prefect and without a server.

    Exit code 1 where a source gave nothing; what it had to say is printed.

    Example: tapewatch run minute --at 2024-03-01T12:00Z

    Parameters
    ----------
    flow
        Which flow.
    at
        The moment it stands for, UTC; else now.
    """
    when = moment(at, "--at") if at else None
    module, name = STEPS[flow]
    step: Callable[..., Any] = getattr(importlib.import_module(module), name)
    context = context_of(call)
    with writing(context) as con:
        done = step(context, con, own_id(), when)
    numbers = _plain(done)
    if call.json:
        print_json({"flow": flow, "at": when, **numbers})
    else:
        print(f"{flow}: done{f' for {when:%Y-%m-%d %H:%M:%S} UTC' if when else ''}")
        for key, value in numbers.items():
            print(f"  {key:<16} {_worded(value)}")
    return 1 if numbers.get("failed") else 0


def _plain(done: Any) -> dict[str, Any]:
    """What a step returned, as names and values."""
    if dataclasses.is_dataclass(done):
        return dict(vars(done))
    if isinstance(done, dict):
        return {str(key): value for key, value in done.items()}
    return {} if done is None else {"result": done}


def _worded(value: Any) -> str:
    """A value for eyes; of what is long or nested only how much there is."""
    if isinstance(value, list | tuple) and len(value) > 12:
        return f"{len(value)}"
    if isinstance(value, dict):
        is_flat = not any(isinstance(inner, dict | list | tuple) for inner in value.values())
        flat = ", ".join(f"{key} {spelt(inner)}" for key, inner in value.items())
        return (flat or "nothing") if is_flat else f"{len(value)} entries"
    if dataclasses.is_dataclass(value):
        return _worded(vars(value))
    return spelt(value) or "nothing"
