"""The demo's configuration is the user's once they have changed it; what a start must set goes by environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.context import assemble
from flows.demo_config import demo_environment, demo_toml, write_demo_toml, write_overrides
from pipelines.settings import Settings, load

CHANNEL = '\n[[channel]]\nname = "ops"\nkind = "slack"\nurl = "env:OPS_HOOK"\n'


def start(home: Path, replica: int, prefect: int = 4200, site: int = 8080) -> bool:
    """What `tapewatch demo` does with the file; True if it wrote it."""
    settings = Settings(data_dir=home / "data", site_dir=home / "site")
    settings.data_dir.mkdir(exist_ok=True)
    path, address = settings.data_dir / "demo.toml", f"http://127.0.0.1:{replica}"
    wrote = write_demo_toml(path, demo_toml(settings, address, prefect, site))
    write_overrides(settings, path, address, prefect, site, None)
    return wrote


def test_an_unchanged_file_follows_its_start(tmp_path: Path):
    assert start(tmp_path, 8900)
    assert start(tmp_path, 8901, prefect=4300)
    text = (tmp_path / "data/demo.toml").read_text()
    assert "http://127.0.0.1:8901" in text
    assert "4300" in text
    assert demo_environment({"HOME": "/h", "TAPEWATCH_SITE_DIR": "x"}, tmp_path / "data") == {"HOME": "/h"}


def test_a_changed_file_is_kept_and_still_finds_the_replica_and_its_ports(tmp_path: Path):
    start(tmp_path, 8900)
    path = tmp_path / "data/demo.toml"
    mine = path.read_text().replace('"SOLUSDT", ', "") + CHANNEL
    path.write_text(mine)
    assert not start(tmp_path, 8901, site=8081)
    assert path.read_text() == mine
    context = assemble(Settings(data_dir=tmp_path / "data", site_dir=tmp_path / "elsewhere"))
    assert [channel.name for channel in context.settings.channels] == ["ops"]
    assert {source.base_url for source in context.settings.sources} == {"http://127.0.0.1:8901"}
    assert "SOLUSDT" not in context.settings.sources[0].symbols
    assert (context.settings.site.port, context.settings.prefect.port) == (8081, 4200)
    assert context.is_simulated


@pytest.mark.capability("PAIR-09")
def test_the_demo_streams_both_legs_of_the_usual_pair(tmp_path: Path):
    start(tmp_path, 8900)
    binance = load(tmp_path / "data/demo.toml", {}).sources[0]
    assert {"BTCUSDT", "ETHUSDT"} <= set(binance.symbols)
    assert binance.stream


def test_a_source_that_was_taken_out_stays_out(tmp_path: Path):
    start(tmp_path, 8900)
    path = tmp_path / "data/demo.toml"
    head, _, _ = path.read_text().rpartition("[[source]]")
    path.write_text(head)
    start(tmp_path, 8900)
    found = load(path, demo_environment({}, tmp_path / "data"))
    assert [source.name for source in found.sources] == ["binance"]
