"""The server: clock, memory, traffic, the process alone."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest

from pipelines.replica.__main__ import main
from pipelines.replica.clock import Clock
from pipelines.replica.errors import ReplicaError
from pipelines.replica.server import Replica
from tests.replica.conftest import MINUTE_MS, NOON, NOON_MS


def test_market_time_runs_from_now_at_its_speed():
    elapsed = [50.0]
    clock = Clock(NOON, speed=60, ticker=lambda: elapsed[0])
    elapsed[0] += 2
    assert clock.now() == NOON.timestamp() + 120
    clock.set(speed=0)
    elapsed[0] += 100
    assert clock.now() == NOON.timestamp() + 120
    clock.advance(30)
    assert clock.now() == NOON.timestamp() + 150
    with pytest.raises(ValueError, match="speed"):
        Clock(NOON, speed=-1)


def test_the_clock_is_set_over_the_wire(replica, client):
    reply = client.post(
        "/control/clock", json={"now": "2023-03-11T06:00", "speed": 0, "advance": "5m"}
    ).json()
    assert reply["iso"] == "2023-03-11T06:05:00+00:00"
    assert client.get("/api/v3/time").json()["serverTime"] == round(reply["now"] * 1000)
    assert client.get("/api/v3/time").headers["date"] == "Sat, 11 Mar 2023 06:05:00 GMT"


def test_it_remembers_which_minutes_were_ever_served(replica, client):
    ask = "/api/v3/klines?symbol=BTCUSDT&interval=1m"
    start = NOON_MS - 30_000 - 100 * MINUTE_MS
    client.get(f"{ask}&startTime={start}&endTime={start + 9 * MINUTE_MS}")
    client.get(f"{ask}&startTime={start + 5 * MINUTE_MS}&endTime={start + 14 * MINUTE_MS}")
    client.get(f"{ask}&limit=3")
    replica.fault("truncated", count=1)
    client.get(f"{ask}&limit=50")
    (series,) = replica.ask("served")["series"]
    assert (series["venue"], series["symbol"], series["minutes"], series["delivered"]) == (
        "binance",
        "BTCUSDT",
        17,
        22,
    )
    first, last = series["ranges"]
    assert first == [start // 1000, start // 1000 + 15 * 60]
    assert last == [NOON_MS // 1000 - 30 - 120, NOON_MS // 1000 - 30]


def test_it_counts_requests_and_how_many_ran_at_once(replica):
    httpx.post(f"{replica.control}/latency", json={"seconds": 0.2}).raise_for_status()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: httpx.get(f"{replica.url}/api/v3/time"), range(3)))
    traffic = replica.ask("requests")["binance"]
    assert traffic["requests"] == 3
    assert traffic["max_in_flight"] == 3
    assert traffic["in_flight"] == 0
    assert traffic["by_status"] == {"200": 3}


def test_unknown_places_say_what_there_is(client):
    assert client.get("/nowhere").status_code == 404
    assert "GET /control/truth" in client.get("/control/nothing").json()["ways"]
    wrong = client.get("/control/truth?venue=binance&symbol=NOPE")
    assert (wrong.status_code, "lists no 'NOPE'" in wrong.json()["error"]) == (400, True)
    assert "BTCUSDT" in client.get("/control/symbols").json()["binance"]


def test_a_taken_port_is_a_clear_message(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
        assert f"cannot listen on 127.0.0.1:{port}" in capsys.readouterr().err
        with pytest.raises(ReplicaError, match="choose another --port"), Replica(port=port):
            pass


def test_the_process_announces_its_address_and_stops_on_sigterm():
    command = [
        sys.executable,
        "-m",
        "pipelines.replica",
        "--port",
        "0",
        "--now",
        "2026-07-08T16:00",
        "--speed",
        "0",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        line = process.stdout.readline()
        url = line.split(" on ")[1].split()[0]
        at = datetime(2026, 7, 8, 16, 0, tzinfo=UTC)
        assert httpx.get(f"{url}/api/v3/time").json() == {"serverTime": int(at.timestamp() * 1000)}
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Traceback" not in errors
