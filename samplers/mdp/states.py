"""The two manipulations that use a recorded path: MDP-eps_t and MDP-x_t.

Both replace the prediction, D* = (1 - w) D_B(x*) + w D_A, by one that leads along the path of the source A:

- predicted noise (eps_t): D_A = (x* - b n_A) / a with A's own predicted noise n_A = (x_A - a D_A(x_A)) / b, where a
  state is x = a x0 + b n, so that x* - x_A changes as a does: in eps and v models (a = 1) the step is A's own.
- latent (x_t): D_A = (x_A' - r x*) / (1 - r) with r = sigma' / sigma, so that the step ends on A's next state.

With Euler steps the first is eps* = (1 - w) eps_B + w eps_A of the paper, the same edit for a network in any
coordinates, and the second is x* = (1 - w) x' + w x_A'. A residual path is replayed with its residuals,
and the second is solved for that step. It would make solvers that extrapolate over many predictions overshoot more and
more: they get A's own prediction instead, which draws the state to the path more slowly.

Outside a mask the network sees A's state and the prediction is A's own. Where w = 1 the model is not called, nor is it
before a step of the second kind with w = 1, whose result does not depend on earlier steps.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP, get_all_wrappers
from torch import Tensor

from .. import mask_times, process, solvers
from ..levels import Levels
from ..masks import edit_region
from ..path import DiffusionPath
from ..path_fit import check_path_fits
from ..schedule import PathSchedule, Weights
from .wrapper import Manipulation, Prediction, weights_along

_LOG = logging.getLogger(__name__)


def inject_noise(
    model: Any, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None = None, amplify: float = 1.0
) -> Any:
    """MDP-eps_t (official code of Wang et al. 2023): the path's predicted noise, injected or interpolated.

    mask: [B or 1, H, W] in 0..1, 1 = edit; where it is 0 the result is the path's picture, bit for bit. amplify: that
    code's gain on the path's noise where it is injected, w amplify eps_A. The code's eta is that of the sampler: DDIM
    with eta (`reverse_sde.sampler("ancestral", eta)`) is the one that adds noise and may be used.
    Returns a clone of the MODEL. Raises ValueError for a path of another model, and when sampling with another size,
    batch or schedule.
    """
    return PredictedNoise(path, schedule, mask, amplify).on(model)


def inject_latent(model: Any, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None = None) -> Any:
    """MDP-x_t (Wang et al. 2023): the path's states, injected or interpolated. See `inject_noise`.

    With weight 0 and a mask it only holds the source outside the mask.
    """
    return IntermediateLatent(path, schedule, mask).on(model)


class PathAhead:
    """The source's path for solvers that are given its own predictions: exact if the same solver recorded it."""

    exact = False

    def __init__(self, path: DiffusionPath, sigmas: Tensor) -> None:
        # Solvers of higher order also ask at the last level of a run, after which only the path has more steps.
        self.path, self.levels = path, Levels([*sigmas.tolist(), *path.levels.rest(float(sigmas[-1]))])

    def state(self, sigma: float) -> Tensor:
        """The path's state at a level, [B, C, ...].

        Above its start, and between the levels of a path that jumps, it is where the step's prediction leads.
        """
        path = self.path
        if path.level(sigma) is not None or (path.continuous and sigma < float(path.sigmas[0])):
            return path.at(sigma)
        step = path.step_at(sigma)
        return torch.lerp(path.prediction(step), path.states[step], sigma / float(path.sigmas[step]))

    def derivative(self, sigma: float) -> Tensor:
        """How the path moves per unit of sigma, [B, C, ...]."""
        step = self.path.step_at(sigma)
        if self.path.continuous and self.path.level(sigma) is None:
            return self.path.displacement(step)
        return (self.state(sigma) - self.path.prediction(step)) / sigma

    def prediction(self, sigma: float) -> Tensor:
        """The path's own prediction, [B, C, ...], with which the run's solver, at the path's state, stays on it."""
        return self.state(sigma) - sigma * self.derivative(sigma)

    def leading_back(self, x: Tensor, sigma: float) -> Tensor:
        """The prediction whose step leads from x [B, C, ...] to the path's next state, as far as the solver can."""
        level = self.levels.following(sigma)
        if level is None:
            return self.path.prediction(self.path.steps - 1).to(x)
        return self.leading_to(level, x, sigma)

    def leading_to(self, level: float, x: Tensor, sigma: float) -> Tensor:
        return self.prediction(sigma).to(x)


