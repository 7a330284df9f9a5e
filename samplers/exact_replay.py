"""The exact way back down a path of Euler steps (DirectEdit, Yang & Ye 2026), by what the way up asked the network.

A step up an inversion, x_A = x_A' + (sigma - sigma') d_A, took its derivative d_A = (q - D(q)) / sigma_q at a question
q that is known from the path's own states. On the way down the network is shown x + (q - x_A) at the level sigma_q, and
the derivative that follows leads from x_A to x_A' exactly, for any family, prompt and number of steps; an edited state
is shifted by the same q - x_A. It costs no evaluation.

The shift belongs to a step, so it is for Euler steps that end where the path's do; others sample as they would without.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from . import process, solvers
from .levels import TOLERANCE
from .path import DiffusionPath

KEY = "diffusion_path.exact"


def question(
    sampling: Any, x: Tensor, sigma: Tensor, sigma_next: Tensor, label: str, derivative: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """What a step up from sigma to sigma_next shows the network, and at which level. x: [B, C, ...].

    ``destination``: the same view of x at the level that the step leads to; ``origin``: x at its own level;
    ``derivative``: the state to which the last step's derivative leads (without one, as ``destination``).
    """
    if label == "derivative" and derivative is not None:
        return x + (sigma_next - sigma) * derivative, sigma_next
    level = sigma_next
    if label == "origin":
        # The derivative of a clean picture is 0 / 0: the smallest level that the model knows is used instead.
        lowest = sigma_next.new_tensor(float(sampling.sigma_min))
        level = sigma if sigma > 0 else torch.minimum(sigma_next, lowest)
    return process.same_view(sampling, x, sigma, level), level


def asked(sampling: Any, path: DiffusionPath, step: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """`question` of the way up whose steps the path runs down, in the dtype and on the device of `like`."""
    states, sigmas = path.states[step + 1 : step + 3].to(like), path.sigmas[step : step + 3].to(like)
    derivative = (states[0] - states[1]) / (sigmas[1] - sigmas[2]) if len(states) == 2 else None
    return question(sampling, states[0], sigmas[1], sigmas[0], path.asked, derivative)


class ExactReplay:
    """Makes the Euler steps of a MODEL exact on a path. `active`: whether the run in progress takes such steps."""

    active = False

    def __init__(self, path: DiffusionPath) -> None:
        self.path = path

    def on(self, model: Any) -> None:
        """Adds the wrappers to a MODEL, which is the caller's own clone."""
        model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, self.outer_sample)
        # Inside all manipulations of a prediction: they see states and predictions of the path itself.
        model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, KEY, self.predict)

    def outer_sample(
        self, executor: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        windows = executor.class_obj.model_options.get("context_handler")  # shows the network a part of the frames
        outer, self.active = self.active, windows is None and follows(self.path, sampler, sigmas)
        try:
            return executor(noise, latent, sampler, sigmas, *args, **kwargs)
        finally:
            self.active = outer

    def predict(
        self, executor: Callable[..., list[Tensor]], model: Any, conds: list[Any], x: Tensor, timestep: Tensor,
        model_options: dict[str, Any],
    ) -> list[Tensor]:  # fmt: skip
        """D* = x - sigma (q - D(q)) / sigma_q with q = x + (q_A - x_A), for every prompt."""
        if not self.active or tuple(x.shape) != self.path.shape:
            return executor(model, conds, x, timestep, model_options)
        sigma = timestep.reshape(-1)[0].to(x)
        step = self.path.step_at(float(sigma))
        shown, level = asked(model.model_sampling, self.path, step, x)
        shown = (x - self.path.at(float(sigma)).to(x)) + shown
        found = executor(model, conds, shown, level.to(timestep).expand_as(timestep), model_options)
        # An absent prompt's prediction is 0 and stays so, for that is what core subtracts at cfg 1.
        return [
            each if cond is None else x - sigma / level * (shown - each)
            for cond, each in zip(conds, found, strict=True)
        ]


def follows(path: DiffusionPath, sampler: Any, sigmas: Tensor) -> bool:
    """Whether a SAMPLER on these levels takes Euler steps, none of which passes one of the path's levels."""
    levels = [float(sigma) for sigma in sigmas]
    if not solvers.is_first_order(sampler) or len(levels) < 2 or levels[0] > float(path.sigmas[0]) * (1 + TOLERANCE):
        return False
    ends = [float(path.sigmas[path.step_at(sigma) + 1]) for sigma in levels[:-1]]
    return all(level >= end * (1 - TOLERANCE) for level, end in zip(levels[1:], ends, strict=True))
