"""Finds the level and the step of a run that belong to a sigma.

Solvers, schedulers and split runs compute one level in several ways: two are the same within `TOLERANCE`. A solver may
also ask between two levels, or above the first (churn): then the step of the level before is under way. The position
of a level on the model's path, as a fraction of training time, is given by `process.positions`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from torch import Tensor

TOLERANCE = 1e-5
"""Relative distance below which two noise levels are the same."""


class Levels:
    """Falling noise levels of a path or a run, [N + 1] for N steps: step i leads from level i to level i + 1."""

    def __init__(self, sigmas: Iterable[float] | Tensor) -> None:
        self.sigmas = [float(sigma) for sigma in (sigmas.tolist() if isinstance(sigmas, Tensor) else sigmas)]
        self._negated = [-sigma for sigma in self.sigmas]  # rising, as bisect expects

    def index(self, sigma: float) -> int | None:
        """Which of the levels sigma is (the nearest within the tolerance), if any."""
        passed = self._passed(sigma)
        nearest = min(
            {max(passed, 0), min(passed + 1, len(self.sigmas) - 1)}, key=lambda i: abs(self.sigmas[i] - sigma)
        )
        level = self.sigmas[nearest]
        return nearest if abs(level - sigma) <= TOLERANCE * max(level, sigma, TOLERANCE) else None

    def step(self, sigma: float) -> int:
        """The step under way at sigma, 0 to N: the one that starts there, or else the one that passes through it.

        0 above the first level; N at the last level and below it, where no step is left.
        """
        index = self.index(sigma)
        return max(self._passed(sigma), 0) if index is None else index

    def rest(self, sigma: float) -> list[float]:
        """The levels below sigma that the steps from there on lead to."""
        return [level for level in self.sigmas[self.step(sigma) + 1 :] if level < sigma * (1 - TOLERANCE)]

    def following(self, sigma: float) -> float | None:
        """The level that the step under way at sigma leads to; None where no step is left."""
        return next(iter(self.rest(sigma)), None)

    def preceding(self, sigma: float) -> float | None:
        """The last level above sigma; None if all are at or below it."""
        return next((level for level in reversed(self.sigmas) if level > sigma * (1 + TOLERANCE)), None)

    def _passed(self, sigma: float) -> int:
        """The last level at or above sigma; -1 where all are below."""
        return bisect_right(self._negated, -sigma) - 1
