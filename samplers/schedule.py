"""The weight of the source along the path: a window of the path, and a shape inside of it (Wang et al. 2023).

Positions are fractions of the path's steps as the paper counts t / N: 1 is the noisy end, 0 is the picture.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..common.texts import check_length, quoted, read_number, words_of

SHAPES = ("constant", "linear", "cosine", "exponential", "curve")

Curve = Callable[[float], float]
"""Weight at a place in the window: 0 = where it begins (noisy), 1 = its last step."""

_FORMULAS: dict[str, Curve] = {
    "constant": lambda u: 1.0,
    "linear": lambda u: 1.0 - u,
    "cosine": lambda u: math.cos(math.pi / 2 * u),
    "exponential": lambda u: math.exp(-5.0 * u),
}
_SAME = 1e-5  # relative distance below which two noise levels are one


@dataclass(frozen=True)
class PathSchedule:
    """w(t): the shape, scaled by `weight`, between the positions `start` and `end`; 0 outside of them.

    start, end: 0..1, start above end. weight: -1..1; 1 is injection, below 1 interpolation, below 0 away from the
    source. Raises ValueError for an empty window or numbers out of range.
    """

    start: float = 1.0
    end: float = 0.5
    shape: str = "constant"
    weight: float = 1.0
    curve: Curve | None = None

    def __post_init__(self) -> None:
        if not (0.0 <= self.end <= 1.0 and 0.0 <= self.start <= 1.0):
            raise ValueError(
                f"The window goes from {self.start:g} to {self.end:g}, but a path goes from 1 (noise) to 0 (picture): "
                "give fractions between them."
            )
        if self.start <= self.end:
            raise ValueError(
                f"The window from {self.start:g} to {self.end:g} is empty, because 1 is the noisy end where a path "
                "begins: set start above end."
            )
        if not -1.0 <= self.weight <= 1.0:
            raise ValueError(f"The weight of the source is {self.weight:g}: give a number from -1 to 1.")
        if self.shape not in SHAPES:
            raise ValueError(f"There is no shape {quoted(self.shape)}: choose one of {', '.join(SHAPES)}.")
        if self.shape == "curve" and self.curve is None:
            raise ValueError("The shape is a drawn curve but none is given: connect or write one, or choose a formula.")

    def window(self, steps: int) -> range:
        """The steps inside of the window, counted from 0 at the noisy end: t in (t_min, t_max] of the paper."""
        first, last = steps - round_half_up(self.start * steps), steps - round_half_up(self.end * steps)
        if first >= last:
            raise ValueError(
                f"The window from {self.start:g} to {self.end:g} holds none of the path's {steps} steps: widen it, or "
                "use more steps."
            )
        return range(first, last)

    def weights(self, steps: int) -> tuple[float, ...]:
        """The weight of the source at each of N steps. Raises ValueError where the window holds none of them."""
        window, last = self.window(steps), len(self.window(steps)) - 1
        formula = self.curve if self.shape == "curve" and self.curve is not None else _FORMULAS[self.shape]
        inside = [self.weight * _bounded(formula(j / last if last else 0.0)) for j in range(len(window))]
        return tuple(inside[i - window.start] if i in window else 0.0 for i in range(steps))

    def with_window(self, start: float, length: float) -> PathSchedule:
        """The same shape in another window."""
        return replace(self, start=start, end=max(0.0, start - length))


def round_half_up(value: float) -> int:
    return math.floor(value + 0.5)


def _bounded(weight: float) -> float:
    if not math.isfinite(weight) or not -1.0 - 1e-6 <= weight <= 1.0 + 1e-6:
        raise ValueError(f"The curve gives the source the weight {weight:g}: keep it between -1 and 1.")
    return min(max(weight, -1.0), 1.0)


class Weights:
    """A schedule at the noise levels of a path (or of a run, for methods without a path)."""

    def __init__(self, schedule: PathSchedule, levels: Sequence[float]) -> None:
        """levels: N + 1, falling."""
        self._falling = [-level for level in levels]
        self._weights = schedule.weights(len(levels) - 1)

    @property
    def all_zero(self) -> bool:
        return not any(self._weights)

    def step(self, sigma: float) -> int:
        """The step under way at a noise level: the one that starts there, or the one that passes through it."""
        passed = bisect.bisect_right(self._falling, -sigma * (1 - _SAME))
        return min(max(passed - 1, 0), len(self._weights) - 1)

    def at(self, sigma: float) -> float:
        return self._weights[self.step(sigma)]


def parse_curve(text: str) -> Curve:
    """A curve from "position:weight" pairs, straight between them; positions in the window, 1 = its noisy end.

    "1:1, 0.5:0.8, 0:0" falls slowly, then fast. Raises ValueError for text that is not such a list.
    """
    check_length(text, "curve")
    words = words_of(text.replace(":", " : "))
    points: list[tuple[float, float]] = []
    for i in range(0, len(words), 3):
        pair = "".join(words[i : i + 3])
        numbers = [read_number(word) for word in words[i : i + 3 : 2]]
        if words[i + 1 : i + 2] != [":"] or len(numbers) != 2 or None in numbers:
            raise ValueError(
                f"The curve cannot be read at {quoted(pair)}: write pairs position:weight such as '1:1, 0.5:0.8, 0:0'."
            )
        position, weight = (float(number) for number in numbers if number is not None)
        if not 0.0 <= position <= 1.0 or not -1.0 <= weight <= 1.0:
            raise ValueError(
                f"The curve's point {quoted(pair)} is out of range: positions go from 1 (noisy end of the window) to "
                "0, weights from -1 to 1."
            )
        points.append((1.0 - position, weight))
    if not points:
        raise ValueError("The curve is empty: write pairs position:weight such as '1:1, 0.5:0.8, 0:0'.")
    # Two weights at one position are a jump, in the order of the path however the list is written.
    return polyline(points if points[0][0] <= points[-1][0] else points[::-1])


def polyline(points: Sequence[tuple[float, float]]) -> Curve:
    """Straight lines between points (place, weight), level beyond the ends; equal places make a jump."""
    ordered = sorted(points, key=lambda point: point[0])
    places = [place for place, _ in ordered]

    def curve(u: float) -> float:
        after = bisect.bisect_right(places, u)
        if after == 0 or after == len(ordered):
            return ordered[min(after, len(ordered) - 1)][1]
        (x0, y0), (x1, y1) = ordered[after - 1], ordered[after]
        return y0 + (y1 - y0) * (u - x0) / (x1 - x0)

    return curve
