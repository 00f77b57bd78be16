"""A loader to be killed: loads batch after batch in its own process and says which ones are in."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

from tests.warehouse.market import CALENDARS, MINUTE, NOON, NOTHING, bars
from warehouse.connect import Location, connect
from warehouse.load import Batch, load_bars

EACH = 5


def load_on(home: Path, first: int, count: int, symbol: str, ear: Connection) -> None:
    """Batch n holds EACH bars from minute EACH n on; its number is sent to `ear` once it is loaded, -1 before all."""
    location = Location(home)
    con = connect(location)
    ear.send(-1)
    for number in range(first, first + count):
        rows = bars(symbol, NOON + number * EACH * MINUTE, EACH, 100.0 + number)
        batch = Batch(f"binance-rest-{symbol}-{number}", "binance", "rest", "run-1", NOON, rows_in=EACH)
        load_bars(con, location, batch, rows, NOTHING, CALENDARS)
        ear.send(number)
