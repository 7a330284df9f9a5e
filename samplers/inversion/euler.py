"""Euler inversion: DDIM inversion (Song et al. 2021, section 4.3; Dhariwal & Nichol 2021, appendix F) in any family.

Sampling takes x = x' + (sigma - sigma') d(x', sigma'), which needs the derivative at the noisier state x', not known
yet. Euler inversion takes the derivative at x instead. The error of a round trip is of first order in the step, at
cfg 1; with guidance at sampling it remains, however many steps are taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import process
from .run import Fields, Method, Run, climbing

LABELS = ("destination", "origin")


@dataclass(frozen=True)
class Euler(Method):
    """label: the noise level that is passed to the model.

    ``destination``, as in the published code of DDIM inversion and null text: the level that the step leads to, while
    the network sees the state as it is; the start of the path needs no special case. ``origin``: the state's own level,
    as in a flipped schedule and in the published code of RF-Inversion.
    """

    name = "euler"

    label: str = "destination"

    def __call__(self, run: Run) -> Fields:
        return {"states": climbing(run, lambda x, i: euler_up(run, x, run.sigmas[i + 1], run.sigmas[i], self.label))}


def euler_up(
    run: Run, x: Tensor, sigma: Tensor, sigma_next: Tensor, label: str = "destination"
) -> tuple[Tensor, Tensor]:
    """One step from sigma up to sigma_next; also gives the prediction. x: [B, C, ...]."""
    if label == "destination":
        model_sigma = sigma_next
    elif sigma > 0:
        model_sigma = sigma
    else:
        # The derivative of a clean picture is 0 / 0: the smallest level that the model knows is used instead.
        model_sigma = torch.minimum(sigma_next, sigma_next.new_tensor(float(run.sampling.sigma_min)))
    state = process.same_view(run.sampling, x, sigma, model_sigma)
    denoised = run.denoise(state, model_sigma)
    return x + (sigma_next - sigma) * (state - denoised) / model_sigma, denoised
