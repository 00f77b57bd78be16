"""The collector follows what is configured, stops and starts as it is wished, and the minute loads what it landed."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows import collect, walk
from flows.cli.doctor_streams import stream_findings
from flows.collect import Collector
from flows.collection import status_of, streams_folder, wish, wish_of
from flows.streaming import load_streamed
from pipelines import segments
from pipelines.replica.server import Replica
from pipelines.segment_format import encode
from pipelines.segments import SegmentError
from pipelines.settings_sources import Source
from pipelines.spool import Spool
from tests.conftest import REPOSITORY
from tests.lakes import Lake, new_lake
from tests.replica.conftest import NOON

BEGAN = NOON.replace(second=0)


@pytest.fixture
def replica() -> Iterator[Replica]:
    with Replica(now=BEGAN, speed=0) as running:
        yield running


@pytest.fixture
def lake(tmp_path: Path, replica: Replica) -> Iterator[Lake]:
    source = Source("binance", ("BTCUSDT", "ETHUSDT"), base_url=replica.url, calendar="24/7")
    made = new_lake(tmp_path, sources=(source,))
    yield made
    made.con.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "NOTE_S", 0.02)


def collecting(lake: Lake, act: Callable[[Collector], Awaitable[None]]) -> None:
    """Runs the lake's collector while `act` does things."""

    async def run() -> None:
        collector = Collector(lake.context.settings)
        task = asyncio.create_task(collector.run())
        try:
            await act(collector)
        finally:
            collector.leave()
            await task

    asyncio.run(run())


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


def state_of(lake: Lake) -> str:
    return str(status_of(lake.context.settings.data_dir)["state"])


def frames(collector: Collector) -> int:
    return sum(intake.spool.counts.frames for intake in collector.intakes)


async def connected(collector: Collector) -> None:
    await until(
        lambda: (
            collector.intakes
            and all(line.status.state == "connected" for i in collector.intakes for line in i.lines)
        )
    )


def minute(lake: Lake, replica: Replica) -> walk.Run:
    """A run's fetch and trades, as of the replica's minute."""
    at = datetime.fromtimestamp(replica.clock.now(), UTC)
    run = walk.Run(lake.context, lake.con, "run-1", at)
    feeds = lake.context.feeds()
    for feed in feeds:
        walk.ingest(run, feed)
    load_streamed(run, feeds)
    return run


@pytest.mark.capability("ING-06")
@pytest.mark.capability("API-17")
@pytest.mark.capability("ING-10")
def test_stopped_nothing_comes_and_started_again_nothing_is_missing(lake: Lake, replica: Replica):
    data = lake.context.settings.data_dir

    async def act(collector: Collector) -> None:
        await connected(collector)
        replica.clock.advance(125)
        await until(lambda: frames(collector) > 50)
        await until(lambda: [one.state for one in stream_findings(lake.context, {"running": True})] == ["ok"])
        wish(data, False, "a test", "venue maintenance")
        (told,) = stream_findings(lake.context, {"running": True})
        assert (told.state, told.check) == ("warn", "collector")
        assert "venue maintenance" in told.detail
        await until(lambda: state_of(lake) == "stopped" and not collector.intakes)
        minute(lake, replica)
        stored = lake.one("SELECT count(*) FROM trades")
        assert lake.one("SELECT count(*) FROM bars") == 0
        replica.clock.advance(120)
        run = minute(lake, replica)
        assert run.ingested[0].state == "stopped"
        assert lake.one("SELECT count(*) FROM trades") == stored
        walk.publish_site(run)
        told = json.loads((lake.context.settings.site_dir / "api" / "status.json").read_text())
        assert (told["state"], told["sources"]) == ("stopped", {})
        wish(data, True, "a test")
        await connected(collector)
        replica.clock.advance(120)
        await until(lambda: frames(collector) > 20)

    collecting(lake, act)
    run = minute(lake, replica)
    assert run.ingested[0].state == "ok"
    walk.record(run, "Completed")
    stages = {stage: rest for stage, *rest in lake.rows("SELECT stage, p50_ms, p99_ms, n FROM latency")}
    p50, p99, frames_landed = stages["stream_to_landed"]
    assert 0 < p50 <= p99
    assert frames_landed > 0
    assert stages["load trades"][2] == 1
    for symbol in ("BTCUSDT", "ETHUSDT"):
        truth = replica.ask("trades", venue="binance", symbol=symbol, **{"from": BEGAN.timestamp() + 0.001})[
            "rows"
        ]
        stored = lake.rows(f"SELECT trade_id FROM trades WHERE symbol = '{symbol}' ORDER BY 1")
        assert stored == [(row[0],) for row in truth]
    assert lake.rows("SELECT DISTINCT origin FROM trades ORDER BY 1") == [("heal",), ("stream",)]
    assert "venue maintenance" in wish(data, False, "x", "venue maintenance").words


