"""A small warehouse that was filled through the command itself, and the command called in-process."""

from __future__ import annotations

import csv
import json
import math
import random
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flows.cli import main
from flows.cli.lake import rows
from tests.lakes import settled
from tests.once import made_once
from warehouse.connect import Location, connect

START = datetime(2024, 3, 4)
HEAD = ("symbol", "ts", "open", "high", "low", "close", "volume")
SETTINGS = (
    "TAPEWATCH_CONFIG",
    "LOG_LEVEL",
    "TAPEWATCH_LOG_LEVEL",
    "TAPEWATCH_DATA_DIR",
    "TAPEWATCH_SITE_DIR",
)

WINDOWS = '["5m", "15m", "1h"]'
"""Fewer than usual: each would be derived by every import."""

Bar = tuple[datetime, float, float]
"""Open time, close, volume."""


def write_bars(path: Path, series: dict[str, list[Bar]]) -> Path:
    """A CSV of bars by symbol, whose open, high and low are their close."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(HEAD)
        for symbol, bars in series.items():
            out.writerows([symbol, f"{ts.isoformat()}Z", *[close] * 4, volume] for ts, close, volume in bars)
    return path


def spiking(days: int = 7) -> list[Bar]:
    """The first hour of each day; in the last one minute 30 jumps 8 % on forty times the volume."""
    at = [START + timedelta(days=day, minutes=minute) for day in range(days) for minute in range(60)]
    dice = random.Random(1)
    bars = [(ts, 100 * math.exp(dice.gauss(0, 0.0005)), 10 + dice.random()) for ts in at]
    ts, close, volume = bars[-30]
    bars[-30:] = [(ts, close * 1.08, volume * 40), *((t, c * 1.08, v) for t, c, v in bars[-29:])]
    return bars


def trending(hours: int = 54) -> list[Bar]:
    """Quiet hours, then wild ones that fall: volatility and RSI of the hour leave their bounds."""
    dice, close, bars = random.Random(2), 50.0, []
    for minute in range(hours * 60):
        wild = minute >= 46 * 60
        close *= math.exp(dice.gauss(-0.0008 if wild else 0, 0.004 if wild else 0.0002))
        bars.append((START + timedelta(minutes=minute), close, 5.0))
    return bars


def leashed(minutes: int = 420) -> tuple[list[Bar], list[Bar]]:
    """y = 1 + 0.8 x in logarithms, with a deviation of which a fifth is gone each minute."""
    dice, x, apart, ys, xs = random.Random(3), math.log(100), 0.0, [], []
    for minute in range(minutes):
        x += dice.gauss(0, 0.001)
        apart = 0.8 * apart + dice.gauss(0, 0.0005)
        ts = START + timedelta(minutes=minute)
        ys.append((ts, math.exp(1 + 0.8 * x + apart), 1.0))
        xs.append((ts, math.exp(x), 1.0))
    return ys, xs


class Said(NamedTuple):
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def fill(home: Path) -> None:
    """A warehouse below `home`: mine:SPIKE, mine:TREND, lab:Y, lab:X and also:X."""
    ys, xs = leashed()
    sources = {
        "also": {"X": xs[:50]},
        "lab": {"Y": ys, "X": xs},
        "mine": {"SPIKE": spiking(), "TREND": trending()},
    }
    with pytest.MonkeyPatch.context() as patch:
        _point_at(patch, home)
        for source, series in sources.items():
            file = write_bars(home / f"{source}.csv", series)
            later = [] if source == "mine" else ["--no-derive"]
            assert main(["import", str(file), "--source", source, *later]) == 0


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warehouse of our own, filled."""
    made = made_once(tmp_path_factory, "filled", fill)
    home = tmp_path_factory.mktemp("filled")
    shutil.copytree(made, home, dirs_exist_ok=True)
    settled(Location(home / "data" / "warehouse"))
    return home


@pytest.fixture(scope="session")
def ask(filled: Path) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """Rows of a query on the filled warehouse, by one connection for all tests."""
    con = connect(Location(filled / "data" / "warehouse"), read_only=True)
    yield partial(rows, con)
    con.close()


@pytest.fixture
def lake(filled: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The filled warehouse as the one the commands work on; tests leave it as they found it."""
    _point_at(monkeypatch, filled)
    return filled


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where nothing was loaded yet."""
    _point_at(monkeypatch, tmp_path)
    return tmp_path


@pytest.fixture
def tapewatch(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Calls the command in this process; a traceback fails the test."""

    def call(*argv: str) -> Said:
        capsys.readouterr()
        code = main(argv)
        told = capsys.readouterr()
        assert "Traceback" not in told.err + told.out
        return Said(code, told.out, told.err)

    return call


def _point_at(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name in SETTINGS:
        patch.delenv(name, raising=False)
    patch.chdir(home)
    patch.setenv("TAPEWATCH_DATA_DIR", str(home / "data"))
    patch.setenv("TAPEWATCH_SITE_DIR", str(home / "site"))
    patch.setenv("TAPEWATCH_WINDOWS__INTERVALS", WINDOWS)
