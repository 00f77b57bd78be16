"""`python -m tests.bench [--quick|--full] [--only ID,ID]`: prints the table, writes benchmarks/latest.json."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from tests.bench.framework import Measured, Size, machine, save, table

WHERE = {
    "minute": "minute",
    "minute_cpu": "process",
    "rest_500": "feeds",
    "parse_500": "feeds",
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
LATEST = Path(__file__).resolve().parents[2] / "benchmarks" / "latest.json"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description="Speed beside the usual tools."
    )
    parser.add_argument("--full", action="store_true", help="larger inputs, more repeats")
    parser.add_argument("--quick", action="store_true", help="all of it in two minutes (the default)")
    parser.add_argument("--only", default="", metavar="ID,ID", help=f"of {', '.join(WHERE)}")
    args = parser.parse_args(argv)
    wanted = [name.strip() for name in args.only.split(",") if name.strip()] or list(WHERE)
    if unknown := sorted(set(wanted) - set(WHERE)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(WHERE)}")
    logging.disable(logging.WARNING)
    print(machine(), "one thread for each side", sep="; ", flush=True)
    results = []
    with tempfile.TemporaryDirectory(prefix="tapewatch-bench-") as folder:
        for name in wanted:
            results.append(run(name, Size(not args.full, Path(folder))))
    print(table(results))
    save(results, LATEST)
    return 1 if any(one.agreement is False for one in results) else 0


def run(name: str, size: Size) -> Measured:
    started = time.perf_counter()
    module = import_module(f"tests.bench.{WHERE[name]}")
    result: Measured = getattr(module, "run" if WHERE[name] == name else f"run_{name}")(size)
    print(f"  {name:<20} took {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
