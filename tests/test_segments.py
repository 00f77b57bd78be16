"""Segments: every frame that was written comes back as it was, whatever it held and whenever the writer died."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pipelines.spool
from pipelines import segments
from pipelines.ring import RingBuffer
from pipelines.segment_format import decode, encode, seal_line
from pipelines.segments import SegmentError
from pipelines.spool import Spool, SpoolOptions
from tests.bench import streams
from tests.conftest import REPOSITORY

ANY_FRAMES = st.lists(st.lists(st.binary(max_size=40), min_size=1, max_size=5), min_size=1, max_size=5)
KILLS = 20


def frames_of(folder: Path, source: str = "binance") -> list[bytes]:
    return [frame for one in segments.pending(folder, source) for frame in segments.read(one.path).frames]


@settings(max_examples=60, deadline=None)
@given(ANY_FRAMES)
def test_any_bytes_come_back_as_they_were(batches):
    content = b"".join(encode(number, frames) for number, frames in enumerate(batches)) + seal_line(9)
    found = decode(content)
    assert found.frames == [frame for frames in batches for frame in frames]
    assert (found.first_us, found.last_us, found.torn) == (0, len(batches) - 1, 0)


@settings(max_examples=80, deadline=None)
@given(ANY_FRAMES, st.data())
def test_a_torn_segment_gives_its_whole_frames_in_order(batches, data):
    content = b"".join(encode(number, frames) for number, frames in enumerate(batches))
    cut = data.draw(st.integers(0, len(content)))
    sent = [frame for frames in batches for frame in frames]
    assert decode(content[:cut]).frames == sent[: len(decode(content[:cut]).frames)]


def test_a_segment_is_sealed_each_minute_and_says_how_long_landing_took(tmp_path):
    now = [1_700_000_030.0]
    spool = Spool(tmp_path, "binance", clock=lambda: now[0])
    spool.put(1_700_000_029_990_000, [b"a", b"b"])
    while spool.counts.frames < 2:
        time.sleep(0.001)
    now[0] += 60
    spool.put(1_700_000_090_000_000, [b"c"])
    spool.close()
    first, second = segments.pending(tmp_path, "binance")
    assert (segments.read(first.path).frames, segments.read(second.path).frames) == ([b"a", b"b"], [b"c"])
    assert segments.read(first.path).seal["receive_to_landed_ms"]["max"] == pytest.approx(10, abs=0.01)
    assert first.batch_id == "binance-stream-20231114T2213-50000000"
    assert list((tmp_path / "open").glob("*.jsonl")) == []


def test_a_clock_that_is_set_back_does_not_keep_a_segment_open(tmp_path):
    now = [1_700_000_030.0]
    spool = Spool(tmp_path, "binance", clock=lambda: now[0])
    for number in range(2):
        spool.put(number, [b"%d" % number])
        while spool.counts.frames <= number:
            time.sleep(0.001)
        now[0] -= 3600
    spool.close()
    assert sorted(frames_of(tmp_path)) == [b"0", b"1"]
    assert len(segments.pending(tmp_path, "binance")) == 2


@pytest.mark.capability("ING-19")
def test_a_flood_is_bounded_and_what_was_dropped_is_counted(tmp_path):
    spool = Spool(tmp_path, "binance", SpoolOptions(queue_bytes=1000))
    with spool._wake:  # the writer waits for it, as it would for a slow disk
        taken = [spool.put(0, [b"x" * 100]) for _ in range(50)]
    spool.close()
    assert taken == [True] * 10 + [False] * 40
    assert (spool.counts.frames, spool.counts.dropped) == (10, 40)
    assert segments.read(segments.pending(tmp_path, "binance")[0].path).seal["dropped"] == 40


def test_a_full_disk_costs_the_frames_it_did_not_take_and_no_others(tmp_path, monkeypatch):
    spool = Spool(tmp_path, "binance")
    taken: list[bytes] = []
    real = pipelines.spool._write

    def write(file, data):
        taken.append(data)
        if len(taken) == 2:
            file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        real(file, data)

    monkeypatch.setattr("pipelines.spool._write", write)
    for number in range(3):
        spool.put(number, [b"frame %d" % number])
        while spool.counts.frames + spool.counts.dropped <= number:
            time.sleep(0.001)
    spool.close()
    assert frames_of(tmp_path) == [b"frame 0", b"frame 2"]
    assert spool.counts.dropped == 1


@pytest.mark.capability("ING-07")
def test_a_lone_frame_is_synced_to_the_disk_within_a_second(tmp_path, monkeypatch):
    assert pipelines.spool.SYNC_S <= 1
    synced, real = threading.Event(), pipelines.spool._sync
    monkeypatch.setattr("pipelines.spool.SYNC_S", 0.01)
    monkeypatch.setattr("pipelines.spool._sync", lambda descriptor: (real(descriptor), synced.set()))
    spool = Spool(tmp_path, "binance")
    spool.put(0, [b"a"])
    assert synced.wait(10)
    spool.close()


@pytest.mark.capability("ING-07")
def test_a_collector_killed_twenty_times_loses_nothing_it_had_landed(tmp_path):
    driver = f"from pathlib import Path\nfrom tests.test_segments import kill_often\nkill_often(Path({str(tmp_path)!r}))"
    out = subprocess.run(
        [sys.executable, "-c", driver], capture_output=True, text=True, check=True, cwd=REPOSITORY
    )
    told = int(out.stdout)
    with segments.owned(tmp_path):
        segments.seal_leftovers(tmp_path)
    numbers = frames_of(tmp_path)
    assert told > KILLS
    assert {b"%d" % number for number in range(1, told + 1)} <= set(numbers)


def kill_often(folder: Path) -> None:
    """Forks a collector, kills it while it writes, again and again; prints the last number one had landed."""
    told = 0
    for turn in range(KILLS):
        reader, writer = os.pipe()
        if not (child := os.fork()):
            _collect(folder, told + 1, writer)
        os.close(writer)
        with os.fdopen(reader) as landed:
            wanted = told + 1 + turn % 7
            while told < wanted:
                told = int(landed.readline())
            os.kill(child, signal.SIGKILL)
            told = max([told, *map(int, landed.read().split("\n")[:-1])])
        os.waitpid(child, 0)
    print(told)


def _collect(folder: Path, number: int, told: int) -> None:
    with segments.owned(folder):
        segments.seal_leftovers(folder)
        spool = Spool(folder, "binance")
        for count in itertools.count(1):
            spool.put(number, [b"%d" % number])
            while spool.counts.frames < count:
                time.sleep(0.0002)
            os.write(told, b"%d\n" % number)
            number += 1


def test_only_one_collector_writes_to_a_folder(tmp_path):
    with segments.owned(tmp_path), pytest.raises(SegmentError, match="another collector"):
        with segments.owned(tmp_path):
            pass


def test_a_corrupt_or_unfinished_segment_says_so(tmp_path):
    spool = Spool(tmp_path, "binance")
    spool.put(0, [b"a"])
    spool.close()
    path = segments.pending(tmp_path, "binance")[0].path
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(SegmentError, match=path.name):
        segments.read(path)


def test_loaded_segments_are_kept_for_their_days(tmp_path):
    spool = Spool(tmp_path, "binance", clock=lambda: datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp())
    spool.put(0, [b"a"])
    spool.close()
    (one,) = segments.pending(tmp_path, "binance")
    segments.put_away(tmp_path, one)
    segments.put_away(tmp_path, one)
    assert segments.pending(tmp_path, "binance") == []
    assert segments.expire(tmp_path, 7, date(2026, 11, 27)) == 0
    assert segments.expire(tmp_path, 7, date(2026, 11, 28)) == 1


@pytest.mark.capability("ING-09")
def test_a_flood_on_a_websocket_lands_to_the_last_frame(tmp_path):
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.trade_server", "30000", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert server.stdout
    try:
        url = f"ws://127.0.0.1:{server.stdout.readline().strip()}"
        taken = asyncio.run(streams._ours(url, 30_000, tmp_path))
    finally:
        server.kill()
        server.communicate()
    assert (taken.trades, taken.id_sum) == (30_000, sum(range(30_000)))


@pytest.mark.capability("ING-17")
def test_a_ring_keeps_the_newest_in_memory_that_does_not_grow():
    ring = RingBuffer(5)
    size = ring.nbytes
    for value in range(6):
        ring.push(value)
    assert ring.values().tolist() == [1, 2, 3, 4, 5]
    for value in range(1_000_000):
        ring.push(value)
    assert (len(ring), ring.nbytes) == (5, size)
    assert ring.values().tolist() == [999_995, 999_996, 999_997, 999_998, 999_999]
