"""`python -m tests.bench [--quick|--full] [--only ID,ID]`: prints the table, writes benchmarks/latest.json.

`python -m tests.bench --table` writes what is there into the README.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from tests.bench import THREADS, readme
from tests.bench.framework import Measured, Size, known, machine, save, signed, table

WHERE = {
    "minute": "minute",
    "late_tick": "late",
    "minute_cpu": "process",
    "rest_500": "feeds",
    "parse_500": "feeds",
    "backfill_30d": "history",
    "ingest_landed": "streams",
    "ingest_latency_p99_ms": "streams",
    "indicators_full": "analytics",
    "indicators_minute": "analytics",
    "baseline_minute": "analytics",
    "pairs_aic_fast": "pairs",
    "pairs_aic_numpy": "pairs",
    "pairs_sliding": "pairs",
    "theil_sen_fast": "pairs",
    "corr_matrix": "pairs",
    "resample_5m": "tables",
    "query_mix": "tables",
    "site_render": "site",
}
"""Id -> module; each is imported only when it runs, since a peer's import may cost seconds."""
OWN = frozenset({"late_tick", "backfill_30d"})
"""Measured against ourselves only: `--quick` leaves them out."""
MORE_CORES = frozenset(
    {"indicators_full", "baseline_minute", "pairs_aic_fast", "pairs_aic_numpy", "pairs_sliding", "corr_matrix",
     "query_mix"}
)  # fmt: skip
"""Work of libraries that use as many cores as they are allowed: `--full` measures it with all of them as well."""
REPOSITORY = Path(__file__).resolve().parents[2]
LATEST, README = REPOSITORY / "benchmarks" / "latest.json", REPOSITORY / "README.md"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Speed beside the usual tools."
    )
    parser.add_argument("--full", action="store_true", help="larger inputs, more repeats")
    parser.add_argument("--quick", action="store_true", help="the shorter inputs, of what has a peer")
    parser.add_argument("--only", default="", metavar="ID,ID", help=f"of {', '.join(WHERE)}")
    parser.add_argument(
        "--table", action="store_true", help="measure nothing; write latest.json into the README"
    )
    parser.add_argument("--into", type=Path, default=LATEST, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.table:
        README.write_text(readme.renewed(README.read_text(), _in_order(known(LATEST))))
        return 0
    wanted = [name.strip() for name in args.only.split(",") if name.strip()]
    wanted = wanted or [name for name in WHERE if not (args.quick and name in OWN)]
    if unknown := sorted(set(wanted) - set(WHERE)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(WHERE)}")
    logging.disable(logging.WARNING)
    threads = os.environ.get(THREADS, "1")
    load = f"load {os.getloadavg()[0]:.1f}"
    print(
        machine(),
        load,
        f"{threads} thread{'s' if threads != '1' else ''} for each side",
        sep="; ",
        flush=True,
    )
    results = []
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        for name in wanted:
            size = Size(not args.full, Path(folder))
            result = signed(run(name, size), size)
            if args.full and name in MORE_CORES and threads == "1":
                result = _with_all_cores(result, Path(folder) / f"{name}.json")
            results.append(result)
            save([result], args.into)
    print(table(results))
    return 1 if any(one.agreement is False for one in results) else 0


def run(name: str, size: Size) -> Measured:
    started, before = time.perf_counter(), os.times()
    module = import_module(f"tests.bench.{WHERE[name]}")
    result: Measured = getattr(module, "run" if WHERE[name] == name else f"run_{name}")(size)
    took, cpu = time.perf_counter() - started, sum(os.times()[:4]) - sum(before[:4])
    print(f"  {name:<22} took {took:.1f} s, {cpu:.1f} s of processor", file=sys.stderr, flush=True)
    return result


def _with_all_cores(result: Measured, into: Path) -> Measured:
    """The result with the wall times of the same work in a process of its own that may use every core."""
    command = [sys.executable, "-m", "tests.bench", "--full", "--only", result.id, "--into", str(into)]
    libraries = {name for name in os.environ if name.endswith("_NUM_THREADS") or name == "POLARS_MAX_THREADS"}
    kept = {name: value for name, value in os.environ.items() if name not in libraries}
    cores = str(os.cpu_count() or 1)
    subprocess.run(command, env=kept | {THREADS: cores}, check=True, stdout=subprocess.DEVNULL)
    (other,) = known(into)
    return replace(result, all_cores=(other.wall or (other.ours, other.theirs)) if other.agreement else None)


def _in_order(results: list[Measured]) -> list[Measured]:
    order = list(WHERE)
    return sorted(results, key=lambda one: order.index(one.id) if one.id in order else len(order))


if __name__ == "__main__":
    sys.exit(main())
