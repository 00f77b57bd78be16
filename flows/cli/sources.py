"""`tapewatch sources list`: the adapters there are and what each needs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flows.cli.call import Injected
from flows.cli.lake import context_of, feed_lags
from flows.cli.tables import show
from flows.cli.times import ago
from flows.context import Context, reading
from pipelines.secrets import SecretError
from pipelines.settings import Settings
from pipelines.settings_sources import NEEDS_KEY, Source
from pipelines.sources import registry

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
    listed = [row | live.get(row["name"], NEVER) for row in rows(context.settings, list(registry()))]
    show(call, listed, COLUMNS)


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


def rows(settings: Settings, names: list[str]) -> list[dict[str, Any]]:
    """One row an adapter, the configured ones first, in the order of the file."""
    configured = {source.name: source for source in settings.sources}
    ordered = [*configured, *(name for name in names if name not in configured)]
    return [_row(name, configured.get(name)) for name in ordered]


def _row(name: str, source: Source | None) -> dict[str, Any]:
    return {
        "name": name,
        "configured": source is not None,
        "symbols": list(source.symbols) if source else [],
        "calendar": source.calendar if source else Source(name).calendar,
        "stream": bool(source and source.stream),
        "key": _key(name, source),
        "budget": f"{source.budget:.0%}" if source else "",
        "fallback": list(source.fallback) if source else [],
        "base_url": source.base_url if source else "",
    }


def _key(name: str, source: Source | None) -> str:
    """`none needed`, `set`, or what is missing."""
    if name not in NEEDS_KEY:
        return "none needed"
    if source is None or not source.api_key:
        return f"needed: env:{name.upper()}_API_KEY"
    try:
        source.api_key.reveal()
    except SecretError:
        return f"missing: {source.api_key}"
    return "set"
