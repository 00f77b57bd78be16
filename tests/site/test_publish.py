import errno
import os
import threading
from datetime import timedelta
from functools import partial
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson
import pytest

from pipelines.market import Series
from reports import render, series_files, shelf
from reports import site as publishing
from reports.shelf import Shelf, UnmadeError
from reports.site import publish
from reports.snapshot import take
from tests.site import market
from tests.site.conftest import options, served

MINUTE = timedelta(minutes=1)
PULSE = {"latest.js", "api/pulse.json"}


def test_a_second_render_of_the_same_data_writes_only_the_pulse(lake, site_copy):
    before = {path: path.stat().st_mtime_ns for path in site_copy.rglob("*") if path.is_file()}
    done = publish(lake[0], site_copy, options(), "minute")
    assert set(done.written) == PULSE
    assert done.unchanged > 50
    changed = {str(p.relative_to(site_copy)) for p, at in before.items() if p.stat().st_mtime_ns != at}
    assert changed == PULSE | {"manifest.json"}


def test_a_new_minute_rewrites_what_it_touches_and_not_the_rest(own_lake, own_site):
    (con, location), folder = own_lake, own_site
    market.add_minute(con, location, market.NEWEST + MINUTE)
    done = publish(con, folder, options(later=MINUTE), "minute")
    written = set(done.written)
    assert {
        "index.html",
        "data/symbols/binance-BTCUSDT.js",
        "symbols/binance-BTCUSDT.html",
        "api/latest/binance-BTCUSDT.json",
    } <= written
    assert not {path for path in written if "AAPL" in path and path.startswith(("data/", "api/"))}
    assert not {"methods.html", "sql/index.html", "assets/site.css"} & written
    assert "64,123.45" in (folder / "symbols/binance-BTCUSDT.html").read_text()


def test_the_pulse_is_written_after_everything_it_speaks_of(lake, tmp_path, monkeypatch):
    order = []
    real = os.replace
    monkeypatch.setattr(
        shelf.os, "replace", lambda a, b: (order.append(str(Path(b).relative_to(tmp_path))), real(a, b))
    )
    publish(lake[0], tmp_path, options(), "full")
    assert order[-3:] == ["manifest.json", "api/pulse.json", "latest.js"]


