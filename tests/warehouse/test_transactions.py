"""Killed loaders, readers that never pause, loaders side by side: nothing lost, nothing doubled, nobody blocked."""

from __future__ import annotations

import contextlib
import multiprocessing
import random
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.warehouse.conftest import MINUTE, NOON, Lake, bars
from tests.warehouse.loader import EACH, load_on, read_on
from warehouse.compact import compact, expire
from warehouse.connect import transaction

KILLS = 20
CONSISTENT = """
    SELECT (SELECT count(*) FROM bars), (SELECT coalesce(sum(rows_loaded), 0)::BIGINT FROM ledger),
           (SELECT count(*) - count(DISTINCT (source, symbol, ts)) FROM bars)"""


_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.warehouse.loader"])


class Loader:
    """A loading process, and what it has said so far."""

    def __init__(self, lake: Lake, first: int, count: int, symbol: str = "BTCUSDT") -> None:
        self.ear, mouth = _PROCESSES.Pipe(duplex=False)
        given = (lake.location.home, first, count, symbol, mouth)
        self.process = _PROCESSES.Process(target=load_on, args=given, daemon=True)
        self.process.start()
        mouth.close()

    def hear(self) -> int:
        """The next number it says."""
        return int(self.ear.recv())

    def rest(self) -> list[int]:
        """Everything it still says until it ends."""
        said = []
        with contextlib.suppress(EOFError):
            while True:
                said.append(self.hear())
        self.process.join()
        return [number for number in said if number >= 0]


@pytest.mark.capability("STO-05")
def test_a_loader_killed_at_any_moment_loses_nothing_and_doubles_nothing(lake):
    """SIGKILL twenty times, each at a random moment of a batch or between two; then the rest is loaded."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance, acknowledged = random.Random(seed), 0
    for kill in range(KILLS):
        loader = Loader(lake, acknowledged, 1000)
        assert loader.hear() == -1
        time.sleep(chance.uniform(0.0, 0.25))
        loader.process.kill()
        acknowledged = max([acknowledged, *(number + 1 for number in loader.rest())])
        rows, told, doubled = lake.rows(CONSISTENT)[0]
        assert rows == told, f"seed {seed}: bars and ledger disagree after kill {kill}"
        assert doubled == 0, f"seed {seed}"
        assert rows >= acknowledged * EACH, f"seed {seed}: an acknowledged batch is gone after kill {kill}"
    assert Loader(lake, 0, acknowledged + 1).rest() == list(range(acknowledged + 1))
    assert lake.rows(CONSISTENT)[0] == ((acknowledged + 1) * EACH, (acknowledged + 1) * EACH, 0)


@pytest.mark.capability("STO-05")
def test_four_loaders_at_once_need_no_retry_and_lose_no_row(lake):
    batches, names = 4, ("A", "B", "C", "D")
    loaders = [Loader(lake, 0, batches, name) for name in names]
    assert [loader.rest() for loader in loaders] == [list(range(batches))] * len(names)
    assert lake.rows("SELECT symbol, count(*) FROM bars GROUP BY 1 ORDER BY 1") == [
        (name, batches * EACH) for name in names
    ]
    assert lake.rows(CONSISTENT)[0] == (80, 80, 0)


class Reader:
    """A process of its own that asks without pause until told to stop: what it met that should not be, how often it asked."""

    def __init__(self, lake: Lake, inside: bool) -> None:
        self.wire, other = _PROCESSES.Pipe()
        given = (lake.location.home, inside, other)
        self.process = _PROCESSES.Process(target=read_on, args=given, daemon=True)
        self.process.start()
        other.close()
        assert self.wire.recv() == "asked"

    def stop(self) -> tuple[list[str], int]:
        self.wire.send("stop")
        problems, asked = self.wire.recv()
        self.process.join()
        return problems, asked


@pytest.mark.capability("STO-06")
def test_readers_of_every_kind_see_whole_batches_and_block_nobody(lake):
    """200 small batches with upkeep in between, beside one reader in autocommit and one in an open transaction."""
    lake.load(bars(count=1, close=1.0), "binance-rest-first")
    readers = [Reader(lake, inside) for inside in (False, True)]
    for number in range(200):
        row = f"'binance', 'X', TIMESTAMP '{NOON + (number + 1) * MINUTE}'"
        with transaction(lake.con, lake.location):
            lake.con.execute(f"INSERT INTO core.bars (source, symbol, ts) VALUES ({row})")
            lake.con.execute(
                f"INSERT INTO core.ledger (batch_id, source, rows_loaded) VALUES ('b{number}', 'binance', 1)"
            )
        if number % 30 == 29:
            compact(lake.con, lake.location)
            expire(lake.con, lake.location, datetime.now(UTC), timedelta(days=7))
    told = [reader.stop() for reader in readers]
    assert [problems for problems, _ in told] == [[], []]
    assert all(asked > 3 for _, asked in told)
    assert lake.rows(CONSISTENT)[0] == (201, 201, 0)


def test_a_transaction_that_fails_leaves_nothing(lake):
    def failing() -> None:
        with transaction(lake.con, lake.location):
            lake.con.execute("INSERT INTO core.releases VALUES ('x', NULL, NULL)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert lake.one("SELECT count(*) FROM core.releases") == 0
    with transaction(lake.con, lake.location):
        lake.con.execute("INSERT INTO core.releases VALUES ('y', NULL, NULL)")
    assert lake.rows("SELECT id FROM core.releases") == [("y",)]