@pytest.mark.capability("OPS-01", "STO-08")
def test_each_minute_writes_what_the_collector_counted_into_metrics_prom(lake: Lake, replica: Replica):
    data = lake.context.settings.data_dir

    async def act(collector: Collector) -> None:
        await connected(collector)
        replica.clock.advance(125)
        await until(lambda: frames(collector) > 50 and not replica_owes(replica, collector))
        await until(lambda: status_of(data)["sources"]["binance"]["frames"] == frames(collector))
        walk.publish_site(
            walk.Run(lake.context, lake.con, "run-1", datetime.fromtimestamp(replica.clock.now(), UTC))
        )
        told = metrics_of(lake)
        assert told["tick_messages_received_total"] == told["kafka_consumer_lag"] == frames(collector)
        assert told["messages_per_second"] > 0
        (spool,) = (intake.spool for intake in collector.intakes)
        await asyncio.to_thread(spool.close)
        assert spool.backlog() == frames(collector)
        run = minute(lake, replica)
        assert spool.backlog() == 0
        assert Spool(spool.folder, "binance").backlog() == 0
        walk.derive_and_alert(run)
        walk.record(run, "Completed")
        walk.publish_site(run)

    collecting(lake, act)
    text = (lake.context.settings.site_dir / "metrics.prom").read_text()
    assert "# TYPE tick_messages_received_total counter" in text
    (landed,) = lake.rows("SELECT p50_ms, p99_ms FROM latency WHERE stage = 'stream_to_landed'")
    for quantile, ms in zip(("0.5", "0.99"), landed, strict=True):
        line = (
            f'processing_latency_seconds{{stage="stream_to_landed",quantile="{quantile}"}} {ms / 1000:.10g}'
        )
        assert line in text.splitlines()


def replica_owes(replica: Replica, collector: Collector) -> bool:
    """Whether the collector has not heard yet all that the replica has sent."""
    return sum(one.sent for one in replica.streams.open) != frames(collector)


def metrics_of(lake: Lake) -> dict[str, float]:
    """The figures of the one stream."""
    lines = (lake.context.settings.site_dir / "metrics.prom").read_text().splitlines()
    label = '{source="binance"} '
    return {line.split(label)[0]: float(line.split(label)[1]) for line in lines if label in line}


def test_klines_that_fail_are_made_good_by_trades(lake: Lake, replica: Replica):
    async def act(collector: Collector) -> None:
        await connected(collector)
        replica.clock.advance(245)
        await until(lambda: frames(collector) > 100)
        replica.fault("outage", path="/api/*")

    collecting(lake, act)
    run = minute(lake, replica)
    (told,) = run.ingested
    assert (told.state, told.until) == ("partial", BEGAN + timedelta(minutes=4))
    assert "made of streamed trades" in (told.reason or "")
    walk.derive_and_alert(run)
    minutes = lake.rows("SELECT DISTINCT ts, origin, venue FROM bars ORDER BY ts")
    assert minutes == [
        ((BEGAN + timedelta(minutes=n)).replace(tzinfo=None), "stream", "binance") for n in (1, 2, 3)
    ]
    replica.heal()
    again = minute(lake, replica)
    walk.derive_and_alert(again)
    assert again.ingested[0].state == "ok"
    known = lake.rows("SELECT ts, max(revision), any_value(origin) FROM bars GROUP BY ts ORDER BY ts")
    made = [(ts, 1, "stream") for ts, _, _ in minutes]
    assert set(made) <= set(known)  # the klines said the same: no correction