def test_a_render_that_meets_a_full_disk_leaves_the_site_as_it_was(lake, site_copy, monkeypatch):
    before = (site_copy / "latest.js").read_bytes()

    def full(_snap: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(publishing.metrics, "prometheus", full)
    with pytest.raises(OSError, match="No space left"):
        publish(lake[0], site_copy, options(later=MINUTE), "minute")
    assert (site_copy / "latest.js").read_bytes() == before
    monkeypatch.undo()
    publish(lake[0], site_copy, options(later=MINUTE), "minute")
    assert (site_copy / "latest.js").read_bytes() != before


def test_a_page_that_cannot_be_made_stays_as_it_was_and_the_others_are_new(own_lake, own_site, monkeypatch):
    (con, location), folder = own_lake, own_site
    before = (folder / "index.html").read_bytes()
    market.add_minute(con, location, market.NEWEST + MINUTE)
    monkeypatch.setattr(publishing.overview, "page", lambda snap: 1 / 0)
    script = series_files.charts.script
    monkeypatch.setattr(
        series_files.charts,
        "script",
        lambda slug, *facts: {"binance-BTCUSDT": None}.get(slug, script)(slug, *facts),
    )
    with pytest.raises(UnmadeError) as told:
        publish(con, folder, options(later=MINUTE), "minute")
    assert "chart of binance:BTCUSDT: TypeError: " in str(told.value)
    assert "overview: ZeroDivisionError: division by zero" in str(told.value)
    assert (folder / "index.html").read_bytes() == before
    assert "64,123.45" in (folder / "symbols/binance-BTCUSDT.html").read_text()
    assert f'"rendered_at":{(market.NOW + MINUTE).timestamp()}' in (folder / "api/pulse.json").read_text()
    monkeypatch.undo()
    assert {"index.html", "data/symbols/binance-BTCUSDT.js"} <= set(
        publish(con, folder, options(later=MINUTE), "minute").written
    )


@pytest.mark.capability("UI-10")
def test_a_reader_never_sees_half_a_page(tmp_path):
    folder = tmp_path / "site"
    folder.mkdir()
    stop, halves, reads = threading.Event(), [], []

    def from_disk():
        return (folder / "index.html").read_bytes()

    def over_http(address):
        with urlopen(f"{address}/index.html") as reply:
            return reply.read()

    def reader(look):
        while not stop.is_set():
            try:
                text = look()
            except (FileNotFoundError, HTTPError):
                continue
            reads.append(len(text))
            if not text.startswith(b"<!doctype html>") or not text.endswith(b"</html>\n"):
                halves.append(text[-80:])

    with served(folder) as address:
        watchers = [
            threading.Thread(target=reader, args=[look]) for look in (from_disk, partial(over_http, address))
        ]
        [watcher.start() for watcher in watchers]
        for n in range(150):
            one = Shelf(folder)
            one.put("index.html", b"<!doctype html>" + str(n).encode() * 200_000 + b"</html>\n")
            one.close()
        stop.set()
        [watcher.join() for watcher in watchers]
    assert halves == []
    assert len(set(reads)) > 1


def test_a_file_that_was_lost_or_cut_is_written_again(lake, site_copy):
    (site_copy / "index.html").write_text("<!doctype html>cut")
    (site_copy / "metrics.prom").unlink()
    done = publish(lake[0], site_copy, options(), "minute")
    assert {"index.html", "metrics.prom"} <= set(done.written)


def test_an_unreadable_manifest_means_a_whole_new_render(lake, site_copy):
    (site_copy / "manifest.json").write_text("{half")
    assert publish(lake[0], site_copy, options(), "minute").scope == "full"


def test_an_upgrade_renders_everything(lake, site_copy, monkeypatch):
    monkeypatch.setattr(render, "version", lambda: "newer")
    done = publish(lake[0], site_copy, options(), "minute")
    assert done.scope == "full"
    assert "methods.html" in done.written


def test_history_that_came_beside_the_minute_is_in_the_files_after_the_next_one(own_lake, own_site):
    (con, location), folder = own_lake, own_site
    with market.transaction(con, location):
        con.execute(
            "UPDATE calc.windows SET volume = 4242.5 WHERE interval = '1h' AND symbol IN ('BTCUSDT', 'ETHUSDT')"
        )
        con.execute(
            "INSERT INTO calc.anomalies BY NAME SELECT 'late' AS id, 'binance' AS source, 'BTCUSDT' AS symbol, '1h' AS interval, "
            "TIMESTAMP '2026-11-02 07:00' AS ts, 'volume' AS kind, 4242.5 AS value, 'medium' AS severity"
        )
    later = publish(con, folder, options(later=6 * MINUTE), "minute")
    assert not [path for path in later.written if "/1h." in path]
    done = publish(con, folder, options(later=7 * MINUTE, touched={Series("binance", "BTCUSDT")}), "minute")
    hours = {path for path in done.written if "/1h." in path}
    assert {"api/ohlc/binance-BTCUSDT/1h.json", "data/symbols/binance-BTCUSDT/1h.js"} <= hours
    assert not [path for path in hours if "ETHUSDT" in path]
    assert "4242.5" in (folder / "api/ohlc/binance-BTCUSDT/1h.csv").read_text()
    assert 'id="late"' in (folder / "anomalies/2026-11-02.html").read_text()


def test_days_that_are_over_stay_as_they_were(lake, site_copy):
    old = site_copy / "anomalies/2026-11-02.html"
    old.write_bytes(old.read_bytes().replace(b"</body>", b"<!-- mine --></body>"))
    publish(lake[0], site_copy, options(), "full")
    assert b"<!-- mine -->" in old.read_bytes()


def test_data_of_a_symbol_that_is_gone_goes_and_its_addresses_stay(own_lake, own_site):
    (con, location), folder = own_lake, own_site
    assert (folder / "api/latest/yahoo-TSLA.json").is_file()
    with market.transaction(con, location):
        for table in ("core.series", "core.bars"):
            con.execute(f"DELETE FROM {table} WHERE symbol = 'TSLA'")
    done = publish(con, folder, options(), "full")
    assert done.removed > 3
    assert not (folder / "api/latest/yahoo-TSLA.json").exists()
    assert not (folder / "data/symbols/yahoo-TSLA.js").exists()
    for address in ("symbols/yahoo-TSLA.html", "alerts/alert-tsla-old.html", "anomalies/2026-11-20.html"):
        assert (folder / address).is_file()


def test_what_moves_slowly_is_written_when_its_time_has_come(lake, site_copy):
    soon = publish(lake[0], site_copy, options(later=2 * MINUTE), "minute")
    assert "sql/index.html" not in soon.written
    (site_copy / "sql/index.html").unlink()
    late = publish(lake[0], site_copy, options(later=6 * MINUTE), "minute")
    assert "sql/index.html" in late.written


def test_digests_that_others_wrote_are_listed_and_kept(lake, site_copy):
    (site_copy / "digests/2026-11-20T1600Z.html").write_text("<p>new</p>")
    publish(lake[0], site_copy, options(later=6 * MINUTE), "minute")
    assert "2026-11-20T1600Z.html" in (site_copy / "digests/index.html").read_text()
    assert (
        "digests/2026-11-20T1600Z.html" in orjson.loads((site_copy / "manifest.json").read_bytes())["files"]
    )


def test_a_large_universe_costs_the_minute_only_overview_pulse_and_tails(own_lake, tmp_path):
    con, location = own_lake
    small = options(minute_series=3)
    publish(con, tmp_path / "site", small, "full")
    market.add_minute(con, location, market.NEWEST + MINUTE)
    done = publish(con, tmp_path / "site", options(minute_series=3, later=MINUTE), "minute")
    assert {"index.html", "data/symbols/binance-BTCUSDT.js"} | PULSE <= set(done.written)
    assert not [path for path in done.written if path.startswith(("api/ohlc", "symbols/", "pairs/bin"))]


def test_frozen_days_and_the_tail_overlap_so_that_no_bar_is_lost(own_lake, own_site):
    (con, location), folder = own_lake, own_site
    for n in range(1, 4):
        market.add_minute(con, location, market.NEWEST + n * MINUTE)
        publish(con, folder, options(later=n * MINUTE), "minute")
    seconds = set()
    for path in [
        folder / "data/symbols/binance-BTCUSDT.js",
        *(folder / "data/symbols/binance-BTCUSDT").glob("2026-*.js"),
    ]:
        payload = orjson.loads(path.read_text().split(",", 2)[2].removesuffix(");\n"))
        for start, count in payload["runs"]:
            seconds |= {start + 60 * i for i in range(count)}
    wanted = {
        int(row[0])
        for row in con.execute(
            "SELECT epoch(ts)::BIGINT FROM bars WHERE symbol = 'BTCUSDT' AND ts >= TIMESTAMP '2026-11-20'"
        ).fetchall()
    }
    assert wanted <= seconds


@pytest.mark.capability("UI-09")
def test_a_closed_exchange_is_closed_and_not_stale(lake):
    feeds = {feed.source: feed for feed in take(lake[0], options(later=timedelta(hours=7))).feeds}
    assert feeds["yahoo"].closed
    assert feeds["yahoo"].worst_lag_s is None
    assert feeds["yahoo"].opens_at.isoformat() == "2026-11-23T14:30:00"
    assert not feeds["binance"].closed
    assert feeds["binance"].worst_lag_s > 180


def test_at_the_open_the_age_counts_from_the_open_and_not_from_yesterday(lake):
    monday = timedelta(days=2, hours=22, minutes=49)
    feed = next(f for f in take(lake[0], options(later=monday)).feeds if f.source == "yahoo")
    assert not feed.closed
    assert feed.worst_lag_s == pytest.approx(66, abs=1)