class SteadyPathAhead(PathAhead):
    """For solvers whose step ends where an Euler step with the same prediction ends."""

    def leading_to(self, level: float, x: Tensor, sigma: float) -> Tensor:
        ratio = level / sigma
        return (self.path.at(level).to(x) - ratio * x) / (1.0 - ratio)


class EulerPathAhead(SteadyPathAhead):
    """For Euler steps, which need the line between two states to arrive."""

    exact = True

    def derivative(self, sigma: float) -> Tensor:
        level = self.levels.following(sigma)
        if level is None:
            return super().derivative(sigma)
        return (self.path.at(level) - self.path.at(sigma)) / (level - sigma)


class ResidualPathAhead(PathAhead):
    """For the sampler of a residual path, which adds the residuals."""

    exact = True

    def leading_to(self, level: float, x: Tensor, sigma: float) -> Tensor:
        return self.path.residual_prediction(self.path.step_at(sigma), x.cpu()).to(x)


def path_ahead(path: DiffusionPath, sampler: Any, sigmas: Tensor) -> PathAhead:
    """The path as this SAMPLER can follow it in a run."""
    if path.residuals is not None and solvers.walks_residuals(sampler):
        return ResidualPathAhead(path, sigmas)
    if solvers.is_first_order(sampler):
        return EulerPathAhead(path, sigmas)
    return (SteadyPathAhead if solvers.is_steady(sampler) else PathAhead)(path, sigmas)


@dataclass(frozen=True)
class _PathRun:
    source: PathAhead
    sampling: Any
    weights: Weights
    mask: Tensor | None  # [B, C, ...] or packed, on the device, None where everything is edited


