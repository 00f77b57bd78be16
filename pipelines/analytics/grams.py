"""Sums over time that every pair of a panel shares: with them a pair's unit-root regressions cost no look at a bar.

The residual of y on x is u = y - beta x. Each entry of the normal matrix of its Dickey-Fuller regression is a
quadratic form in beta whose three coefficients are cross products of y and x at some lag, so one matrix product a
lag serves all pairs. Entries further down the diagonals follow from the first row and the bars at both edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipelines.analytics.windows import Floats


@dataclass(frozen=True)
class Sums:
    """What `solve` reads. `most` is the number of lags, N of series; d are differences, times count from 0.

    levels: (N, N) products of centred levels over all bars; spread: (N,) its diagonal
    summed: (most + 1, N, N) products of d[t] + d[t - lag] over t >= most: symmetric, unlike d[t] d[t - lag]
    own:    (most + 1, N) its diagonals
    heads:  (most, N) the first differences, oldest first; tails: the last, newest first
    at:     (N,) the centred level before d[most]; last: the newest
    """

    bars: int
    summed: Floats
    own: Floats
    levels: Floats
    spread: Floats
    heads: Floats
    tails: Floats
    at: Floats
    last: Floats

    @property
    def most(self) -> int:
        return len(self.summed) - 1

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats, Floats, Floats, Floats, Floats, Floats]:
        """Everything but `bars`, in the order above: compiled code takes no objects."""
        return (
            self.summed,
            self.own,
            self.levels,
            self.spread,
            self.heads,
            self.tails,
            self.at,
            self.last,
        )


class Grams:
    """The sums of a window of bars, made anew or moved on by its newest and oldest bars.

    Moving on leaves rounding errors behind, some 1e-16 of the sums a step: begin anew once a session.

    Worth it for a process that stays. The flow `pairs` is a new process every five minutes and makes the sums anew:
    20 series of 600 bars take it 0.13 ms of a scan of 2.5, while reading, moving on and keeping them would take 0.34;
    of 500 series it is 26 ms of 350 against 15; only at 5,000 bars would it pay (1,080 ms of 4,000 against 90).
    """

    def __init__(self, panel: Floats, most: int) -> None:
        """panel: (bars, series), finite, at least most + 2 bars."""
        self._most = most
        self._begin(panel)

    def _begin(self, panel: Floats) -> None:
        most = self._most
        self._origin = panel.mean(axis=0)
        self._window = panel - self._origin
        self._levels = self._window.T @ self._window
        self._totals = self._window.sum(axis=0)
        change = np.diff(self._window, axis=0)
        self._summed = np.empty((most + 1, panel.shape[1], panel.shape[1]))
        for lag in range(most + 1):
            both = change[most:] + change[most - lag : len(change) - lag]
            np.matmul(both.T, both, out=self._summed[lag])

    def slide(self, newest: Floats) -> None:
        """Drop as many of the oldest bars as `newest` (bars, series) brings."""
        steps, most = len(newest), self._most
        if steps >= len(self._window) - most - 1:
            return self._begin(np.concatenate([self._window + self._origin, newest])[steps:])
        gone, came = self._window[:steps], newest - self._origin
        longer = np.concatenate([self._window, came])
        self._levels += came.T @ came - gone.T @ gone
        self._totals += came.sum(axis=0) - gone.sum(axis=0)
        change = np.diff(longer[: most + steps + 1], axis=0), np.diff(longer[-most - steps - 1 :], axis=0)
        for lag in range(most + 1):
            old, new = (edge[most:] + edge[most - lag : len(edge) - lag] for edge in change)
            self._summed[lag] += np.concatenate([new, -old]).T @ np.concatenate([new, old])
        self._window = longer[steps:]

    def series(self, column: int) -> Floats:
        """One centred series of the present window."""
        return np.asarray(self._window[:, column] - self._totals[column] / len(self._window))

    def sums(self) -> Sums:
        """The sums of the present window; `summed` is shared and changes with the next `slide`."""
        window, most = self._window, self._most
        mean = self._totals / len(window)
        levels = self._levels - np.outer(self._totals, mean)
        return Sums(
            bars=len(window),
            levels=levels,
            spread=np.ascontiguousarray(levels.diagonal()),
            summed=self._summed,
            own=np.ascontiguousarray(self._summed.diagonal(axis1=1, axis2=2)),
            heads=np.diff(window[: most + 1], axis=0),
            tails=np.ascontiguousarray(np.diff(window[-most - 1 :], axis=0)[::-1]),
            at=window[most] - mean,
            last=window[-1] - mean,
        )
