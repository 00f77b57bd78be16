"""The normal distribution from the standard library: scipy's would cost a quarter of a second to load."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

from pipelines.analytics.windows import Floats

_STANDARD = NormalDist()


def share_below(z: Floats) -> Floats:
    """The share of a standard normal distribution below each value; NaN where it is NaN."""
    scaled = z * -math.sqrt(0.5)
    return 0.5 * np.array([math.erfc(value) for value in scaled.ravel().tolist()]).reshape(z.shape)


def reach(confidence: float) -> float:
    """How many standard deviations to each side hold this share: 1.96 for 0.95."""
    return -_STANDARD.inv_cdf((1.0 - confidence) / 2.0)
