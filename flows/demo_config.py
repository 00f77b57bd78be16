"""The demo's configuration: the replica's market, everything else as the user has set it.

`demo.toml` is the user's once they have changed it. What a start must set whatever it says, this run's folders and
ports and the replica's address, goes by environment, kept in `run/demo.json` for the commands of other shells.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

from pipelines.settings import Settings, load

DEMO_FILE = "demo.toml"
CRYPTO = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT")
_HEAD = (
    "# Written by `tapewatch demo`: everything in this folder is SIMULATED DATA. Kept once you change it. "
)
EQUITIES = ("AAPL", "MSFT", "GOOGL", "NVDA", "AMZN", "TSLA", "SPY", "KO", "PEP")


def demo_toml(
    settings: Settings, replica: str, prefect_port: int, site_port: int, history: str | None = None
) -> str:
    """`demo.toml`: two simulated venues at the replica's address, and this run's folders and ports.

    history: how far back is loaded, such as `2d`; None: what baselines of a week and a half need.
    """
    body = f"""
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
    return f"{_HEAD}{_mark(body)}{body}"


def write_demo_toml(path: Path, text: str) -> bool:
    """Writes the configuration unless the user has changed the one that is there; False if theirs was kept."""
    if path.exists() and not is_ours(path.read_text()):
        return False
    path.write_text(text)
    return True


def is_ours(text: str) -> bool:
    """Whether a `demo.toml` is as we wrote it."""
    head, _, body = text.partition("\n")
    return (head + "\n").startswith(_HEAD) and head.endswith(_mark("\n" + body))


def write_overrides(
    settings: Settings, config: Path, replica: str, prefect_port: int, site_port: int, history: str | None
) -> dict[str, str]:
    """What this start sets where `demo.toml` says something else, as environment variables; kept in `run/demo.json`.

    Every source of the file asks the replica: simulated and real bars never meet in one folder.
    """
    found = load(config, {})
    wanted = {
        "TAPEWATCH_DATA_DIR": (found.data_dir, settings.data_dir),
        "TAPEWATCH_SITE_DIR": (found.site_dir, settings.site_dir),
        "TAPEWATCH_PREFECT__PORT": (found.prefect.port, prefect_port),
        "TAPEWATCH_SITE__PORT": (found.site.port, site_port),
    }
    for source in found.sources:
        name = source.name.upper()
        wanted[f"TAPEWATCH_SOURCE__{name}__BASE_URL"] = (source.base_url, replica)
        if history:
            wanted[f"TAPEWATCH_SOURCE__{name}__HISTORY"] = (source.history, history)
    given = {name: str(needed) for name, (said, needed) in wanted.items() if said != needed}
    kept = _kept(settings.data_dir)
    kept.parent.mkdir(parents=True, exist_ok=True)
    draft = kept.with_suffix(".tmp")
    draft.write_text(json.dumps(given, indent=1))
    draft.replace(kept)
    return given


def demo_environment(environ: Mapping[str, str], data_dir: Path) -> dict[str, str]:
    """The environment to read `demo.toml` with: without the user's overrides of a live platform, with the demo's own."""
    own = {name: value for name, value in environ.items() if not name.startswith("TAPEWATCH_")}
    kept = _kept(data_dir)
    return own | (json.loads(kept.read_text()) if kept.exists() else {})


def _kept(data_dir: Path) -> Path:
    return data_dir / "run" / "demo.json"


def _mark(body: str) -> str:
    return f"[{blake2b(body.encode(), digest_size=6).hexdigest()}]"
