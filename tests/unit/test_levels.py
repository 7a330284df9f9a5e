"""Which level a sigma is, which step is under way there, and where it leads."""

from __future__ import annotations

import pytest
import torch
from diffusion_path.samplers.levels import TOLERANCE, Levels

LEVELS = Levels(torch.tensor([10.0, 8.0, 5.0, 2.0, 1.0, 0.0]))


@pytest.mark.parametrize(
    ("sigma", "index", "step", "following", "preceding"),
    [
        (8.0, 1, 1, 5.0, 10.0),
        (8.0 * (1 + 0.9 * TOLERANCE), 1, 1, 5.0, 10.0),
        (8.0 * (1 - 0.9 * TOLERANCE), 1, 1, 5.0, 10.0),
        (8.0 * (1 + 1.2 * TOLERANCE), None, 0, 8.0, 10.0),
        (6.0, None, 1, 5.0, 8.0),  # the second evaluation of a solver
        (11.0, None, 0, 8.0, None),  # noise added above the first level
        (10.0, 0, 0, 8.0, None),
        (0.5, None, 4, 0.0, 1.0),
        (0.0, 5, 5, None, 1.0),
    ],
)
def test_a_sigma_among_levels(sigma: float, index: int | None, step: int, following, preceding) -> None:
    found = (LEVELS.index(sigma), LEVELS.step(sigma), LEVELS.following(sigma), LEVELS.preceding(sigma))
    assert found == (index, step, following, preceding)


def test_the_end_of_a_part_of_a_run() -> None:
    part = Levels([4.0, 2.0])
    assert [part.following(sigma) for sigma in (4.0, 2.0, 1.0)] == [2.0, None, None]
    assert Levels([1.0]).following(1.0) is None


def test_levels_closer_than_the_tolerance_and_levels_that_repeat() -> None:
    close = Levels([1.0, 1.0 - 0.5 * TOLERANCE, 0.0])
    assert [close.index(sigma) for sigma in close.sigmas] == [0, 1, 2], "the nearest one"
    repeated = Levels([4.0, 2.0, 2.0, 1.0])
    assert (repeated.step(2.0), repeated.following(2.0), repeated.preceding(2.0)) == (2, 1.0, 4.0)
    assert repeated.following(2.0 * (1 + 0.5 * TOLERANCE)) == 1.0, "no step of length 0"
