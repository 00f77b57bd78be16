"""Times and durations as people type them: `2024-03-01`, `2024-03-01T12:00Z`, `7d` ago, `now`."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from flows.cli.call import UsageError
from pipelines.market import utc
from pipelines.settings_values import SettingError, duration


def moment(text: str, option: str, now: datetime | None = None) -> datetime:
    """Aware UTC of an ISO time (no offset means UTC), an epoch in s or ms, `now`, or a time ago such as `7d`.

    Raises UsageError that names the option.
    """
    present = now or datetime.now(UTC)
    word = text.strip()
    if word.lower() == "now":
        return present
    if word.isdigit() and len(word) in (10, 13):
        return datetime.fromtimestamp(int(word) / (1000 if len(word) == 13 else 1), UTC)
    with suppress(ValueError):
        return utc(datetime.fromisoformat(word))
    try:
        return present - duration(word)
    except SettingError:
        allowed = "2024-03-01, 2024-03-01T12:00Z, now, or 7d for seven days ago"
        raise UsageError(f"{option}: {text!r} is not a time; write {allowed}") from None
