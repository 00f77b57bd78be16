"""How many units of x hedge one of y, by least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipelines.analytics.windows import Floats


@dataclass(frozen=True)
class Line:
    """y = alpha + beta x."""

    beta: float
    alpha: float
    r2: float

    def residuals(self, y: Floats, x: Floats) -> Floats:
        """The spread: what of y the line leaves."""
        return y - self.alpha - self.beta * x


def ols(y: Floats, x: Floats) -> Line:
    """Least squares with an intercept, on centred series; beta NaN where x is constant, r2 where y is."""
    mean_y, mean_x = float(y.mean()), float(x.mean())
    dy, dx = y - mean_y, x - mean_x
    sxx, syy, sxy = float(dx @ dx), float(dy @ dy), float(dx @ dy)
    beta = sxy / sxx if sxx > 0 else math.nan
    residual = dy - beta * dx
    r2 = 1.0 - float(residual @ residual) / syy if syy > 0 else math.nan
    return Line(beta, mean_y - beta * mean_x, r2)


def ols_through_origin(y: Floats, x: Floats) -> float:
    """The slope of y = beta x, as the older literature fits hedge ratios of prices."""
    return float(x @ y) / float(x @ x)
