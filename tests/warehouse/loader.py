"""Processes beside a test: a loader to be killed that says which batches are in, and a reader that never pauses."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from pathlib import Path

from tests.warehouse.market import CALENDARS, MINUTE, NOON, NOTHING, bars
from warehouse.connect import Location, connect
from warehouse.load import Batch, load_bars

EACH = 5
COUNTS = "SELECT (SELECT count(*) FROM core.bars), (SELECT count(*) FROM core.ledger)"


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


def read_on(home: Path, inside: bool, wire: Connection) -> None:
    """Asks how many bars and batches there are until `wire` says stop; then sends what was wrong, and how often it asked.

    Wrong is an error of any kind, bars without their batch, and inside one transaction any change. The first answer
    is announced. It is nice: it takes what the machine has left over beside the writer and other tests.
    """
    os.nice(10)
    problems: list[str] = []
    asked = 0
    try:
        con = connect(Location(home), read_only=True)
        con.execute("SET threads = 1")
        if inside:
            con.execute("BEGIN")
        first = con.execute(COUNTS).fetchall()[0]
        wire.send("asked")
        while not wire.poll():
            seen = con.execute(COUNTS).fetchall()[0]
            asked += 1
            if (inside and seen != first) or seen[0] != seen[1]:
                problems.append(str(seen))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
        problems.append(repr(error))
    wire.recv()
    wire.send((problems, asked))
