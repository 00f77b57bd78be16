"""Faults: each does what it says, as often and as long as it was told, and truth stays truth."""

from __future__ import annotations

import json
import time

import httpx
import pytest

from pipelines.replica.errors import ReplicaError
from pipelines.replica.faults import Faults
from pipelines.replica.server import Replica
from tests.replica.conftest import MINUTE_MS, NOON, NOON_MS

OPEN_MS = NOON_MS - 30_000
KLINES = (
    f"/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={OPEN_MS - 5 * MINUTE_MS}&endTime={OPEN_MS - 1}"
)
CHART = f"/v8/finance/chart/AAPL?interval=1m&period1={OPEN_MS // 1000 - 300}&period2={OPEN_MS // 1000 - 60}"


@pytest.mark.parametrize(
    ("status", "code"), [(429, -1003), (418, -1003), (451, 0), (500, -1000), (503, -1008)]
)
def test_a_status_strikes_as_often_as_it_was_told(replica, client, status, code):
    replica.fault("status", venue="binance", path="*/klines", status=status, count=2)
    replies = [client.get(KLINES) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [status, status, 200]
    assert replies[0].json()["code"] == code
    assert client.get(CHART).status_code == 200


def test_html_malformed_and_truncated_bodies(replica, client):
    for kind in ("html", "malformed", "truncated"):
        replica.fault(kind, venue="binance", count=1)
        reply = client.get(KLINES)
        with pytest.raises(ValueError):
            reply.json()
    assert len(client.get(KLINES).json()) == 5


def test_a_cut_connection_and_a_reply_that_never_comes(replica, client):
    replica.fault("cut", symbol="BTCUSDT", count=1)
    with pytest.raises(httpx.RemoteProtocolError):
        client.get(KLINES)
    replica.fault("timeout", symbol="BTCUSDT", count=1)
    with pytest.raises(httpx.ReadTimeout):
        client.get(KLINES, timeout=0.2)
    assert client.get(KLINES).status_code == 200


def test_an_outage_of_one_symbol_ends_with_its_time(replica, client):
    replica.fault("outage", symbol="BTC*", for_="2m")
    assert client.get(KLINES).status_code == 503
    assert client.get(KLINES.replace("BTC", "ETH")).status_code == 200
    replica.clock.advance(121)
    assert client.get(KLINES).status_code == 200


def test_rows_are_spoiled_and_only_there(replica, client):
    clean = client.get(KLINES).json()

    def spoiled(kind: str, **params: object) -> list:
        replica.fault(kind, venue="binance", count=1, **params)
        return client.get(KLINES).json()

    assert spoiled("null_rows", rows=2)[-2:] == [
        [row[0], *[None] * 5, row[6], *[None] * 4, "0"] for row in clean[-2:]
    ]
    assert spoiled("drop_rows") == clean[:-1]
    assert spoiled("duplicate_rows") == [*clean, clean[-1]]
    assert spoiled("out_of_order") == clean[::-1]
    assert spoiled("negative_price")[-1][4].startswith("-")
    assert spoiled("zero_price")[-1][3] == "0.00000000"
    assert spoiled("nan_price")[-1][4] == "NaN"
    wrong = spoiled("high_below_low")[-1]
    assert float(wrong[2]) < float(wrong[3])
    assert spoiled("future_bar", minutes=30)[-1][0] == clean[-1][0] + 30 * MINUTE_MS > NOON_MS
    gap = spoiled("missing_minutes", from_=clean[1][0], to=clean[3][0])
    assert [row[0] for row in gap] == [clean[0][0], clean[3][0], clean[4][0]]
    assert client.get(KLINES).json() == clean


def test_yahoo_rows_are_spoiled_too(replica, client):
    replica.fault("null_rows", venue="yahoo", rows=2, count=1)
    quote = client.get(CHART).json()["chart"]["result"][0]["indicators"]["quote"][0]
    assert quote["close"][-2:] == [None, None]
    replica.fault("nan_price", venue="yahoo", count=1)
    assert "NaN" in client.get(CHART).text


def test_a_revised_bar_reads_differently_from_then_on_and_truth_knows(replica, client):
    before = client.get(KLINES).json()
    replica.fault("revise", symbol="BTCUSDT", ts=before[2][0], factor={"volume": 2.0, "close": 1.01})
    after = client.get(KLINES).json()
    assert float(after[2][5]) == pytest.approx(2 * float(before[2][5]))
    assert float(after[2][2]) >= float(after[2][4]) == pytest.approx(1.01 * float(before[2][4]))
    assert [row for i, row in enumerate(after) if i != 2] == [row for i, row in enumerate(before) if i != 2]
    ask = {"venue": "binance", "symbol": "BTCUSDT", "from": before[0][0], "to": OPEN_MS}
    truth = replica.ask("truth", **ask)
    assert [row[truth["columns"].index("revision")] for row in truth["rows"]] == [1, 1, 2, 1, 1]
    assert [f"{row[4]:.8f}" for row in truth["rows"]] == [row[4] for row in after]


def test_a_shock_is_labelled_and_felt(replica, client):
    replica.fault("shock", symbol="SOLUSDT", shock="volume", minutes=5, size=7, label="drill")
    (label,) = [one for one in replica.ask("labels", to=NOON_MS + 3_600_000)["labels"] if one["injected"]]
    assert (label["label"], label["symbol"], label["from"]) == ("drill", "SOLUSDT", OPEN_MS // 1000 + 60)
    replica.clock.advance(600)
    ask = f"/api/v3/klines?symbol=SOLUSDT&interval=1m&startTime={OPEN_MS - 20 * MINUTE_MS}&endTime={OPEN_MS + 5 * MINUTE_MS}"
    volumes = [float(row[5]) for row in client.get(ask).json()]
    assert min(volumes[-5:]) > 1.5 * max(volumes[:20])


def test_a_shock_strikes_all_that_its_globs_name(replica):
    replica.fault("shock", venue="binance*", symbol="[BE]T[CH]USDT", shock="jump", size=0.06, minutes=3)
    struck = [one for one in replica.ask("labels", to=NOON_MS + 3_600_000)["labels"] if one["injected"]]
    assert {(one["symbol"], one["kind"], one["size"]) for one in struck} == {
        ("BTCUSDT", "jump", 0.06), ("ETHUSDT", "jump", 0.06),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "shock needs a symbol"),
        ({"symbol": "BTCUSDT", "venue": "binanse*"}, "no venue is called 'binanse"),
        ({"symbol": "NOPE", "venue": "yahoo"}, "yahoo lists no 'NOPE'"),
        ({"symbol": "BTCUSDT", "size": "big"}, "size = 'big' is no number"),
        ({"symbol": "BTCUSDT", "minutes": "x"}, "minutes = 'x' is no number"),
        ({"symbol": "BTCUSDT", "shock": "zzz", "at": "+5m"}, "one of volume, jump, volatility, frozen"),
    ],
)
def test_a_fault_that_is_refused_is_not_there(replica, spec, words):
    with pytest.raises(ReplicaError, match=words):
        replica.fault("shock", **spec)
    assert replica.ask("faults") == {"faults": [], "log": []}