def test_the_venues_own_trades_take_the_place_of_what_another_venue_lent(lake: Lake, replica: Replica):
    source = replace(lake.context.settings.sources[0], fallback=("coinbase",))
    lake.context = replace(lake.context, settings=replace(lake.context.settings, sources=(source,)))

    async def act(collector: Collector) -> None:
        await connected(collector)
        replica.clock.advance(245)
        await until(lambda: frames(collector) > 100)
        replica.fault("outage", path="/api/*")

    collecting(lake, act)
    run = minute(lake, replica)
    assert run.ingested[0].state == "fallback"
    walk.derive_and_alert(run)
    origins = dict(lake.rows("SELECT ts, string_agg(DISTINCT origin || ' ' || venue) FROM bars WHERE ts >= TIMESTAMP '2026-07-08 16:00' GROUP BY ts"))  # fmt: skip
    at = [BEGAN.replace(tzinfo=None) + timedelta(minutes=n) for n in range(4)]
    assert [origins[ts] for ts in at] == ["fallback coinbase", *["stream binance"] * 3]


def test_what_a_dead_collector_left_open_is_loaded_without_one(lake: Lake, replica: Replica):
    folder = streams_folder(lake.context.settings.data_dir) / segments.OPEN
    folder.mkdir(parents=True)
    inst = replica.streams.dialects[0].open("/stream", "streams=btcusdt@aggTrade", BEGAN.timestamp())
    replica.clock.advance(60)
    said = [frame.text.encode() for frame in inst.due(replica.clock.now())]
    whole = encode(1, said)
    (folder / "binance-stream-20260708T1600-00000000.jsonl").write_bytes(whole[:-30])
    minute(lake, replica)
    assert lake.one("SELECT count(*) FROM trades") == len(said) - 1


def test_killed_while_everything_goes_wrong_it_ends_with_the_truth(
    lake: Lake, replica: Replica, tmp_path: Path
):
    config = tmp_path / "tapewatch.toml"
    config.write_text(
        f"data_dir = {json.dumps(str(lake.context.settings.data_dir))}\n[[source]]\nname = 'binance'\n"
        f"symbols = ['BTCUSDT', 'ETHUSDT']\nbase_url = '{replica.url}'\n"
    )
    for kind in ("drop_messages", "duplicate_messages", "reorder_messages", "corrupt_messages"):
        replica.fault(kind, rate=0.05)

    def collector() -> subprocess.Popen[bytes]:
        before = len(replica.streams.open)
        environment = {**os.environ, "TAPEWATCH_CONFIG": str(config), "PYTHONPATH": str(REPOSITORY)}
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.collect"], env=environment, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: len(replica.streams.open) > before)
        return process

    def told() -> int:
        return sum(one.sent for one in replica.streams.open)

    for turn in range(3):
        process = collector()
        replica.clock.advance(70)
        wait_until(lambda: told() > 20)
        if turn < 2:
            process.kill()
            process.wait()
            wait_until(lambda: not replica.streams.open)
            replica.clock.advance(20)
    replica.fault("cut_stream", count=1)
    wait_until(lambda: not replica.streams.open)
    wait_until(lambda: replica.streams.open)
    replica.clock.advance(70)
    wait_until(lambda: told() > 20)
    replica.heal()
    process.terminate()
    assert process.wait(10) == 0
    minute(lake, replica)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        truth = replica.ask("trades", venue="binance", symbol=symbol, **{"from": BEGAN.timestamp() - 1})[
            "rows"
        ]
        stored = lake.rows(f"SELECT trade_id, price, qty FROM trades WHERE symbol = '{symbol}' ORDER BY 1")
        known = {row[0]: (row[1], row[2]) for row in truth}
        ids = [row[0] for row in stored]
        assert ids == list(range(ids[0], ids[-1] + 1))
        assert len(ids) > 50
        assert all(known[number] == (price, qty) for number, price, qty in stored)
    assert set(lake.rows("SELECT DISTINCT reason FROM quarantine")) == {("not_json",)}


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_collector_says_that_there_is_one(lake: Lake):
    async def act(collector: Collector) -> None:
        await connected(collector)
        with pytest.raises(SegmentError, match="another collector"):
            await Collector(lake.context.settings).run()

    collecting(lake, act)


def test_a_wish_that_cannot_be_read_is_none(tmp_path: Path):
    assert wish_of(tmp_path).collect
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "collection.json").write_text(json.dumps({"nonsense": 1}))
    assert wish_of(tmp_path).collect
    assert status_of(tmp_path)["state"] == "absent"
