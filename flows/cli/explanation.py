"""What `explain` finds out: facts, the sample, formulas with numbers, and stored against recomputed values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

TOLERANCE = 1e-12
"""Relative: the same sum in another order differs in its last bits."""


@dataclass(frozen=True)
class Check:
    """A stored number and the same computed now."""

    number: str
    stored: float | None
    recomputed: float | None

    @property
    def is_equal(self) -> bool:
        if self.stored is None or self.recomputed is None:
            return self.stored is self.recomputed
        return abs(self.stored - self.recomputed) <= TOLERANCE * max(abs(self.stored), abs(self.recomputed))

    def row(self) -> dict[str, Any]:
        verdict = "equal" if self.is_equal else "differs"
        return {"number": self.number, "stored": _all_digits(self.stored),
                "recomputed": _all_digits(self.recomputed), "verdict": verdict}  # fmt: skip


@dataclass
class Explanation:
    """One alert or anomaly taken apart; `sample` is what the value was compared with."""

    headline: str
    facts: dict[str, Any] = field(default_factory=dict)
    sample_name: str = "Sample"
    sample: list[dict[str, Any]] = field(default_factory=list)
    formulas: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sql: str = ""

    def as_json(self) -> dict[str, Any]:
        compared = {check.number: {"stored": check.stored, "recomputed": check.recomputed, "equal": check.is_equal}
                    for check in self.checks}  # fmt: skip
        return {
            "headline": self.headline,
            "facts": self.facts,
            "sample": self.sample,
            "formulas": self.formulas,
            "checks": compared,
            "equal": all(check.is_equal for check in self.checks) if self.checks else None,
            "notes": self.notes,
            "sql": self.sql.strip(),
        }


def _all_digits(value: float | None) -> str:
    return "" if value is None else f"{value:.12g}"
