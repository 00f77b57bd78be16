"""What a venue sent is on disk before anyone reads it, once, whole, and byte for byte."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import landing
from pipelines.landing import LandingError, batch_id
from pipelines.sources.base import Reply

AT = datetime(2026, 11, 21, 2, 41, 7, tzinfo=UTC)
BATCH = "binance-rest-20261121T0241"


def reply(body: bytes = b'[[1,"2"]]', symbol: str = "BTCUSDT") -> Reply:
    return Reply("binance", symbol, "/api/v3/klines", {"interval": "1m"}, 200, body, AT, 12.5, AT, None)


def test_the_same_minute_gives_the_same_id():
    assert batch_id("binance", "rest", AT) == batch_id("binance", "rest", AT.replace(second=59)) == BATCH
    assert batch_id("binance", "rest", AT, "BTCUSDT") == f"{BATCH}-BTCUSDT"
    assert batch_id("yahoo", "backfill", AT, "^GSPC/x").startswith("yahoo-backfill-20261121T0241-_GSPC_x-")


@pytest.mark.parametrize("name", ["", "Binance", "../x", "a-b"])
def test_an_id_takes_only_plain_names(name: str):
    with pytest.raises(ValueError, match="lower case"):
        batch_id(name, "rest", AT)


@pytest.mark.parametrize("name", ["", "../../etc", "binance-rest", "binance-rest-20261121T0241/x"])
def test_only_ids_of_ours_become_paths(name: str, tmp_path: Path):
    with pytest.raises(ValueError, match="not a batch id"):
        landing.write(tmp_path, name, [])


def test_a_batch_is_one_file_a_human_can_read(tmp_path: Path):
    landed = landing.write(tmp_path, BATCH, [reply(), reply(b"{}\n{}", "ETHUSDT")])
    assert landed.path == tmp_path / "binance/rest/dt=2026-11-21" / f"{BATCH}.zst"
    data = landed.path.read_bytes()
    assert (landed.bytes, landed.sha256, landed.replies) == (len(data), sha256(data).hexdigest(), 2)
    lines = zstandard.ZstdDecompressor().decompress(data).decode().splitlines()
    assert '"symbol":"BTCUSDT"' in lines[0]
    assert '"length":9' in lines[0]
    assert (lines[1], lines[3:]) == ('[[1,"2"]]', ["{}", "{}"])
    assert [path.name for path in landed.path.parent.iterdir()] == [landed.path.name]


headers = st.text(max_size=20)
times = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
replies = st.builds(
    Reply, headers, headers, headers, st.dictionaries(headers, headers, max_size=3), st.integers(100, 599),
    st.binary(max_size=200), times, st.floats(0, 1e6), st.none() | times, st.none() | st.floats(0, 1e6),
    st.none() | times,
)  # fmt: skip


@given(st.lists(replies, max_size=5))
@settings(max_examples=60, deadline=None)
def test_whatever_was_received_comes_back_exactly(
    tmp_path_factory: pytest.TempPathFactory, sent: list[Reply]
):
    folder = tmp_path_factory.mktemp("landing")
    landed = landing.write(folder, BATCH, sent)
    assert landing.read(landed.path) == sent
    assert landing.pending(folder, set()) == [landed]


def test_landing_the_same_batch_again_keeps_the_first(tmp_path: Path):
    first = landing.write(tmp_path, BATCH, [reply(b"first")])
    assert landing.write(tmp_path, BATCH, [reply(b"second"), reply()]) == first
    assert landing.read(first.path) == [reply(b"first")]


def test_pending_are_the_sealed_batches_the_ledger_does_not_know_oldest_first(tmp_path: Path):
    ids = ["yahoo-rest-20261121T0240", BATCH, "binance-rest-20261120T2359", "yahoo-rest-20261121T0242"]
    landed = {name: landing.write(tmp_path, name, [reply()]) for name in ids}
    leftover = landed[BATCH].path.with_name(f".{BATCH}.999.tmp")
    leftover.write_bytes(b"half")
    expected = ["binance-rest-20261120T2359", "yahoo-rest-20261121T0240", BATCH]
    assert landing.pending(tmp_path, {"yahoo-rest-20261121T0242"}) == [landed[name] for name in expected]
    assert landing.pending(tmp_path / "nothing", set()) == []


@pytest.mark.parametrize("damage", ["torn", "bit", "empty", "appended", "other", "short"])
def test_a_damaged_batch_is_named_and_never_half_read(tmp_path: Path, damage: str):
    path = landing.write(tmp_path, BATCH, [reply(os.urandom(500)), reply(os.urandom(500))]).path
    data = path.read_bytes()
    middle = len(data) // 2
    compress = zstandard.ZstdCompressor().compress
    whole = zstandard.ZstdDecompressor().decompress(data)
    path.write_bytes(
        {
            "torn": data[:-30],
            "bit": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "empty": b"",
            "appended": data + b"x",
            "other": compress(b"not ours\n"),
            "short": compress(whole[: len(whole) // 2]),
        }[damage]
    )
    with pytest.raises(LandingError, match=f"{BATCH}.*torn or corrupt.*backfill"):
        landing.read(path)
    assert [found.batch_id for found in landing.pending(tmp_path, set())] == [BATCH]


def test_a_batch_that_is_gone_is_named(tmp_path: Path):
    with pytest.raises(LandingError, match=r"gone\.zst cannot be read: No such file"):
        landing.read(tmp_path / "gone.zst")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_says_so_and_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(
        LandingError, match=rf"disk full: .*{BATCH}\.zst needs [\d,]+ bytes and [\d,]+ are free"
    ) as full:
        landing.write(tmp_path, BATCH, [reply()])
    assert "[retention]" in str(full.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_is_a_file_says_so(tmp_path: Path):
    (tmp_path / "binance").write_text("")
    with pytest.raises(LandingError, match="cannot be written"):
        landing.write(tmp_path, BATCH, [reply()])


def test_a_new_batch_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd))
    )
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see which file was synced")
    path = landing.write(tmp_path / "landing", BATCH, [reply()]).path
    assert synced[-2:] == [str(path.with_name(f".{BATCH}.{os.getpid()}.tmp")), str(path.parent)]
    assert {str(tmp_path), str(tmp_path / "landing"), str(path.parents[1])} <= set(synced[:-2])


def test_old_days_and_what_dead_writers_left_expire(tmp_path: Path):
    ids = ["binance-rest-20261101T0000", "binance-rest-20261101T0001", "binance-rest-20261114T0000", BATCH]
    paths = [landing.write(tmp_path, name, [reply()]).path for name in ids]
    dead, alive = (path.with_name(".x.1.tmp") for path in (paths[2], paths[3]))
    dead.write_bytes(b"")
    alive.write_bytes(b"")
    assert landing.expire(tmp_path, keep_days=7, today=date(2026, 11, 21)) == 2
    assert [path.exists() for path in (*paths, dead, alive)] == [False, False, True, True, False, True]
    assert landing.expire(tmp_path, keep_days=7, today=date(2026, 11, 21)) == 0
