"""The demo's configuration: the replica's market, everything else as the user has set it."""

from __future__ import annotations

import json

from pipelines.settings import Settings

CRYPTO = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
EQUITIES = ("AAPL", "MSFT", "GOOGL", "NVDA", "AMZN", "TSLA", "SPY", "KO", "PEP")


def demo_toml(
    settings: Settings, replica: str, prefect_port: int, site_port: int, history: str | None = None
) -> str:
    """`demo.toml`: two simulated venues at the replica's address, and this run's folders and ports.

    history: how far back is loaded, such as `2d`; None: what baselines of a week and a half need.
    """
    return f"""# Written by `tapewatch demo`: everything in this folder is SIMULATED DATA.
data_dir = {json.dumps(str(settings.data_dir))}
site_dir = {json.dumps(str(settings.site_dir))}

[prefect]
host = {json.dumps(settings.prefect.host)}
port = {prefect_port}

[site]
host = {json.dumps(settings.site.host)}
port = {site_port}

[[source]]
name = "binance"
symbols = {json.dumps(CRYPTO)}
fallback = ["coinbase", "kraken"]
base_url = {json.dumps(replica)}
history = {json.dumps(history or "8d")}

[[source]]
name = "yahoo"
symbols = {json.dumps(EQUITIES)}
calendar = "XNYS"
base_url = {json.dumps(replica)}
history = {json.dumps(history or "14d")}
"""
