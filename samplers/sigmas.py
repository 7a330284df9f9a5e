"""Noise schedules that start exactly at sigma(t0) and have exactly the requested steps, for any scheduler.

Or, for models distilled to few steps, the end of their own run: they are right at its levels alone.

Core's ``denoise`` keeps the last ``steps + 1`` levels of a longer schedule, so the start jumps from one level of that
longer schedule to the next, and where it lands depends on the scheduler. Here the longer schedule's length is chosen
such that sigma(t0) falls between the tails of two neighbouring lengths, and the schedule is the mixture of those two
tails (linear in log sigma). It keeps every scheduler's own shape, changes continuously with t0, needs only a
scheduler's numbers, and where t0 meets one of core's starts it *is* core's schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ..common import limits
from ..common.texts import quoted
from . import process
from .path_check import check_falling

LEVELS = ("continuous", "trained")
"""How a run is laid on the path: between t0 and 0, or on the levels of a full run, from the one nearest to t0."""

ON_LEVEL = 0.005
"""How far, as a fraction of training time, t0 may be from a level to count as at it: training steps are 0.001 apart."""

_LONGEST = 60  # times the steps: only the smallest t0 need more, and there the shape matters less than the cost


def check_levels(sigmas: object, name: str = "sigmas") -> None:
    """Raises ValueError unless a SIGMAS is a list of finite noise levels [n], none negative and none above the last.

    No levels at all are allowed (t0 = 0), and so are repeats: callers that need steps check with `check_falling`.
    """
    if not isinstance(sigmas, Tensor):
        raise ValueError(f"{name} is {quoted(sigmas)}, but SIGMAS are expected: connect a scheduler's output.")
    if sigmas.ndim != 1 or not torch.is_floating_point(sigmas):
        raise ValueError(
            f"{name} is a tensor {list(sigmas.shape)} of {str(sigmas.dtype).removeprefix('torch.')}, but SIGMAS are "
            "one row of floating-point noise levels: connect a scheduler's output."
        )
    if len(sigmas) > limits.STEPS + 1:
        raise ValueError(f"{name} has {len(sigmas)} noise levels: give at most {limits.STEPS + 1}.")
    bad = (~(torch.isfinite(sigmas) & (sigmas >= 0))).nonzero()
    if bad.numel():
        i = int(bad[0, 0])
        raise ValueError(
            f"Level {i + 1} of {name} is {float(sigmas[i]):g}: give finite noise levels of 0 and above, as a scheduler "
            "makes them."
        )
    rises = (sigmas.diff() > 0).nonzero()
    if rises.numel():
        i = int(rises[0, 0])
        raise ValueError(
            f"The noise levels of {name} should fall, but level {i + 2} ({float(sigmas[i + 1]):.4g}) is above level "
            f"{i + 1} ({float(sigmas[i]):.4g}): connect SIGMAS as a sampler takes them, not flipped or restarted."
        )


def sdedit_sigmas(sampling: Any, t0: float, steps: int, scheduler: str) -> Tensor:
    """The steps + 1 levels from sigma(t0) down to 0, strictly falling. [steps + 1] float32 on the CPU; empty at t0 = 0.

    t0 = 1 gives core's own schedule, bit for bit, where that begins at the model's largest level (ddim_uniform's, for
    one, begins lower and is stretched up to it). Where a scheduler has no tail that fits (t0 too small for its table of
    training steps, or steps that it repeats) the levels are uniform in training time, t_j = t0 (1 - j / steps), as in
    the paper.
    Raises ValueError for t0 outside 0..1 or fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps cannot be run: give 1 or more, or set t0 to 0 to leave the picture as it is.")
    start = process.t0_to_sigma(sampling, t0)
    if start == 0.0:
        return torch.empty(0)
    levels = _tail_from(sampling, scheduler, steps, start, t0)
    if levels is None or not bool((levels.diff() < 0).all()):
        levels = _uniform_in_time(sampling, t0, steps)
    return levels


def trained_sigmas(sampling: Any, t0: float, full: Tensor) -> Tensor:
    """The end of a full run's levels [N + 1] from the one that is nearest to t0 in training time; empty at t0 = 0.

    Of two that are equally near it is the lower one, which changes less. Raises ValueError for t0 outside 0..1.
    """
    if process.t0_to_sigma(sampling, t0) == 0.0:
        return torch.empty(0)
    return full[nearest(process.positions(sampling, full[:-1]), t0) :]


def nearest(positions: Sequence[float], t0: float) -> int:
    """Which of these positions on the path is nearest to t0, and the lower one of two."""
    return min(range(len(positions)), key=lambda i: (round(abs(positions[i] - t0), 6), positions[i]))


