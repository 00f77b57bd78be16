"""How one value of the configuration is read: each reader takes what TOML or the environment gave and
returns the typed value, or raises `SettingError` with words for the user.

Values from the environment arrive as `EnvText`, which every reader also understands as its own type.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from pipelines.secrets import Secret

T = TypeVar("T")
Read = Callable[[Any], T]

SEVERITIES = ("critical", "high", "medium", "info")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class SettingError(ValueError):
    """A value that cannot stand: what is wrong, what is allowed, which known words it may have meant."""

    def __init__(self, what: str, allowed: str = "", *, word: str = "", known: Iterable[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.allowed = allowed
        self.word = word
        self.known = tuple(known)


class PlainSecretError(SettingError):
    """A secret written out in the file; its line is never shown again."""


class EnvText(str):
    """A text that came from an environment variable, where every type is spelt as text."""


def show(value: object) -> str:
    """`value` as it would be written in TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def text(value: Any) -> str:
    """Any non-empty text."""
    if not isinstance(value, str) or not value.strip():
        raise SettingError(f"{show(value)} is not a text", 'a text in quotes, such as "data"')
    return value.strip()


def flag(value: Any) -> bool:
    """true or false; the environment may also say 1, 0, yes, no, on, off."""
    if isinstance(value, bool):
        return value
    if isinstance(value, EnvText) and value.lower() in _FLAGS:
        return _FLAGS[value.lower()]
    raise SettingError(f"{show(value)} is neither true nor false", "true, false")


_FLAGS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}


def whole(low: int = 0, high: int = 10**9) -> Read[int]:
    """A whole number between two limits, both included."""

    def read(value: Any) -> int:
        number_ = int(value) if isinstance(value, EnvText) and re.fullmatch(r"-?\d+", value) else value
        if isinstance(number_, bool) or not isinstance(number_, int) or not low <= number_ <= high:
            raise SettingError(f"{show(value)} is not possible here", f"a whole number from {low} to {high}")
        return number_

    return read


def number(low: float, high: float) -> Read[float]:
    """A number between two limits, both included."""

    def read(value: Any) -> float:
        number_ = _float(value)
        if number_ is None or not low <= number_ <= high:
            raise SettingError(f"{show(value)} is not possible here", f"a number from {low:g} to {high:g}")
        return number_

    return read


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | EnvText):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def choice(*words: str) -> Read[str]:
    """One of a few words, in any case."""

    def read(value: Any) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        if word not in words:
            raise SettingError(
                f"{show(value)} is not possible here", ", ".join(words), word=word, known=words
            )
        return word

    return read


severity = choice(*SEVERITIES)


def listed(read: Read[T]) -> Read[tuple[T, ...]]:
    """A list of values; a single one counts as a list of one, the environment separates by commas."""

    def read_all(value: Any) -> tuple[T, ...]:
        found: dict[T, None] = {}
        wrong: list[SettingError] = []
        for item in items(value):
            try:
                found[read(item)] = None
            except SettingError as bad:
                wrong.append(bad)
        if len(wrong) == 1:
            raise wrong[0]
        if wrong:
            allowed = " or ".join(dict.fromkeys(bad.allowed for bad in wrong if bad.allowed))
            raise SettingError("; ".join(bad.what for bad in wrong), allowed)
        return tuple(found)

    return read_all


def items(value: Any) -> list[Any]:
    """The members of a TOML list, of an environment text such as `a,b` or `[1, 2]`, or of a lone value."""
    if isinstance(value, EnvText):
        if value.lstrip().startswith("["):
            return list(inline(value))
        return [EnvText(part.strip()) for part in value.split(",") if part.strip()]
    return list(value) if isinstance(value, list) else [value]


def inline(value: str) -> Any:
    """The TOML list or table an environment variable spells."""
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError as error:
        raise SettingError(
            f"{show(value)} is not TOML: {error}", "a TOML list or table on one line"
        ) from None


