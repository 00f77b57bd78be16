"""What the tests of a pair amount to, in plain words with their reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

ALONE = 0.05
"""p below which a series looks stationary by itself; a note, since one in twenty walks does."""
SURELY_ALONE = 0.001
"""p below which both legs are taken to be stationary: then nothing has to hold them together."""
CONFIRMED = 0.10
"""p of the hold-out up to which it confirms: a third of the bars proves less than all."""


@dataclass(frozen=True)
class Evidence:
    """What is known of one tested pair.

    p_max, q: the larger p of both orders, before and after the correction over `tested` pairs
    passes_critical: both orders are below the finite-sample 5 % critical value
    alone: p of each leg's own unit root, None where that could not be tested; names: of the legs
    """

    p_max: float
    q: float
    tested: int
    fdr: float
    passes_critical: bool
    names: Sequence[str]
    alone: Sequence[float | None]

    @property
    def both_return(self) -> bool:
        return all(p is not None and p < SURELY_ALONE for p in self.alone)

    @property
    def holds(self) -> bool:
        """Whether the pair counts as cointegrated."""
        return self.q <= self.fdr and self.passes_critical and not self.both_return


def words(
    evidence: Evidence, half_life: float | None, broken: bool | None, holdout: tuple[int, float] | None
) -> str:
    """The verdict's sentence. holdout: bars and p of the spread after the bars its line was fitted on."""
    of = f"p {p_text(evidence.p_max)} in the worse order, {_pairs(evidence.tested)} tested"
    if evidence.holds:
        parts = [f"cointegrated: {of}, q {p_text(evidence.q)}"]
        if half_life is not None:
            parts.append(f"half of a deviation is gone in {half_life:.3g} bars")
    elif evidence.both_return:
        parts = [
            f"not cointegrated: each series returns to a level of its own, nothing has to hold them together ({of})"
        ]
    elif evidence.p_max >= ALONE:
        parts = [f"not cointegrated: {of}"]
    elif evidence.q > evidence.fdr:
        parts = [
            f"not cointegrated: {of}, q {p_text(evidence.q)} not significant at {evidence.fdr:g}: chance explains it"
        ]
    else:
        parts = [f"not cointegrated: {of}, the statistic misses the critical value for so few bars"]
    if broken:
        parts.append("the two halves contradict the whole, the relation may have broken")
    if holdout:
        bars, later = holdout
        holds = "confirmed" if later <= CONFIRMED else "not confirmed"
        parts.append(f"{holds} on the last {bars} bars, by the line of those before (p {p_text(later)})")
    for name, p in zip(evidence.names, evidence.alone, strict=True):
        if p is not None and p < ALONE and not evidence.both_return:
            parts.append(f"{name} looks stationary by itself (p {p_text(p)})")
    return "; ".join(parts)


def p_text(p: float) -> str:
    """A p-value as people write it."""
    return f"{p:.3g}" if p >= 1e-6 else "below 0.000001"


def _pairs(count: int) -> str:
    return f"{count} pair{'s' if count != 1 else ''}"
