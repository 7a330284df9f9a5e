"""Axes: ranges, round tick positions and their labels."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A linear axis from `low` to `high` with round ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    labels: tuple[str, ...]

    def fraction(self, value: float) -> float:
        """Position along the axis: 0 at low, 1 at high."""
        return (value - self.low) / (self.high - self.low)


def linear_axis(extent: tuple[float, float], wanted: tuple[float, float] | None, count: int) -> Axis:
    """An axis with about `count` ticks at multiples of 1, 2 or 5; a margin of 4 % unless the range is given."""
    low, high = wanted or extent
    if high < low:
        low, high = high, low
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        middle, reach = low, abs(low) * 0.1 or 1.0
        low, high = middle - reach, middle + reach
    elif wanted is None:
        margin = 0.04 * (high - low)
        # An axis of counts or distances starts at zero rather than a little below it.
        low, high = (0.0 if 0 <= low <= 3 * margin else low - margin), high + margin
    step = _round_step((high - low) / count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = tuple(k * step for k in range(first, last + 1)) or (low, high)
    return Axis(low, high, ticks, tuple(_labels(ticks, step)))


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)


def _labels(ticks: tuple[float, ...], step: float) -> list[str]:
    largest = max(abs(t) for t in ticks)
    if largest >= 1e6 or (0 < largest < 1e-3):
        power = math.floor(math.log10(largest))
        digits = max(0, power - math.floor(math.log10(step) + 1e-9))
        raised = str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return ["0" if t == 0 else f"{t / 10.0**power:.{digits}f}·10{raised}" for t in ticks]
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return [f"{t:.{digits}f}" if abs(t) > step * 1e-6 else f"{0:.{digits}f}" for t in ticks]