def symbol(value: Any) -> str:
    """A venue's own symbol in upper case."""
    word = text(value).upper()
    if not word.isprintable() or re.search(r"\s", word) or len(word) > 60:
        raise SettingError(f"{show(value)} is not a symbol", 'a text without spaces, such as "BTCUSDT"')
    return word


def name(value: Any) -> str:
    """A name made of letters, digits, `_`, `-` and `.`, kept as written."""
    word = text(value)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", word):
        raise SettingError(f"{show(value)} is not a name", "letters, digits, '_', '-' and '.'")
    return word


def duration(value: Any) -> timedelta:
    """`90s`, `5m`, `4h`, `7d`, `2w`; a bare number is seconds."""
    if isinstance(value, int | float | EnvText) and (seconds := _float(value)) is not None and seconds > 0:
        return timedelta(seconds=seconds)
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", value.strip()) if isinstance(value, str) else None
    if not match or float(match[1]) == 0:
        raise SettingError(
            f"{show(value)} is not a duration", 'a number and s, m, h, d or w, such as "5m" or "7d"'
        )
    return timedelta(seconds=float(match[1]) * _UNITS[match[2]])


def interval(value: Any) -> str:
    """A bar width by its name: `1800`, `"30min"`, `"30m"` and `{name = "x", duration = 1800}` are all `30m`.

    A window must be whole minutes and divide the day, or nothing could anchor it.
    """
    given = value.get("duration") if isinstance(value, dict) else value
    if isinstance(given, str):
        given = EnvText(re.sub(r"(?<=\d)\s*(min|minutes?)$", "m", given.strip()))
    try:
        seconds = int(duration(given).total_seconds())
    except SettingError:
        raise SettingError(
            f"{show(value)} is not an interval", _INTERVALS, word=str(given), known=_USUAL
        ) from None
    if seconds != 1 and (seconds % 60 or 86400 % seconds):
        raise SettingError(f"{show(value)} does not divide the day into equal windows", _INTERVALS)
    return interval_name(seconds)


_USUAL = ("1s", "1m", "5m", "15m", "30m", "1h", "4h", "1d")
_INTERVALS = "1s, or whole minutes that divide a day: " + ", ".join(_USUAL[1:])


def interval_name(seconds: int) -> str:
    """`300` as `5m`: the largest unit that fits."""
    unit = next(unit for unit in ("d", "h", "m", "s") if seconds % _UNITS[unit] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def day(value: Any) -> date:
    """A calendar day, as a TOML date or as `2026-11-27`."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    try:
        return date.fromisoformat(text(value))
    except ValueError:
        raise SettingError(f"{show(value)} is not a day", 'a date such as "2026-11-27"') from None


def expiry(value: Any) -> datetime | None:
    """When a rule ends: `never` (None), or a moment (aware UTC); a bare day ends at its first second."""
    if isinstance(value, str):
        if value.strip().lower() == "never":
            return None
        with suppress(ValueError):
            value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise SettingError(f"{show(value)} is not a moment", '"never", or a time such as 2027-01-01T00:00:00Z')


def folder(value: Any) -> Path:
    """A path with `~` opened; whoever loads the settings makes it absolute."""
    return Path(text(value)).expanduser()


def address(value: Any) -> str:
    """An http, https, ws or wss address, without its last slash."""
    word = text(value)
    if not re.match(r"(https?|wss?)://[^\s/]+", word):
        raise SettingError(
            f"{show(value)} is not an address", 'http(s):// or ws(s)://, such as "http://127.0.0.1:8080"'
        )
    return word.rstrip("/")


def secret(value: Any) -> Secret:
    """A reference to a secret, `env:NAME` or `file:PATH`; never the secret itself."""
    if not isinstance(value, str) or not re.fullmatch(r"env:[A-Za-z_]\w*|file:\S.*", value.strip()):
        raise PlainSecretError("a secret does not belong in the configuration", '"env:NAME" or "file:PATH"')
    return Secret(value.strip())


def maybe_secret(value: Any) -> Secret:
    """A text that may hold a password (a catalog, a hook's address): plain, or `env:NAME`, or `file:PATH`."""
    return Secret(text(value))
