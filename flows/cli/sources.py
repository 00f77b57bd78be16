"""`tapewatch sources list`: the adapters there are and what each needs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flows.cli.call import Injected
from flows.cli.lake import context_of, feed_lags
from flows.cli.tables import show
from flows.context import Context, reading
from flows.times import ago
from pipelines.secrets import SecretError
from pipelines.settings import Settings
from pipelines.settings_sources import Source
from pipelines.sources import discover
from pipelines.sources.base import SourceFactory

COLUMNS = (
    *("name", "configured", "symbols", "calendar", "stream", "key", "budget", "fallback", "base_url"),
    *("state", "asked", "reason"),
)

NEVER = dict.fromkeys(("state", "reason", "asked", "seen_at", "market_now", "newest_bar", "lag_s", "is_open"))


def list_(*, call: Injected) -> None:
    """Every adapter: its symbols, the key it needs, its share of the venue's limit, and how its last fetch went.

    Example: tapewatch sources list --json
    """
    context = context_of(call)
    live = states(context)
    found = discover()
    listed = [row | live.get(row["name"], NEVER) for row in rows(context.settings, found.sources)]
    show(call, listed, COLUMNS)
    for problem in found.problems.values():
        print(problem, file=sys.stderr)


def states(context: Context) -> dict[str, dict[str, Any]]:
    """Source -> what its last fetch said; nothing where nothing was loaded yet."""
    if not context.location.exists:
        return {}
    with reading(context) as con:
        found = feed_lags(con, datetime.now(UTC))
    return {
        row["source"]: {name: row[name] for name in NEVER if name != "asked"}
        | {"asked": ago(row["asked_s_ago"])}
        for row in found
    }


def rows(settings: Settings, adapters: Mapping[str, SourceFactory]) -> list[dict[str, Any]]:
    """One row an adapter, the configured ones first, in the order of the file."""
    configured = {source.name: source for source in settings.sources}
    ordered = [*configured, *(name for name in adapters if name not in configured)]
    return [_row(name, adapters.get(name), configured.get(name)) for name in ordered]


def _row(name: str, adapter: SourceFactory | None, source: Source | None) -> dict[str, Any]:
    return {
        "name": name,
        "configured": source is not None,
        "symbols": list(source.symbols) if source else [],
        "calendar": source.calendar if source else Source(name).calendar,
        "stream": bool(source and source.stream),
        "key": _key(name, adapter, source),
        "budget": _budget(adapter, source),
        "fallback": list(source.fallback) if source else [],
        "base_url": source.base_url if source else "",
    }


def _budget(adapter: SourceFactory | None, source: Source | None) -> str:
    """What is asked of the venue's limit a minute at most; the limit alone for one that is not configured."""
    limit = (source.rate_limit if source else 0) or getattr(adapter, "weight_limit", 0)
    if source is None:
        return f"{limit}/min" if limit else ""
    return f"{source.budget:.0%} of {limit}/min" if limit else f"{source.budget:.0%}"


def _key(name: str, adapter: SourceFactory | None, source: Source | None) -> str:
    """`none needed`, `set`, or what is missing."""
    if not getattr(adapter, "needs_key", False):
        return "none needed"
    if source is None or not source.api_key:
        return f"needed: env:{name.upper()}_API_KEY"
    try:
        source.api_key.reveal()
    except SecretError:
        return f"missing: {source.api_key}"
    return "set"
