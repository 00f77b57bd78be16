"""The venues we read, one adapter a file; others join by the entry point group `tapewatch.sources`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple, cast

from pipelines.sources.alpha_vantage import AlphaVantage
from pipelines.sources.base import SourceFactory
from pipelines.sources.binance import Binance
from pipelines.sources.binance_futures import BinanceFutures
from pipelines.sources.coinbase import Coinbase
from pipelines.sources.finage import Finage
from pipelines.sources.fmp import Fmp
from pipelines.sources.kraken import Kraken
from pipelines.sources.massive import Massive
from pipelines.sources.yahoo import Yahoo

GROUP = "tapewatch.sources"
BUILT_IN: Mapping[str, SourceFactory] = {
    "binance": Binance,
    "binance_futures": BinanceFutures,
    "yahoo": Yahoo,
    "coinbase": Coinbase,
    "kraken": Kraken,
    "massive": Massive,
    "alpha_vantage": AlphaVantage,
    "fmp": Fmp,
    "finage": Finage,
}

log = logging.getLogger(__name__)


class Discovered(NamedTuple):
    """sources: adapters by name; problems: plug-ins that cannot be used, each with why and what to do."""

    sources: dict[str, SourceFactory]
    problems: dict[str, str]


def factory(name: str) -> SourceFactory | None:
    """The adapter of that name; installed packages are searched only where it is not one of ours."""
    return BUILT_IN.get(name) or registry().get(name)


def registry() -> dict[str, SourceFactory]:
    """The adapters by name; a plug-in that cannot be used is logged and left out."""
    found = discover()
    for problem in found.problems.values():
        log.warning("%s", problem)
    return found.sources


def discover() -> Discovered:
    """The built-in adapters and every usable plug-in; a bad one is reported and stops nobody."""
    found = Discovered(dict(BUILT_IN), {})
    for point in entry_points(group=GROUP):
        if point.name in BUILT_IN:
            found.problems[point.name] = (
                f"{_where(point)}: the name of a built-in adapter; choose another one"
            )
            continue
        try:
            plug_in = point.load()
        except Exception as error:  # noqa: BLE001 - whatever somebody else's module does at import
            found.problems[point.name] = (
                f"{_where(point)}: {type(error).__name__}: {error}; mend or uninstall it"
            )
            continue
        if callable(plug_in):
            found.sources[point.name] = cast(SourceFactory, plug_in)
        else:
            found.problems[point.name] = f"{_where(point)}: not a class or function that takes SourceOptions"
    return found


def _where(point: EntryPoint) -> str:
    package = point.dist.name if point.dist else "unknown package"
    return f"source {point.name!r} of {package} ({point.value})"
