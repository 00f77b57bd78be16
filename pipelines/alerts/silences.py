"""Silences: no messages about what matches, until a time, with a reason that everybody sees."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatchcase
from hashlib import blake2b

from pipelines.market import utc


@dataclass(frozen=True)
class Silence:
    """match: a glob on a rule, a symbol, source:symbol, a pair, a source or an alert's id; `RULE@SUBJECT` asks for both.

    Times are aware UTC on the wall clock: a person sets them, whatever time the market has.
    """

    id: str
    match: str
    reason: str
    author: str
    starts_at: datetime
    ends_at: datetime

    def is_in_force(self, now: datetime) -> bool:
        return utc(self.starts_at) <= utc(now) < utc(self.ends_at)

    def is_about(self, rule: str) -> bool:
        """Whether it names the rule itself, on whatever subject."""
        return _matches(self.match.partition("@")[0], [rule])

    def covers(self, rule: str, subjects: Sequence[str]) -> bool:
        """Whether it holds for an alert of this rule on what these names call."""
        wanted, both, subject = self.match.partition("@")
        if both:
            return _matches(wanted, [rule]) and _matches(subject, subjects)
        return _matches(self.match, [rule, *subjects])


def silence_id(match: str, starts_at: datetime) -> str:
    return blake2b(f"{match}|{utc(starts_at).isoformat()}".encode(), digest_size=4).hexdigest()


def subjects_of(source: str | None, symbol: str | None, pair: str | None) -> list[str]:
    """The names under which the subject of an alert is known."""
    return [name for name in (source, symbol, pair, f"{source}:{symbol}" if symbol else None) if name]


def silence_of(
    silences: Iterable[Silence], rule: str, subjects: Sequence[str], now: datetime
) -> Silence | None:
    """The one in force at `now` that keeps such an alert quiet the longest."""
    found = [one for one in silences if one.is_in_force(now) and one.covers(rule, subjects)]
    return max(found, key=lambda one: one.ends_at, default=None)


def _matches(glob: str, names: Sequence[str]) -> bool:
    """Whether it is one of the names, or both legs of a pair, whose name is source-SYMBOL~source-SYMBOL."""
    legs = [[leg.replace("-", ":", 1) for leg in name.split("~")] for name in names if "~" in name]
    return any(_fits(glob, name) for name in names) or any(
        all(_fits(glob, leg) for leg in both) for both in legs
    )


def _fits(glob: str, name: str) -> bool:
    return fnmatchcase(name.lower(), glob.lower())
