"""The weight of the source along the path: a window of the path, and a shape inside it (Wang et al. 2023).

A position on the path is a fraction of the model's training time, as t0 and ComfyUI's start and end percents count it:
1 is the noisy end, 0 is the picture. It depends on the noise level and not on the run, so that a run that is split in
two has the weights of the whole one. With steps that are even in training time (schedulers ``normal`` and ``simple``)
it is the paper's t / N.
"""

from __future__ import annotations

import bisect
import copy
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ..common.texts import check_length, quoted, read_number, words_of
from .levels import Levels

SHAPES = ("constant", "linear", "cosine", "exponential", "curve")

Curve = Callable[[float], float]
"""Weight at a place in the window: 0 = where it begins (noisy), 1 = its last step."""

_FORMULAS: dict[str, Curve] = {
    "constant": lambda u: 1.0,
    "linear": lambda u: 1.0 - u,
    "cosine": lambda u: math.sin(math.pi / 2 * (1.0 - u)),  # the cosine, and exactly 0 where it ends
    "exponential": lambda u: math.exp(-5.0 * u),
}
_LOG = logging.getLogger(__name__)
_EDGE = 1e-4  # of the path: a step that starts this close to an edge of the window starts at it


@dataclass(frozen=True)
class PathSchedule:
    """w(t): the shape, scaled by `weight`, between the positions `start` and `end`; 0 outside of them.

    A step belongs to the window where it starts in (end, start]; 0 as the end means all of the path.
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

    def at(self, position: float, following: float) -> float:
        """The weight of the source in a step between two positions of the path.

        The shape always ends at the last step of the window: with L even steps the j-th has the paper's place
        j / (L - 1).
        """
        if not self._holds(position):
            return 0.0
        formula = self.curve if self.shape == "curve" and self.curve is not None else _FORMULAS[self.shape]
        reach = self.start - self.end - (position - following)
        if reach <= _EDGE:  # one step takes all of the window
            return self.weight * _bounded(formula(0.0))
        place = 1.0 if following <= self.end + _EDGE else (self.start - position) / reach
        return self.weight * _bounded(formula(min(max(place, 0.0), 1.0)))

    def _holds(self, position: float) -> bool:
        return position <= self.start + _EDGE and (position > self.end + _EDGE or self.end == 0.0)

    def holds_any(self, steps: int | Sequence[float]) -> bool:
        """Whether any of the steps is in the window (see `window`)."""
        return any(self._holds(position) for position in _starts(steps))

    def window(self, steps: int | Sequence[float]) -> range:
        """The steps inside the window, counted from 0 at the noisy end.

        steps: where each of them starts on the path, or how many there are if they are even in training time. Raises
        ValueError where the window holds none of them.
        """
        starts = _starts(steps)
        inside = [i for i, position in enumerate(starts) if self._holds(position)]
        if not inside:
            nearest = self.nearest_window(starts)
            raise ValueError(
                f"The window from {self.start:g} to {self.end:g} holds none of the path's {len(starts)} steps: set "
                f"{self._remedy(starts)}, or use more steps; the nearest window that holds one is {nearest.start:g} to "
                f"{nearest.end:g}."
            )
        return range(inside[0], inside[-1] + 1)

    def nearest_window(self, steps: int | Sequence[float]) -> PathSchedule:
        """For a window that holds none of these steps: the same with one edge moved, the least way to hold one."""
        earlier, later = self._edges(_starts(steps))
        if later is None or (earlier is not None and earlier - self.start <= self.end - later):
            return replace(self, start=earlier)
        return replace(self, end=later)

    def _edges(self, starts: Sequence[float]) -> tuple[float | None, float | None]:
        """The lowest start and the highest end, in hundredths, that would make an empty window hold a step."""
        earlier = [math.ceil((position - _EDGE) * 100) / 100 for position in starts if position > self.start]
        later = [math.floor((position - 2 * _EDGE) * 100) / 100 for position in starts if position <= self.start]
        return min(earlier, default=None), max(*later, 0.0) if later else None

    def _remedy(self, starts: Sequence[float]) -> str:
        earlier, later = self._edges(starts)
        edges = [] if earlier is None else [f"start to {earlier:g}"]
        return " or ".join(edges if later is None else [*edges, f"end to {later:g}"])

    def weights(self, steps: int | Sequence[float]) -> tuple[float, ...]:
        """The weight of the source at each step (see `window`)."""
        self.window(steps)
        starts = _starts(steps)
        return tuple(self.at(*step) for step in zip(starts, [*starts[1:], 0.0], strict=True))

    def with_window(self, start: float, length: float) -> PathSchedule:
        """The same shape in another window."""
        return replace(self, start=start, end=max(0.0, start - length))


def guided_window(schedule: PathSchedule | None, start: float, end: float) -> PathSchedule | None:
    """The schedule of a guidance, or without one its window from start to end; None if that is empty."""
    if schedule is None and start > end:
        return PathSchedule(start, end)
    return schedule


def refuse_idle(schedules: Iterable[PathSchedule | None], starts: Sequence[float]) -> None:
    """Raises ValueError where schedules have a weight but none of their windows holds a step: nothing would be done."""
    acting = [each for each in schedules if each is not None and each.weight != 0.0]
    if acting and not any(each.holds_any(starts) for each in acting):
        acting[0].window(starts)


def _starts(steps: int | Sequence[float]) -> Sequence[float]:
    return even_steps(steps) if isinstance(steps, int) else steps


def even_steps(count: int) -> list[float]:
    """Where the steps start of a path that is even in training time."""
    return [1 - i / count for i in range(count)]


def _bounded(weight: float) -> float:
    if not math.isfinite(weight) or not -1.0 - 1e-6 <= weight <= 1.0 + 1e-6:
        raise ValueError(f"The curve gives the source the weight {weight:g}: keep it between -1 and 1.")
    return min(max(weight, -1.0), 1.0)


class Weights:
    """A schedule at the noise levels of a path or of a run: all evaluations of a step have the weight of its start."""

    def __init__(self, schedule: PathSchedule, levels: Levels | Sequence[float], positions: Sequence[float]) -> None:
        """levels: N + 1, falling; positions: where they lie on the path.

        Raises ValueError if they are a whole path without a step in the window. A part of a path may lie outside it.
        """
        self.levels = levels if isinstance(levels, Levels) else Levels(levels)
        sigmas = self.levels.sigmas
        whole, missed = sigmas[-1] == 0.0 and positions[0] >= 1.0 - _EDGE, None
        if schedule.weight != 0.0 and not schedule.holds_any(positions[:-1]):
            if whole:
                schedule.window(positions[:-1])
            missed = schedule.nearest_window(positions[:-1])
        self.missed = missed
        """The nearest window that holds a step, where this part of a path has none in the window."""
        # The step after the end of a partial run is taken to be as long as the step before it.
        beyond = max(0.0, 2 * positions[-1] - positions[-2])
        self._weights = [schedule.at(*step) for step in zip(positions, [*positions[1:], beyond], strict=True)]
        self.all_zero = not any(weight for weight, level in zip(self._weights, sigmas, strict=True) if level > 0.0)

    def step(self, sigma: float) -> int:
        """The step under way at a noise level (see `Levels.step`)."""
        return self.levels.step(sigma)

    def at(self, sigma: float) -> float:
        return self._weights[self.step(sigma)]

    def overwriting(self, sigmas: Sequence[float]) -> Weights:
        """The weights of a run on these levels if a step at weight 1 overrides all before it: 1 up to the last one.

        sigmas: where the run's steps start.
        """
        last = max((self.step(sigma) for sigma in sigmas if self.at(sigma) == 1.0), default=-1)
        result = copy.copy(self)
        result._weights = [1.0] * (last + 1) + self._weights[last + 1 :]
        return result

    def note_missed(self, name: str) -> None:
        """Logs where a run lies outside of the window of a method, as a part of a split run may."""
        if self.missed is not None:
            _LOG.info(
                "%s: its window holds none of the steps of this run, so it has no effect here; the nearest window that "
                "holds one is %g to %g.",
                name,
                self.missed.start,
                self.missed.end,
            )

    @property
    def first(self) -> int:
        """The first step whose weight is not 0; the number of steps if all are 0."""
        return next((i for i, weight in enumerate(self._weights[:-1]) if weight), len(self._weights) - 1)


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
    # Two weights at one position are a jump, in the order of the path whichever way the list is written.
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
