"""The mask mode langevin: against closed forms on Gaussian data, and everything that every mode promises."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import langevin, process, reverse_sde
from diffusion_path.samplers.masked import MaskedSampler, Original
from diffusion_path.samplers.solvers import SINGLE_STEP
from diffusion_path.tests.unit.analytic import gaussian_model, run
from diffusion_path.tests.unit.test_masked import F64, half_mask, levels, random, sample, sampled_in_two, soft_mask

FAMILIES = [ModelType.EPS, ModelType.V_PREDICTION, ModelType.FLOW]
MEAN, COUPLING = 0.3, 0.9


def coupled_model(kind: ModelType) -> Any:
    """Data of unit variance in which each pixel of the left half has correlation 0.9 with its mirror image."""
    model = gaussian_model(kind, 1.0)

    def denoise(x: torch.Tensor, sigma: torch.Tensor, mean: Any) -> torch.Tensor:
        a, b = (c.reshape(-1, *[1] * (x.ndim - 1)) for c in process.coefficients(model.model.model_sampling, sigma))
        off = x - a * mean
        # In sum and difference with the mirror image the covariance is diagonal.
        both, other = (off + off.flip(-1)) / 2, (off - off.flip(-1)) / 2
        gains = [a * v / (a**2 * v + b**2) for v in (1 + COUPLING, 1 - COUPLING)]
        return mean + gains[0] * both + gains[1] * other

    model.model.denoise = denoise
    return model


def edited_half(kind: ModelType, mode: str, think_steps: int = 5, steps: int = 20, solver: str = "ode") -> torch.Tensor:
    """The right half of pictures whose left half is 1.7 everywhere, redrawn from noise alone."""
    model = coupled_model(kind)
    guide = torch.zeros(4, 4, 64, 64, dtype=F64)
    guide[..., :32] = 1.7
    sampler = MaskedSampler(reverse_sde.sampler(solver), mode, think_steps=think_steps)
    sigmas, n = levels(model, 0.98, steps), random(4, 4, 64, 64, seed=1)
    return run(model, sampler, sigmas, n, guide, mean=MEAN, mask=half_mask(4, 64))[..., 32:]


@pytest.mark.parametrize("kind", FAMILIES)
def test_what_is_redrawn_tends_to_its_distribution_given_the_rest(kind: ModelType) -> None:
    mean, variance = MEAN + COUPLING * (1.7 - MEAN), 1 - COUPLING**2
    for thought in (0, 1, 5, 20):
        for solver in ("ode", "ancestral"):
            out = edited_half(kind, "langevin", thought, solver=solver)
            print(kind, solver, thought, float(out.mean()) - mean, float(out.var()) - variance)
