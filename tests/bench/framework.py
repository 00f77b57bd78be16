"""What a benchmark is: our work and a peer's on the same input, compared before a ratio is printed."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench import THREADS

SEED = 20261121
Sides = tuple[float, float | None]
"""Ours and theirs."""


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
    bound: what the machine could do at best, in `unit`, and bound_by: in which respect; null where it is not known.
    cpu, wall: ours and theirs by either clock; all_cores: wall, with every core instead of one thread.
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
    bound: float | None = None
    bound_by: str = ""
    cpu: Sides | None = None
    wall: Sides | None = None
    all_cores: Sides | None = None
    machine: str = ""
    measured_at: str = ""
    size: str = ""


class Times(list[float]):
    """Wall seconds of each call; `cpu` are the processor's."""

    cpu: list[float]


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
    bound: float | None = None,
    bound_by: str = "",
    cpu: Sides | None = None,
    wall: Sides | None = None,
) -> Measured:
    """The result with its ratio: of times theirs / ours, of rates (`/s`) ours / theirs; none without agreement."""
    ratio = None
    if theirs is not None and agreement:
        ratio = ours / theirs if unit == "/s" else theirs / ours
    return Measured(
        id_, work, peer, _short(ours) or 0.0, _short(theirs), unit, _short(ratio), agreement, limit, note,
        _short(bound), bound_by, _rounded(cpu), _rounded(wall),
    )  # fmt: skip


def seconds(work: Callable[[], Any], times: int) -> tuple[Times, Any]:
    """Wall seconds of each call and the last call's answer; garbage is collected before, not during."""
    spent, answer = Times(), None
    spent.cpu = []
    settle()
    for _ in range(times):
        gc.collect()
        gc.disable()
        before = time.process_time(), time.perf_counter()
        answer = work()
        spent.append(time.perf_counter() - before[1])
        spent.cpu.append(time.process_time() - before[0])
        gc.enable()
    return spent, answer


def settle() -> None:
    """What is there stays out of the collections before each call: to look at it again takes longer than most calls."""
    gc.collect()
    gc.freeze()


def keep_memory() -> None:
    """From now on freed memory stays with the process, for both sides: fresh pages cost more than the arithmetic here.

    Small arrays are reused anyway and large ones are not, so whoever makes large ones would pay for it each time.
    """
    if platform.libc_ver()[0] == "glibc":
        no_maps, no_trim = (-4, 0), (-1, 2**31 - 1)
        for option, value in (no_maps, no_trim):
            ctypes.CDLL(None).mallopt(option, value)


def threads() -> int:
    """How many each side may use."""
    return int(os.environ.get(THREADS, "1"))


def sides(ours: Times, theirs: Times, scale: float = 1000.0) -> Sides:
    """The least processor times, in ms unless scaled otherwise."""
    return scale * min(ours.cpu), scale * min(theirs.cpu)


def walls(ours: Times, theirs: Times, scale: float = 1000.0) -> Sides:
    """The least wall times, where processor time is what counts."""
    return scale * min(ours), scale * min(theirs)


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
    return f"{model}, {os.cpu_count()} cores, {memory / 2**20:.0f} GiB, Python {platform.python_version()}"


def signed(result: Measured, size: Size) -> Measured:
    """The result with where and when it was measured, and how much work it was."""
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    return replace(result, machine=machine(), measured_at=today, size="quick" if size.quick else "full")


def table(results: Sequence[Measured]) -> str:
    """The results for reading in a terminal, a note below each row."""
    rows = [
        (
            "id",
            "ours",
            "theirs",
            "unit",
            "ratio",
            "agrees",
            "limit",
            "other clock",
            "all cores",
            "bound",
            "peer",
        )
    ]
    rows += [
        (
            one.id, _text(one.ours), _text(one.theirs), one.unit,
            f"{one.ratio:.4g}x" if one.ratio else "-",
            "-" if one.agreement is None else "yes" if one.agreement else "NO",
            _text(one.limit), _other(one), _both(one.all_cores), _text(one.bound), one.peer or "-",
        )
        for one in results
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    out = [lines[0], "-" * len(lines[0])]
    for line, one in zip(lines[1:], results, strict=True):
        bound = f" Bound: {one.bound_by}." if one.bound_by else ""
        out += [line, f"    {one.work}. {one.note}{bound}".rstrip()]
    return "\n".join(out)


def known(path: Path) -> list[Measured]:
    """What `save` has kept, in its order; empty if nothing was."""
    names = {field.name for field in fields(Measured)}
    rows = json.loads(path.read_text()) if path.exists() else []
    return [Measured(**{name: value for name, value in row.items() if name in names}) for row in rows]


def save(results: Sequence[Measured], path: Path) -> None:
    """`benchmarks/latest.json`: results of ids not run this time stay."""
    kept = {one.id: one for one in known(path)} | {one.id: one for one in results}
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps([asdict(one) for one in kept.values()], indent=1) + "\n")
    draft.replace(path)


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _other(one: Measured) -> str:
    return f"cpu {_both(one.cpu)}" if one.cpu else f"wall {_both(one.wall)}" if one.wall else "-"


def _rounded(sides: Sides | None) -> Sides | None:
    return None if sides is None else (_short(sides[0]) or 0.0, _short(sides[1]))


def _both(sides: Sides | None) -> str:
    return "-" if sides is None else f"{_text(sides[0])} / {_text(sides[1])}"


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _lines(path: str) -> list[str]:
    found = Path(path)
    return found.read_text().splitlines() if found.exists() else []