def levels_of(
    sampling: Any,
    t0: float,
    steps: int,
    scheduler: str,
    sigmas: Tensor | None = None,
    may_be_empty: bool = False,
    levels: str = LEVELS[0],
) -> Tensor:
    """The levels of a run: the given SIGMAS, unchanged, or those of t0, steps and scheduler. [N + 1] on the CPU.

    may_be_empty: SIGMAS without a step (those of t0 = 0) leave the picture as it is. levels: one of `LEVELS`; with
    ``trained`` the SIGMAS, or steps and scheduler, are those of a full run, in which t0 says where to begin. Raises
    ValueError for SIGMAS that do not fall strictly to 0.
    """
    if levels not in LEVELS:
        raise ValueError(f"There are no levels {quoted(levels)}: choose one of {', '.join(LEVELS)}.")
    if levels == "trained":
        full = levels_of(sampling, 1.0, steps, scheduler, sigmas, may_be_empty)
        return trained_sigmas(sampling, t0, full) if len(full) else full
    if sigmas is None:
        return sdedit_sigmas(sampling, t0, steps, scheduler)
    if sigmas.numel() < 2 and may_be_empty:
        return torch.empty(0)
    check_falling_to_zero(sigmas)
    return sigmas.cpu()


def check_falling_to_zero(sigmas: Tensor) -> None:
    """Raises ValueError unless SIGMAS fall strictly, from one level or more to a picture's 0."""
    check_falling(sigmas)
    if float(sigmas[-1]) != 0.0:
        raise ValueError(
            f"The schedule ends at noise level {float(sigmas[-1]):.4g}, but a picture is at 0: give SIGMAS that end "
            "with 0."
        )


def _tail_from(sampling: Any, scheduler: str, steps: int, start: float, t0: float) -> Tensor | None:
    """The mixture of the two neighbouring tails whose first levels enclose start; None if there are none."""
    whole = _tail(sampling, scheduler, steps, steps)
    if whole is None:
        return None
    if abs(float(whole[0]) - start) <= 1e-6 * start:
        return whole.float()
    if whole[0] < start:
        return _stretched(whole, start)

    tails: dict[int, Tensor | None] = {steps: whole}

    def starts_above(length: int) -> bool:
        """Whether the tail of that length begins at or above start; a length without a tail counts as too long."""
        if length not in tails:
            tails[length] = _tail(sampling, scheduler, length, steps)
        tail = tails[length]
        return tail is not None and bool(tail[0] >= start)

    # Most schedules are close to uniform in training time, so the search begins next to steps / t0.
    low = max(steps, min(int(steps / t0), _LONGEST * steps))
    reach = 1
    while not starts_above(low):
        low, reach = max(steps, low - reach), 2 * reach
    high = low + 1
    reach = 1
    while starts_above(high):
        low, high, reach = high, high + reach, 2 * reach
        if low > _LONGEST * steps:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if starts_above(middle):
            low = middle
        else:
            high = middle
    longer, shorter = tails[low], tails[high]
    if longer is None or shorter is None:
        return None
    top, bottom = longer[0].log(), shorter[0].log()
    weight = (top - torch.tensor(start, dtype=torch.float64).log()) / (top - bottom)
    return _starting_at(start, torch.lerp(longer[:-1].log(), shorter[:-1].log(), weight).exp())


def _tail(sampling: Any, scheduler: str, length: int, steps: int) -> Tensor | None:
    """The last steps + 1 levels of the scheduler's schedule of the given length, in float64; None if it is unusable."""
    levels = comfy.samplers.calculate_sigmas(sampling, scheduler, length).to(torch.float64)[-(steps + 1) :]
    usable = len(levels) == steps + 1 and levels[-1] == 0 and bool((levels.diff() < 0).all())
    return levels if usable else None


def _stretched(levels: Tensor, start: float) -> Tensor:
    """A whole schedule that begins below start, stretched in log sigma so that it begins there and ends as before."""
    log = levels[:-1].log()
    if len(log) > 1:
        reach = (torch.tensor(start, dtype=torch.float64).log() - log[-1]) / (log[0] - log[-1])
        log = log[-1] + (log - log[-1]) * reach
    return _starting_at(start, log.exp())


def _uniform_in_time(sampling: Any, t0: float, steps: int) -> Tensor:
    """t_j = t0 (1 - j / steps), the paper's steps; linear in sigma where even those do not fall strictly."""
    start = process.t0_to_sigma(sampling, t0)
    inner = [process.t0_to_sigma(sampling, t0 * (1 - j / steps)) for j in range(steps)]
    levels = _starting_at(start, torch.tensor(inner, dtype=torch.float64))
    return levels if bool((levels.diff() < 0).all()) else torch.linspace(start, 0, steps + 1)


def _starting_at(start: float, levels: Tensor) -> Tensor:
    """Levels without their final zero, as a float32 schedule that begins exactly at start."""
    return torch.cat([torch.tensor([start]), levels[1:].float(), torch.zeros(1)])