def test_a_skewed_clock_is_the_venues_own(replica, client):
    replica.fault("clock_skew", venue="binance", seconds=90)
    assert client.get("/api/v3/time").json()["serverTime"] == NOON_MS + 90_000
    assert replica.ask("clock")["now"] == NOON_MS / 1000


def test_faults_are_listed_with_their_hits_and_taken_away(replica, client):
    number = replica.fault("status", status=500)
    client.get(KLINES)
    report = replica.ask("faults")
    assert [(one["id"], one["hits"]) for one in report["faults"]] == [(number, 1)]
    assert report["log"][-1]["symbol"] == "BTCUSDT"
    replica.heal()
    assert client.get(KLINES).status_code == 200


def test_a_script_of_faults_runs_by_the_markets_clock(tmp_path):
    script = tmp_path / "faults.toml"
    script.write_text('[[fault]]\nkind = "status"\nstatus = 500\nat = "+60s"\nfor = "1m"\n')
    with Replica(now=NOON, speed=0, faults=script) as replica, httpx.Client(base_url=replica.url) as client:
        codes = []
        for _ in range(3):
            codes.append(client.get("/api/v3/time").status_code)
            replica.clock.advance(60)
        assert codes == [200, 500, 200]


def test_a_correction_that_was_due_stays_when_the_faults_are_taken_away_before_anybody_asked(tmp_path):
    script = tmp_path / "faults.json"
    minute = int(NOON.timestamp()) - 120
    revise = {"kind": "revise", "venue": "binance", "symbol": "BTCUSDT", "set": {"volume": 7.0}}
    script.write_text(json.dumps([{**revise, "ts": minute + 86_400}, {**revise, "ts": minute}]))
    with Replica(now=NOON, speed=0, faults=script) as replica:
        replica.heal()
        said = replica.ask("truth", venue="binance", symbol="BTCUSDT", **{"from": minute, "to": minute + 60})
        assert said["rows"][0][said["columns"].index("volume")] == 7.0
        assert "no closed bar" in replica.ask("faults")["log"][-1]["error"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"kind": "statsu"}, "did you mean 'status'"),
        ({"kind": "status", "cuont": 3}, "did you mean 'count'"),
        ({"kind": "slow", "for": "5 minutes"}, "not an interval"),
        ({"kind": "slow", "at": "noon"}, "slow"),
        ({"kind": "shock"}, "shock needs a symbol"),
    ],
)
def test_a_fault_that_cannot_be_understood_says_why(spec, words):
    with pytest.raises(ReplicaError, match=words):
        Faults().add(spec, 0.0)


def test_random_faults_are_the_same_for_a_seed():
    def dice(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add({"kind": "status", "rate": 0.5}, 0.0)
        return [bool(faults.strike("binance", "", "/", 1.0)) for _ in range(50)]

    assert dice(1) == dice(1) != dice(2)


def test_stopping_lets_go_of_a_hanging_request(replica):
    replica.fault("timeout")
    with httpx.Client(base_url=replica.url, timeout=0.05) as client, pytest.raises(httpx.ReadTimeout):
        client.get("/api/v3/time")
    began = time.monotonic()
    replica.stop()
    assert time.monotonic() - began < 5
