"""Small drawings as numbers: a sparkline's path, a gauge's position, a heat's strength."""

from __future__ import annotations

import math
from collections.abc import Sequence

WIDTH, HEIGHT = 112, 24


def spark(
    values: Sequence[float | None], width: int = WIDTH, height: int = HEIGHT
) -> dict[str, object] | None:
    """An SVG path of the finite values, its end point and whether it rose; None for fewer than two."""
    points = [(i, v) for i, v in enumerate(values) if v is not None and math.isfinite(v)]
    if len(points) < 2:
        return None
    low, high = min(v for _, v in points), max(v for _, v in points)
    scale_x, scale_y = (width - 6) / (len(values) - 1), (height - 6) / ((high - low) or 1.0)
    xy = [(2 + i * scale_x, height - 3 - (v - low) * scale_y) for i, v in points]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in xy)
    return {
        "path": path,
        "x": f"{xy[-1][0]:.1f}",
        "y": f"{xy[-1][1]:.1f}",
        "rose": points[-1][1] >= points[0][1],
    }


def gauge(z: float | None, span: float = 5.0, width: float = 136.0) -> str | None:
    """Where z lies on a bar from -span to +span, in its own units."""
    if z is None or not math.isfinite(z):
        return None
    return f"{width / 2 + max(-span, min(span, z)) / span * (width / 2 - 6):.1f}"


def heat(value: float | None, most: float = 62.0) -> int:
    """Per cent of colour for a value in -1 .. 1; `most` keeps the text on it readable."""
    return 0 if value is None or not math.isfinite(value) else round(min(1.0, abs(value)) ** 1.25 * most)