class _PathManipulation(Manipulation):
    """A manipulation that draws the prediction to the path; outside the mask it is the path's own.

    by_ddim: whether it is defined for steps of DDIM with any eta, not only for Euler's.
    """

    by_ddim = False

    def __init__(self, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None) -> None:
        self.path, self.schedule, self.mask = path, schedule, mask

    @abstractmethod
    def along(self, run: _PathRun, x: Tensor, sigma: float) -> Tensor:
        """The prediction D_A, [B, C, ...], that leads along the path."""

    def on(self, model: Any) -> Any:
        if self.schedule.weight != 0.0 or self.mask is not None:
            check_path_fits(self.path, model)
        if self.schedule.weight != 0.0:  # before any work: the path knows its steps
            self.schedule.window(self.path.step_positions)
        return super().on(model)

    def wrappers(self) -> Mapping[str, Callable[..., Tensor]]:
        return {**super().wrappers(), WrappersMP.SAMPLER_SAMPLE: self.sampler_sample}

    def begin(
        self, guider: Any, noise: Any, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None
    ) -> _PathRun | None:
        if self.schedule.weight == 0.0 and (self.mask is None or bool((self.mask == 1).all())):
            return None
        model = guider.model_patcher
        if note := check_path_fits(self.path, model, noise, sigmas):
            _LOG.info("%s: %s", self.name, note)
        mask = edit_region(self.mask, model, noise, model.load_device)
        weights = weights_along(self.path, self.schedule)
        if mask is None and weights.all_zero:
            return None
        with_eta = self.by_ddim and solvers.is_ddim(sampler)
        _check_solver(sampler, self.name, weighted=not weights.all_zero and not with_eta)
        source = EulerPathAhead(self.path, sigmas) if with_eta else path_ahead(self.path, sampler, sigmas)
        if not (source.exact or weights.all_zero):
            _LOG.warning(
                "%s follows the path only approximately with %s; it is exact with euler and ddim.",
                self.name,
                solvers.sampler_name(solvers.innermost(sampler)),
            )
        return _PathRun(source, process.model_sampling(model), weights, mask)

    def predict(self, run: _PathRun, prediction: Prediction) -> Tensor:
        source, x, sigma = run.source, prediction.x, prediction.sigma
        weight = run.weights.at(sigma)
        if weight == 0.0 and run.mask is None:
            return prediction()
        mask = None if run.mask is None else run.mask.to(x)
        if mask is not None and not bool(mask.any()):
            return source.prediction(sigma).to(x)
        if weight == 1.0:
            mixed = self.along(run, x, sigma)
        else:
            mixed = prediction() if mask is None else self._seeing_source(run, prediction, mask)
            if weight != 0.0:
                mixed = (1.0 - weight) * mixed + weight * self.along(run, x, sigma)
        return mixed if mask is None else mask * mixed + (1.0 - mask) * source.prediction(sigma).to(x)

    def _seeing_source(self, run: _PathRun, prediction: Prediction, mask: Tensor) -> Tensor:
        """D_B where the network sees the source's state outside the mask, which has the noise of the level."""
        x = torch.where(mask > 0, prediction.x, run.source.state(prediction.sigma).to(prediction.x))
        with mask_times.told_noisy(prediction.guider, mask <= 0):
            return prediction(x)

    def sampler_sample(
        self, executor: Callable[..., Tensor], guider: Any, sigmas: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        """After a run: outside the mask the source's picture, bit for bit (a solver's last step rounds)."""
        # A copy of the levels, because uni_pc changes its own.
        samples = executor(guider, sigmas.clone(), *args, **kwargs)
        if self.run is None or self.run.mask is None or self.path.level(float(sigmas[-1])) != self.path.steps:
            return samples
        return torch.where(self.run.mask > 0, samples, self.path.picture.to(samples))


class PredictedNoise(_PathManipulation):
    """MDP-eps_t: the noise is the path's."""

    name = "MDP-\u03b5"
    by_ddim = True

    def __init__(
        self, path: DiffusionPath, schedule: PathSchedule, mask: Tensor | None = None, amplify: float = 1.0
    ) -> None:
        super().__init__(path, schedule, mask)
        self.amplify = amplify

    def along(self, run: _PathRun, x: Tensor, sigma: float) -> Tensor:
        signal = float(process.coefficients(run.sampling, sigma)[0])
        if signal == 1.0:
            return x - sigma * self.amplify * run.source.derivative(sigma).to(x)
        state, own = run.source.state(sigma).to(x), run.source.prediction(sigma).to(x)
        if signal == 0.0:  # at a flow's prior, where x* is the path's state still
            return own + x - state
        more = 1.0 - self.amplify
        return own + (x - state + more * (state - signal * own)) / signal


class IntermediateLatent(_PathManipulation):
    """MDP-x_t: the step ends on the path's next state."""

    name = "MDP-x"

    def along(self, run: _PathRun, x: Tensor, sigma: float) -> Tensor:
        return run.source.leading_back(x, sigma)

    def begin(
        self, guider: Any, noise: Any, sampler: Any, sigmas: Tensor, denoise_mask: Tensor | None
    ) -> _PathRun | None:
        run = super().begin(guider, noise, sampler, sigmas, denoise_mask)
        if run is None or not isinstance(run.source, EulerPathAhead) or denoise_mask is not None:
            return run
        options = guider.model_options
        alone = len(get_all_wrappers(WrappersMP.PREDICT_NOISE, options, is_model_options=True)) == 1
        # A grey pixel is not led onto the path.
        hard = run.mask is None or bool(((run.mask == 0) | (run.mask == 1)).all())
        forgets = alone and hard
        return replace(run, weights=run.weights.overwriting(sigmas.tolist()[:-1])) if forgets else run


def _check_solver(sampler: Any, method: str, weighted: bool) -> None:
    """Raises ValueError for solvers whose steps a path's predictions cannot serve.

    CFG++ solvers step along the unconditional prediction. Those that draw noise expect the model to remove it, which
    a path (weighted: where its weight is not 0) does not: it only contains its own noise.
    """
    name = solvers.sampler_name(solvers.innermost(sampler))
    if name.endswith("_cfg_pp"):
        raise ValueError(
            f"{method} gives a prediction without an unconditional part, but the sampler {name} steps along that part: "
            f"use {name.removesuffix('_cfg_pp')}."
        )
    if weighted and solvers.adds_noise(sampler):
        raise ValueError(
            f"The sampler {name} adds noise at every step, which the path of {method} does not contain: use euler, "
            "ddim or another one without noise."
        )
