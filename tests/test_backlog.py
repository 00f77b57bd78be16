"""What waits for the warehouse is counted once, whoever landed it."""

from __future__ import annotations

from pipelines import segments
from pipelines.backlog import Backlog, Pace
from pipelines.spool import Spool


def test_what_an_earlier_collector_left_counts_until_it_is_loaded(tmp_path):
    spool = Spool(tmp_path, "binance")
    spool.put(0, [b"a", b"b"])
    spool.close()
    assert (spool.backlog(), Backlog(tmp_path, "binance").frames(), Backlog(tmp_path, "yahoo").frames()) == (
        2,
        2,
        0,
    )
    (one,) = segments.pending(tmp_path, "binance")
    one.path.with_name("binance-stream-20261127T1200-00000000.jsonl.zst").write_bytes(b"no segment")
    later = Backlog(tmp_path, "binance")
    assert later.frames() == 2
    segments.put_away(tmp_path, one)
    assert (spool.backlog(), later.frames()) == (0, 0)


def test_the_pace_is_that_of_the_last_minute():
    pace = Pace()
    assert pace.look(0.0, 100) is None
    assert pace.look(10.0, 150) == 5
    assert [pace.look(10.0 + n, 150 + 2 * n) for n in range(10, 101, 10)][-1] == 2
