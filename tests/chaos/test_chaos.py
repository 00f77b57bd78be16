"""A short game of `make chaos`: whatever is killed and whatever the venues do, the warehouse holds the truth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.context import writing
from tests.chaos.__main__ import Chaos
from tests.chaos.compare import differences


@pytest.fixture(scope="module")
def game(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chaos, list[str]]]:
    """A game that has been played, its processes still alive, and what was wrong at its end."""
    chaos = Chaos(tmp_path_factory.mktemp("chaos"), seed=7)
    try:
        yield chaos, chaos.play(minutes=4, kills=6)
    finally:
        chaos.stop()


def test_after_faults_and_kills_the_warehouse_equals_what_the_replica_served(
    game: tuple[Chaos, list[str]],
) -> None:
    chaos, wrong = game
    assert wrong == []
    assert chaos.kills.total() == 6
    assert chaos.faults.total() > 0


HARMS = {
    "bars and books": {
        "UPDATE core.bars SET close = close + 0.01 WHERE symbol = 'SPY' AND minute(ts) = 30": "yahoo:SPY",
        "DELETE FROM core.bars WHERE symbol = 'ETHUSDT' AND minute(ts) = 58": "binance:ETHUSDT 03-10 14:58: lost",
        "INSERT INTO core.bars SELECT * FROM core.bars WHERE symbol = 'BTCUSDT' LIMIT 1": "core.bars: 1 rows too many",
        "DELETE FROM core.ledger WHERE batch_id LIKE 'yahoo%'": "acknowledged, not in the ledger",
    },
    "what is derived": {
        "UPDATE calc.windows SET volume = 0 WHERE interval = '15m'": "window 15m",
        "UPDATE calc.indicators SET ema_12 = 1 WHERE interval = '5m' AND ema_12 > 1": "indicators 5m",
        "DELETE FROM core.derived WHERE batch_id LIKE 'yahoo%'": "loaded, never derived",
    },
}
"""Statement -> what tells of it; together they hide none of each other."""


@pytest.mark.parametrize("of", HARMS)
def test_harm_done_to_the_warehouse_is_told(game: tuple[Chaos, list[str]], of: str) -> None:
    chaos, _ = game
    with writing(chaos.context) as con:
        con.execute("BEGIN")
        for harm in HARMS[of]:
            con.execute(harm)
        found = differences(con, chaos.context, chaos.replica, chaos.runner.acknowledged)
        con.execute("ROLLBACK")
    for told in HARMS[of].values():
        assert any(told in line for line in found), (told, found[:5])
