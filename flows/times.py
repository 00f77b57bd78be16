"""Times and durations as people type them: `2024-03-01`, `2024-03-01T12:00Z`, `7d`, `now`, `never`."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from pipelines.market import utc
from pipelines.settings_values import SettingError, duration
from warehouse.errors import UsageError


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


def deadline(text: str, option: str, now: datetime) -> datetime | None:
    """Aware UTC of an ISO time or of `now` plus a duration such as `2h`; None for `never` and `0`.

    Raises UsageError that names the option, also for a time that is over.
    """
    word = text.strip().lower()
    if word in ("never", "0"):
        return None
    try:
        at = now + duration(word)
    except SettingError:
        try:
            at = moment(text, option, now)
        except UsageError:
            wanted = "2h or 7d from now, an ISO time, or never"
            raise UsageError(f"{option}: {text!r} is no length of time; write {wanted}") from None
    if at <= now:
        raise UsageError(
            f"{option}: {text} is over already; write a duration such as 7d, a later time, or never"
        )
    return at


def whole_minutes(count: int) -> int | None:
    """None for 0, which means without end; UsageError below it."""
    if count < 0:
        raise UsageError(f"--minutes: {count} is not possible; write 1 or more, or 0 for no end")
    return count or None


def ago(seconds: float | None) -> str:
    """A length of time for eyes: `42 s`, `3.5 min`, `2.1 h`, `4.0 d`; nothing for null."""
    if seconds is None:
        return ""
    for limit, unit, size in ((120, "s", 1), (7200, "min", 60), (172_800, "h", 3600)):
        if abs(seconds) < limit:
            return f"{seconds:.0f} {unit}" if size == 1 else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.1f} d"
