"""A venue is asked no more than it allows, and a pause it asked for outlives the process."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from pipelines.sources.budget import LONGEST_PAUSE_S, USED_WEIGHT, Breaker, WeightBudget

NOON = datetime(2026, 11, 21, 12, 0, 20, tzinfo=UTC)


def seconds(n: float) -> timedelta:
    return timedelta(seconds=n)


def test_the_weight_of_a_minute_is_never_more_than_the_share():
    budget = WeightBudget(limit=100, share=0.8)
    assert [budget.reserve(20, NOON) for _ in range(5)] == [0, 0, 0, 0, 40.0]
    for _ in range(4):
        budget.settle(20, {}, NOON)
    assert budget.reserve(20, NOON + seconds(39)) == 1.0
    assert budget.reserve(20, NOON + seconds(40)) == 0


def test_the_venues_count_wins_where_other_processes_ask_too():
    budget = WeightBudget(limit=100, share=0.8)
    budget.reserve(2, NOON)
    budget.settle(2, httpx.Headers({USED_WEIGHT: "79"}), NOON)
    assert budget.reserve(2, NOON) == 40.0
    budget = WeightBudget(limit=100, share=0.8)
    budget.reserve(60, NOON)
    budget.settle(60, httpx.Headers({USED_WEIGHT: "junk"}), NOON)
    assert budget.used == 60


def test_a_request_heavier_than_the_share_goes_alone():
    budget = WeightBudget(limit=10, share=0.8)
    assert budget.reserve(20, NOON) == 0
    assert budget.reserve(1, NOON) == 40.0


def test_the_breaker_opens_after_three_fetches_without_an_answer_and_waits_longer_each_time():
    breaker = Breaker().unanswered(NOON, "down").unanswered(NOON, "down")
    assert breaker.state(NOON) == "closed"
    breaker = breaker.unanswered(NOON, "down")
    assert (breaker.state(NOON), breaker.wait_s(NOON), breaker.reason) == ("open", 60.0, "down")
    assert breaker.state(NOON + seconds(60)) == "half-open"
    pauses = []
    for _ in range(6):
        breaker = breaker.unanswered(NOON, "still down")
        pauses.append(breaker.wait_s(NOON))
    assert pauses == [120.0, 240.0, 480.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert breaker.answered() == Breaker()


def test_an_answer_in_between_starts_the_count_anew():
    breaker = Breaker().unanswered(NOON, "down").unanswered(NOON, "down").answered().unanswered(NOON, "down")
    assert breaker.state(NOON) == "closed"


def test_a_pause_the_venue_asked_for_is_never_shortened():
    breaker = Breaker().paused(NOON, 3600, "418")
    assert breaker.paused(NOON, 60, "429") == breaker
    assert breaker.paused(NOON, 7200, "418 again").wait_s(NOON) == 7200


def test_the_breaker_is_kept_in_a_file(tmp_path: Path):
    path = tmp_path / "state" / "binance.json"
    breaker = Breaker().paused(NOON, 61.5, 'HTTP 429 "slow down"')
    breaker.save(path)
    assert Breaker.load(path) == breaker
    assert [found.name for found in path.parent.iterdir()] == ["binance.json"]
    Breaker().save(path)
    assert Breaker.load(path) == Breaker()


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"failures": 1}', b'{"failures": "x"}'])
def test_an_unreadable_file_is_a_closed_breaker(tmp_path: Path, content: bytes | None):
    path = tmp_path / "binance.json"
    if content is not None:
        path.write_bytes(content)
    assert Breaker.load(path) == Breaker()
    assert Breaker.load(None) == Breaker()


def test_another_process_sees_the_pause(tmp_path: Path):
    path = tmp_path / "binance.json"
    Breaker().paused(datetime.now(UTC), 3600, "HTTP 418").save(path)
    script = (
        "import sys; from pathlib import Path; from datetime import datetime, UTC;"
        "from pipelines.sources.budget import Breaker;"
        "print(Breaker.load(Path(sys.argv[1])).state(datetime.now(UTC)))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "open"
