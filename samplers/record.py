"""Records the path of any sampler and guider while it runs, and leaves its result unchanged, bit for bit.

A solver's state at a level of the schedule is the last one that it passed to the model at that level: predictors look
ahead to the next level, and return to it with their final state. So the recorder listens to the calls of the model,
which every solver makes, and does not depend on a solver's own callbacks.
"""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from . import conditioning, nested, process
from .levels import Levels
from .own_sampler import OwnSampler, SamplerRun, with_options
from .path import DiffusionPath, make_path
from .path_check import MOST_SEED, check_falling
from .path_storage import check_room, room
from .solvers import OWN_LEVELS, plain_options, sampler_name
from .wrong_prompt import sample_with

# At the first level only: where the noise-to-signal ratio is infinite (a flow's sigma 1), solvers start a bit below it.
_LATE_START = 2e-4
# Below this distance (RMS) between the model's prediction and the one that two states imply, the states are enough.
_IMPLIED = 0.1


def kept_states(steps: int) -> int:
    """How many states and predictions a recording of so many steps keeps while it runs."""
    return 2 * steps + 1


class _Listener:
    """Wraps the model that a solver calls, and keeps the last state and prediction of each level.

    shape: [B, C, ...] of a state. A call on another shape is not one on the whole state. The last of the states
    [N + 1, B, C, ...] is left open. `seen` [N]: which levels there was a call at.
    """

    def __init__(self, model: Any, sigmas: Tensor, shape: tuple[int, ...]) -> None:
        self._model = model
        self._levels = Levels(sigmas[:-1])
        steps = len(sigmas) - 1
        self.states = room([steps + 1, *shape])
        self.predictions = room([steps, *shape])
        self.seen = [False] * steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, x: Tensor, sigma: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        level = self._level_of(float(sigma.reshape(-1)[0])) if x.shape == self.states.shape[1:] else None
        if level is not None:
            self.states[level] = x.detach()
        out = self._model(x, sigma, *args, **kwargs)
        if level is not None:
            self.predictions[level] = out.detach()
            self.seen[level] = True
        return out

    def _level_of(self, sigma: float) -> int | None:
        index, first = self._levels.index(sigma), self._levels.sigmas[0]
        return 0 if index is None and 0 <= first - sigma <= _LATE_START * first else index


class RecordingSampler(OwnSampler):
    """A SAMPLER that runs another one unchanged. After a run `states` [N + 1, B, ...] and `predictions` are filled."""

    def __init__(self, sampler: Any) -> None:
        if sampler_name(sampler) in OWN_LEVELS:
            raise ValueError(
                f"The sampler {sampler_name(sampler)} chooses its own noise levels, so its path cannot be recorded on "
                "a schedule: use another one, dpmpp_2m for example."
            )
        super().__init__(sampler)
        self.states: Tensor | None = None
        self.predictions: Tensor | None = None

    def run(self, given: SamplerRun) -> Tensor:
        listeners: list[_Listener] = []

        def listen(model: Any) -> _Listener:
            if not listeners:
                listeners.append(_Listener(model, given.sigmas, tuple(given.noise.shape)))
            return listeners[0]

        inner = with_options(self.inner, self.extra_options)
        if hasattr(inner, "sampler_function") and not isinstance(inner, OwnSampler):
            # Inside KSAMPLER a state is seen before the mask is applied to it.
            samples = given.by(_listening(inner, listen))
        else:
            samples = given.by(inner, guider=listen(given.guider))
        sampling, last = given.guider.inner_model.model_sampling, float(given.sigmas[-1])
        end = process.perturb(sampling, samples, torch.zeros_like(samples), last, prior=False)
        missing = [float(sigma) for sigma, seen in zip(given.sigmas, listeners[0].seen, strict=False) if not seen]
        if missing:
            raise ValueError(
                f"The sampler {sampler_name(self.inner)} never evaluated the model at noise level {missing[0]:.4g}, so "
                "the path cannot be recorded: use one that keeps to the schedule (without s_churn), euler for example."
            )
        self.states, self.predictions = listeners[0].states, listeners[0].predictions
        self.states[-1] = end.detach()
        return samples


def _listening(sampler: Any, listen: Callable[[Any], _Listener]) -> Any:
    """A copy of a KSAMPLER whose function hands the solver a listener."""
    function = sampler.sampler_function

    @functools.wraps(function)
    def recorded(model: Any, *args: Any, **kwargs: Any) -> Tensor:
        return function(listen(model), *args, **kwargs)

    clone = copy.copy(sampler)
    clone.sampler_function = recorded
    return clone


def record(
    guider: Any,
    sampler: Any,
    sigmas: Tensor,
    noise: Any,
    latent: Mapping[str, Any],
    callback: Callable[..., None] | None = None,
    disable_pbar: bool | None = None,
    seed: int = 0,
) -> tuple[DiffusionPath, Any]:
    """Sample as ``guider.sample`` does, and keep the path.

    noise: [B, C, ...] or nested. latent: a LATENT of that shape, with its noise_mask and batch_index if it has them.
    Returns the path and the samples, which are core's own. Raises ValueError for an empty or rising schedule, a latent
    without the parts that the model works on, or a sampler that leaves the schedule.
    """
    if len(sigmas) > 1 and bool((sigmas.diff() >= 0).any()):
        raise ValueError(
            "These sigmas repeat a noise level or rise again (as restart schedules do), but a path has one state at "
            "each level, from noise to picture: record a schedule that falls, or sample this one with "
            "SamplerCustomAdvanced."
        )
    check_falling(sigmas)
    process.model_sampling(guider.model_patcher)  # refuses models without noise, before any work
    samples, mask, batch_index = latent["samples"], latent.get("noise_mask"), latent.get("batch_index")
    process.check_parts(guider.model_patcher, samples, "latent")
    steps = len(sigmas) - 1
    check_room(steps, kept_states(steps), nested.pack(samples))
    recorder = RecordingSampler(sampler)
    made = sample_with(guider, noise, samples, recorder, sigmas, mask, callback, disable_pbar=disable_pbar, seed=seed)
    states, predictions = recorder.states, recorder.predictions
    recorder.states = recorder.predictions = None  # it refers to itself, so that it would keep them for a while
    assert states is not None
    assert predictions is not None
    path = make_path(
        guider.model_patcher,
        sigmas,
        states,
        method="recorded",
        sampler=sampler_name(sampler),
        sampler_options=plain_options(sampler),
        seed=seed & MOST_SEED if isinstance(seed, int) else 0,
        cfg=float(getattr(guider, "cfg", 1.0)),
        conditioning=conditioning.fingerprint(guider.original_conds.get("positive", [])),
        batch_index=None if batch_index is None else tuple(batch_index),
        latent_shapes=nested.shapes_of(samples),
    )
    if not _are_implied(path, predictions):
        path = path.replaced(denoised=predictions, continuous=False)
    return path, made


def _are_implied(path: DiffusionPath, predictions: Tensor) -> bool:
    """Whether the states say enough of the predictions [N, B, C, ...]; step by step, because paths may be large."""
    apart = [float((path.prediction(i) - each).square().mean()) for i, each in enumerate(predictions)]
    size = [float(each.square().mean()) for each in predictions]
    return math.sqrt(sum(apart) / path.steps) <= _IMPLIED * (math.sqrt(sum(size) / path.steps) + 1e-12)
