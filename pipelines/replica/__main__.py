"""`python -m pipelines.replica`: the exchange replica alone."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from pipelines.replica.server import ReplicaConfig, serve
from pipelines.replica.wire import instant
from warehouse.errors import TapewatchError


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(instant(text), UTC)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m pipelines.replica", description="Exchanges on loopback.")
    made.add_argument("--port", type=int, default=8900, help="0 = any free port (default 8900)")
    made.add_argument("--data", default="simulated", metavar="FOLDER|simulated", help="what is played")
    made.add_argument("--speed", type=float, default=1.0, help="market seconds per real second")
    made.add_argument("--now", type=_time, help="market time at the start, such as 2023-03-11T06:00")
    made.add_argument("--faults", type=Path, metavar="FILE", help="TOML or JSON script of what goes wrong")
    made.add_argument("--seed", type=int, default=0, help="the simulated market's seed")
    made.add_argument("--weight-limit", type=int, default=6000, help="Binance request weight a minute")
    made.add_argument("--latency", type=float, default=0.0, metavar="S", help="seconds added to every reply")
    return made


def main(argv: list[str] | None = None) -> int:
    args = parser().parse_args(argv)
    config = ReplicaConfig(
        args.port, args.data, args.speed, args.now, args.faults, args.seed, args.weight_limit, args.latency
    )
    try:
        serve(config, lambda line: print(line, flush=True))
    except TapewatchError as error:
        print(f"tapewatch replica: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
