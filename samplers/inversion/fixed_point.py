"""Implicit inversion: the exact inverse of Euler sampling, by fixed-point iteration.

The state x' with x = x' + (sigma - sigma') d(x', sigma') is the fixed point of x' <- x + (sigma' - sigma) d(x', sigma')
(AIDI, Pan et al. 2023; FPI, Meiri et al. 2023; ReNoise, Garibi et al. 2024). Anderson's mixing of the last two iterates
makes it converge in a fraction of the evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..exact_replay import question
from .run import Fields, Method, Run, climbing

_FARTHEST = 10.0  # longest extrapolation, in lengths of the last step: enough for a contraction by 0.9


@dataclass(frozen=True)
class FixedPoint(Method):
    """iterations: maximum per step, each one evaluation; tolerance: relative change of a state below which they end.

    Each step begins where the derivative of the last one leads, the first with the state as it is. iterations 1 is
    Uni-Inv (Jiao et al. 2026), whose way back is exact (see `samplers/exact_replay.py`).
    """

    name = "fixed point"

    iterations: int = 10
    tolerance: float = 1e-4

    def plan(self, steps: int, cfg: float) -> int:
        return steps * self.iterations

    def __call__(self, run: Run) -> Fields:
        derivative: Tensor | None = None

        def advance(x: Tensor, i: int) -> tuple[Tensor, Tensor]:
            nonlocal derivative
            sigma, sigma_next = run.sigmas[i + 1], run.sigmas[i]
            guess, _ = question(run.sampling, x, sigma, sigma_next, "derivative", derivative)
            above, denoised = self.up(run, x, guess, sigma, sigma_next)
            derivative = (above - x) / (sigma_next - sigma)
            return above, denoised

        return {"states": climbing(run, advance), "asked": "derivative" if self.iterations == 1 else ""}

    def up(self, run: Run, x: Tensor, guess: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        """One step from sigma up to sigma_next, from a first guess of its state; every item stops by itself."""
        denoised, best, least = x, guess, torch.full([x.shape[0]], torch.inf, dtype=x.dtype, device=x.device)
        before: tuple[Tensor, Tensor] | None = None
        for _ in range(self.iterations):
            denoised = run.denoise(guess, sigma_next)
            image = x + (sigma_next - sigma) * (guess - denoised) / sigma_next
            change = image - guess
            error = _norms(change) / _norms(image).clamp(min=1e-12)
            # An item that has converged, or begun to diverge, keeps its best state.
            better = error < least
            best = torch.where(_like(better, x), image, best)
            least = torch.where(better, error, least)
            if bool((least <= self.tolerance).all()):
                break
            step = _anderson(image, change, before)
            before = (image, change)
            guess = torch.where(_like(least > self.tolerance, x), step, guess)
        return best, denoised


def _anderson(image: Tensor, change: Tensor, before: tuple[Tensor, Tensor] | None) -> Tensor:
    """The next iterate, mixed from the last two images so that their changes cancel best (depth 1, per item)."""
    if before is None:
        return image
    last_image, last_change = before
    turn = change - last_change
    length = turn.flatten(1).square().sum(1)
    weight = (change * turn).flatten(1).sum(1) / length.clamp(min=torch.finfo(length.dtype).tiny)
    # Two changes that hardly differ say nothing about the limit: a plain step is safer then.
    weight = torch.where(weight.abs() <= _FARTHEST, weight, torch.zeros_like(weight))
    return image - _like(weight, image) * (image - last_image)


def _norms(x: Tensor) -> Tensor:
    return x.flatten(1).square().sum(1).sqrt()


def _like(per_item: Tensor, x: Tensor) -> Tensor:
    return per_item.reshape(-1, *[1] * (x.ndim - 1))
