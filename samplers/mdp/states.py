"""The two manipulations that use a recorded path: MDP-eps_t and MDP-x_t.

Both replace the prediction, D* = (1 - w) D_B(x*) + w D_A, by one that leads along the path of the source A:

- predicted noise (eps_t): D_A = x* - sigma d_A with the path's own slope d_A, so that the step is A's displacement.
- latent (x_t): D_A = (x_A' - r x*) / (1 - r) with r = sigma' / sigma, so that the step ends on A's next state.

With Euler steps the first is eps* = (1 - w) eps_B + w eps_A of the paper in variance-exploding coordinates (velocity
injection for flow models), and the second is x* = (1 - w) x' + w x_A'. A residual path is walked with its residuals,
and the second is solved for that step. Solvers that extrapolate over many predictions would overshoot by it more and
more: they get A's own prediction instead, which draws the state to the path more slowly.

Outside of a mask the network sees A's state and the prediction is A's own. Where w = 1 the model is not called, nor
before a step of the second kind with w = 1, which forgets all that was before it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP, get_all_wrappers
from torch import Tensor

from ..masks import edit_region
from ..path import SAME_LEVEL, DiffusionPath
from ..path_fit import check_fits
from ..record import sampler_name
from ..replay import innermost, walks_residuals
from ..schedule import PathSchedule, Weights
from . import solvers

KEY = "diffusion_path_mdp"
_LOG = logging.getLogger(__name__)


def inject_noise(model: Any, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None = None) -> Any:
    """MDP-eps_t (official code of Wang et al. 2023): the path's predicted noise, injected or interpolated.

    mask: [B or 1, H, W] in 0..1, 1 = edit; where it is 0 the result is the path's picture, bit for bit.
    Returns a clone of the MODEL. Raises ValueError for a path of another model, and when sampling with another size,
    batch or schedule.
    """
    return _patched(model, _Manipulation("MDP-\u03b5", path, schedule, mask, from_slope=True))


def inject_latent(model: Any, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None = None) -> Any:
    """MDP-x_t (Wang et al. 2023): the path's states, injected or interpolated. See `inject_noise`.

    With weight 0 and a mask it only holds the source outside of the mask.
    """
    return _patched(model, _Manipulation("MDP-x", path, schedule, mask, from_slope=False))


def _patched(model: Any, manipulation: _Manipulation) -> Any:
    if manipulation.schedule.weight != 0.0 or manipulation.mask is not None:
        check_fits(manipulation.path, model)
    clone = model.clone()
    clone.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, manipulation.outer_sample)
    clone.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, KEY, manipulation.sampler_sample)
    clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, manipulation.predict_noise)
    return clone


@dataclass(frozen=True)
class _Run:
    """What is known for the length of one sampling run."""

    levels: list[float]  # of the run, then of the path below its end
    weights: Weights
    mask: Tensor | None  # [B, C, ...] on the device, None where everything is edited
    first_order: bool
    steady: bool  # the solver can be led onto the path's next state
    residual: bool  # the path's own sampler, which adds its residuals
    overwritten: (
        float  # the lowest level whose step ends on the path whatever came before it; infinite if there is none
    )

    def next_level(self, sigma: float) -> float | None:
        """The level that the step under way leads to; None where the path ends."""
        return next((level for level in self.levels if level < sigma * (1 - SAME_LEVEL)), None)


class _Manipulation:
    """One manipulation of a model, as wrappers."""

    def __init__(
        self, name: str, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None, from_slope: bool
    ) -> None:
        self.name, self.path, self.schedule, self.mask, self.from_slope = name, path, schedule, mask, from_slope
        self._run: _Run | None = None

    def weights(self) -> Weights:
        """The schedule at the path's levels. Raises ValueError where its window holds none of the path's steps."""
        if self.schedule.weight != 0.0:
            self.schedule.window(self.path.step_positions)
        levels = [float(level) for level in self.path.sigmas]
        return Weights(self.schedule, levels, [*self.path.step_positions, 0.0])

    def outer_sample(
        self,
        executor: Callable[..., Tensor],
        noise: Tensor,
        latent_image: Tensor,
        sampler: Any,
        sigmas: Tensor,
        denoise_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        """Before a run: check that the path belongs to it."""
        guider = executor.class_obj  # pyright: ignore[reportFunctionMemberAccess]
        if self.schedule.weight == 0.0 and (self.mask is None or bool((self.mask == 1).all())):
            return executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
        note = check_fits(self.path, guider.model_patcher, noise, sigmas)
        if note:
            _LOG.info("%s: %s", self.name, note)
        mask = edit_region(self.mask, guider.model_patcher, noise, guider.model_patcher.load_device)
        weights = self.weights()
        if mask is None and weights.all_zero:
            return executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
        solvers.refuse_unfit(sampler, self.name, weighted=not weights.all_zero)
        first_order = solvers.is_first_order(sampler)
        residual = self.path.residuals is not None and walks_residuals(sampler)
        if not (first_order or residual or weights.all_zero):
            _LOG.warning(
                "%s follows the path only approximately with %s; it is exact with euler and ddim.",
                self.name,
                sampler_name(innermost(sampler)),
            )
        levels = [float(level) for level in sigmas]
        alone = len(get_all_wrappers(WrappersMP.PREDICT_NOISE, guider.model_options, is_model_options=True)) == 1
        hard = mask is None or bool(((mask == 0) | (mask == 1)).all())  # a grey pixel is not led onto the path
        forgets = first_order and alone and hard and denoise_mask is None and not self.from_slope
        full = [level for level in levels[:-1] if forgets and weights.at(level) == 1.0]
        # Solvers of higher order also ask at the last level of a run, from where only the path goes on.
        below = [float(level) for level in self.path.sigmas if float(level) < levels[-1] * (1 - SAME_LEVEL)]
        steady, lowest = solvers.is_steady(sampler), min(full, default=math.inf)
        self._run = _Run([*levels, *below], weights, mask, first_order, steady, residual, lowest)
        try:
            return executor(noise, latent_image, sampler, sigmas, denoise_mask, *args, **kwargs)
        finally:
            self._run = None

    def sampler_sample(
        self, executor: Callable[..., Tensor], guider: Any, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """After a run: outside of the mask the source's picture, bit for bit (a solver's last step rounds)."""
        # A copy of the levels, for uni_pc changes its own.
        samples = executor(guider, sigmas.clone(), *args, **kwargs)
        if self._run is None or self._run.mask is None or self.path.level(float(sigmas[-1])) != self.path.steps:
            return samples
        return torch.where(self._run.mask > 0, samples, self.path.picture.to(samples))

    def predict_noise(
        self,
        executor: Callable[..., Tensor],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> Tensor:
        """The manipulated prediction, [B, C, ...]."""
        run = self._run
        sigma = float(timestep.reshape(-1)[0])
        weight = 0.0
        if run is not None:
            weight = 1.0 if sigma >= run.overwritten else run.weights.at(sigma)
        if run is None or (weight == 0.0 and run.mask is None):
            return executor(x, timestep, model_options or {}, seed)
        mask = None if run.mask is None else run.mask.to(x)
        if mask is not None and not bool(mask.any()):
            return self._prediction(run, sigma).to(x)
        if weight == 1.0:
            mixed = self._along_path(run, x, sigma)
        else:
            seen = x if mask is None else torch.where(mask > 0, x, self._state(sigma).to(x))
            mixed = executor(seen, timestep, model_options or {}, seed)
            if weight != 0.0:
                mixed = (1.0 - weight) * mixed + weight * self._along_path(run, x, sigma)
        return mixed if mask is None else mask * mixed + (1.0 - mask) * self._prediction(run, sigma).to(x)

    def _along_path(self, run: _Run, x: Tensor, sigma: float) -> Tensor:
        return x - sigma * self._slope(run, sigma).to(x) if self.from_slope else self._onto_path(run, x, sigma)

    def _onto_path(self, run: _Run, x: Tensor, sigma: float) -> Tensor:
        """The prediction whose step ends on the path's next state; the path's own for solvers that cannot be led so."""
        level = run.next_level(sigma)
        if level is None:
            return self.path.prediction(self.path.steps - 1).to(x)
        if run.residual:
            return self.path.residual_prediction(self.path.step_at(sigma), x.cpu()).to(x)
        if not run.steady:
            return self._prediction(run, sigma).to(x)
        ratio = level / sigma
        return (self.path.at(level).to(x) - ratio * x) / (1.0 - ratio)

    def _prediction(self, run: _Run, sigma: float) -> Tensor:
        """The path's own prediction, [B, C, ...]: from its state there, the step of the run's solver follows it."""
        return self._state(sigma) - sigma * self._slope(run, sigma)

    def _state(self, sigma: float) -> Tensor:
        """The path's state at a level, [B, C, ...].

        Above its start, and between the levels of a path that jumps, it is where the step's prediction leads.
        """
        path = self.path
        if path.level(sigma) is not None or (path.continuous and sigma < float(path.sigmas[0])):
            return path.at(sigma)
        step = path.step_at(sigma)
        return torch.lerp(path.prediction(step), path.states[step], sigma / float(path.sigmas[step]))

    def _slope(self, run: _Run, sigma: float) -> Tensor:
        """How the path moves per unit of sigma.

        An Euler step needs the slope between two states, to arrive. Other solvers build their own step from the model's
        predictions, so they are given the path's; for a path that the same solver recorded, that is exact.
        """
        level = run.next_level(sigma)
        if run.first_order and level is not None:
            return (self.path.at(level) - self.path.at(sigma)) / (level - sigma)
        step = self.path.step_at(sigma)
        if self.path.continuous and self.path.level(sigma) is None:
            return self.path.displacement(step)
        return (self._state(sigma) - self.path.prediction(step)) / sigma
