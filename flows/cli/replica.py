"""`tapewatch replica`: the exchanges on loopback."""

from __future__ import annotations

from pathlib import Path

from flows.cli.call import Injected
from flows.times import moment
from pipelines.replica.server import ReplicaConfig, serve
from warehouse.errors import TapewatchError, UsageError


def replica(
    *,
    port: int = 8900,
    data: str = "simulated",
    speed: float = 1.0,
    now: str = "",
    faults: Path | None = None,
    seed: int = 0,
    call: Injected,
) -> None:
    """Binance, Yahoo, Coinbase and Kraken on 127.0.0.1, simulated or from recorded files, until Ctrl-C.

    Example: tapewatch replica --port 8900 --now 2023-03-11T06:00 --speed 60 --data recordings/

    Parameters
    ----------
    port
        Port, 0 for any free one.
    data
        `simulated`, or a folder of recorded bars and trades.
    speed
        Market seconds per real second.
    now
        Market time at the start, UTC; else now.
    faults
        Script of what goes wrong, TOML or JSON.
    seed
        Seed of the simulated market and its faults.
    """
    del call
    if speed <= 0:
        raise UsageError(f"--speed: {speed:g} is not possible; write a number above 0, such as 60")
    if faults and not faults.is_file():
        raise TapewatchError(f"--faults: {faults}: no such file")
    start = moment(now, "--now") if now else None
    serve(ReplicaConfig(port, data, speed, start, faults, seed), lambda line: print(line, flush=True))
