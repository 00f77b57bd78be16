"""What a benchmark is: our work and a peer's on the same input, compared before a ratio is printed."""

from __future__ import annotations

import gc
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

SEED = 20261121


@dataclass(frozen=True)
class Size:
    """How much work is done: `quick` runs all of it in two minutes."""

    quick: bool
    folder: Path
    """Scratch folder of this run."""


@dataclass(frozen=True)
class Measured:
    """One benchmark's answer; `ratio` says how many times better we are and is null unless the answers agree.

    limit: what `ours` must stay within, in `unit`; null where only the ratio counts.
    """

    id: str
    work: str
    peer: str | None
    ours: float
    theirs: float | None
    unit: str
    ratio: float | None
    agreement: bool | None
    limit: float | None
    note: str


@dataclass(frozen=True)
class Bench:
    """A registered benchmark."""

    id: str
    run: Callable[[Size], Measured]


def measured(
    id_: str,
    work: str,
    ours: float,
    unit: str,
    *,
    peer: str | None = None,
    theirs: float | None = None,
    agreement: bool | None = None,
    limit: float | None = None,
    note: str = "",
) -> Measured:
    """The result with its ratio: of times theirs / ours, of rates (`/s`) ours / theirs; none without agreement."""
    ratio = None
    if theirs is not None and agreement:
        ratio = ours / theirs if unit == "/s" else theirs / ours
    numbers = [None if value is None else float(f"{value:.4g}") for value in (ours, theirs, ratio)]
    return Measured(id_, work, peer, numbers[0] or 0.0, numbers[1], unit, numbers[2], agreement, limit, note)


def seconds(work: Callable[[], Any], times: int) -> tuple[list[float], Any]:
    """Wall seconds of each call and the last call's answer; garbage is collected before, not during."""
    spent, answer = [], None
    for _ in range(times):
        gc.collect()
        gc.disable()
        started = time.perf_counter()
        answer = work()
        spent.append(time.perf_counter() - started)
        gc.enable()
    return spent, answer


def same(ours: Any, theirs: Any, tolerance: float = 1e-9) -> bool:
    """Whether two arrays hold the same numbers, NaN where NaN, to a relative tolerance."""
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True))


def machine() -> str:
    """Processor, cores and memory in one line."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if "MemTotal" in line), 0)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return (
        f"{model}, {os.cpu_count()} cores, {memory / 2**20:.0f} GiB, Python {platform.python_version()}, "
        f"load {load:.1f}"
    )


def table(results: Sequence[Measured]) -> str:
    """The results for reading in a terminal, a note below each row."""
    rows = [("id", "ours", "theirs", "unit", "ratio", "agrees", "limit", "peer")]
    rows += [
        (
            one.id, _text(one.ours), _text(one.theirs), one.unit,
            f"{one.ratio:.4g}x" if one.ratio else "-",
            "-" if one.agreement is None else "yes" if one.agreement else "NO",
            _text(one.limit), one.peer or "-",
        )
        for one in results
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    out = [lines[0], "-" * len(lines[0])]
    for line, one in zip(lines[1:], results, strict=True):
        out += [line, f"    {one.work}. {one.note}".rstrip()]
    return "\n".join(out)


def save(results: Sequence[Measured], path: Path) -> None:
    """`benchmarks/latest.json`: results of ids not run this time stay."""
    known = {one["id"]: one for one in json.loads(path.read_text())} if path.exists() else {}
    known |= {one.id: asdict(one) for one in results}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(list(known.values()), indent=1) + "\n")
    draft.replace(path)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _lines(path: str) -> list[str]:
    found = Path(path)
    return found.read_text().splitlines() if found.exists() else []
