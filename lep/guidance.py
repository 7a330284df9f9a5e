"""Sketch guidance: steers each sampling step towards pictures in which the predictor sees the sketch.

Voynov et al. 2022, section 4.2, in any model's coordinates and for any sampler. The paper subtracts

    alpha g  from  z_{t-1},    alpha = beta ||z_t - z_{t-1}|| / ||g||,    g = grad_{z_t} || P(F(z_t|t,c), t) - E(e) ||^2

A sampler's state cannot be changed from outside, but its denoised prediction can: adding delta to D shifts an Euler
step from sigma to sigma' by (1 - sigma'/sigma) delta, so the paper's shift is divided by this factor. Under Euler
the two are the same; every other sampler follows D as it always does. Lengths are taken in variance-preserving units
(x / sqrt(a^2 + b^2)), per sample, so that beta means the same for eps, v and flow models.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .. import gradients
from ..samplers import process
from ..samplers.levels import Levels
from ..samplers.noise import item_noise
from ..samplers.schedule import PathSchedule, Weights, guided_window
from .features import Capture, Places, capturing, projecting
from .guided_step import bend, deviation
from .level_input import level_input
from .predictor import MapPredictor
from .targets import Encoding, LatentCode

KEY = "diffusion_path_sketch"
_WRAPPERS = (
    WrappersMP.OUTER_SAMPLE,
    WrappersMP.PREPARE_SAMPLING,
    WrappersMP.SAMPLER_SAMPLE,
    WrappersMP.PREDICT_NOISE,
    WrappersMP.CALC_COND_BATCH,
)
_MEMORY = {False: 3, True: 2}  # memory of a guided step in units of one call's activations, by checkpointed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Guidance:
    """One sketch and how strongly to follow it.

    sketch: gives, for a latent grid (H, W), the target that the predictor should see [1 or B, C, H, W] (frames of a
    video count as a batch), and the importance of each pixel [1 or B, 1, H, W] or None for 1 everywhere.
    beta: length of the guidance step as a multiple of the sampler's own step. start, end: the part of the path that is
    guided, in training time (1 = noise, 0 = picture); nothing unless end is below start. every: take the gradient at
    every n-th of these steps; those between follow the last one. checkpointed: less memory, more time. preview: show
    the predicted map, if it is a latent, beside the picture while guiding. schedule: multiplies beta along the path,
    and its zeros are the steps that are not guided, instead of start and end. sigmas: the levels of the whole run, of
    which a part may be sampled; `every` counts over them, and a part that begins between takes a gradient of its own.
    limit: the most of the distance to the sketch, to first order, that one step may take away; 0 = no limit.
    """

    predictor: MapPredictor
    sketch: Callable[[int, int], tuple[Tensor, Tensor | None]]
    beta: float = 1.0
    start: float = 1.0
    end: float = 0.5
    every: int = 1
    checkpointed: bool = False
    preview: bool = False
    schedule: PathSchedule | None = None
    sigmas: Tensor | None = None
    limit: float = 0.0

    @property
    def window(self) -> PathSchedule | None:
        """Where on the path the run is guided, and how strongly; None if it is not guided at all."""
        window = guided_window(self.schedule, self.start, self.end)
        return None if window is None or window.weight * self.beta == 0.0 else window

    def weights(self, sampling: Any, sigmas: Tensor) -> Weights | None:
        """The window at the levels of the whole run, or of the part of it that is sampled."""
        whole = sigmas if self.sigmas is None else self.sigmas
        if self.window is None or len(whole) < 2:
            return None
        return Weights(self.window, whole.tolist(), process.positions(sampling, whole))

    def step(self, weights: Weights | None, sigmas: Tensor, sigma: float) -> tuple[tuple[float, float], float] | None:
        """The step (sigma, sigma_next) of a model call and its beta; None where it is not guided."""
        beta = 0.0 if weights is None else self.beta * weights.at(sigma)
        if weights is None or beta == 0.0:
            return None
        following = Levels(sigmas).following(sigma)
        return None if following is None else ((sigma, following), beta)

    def renewed(self, weights: Weights, sigma: float) -> bool:
        """Whether the step of a model call takes a gradient of its own."""
        return (weights.step(sigma) - weights.first) % self.every == 0


def guide(model: Any, guidance: Guidance) -> Any:
    """A clone of the MODEL that follows the sketch under any sampler and guider. beta = 0 gives the plain model."""
    clone = model.clone()
    for kind in _WRAPPERS:
        clone.remove_wrappers_with_key(kind, KEY)
    if guidance.window is None:
        return clone
    guided = _GuidedModel(guidance)
    wrappers = (guided.outer, guided.prepare, guided.sample, guided.predict, guided.branches)
    for kind, wrapper in zip(_WRAPPERS, wrappers, strict=True):
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone


class _GuidedModel:
    """The wrappers of one guided model, in the order in which ComfyUI calls them."""

    def __init__(self, guidance: Guidance) -> None:
        self.guidance = guidance
        self.target = functools.cache(guidance.sketch)  # once for each size; all that is kept between runs
        self.run: _Run | None = None
        self.shape: tuple[int, ...] | None = None  # of the video, where the run's latent holds sound too

    def outer(self, executor: Any, noise: Tensor, latent_image: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Make the target for this run's size, while the model is not loaded yet and the VAE has room."""
        shapes = kwargs.get("latent_shapes") or [latent_image.shape]
        shape = tuple(shapes[0])
        frames = shape[2] if len(shape) == 5 else 1
        for name, given in zip(("sketches", "importance masks"), self.target(*shape[-2:]), strict=True):
            if given is not None and len(given) not in (1, frames, frames * shape[0]):
                raise ValueError(
                    f"There are {len(given)} {name} for a latent of {shape[0]} pictures"
                    f"{f' of {frames} frames' if frames > 1 else ''}: give one for all, or one for each."
                )
        before, self.shape = self.shape, shape if len(shapes) > 1 else None
        try:
            return executor(noise, latent_image, *args, **kwargs)
        finally:
            self.shape = before

    def prepare(self, executor: Any, model: Any, noise_shape: Any, *args: Any, **kwargs: Any) -> Any:
        """Let ComfyUI make room for the activations that a gradient needs."""
        shape = list(noise_shape)
        shape[0] *= _MEMORY[self.guidance.checkpointed]
        return executor(model, shape, *args, **kwargs)

    def sample(self, executor: Any, guider: Any, sigmas: Tensor, extra_args: Any, callback: Any, noise: Tensor,
               latent_image: Any = None, denoise_mask: Any = None, disable_pbar: bool = False) -> Any:  # fmt: skip
        """One sampling run."""
        unit = _unit_noise(noise, extra_args.get("seed"))
        shape = self.shape or tuple(noise.shape)
        mask = denoise_mask if self.shape is None else _only_video(noise, shape, denoise_mask)
        target = self.target(*shape[-2:])
        run = _Run(self.guidance, guider.model_patcher, target, sigmas, unit, mask, shape)
        if self.guidance.preview and callback is not None:
            callback = functools.partial(run.show, callback)
        before, self.run = self.run, run
        try:
            return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)
        finally:
            self.run = before
            run.last = None  # it refers to the run, so that both would keep the gradient and the model for a while

    def predict(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        """One evaluation of D."""
        return executor(*args, **kwargs) if self.run is None else self.run.predict(executor, *args, **kwargs)

    def branches(self, executor: Any, *args: Any, **kwargs: Any) -> list[Tensor]:
        """The predictions of the branches (positive, negative, ...) that one evaluation of D consists of."""
        call = None if self.run is None else self.run.call
        return executor(*args, **kwargs) if call is None else call.branches(executor, *args, **kwargs)


class _Run:
    """One sampling run: what stays the same throughout, and the guided call in progress."""

    def __init__(
        self, guidance: Guidance, model: Any, target: tuple[Tensor, Tensor | None],
        sigmas: Tensor, noise: Tensor, mask: Tensor | None, shape: tuple[int, ...],
    ) -> None:  # fmt: skip
        self.guidance, self.target = guidance, target
        self.sigmas, self.noise, self.mask = sigmas, noise, mask
        self.size, self.frames = (shape[-2], shape[-1]), shape[2] if len(shape) == 5 else 1
        self.predictor, self.encoding = guidance.predictor, guidance.predictor.encoding
        self.network = self.predictor.network_on(noise.device)
        self.keep = projecting(self.predictor, self.network)
        self.weights = guidance.weights(process.model_sampling(model), sigmas)
        if self.weights is not None:
            self.weights.note_missed("Sketch Guidance")
        self.needs = gradients.Needs()
        self.places: Places = {}
        self.call: _Call | None = None
        self.last: _Call | None = None  # the one whose gradient is followed
        self.warned = False

    def predict(self, executor: Any, x: Tensor, sigma: Tensor, model_options: Any = None, seed: Any = None) -> Any:
        """D, steered towards the sketch if the step is guided."""
        guided = self.guidance.step(self.weights, self.sigmas, float(sigma.max()))
        if guided is None or self.weights is None:
            self.last = None
            return executor(x, sigma, model_options, seed)
        held = self.last is not None and self.last.holds(x)
        if not held or self.guidance.renewed(self.weights, guided[0][0]):
            denoised, self.last = self._evaluated(executor, x, sigma, model_options, seed)
        else:
            denoised = executor(x, sigma, model_options, seed)
        return denoised if self.last is None else self._bent(denoised, x, self.last, *guided)

    def _evaluated(self, executor: Any, x: Tensor, sigma: Tensor, *args: Any) -> tuple[Any, _Call | None]:
        """D as the model gives it, and the call that has its gradient; None if the predictor saw no whole picture."""
        call = self.call = _Call(self, executor.class_obj, float(sigma.max()))
        try:
            denoised = executor(x, sigma, *args)
            if not call.done:  # a guider that did not evaluate the branch itself
                comfy.samplers.calc_cond_batch(call.inner, [call.conds], x, sigma, args[0])
        finally:
            self.call = None
        if call.gradient is None:
            if not self.warned:
                log.warning("Sketch Guidance: the model was skipped or seen only in parts, so this run is not guided.")
                self.warned = True
            return denoised, None
        return denoised, call

    def _bent(self, denoised: Any, x: Tensor, call: _Call, step: tuple[float, float], beta: float) -> Any:
        """D moved against a call's gradient; a tuple where it is of several guidance scales (LanPaint)."""
        sampling = call.inner.model_sampling
        assert call.gradient is not None
        # With respect to the state in variance-preserving units, the gradient is kept as it is from step to step.
        gradient = call.gradient * (deviation(sampling, call.sigma) / deviation(sampling, step[0]))
        drop = None if call.error is None or self.guidance.limit == 0.0 else self.guidance.limit * call.error
        made = [
            bend(sampling, x, each, gradient, step, beta, self.mask, drop)
            for each in (denoised if isinstance(denoised, tuple) else [denoised])
        ]
        return tuple(made) if isinstance(denoised, tuple) else made[0]

    def show(self, callback: Callable[..., Any], step: int, denoised: Tensor, x: Tensor, total: int) -> Any:
        """A sampler's callback, which gets a predicted latent beside the picture, except at the last step."""
        # The preview of the last step becomes the node's output.
        seen = None if self.last is None or step >= total - 1 else self.last.seen
        if isinstance(self.encoding, LatentCode) and seen is not None and seen.shape == denoised.shape:
            denoised = torch.cat([denoised, seen.to(denoised)], dim=-1)
        return callback(step, denoised, x, total)


class _Call:
    """One guided evaluation of D: its guided branch is run once, by itself, and its gradient is kept here.

    conds: of the branch that the predictor reads; the guider's own if it has one. gradient: of the loss with respect to
    x, at noise level sigma. error: the loss of each sample [B], None if calls held parts of the batch. seen: the
    predictor's output. All are None if it saw no whole picture.
    """

    def __init__(self, run: _Run, guider: Any, sigma: float) -> None:
        self.run, self.guider, self.inner, self.sigma = run, guider, guider.inner_model, sigma
        conds, branch = guider.conds, run.guidance.predictor.branch
        self.conds: list[dict[str, Any]] = conds.get(branch) or conds.get("positive") or next(iter(conds.values()))
        self.done = False
        self.gradient: Tensor | None = None
        self.error: Tensor | None = None
        self.seen: Tensor | None = None

    def holds(self, x: Tensor) -> bool:
        """Whether the gradient is that of such a batch: a sampler may call a model on parts of one."""
        return self.gradient is not None and self.gradient.shape == x.shape

    def branches(self, executor: Any, model: Any, conds: list[Any], x: Tensor, sigma: Tensor, options: Any) -> Any:
        """Run the guided branch by itself, with its gradient, and the others as usual."""
        place = next((i for i, cond in enumerate(conds) if cond is self.conds), None)
        if self.done or place is None:
            return executor(model, conds, x, sigma, options)
        self.done = True
        others = [None if i == place else cond for i, cond in enumerate(conds)]
        results: list[Tensor] = [torch.zeros_like(x)] * len(conds)
        if any(others):
            results = list(executor(model, others, x, sigma, options))
        results[place] = self._evaluate(executor, x, sigma, options)
        return results

    def _evaluate(self, executor: Any, x: Tensor, sigma: Tensor, model_options: Any) -> Tensor:
        """D of the guided branch; also stores its gradient."""
        run, found = self.run, []
        options = gradients.gradient_options(model_options)

        def loss(state: Tensor) -> Tensor:
            capture.readings.clear()
            found[:] = [executor(self.inner, [self.conds], state, sigma.clone(), options)[0].detach()]
            with torch.enable_grad():
                return self._loss(capture, state, sigma)

        roots, checkpointed = gradients.model_roots(self.guider), run.guidance.checkpointed
        network = self.inner.diffusion_model  # of joined models, the one for this noise level
        listening = capturing(network, run.predictor.taps, run.keep, gradients=True, places=run.places)
        with listening as capture, gradients.grad_ready(roots, x.device, checkpointed, run.needs) as take:
            error, (gradient,) = take(loss, x, scales=gradients.loss_scales(self.inner.get_dtype_inference()))
        if self.seen is not None:
            self.gradient = gradient
            if error > 0.0:
                gradients.refuse_no_gradient(
                    gradient,
                    "the picture where the map predictor reads it",
                    "the sketch could not guide anything, so load a predictor that was trained on this model",
                )
        return found[0]

    def _loss(self, capture: Capture, x: Tensor, sigma: Tensor) -> Tensor:
        """The distance to the sketch, summed over the samples and over all calls that see the whole picture."""
        run, total, found = self.run, x.new_zeros(()), []
        size, frames = run.size, run.frames
        for reading in capture.readings:
            call = reading.call
            if not reading.complete or (call.height, call.width) != size or call.frames != frames:
                continue  # a regional prompt sees a part of the picture, to which the sketch cannot be matched
            level = level_input(run.network.noise, self.inner, sigma, run.noise, call.batch * frames, frames)
            seen = run.network.combine(reading.values, level, size)
            distance = _distance(run.encoding, seen, *run.target)
            found.append(distance.detach())
            total = total + distance.sum()
            self.seen = seen.detach()[: x.shape[0] * frames]
        self.error = _per_sample(found, len(x), frames)
        return total


def _per_sample(distances: list[Tensor], batch: int, frames: int) -> Tensor | None:
    """Distances of the pictures of several calls, [prompts * batch * frames] each, summed for each sample of the batch.

    None where a call held a part of the batch alone.
    """
    if not distances or any(len(each) % (batch * frames) for each in distances):
        return None
    return torch.cat(distances).reshape(-1, batch, frames).sum(dim=(0, 2))


def _distance(encoding: Encoding, seen: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """The mean weighted distance of each picture to the sketch [N], square for all maps but classes.

    seen [N, C, H, W]; target, weight: [n, C or 1, H, W], repeated to N pictures.
    """
    error = encoding.error(seen, _spread(target, seen))
    return (error if weight is None else error * _spread(weight, seen)).flatten(1).mean(dim=1)


def _only_video(noise: Tensor, shape: tuple[int, ...], mask: Tensor | None) -> Tensor:
    """The mask of a run on video and sound [B, 1, N], with 0 at the sound: a sketch shows nothing of it."""
    area = torch.zeros_like(noise) if mask is None else mask.clone().expand_as(noise).contiguous()
    count = math.prod(shape[1:])
    area[..., count:] = 0.0
    if mask is None:
        area[..., :count] = 1.0
    return area


def _spread(given: Tensor, like: Tensor) -> Tensor:
    """Repeat a target to a batch, as a normal tensor (not an inference tensor)."""
    copies = -(-like.shape[0] // given.shape[0])
    return given.clone().to(like).repeat(copies, 1, 1, 1)[: like.shape[0]]


def _unit_noise(noise: Tensor, seed: int | None) -> Tensor:
    """The run's initial noise; if its start was noised beforehand and none is added, noise from its seed."""
    if torch.count_nonzero(noise) > 0:
        return noise
    return torch.stack([item_noise(item, seed or 0, index) for index, item in enumerate(noise)])
