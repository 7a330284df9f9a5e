"""Sketch guidance: each step of sampling is bent towards pictures in which the predictor sees the sketch.

Voynov et al. 2022, section 4.2, in any model's coordinates and for any sampler. The paper subtracts

    alpha g  from  z_{t-1},    alpha = beta ||z_t - z_{t-1}|| / ||g||,    g = grad_{z_t} || P(F(z_t|t,c), t) - E(e) ||^2

A sampler's state cannot be changed from outside, but its denoised prediction can: adding delta to D shifts an Euler
step from sigma to sigma' by (1 - sigma'/sigma) delta, so the paper's shift is divided by this factor. Under Euler
the two are the same; every other sampler follows D as it always does. Lengths are taken in variance-preserving units
(x / sqrt(a^2 + b^2)), per sample, so that beta means the same for eps, v and flow models.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..samplers import gradients, process
from ..samplers.levels import Levels
from ..samplers.noise import item_noise
from ..samplers.schedule import PathSchedule, Weights
from .families import family_of, network_of
from .features import Capture, capturing
from .levels import level_input
from .predictor import EdgePredictor, PredictorNetwork
from .step import bend

KEY = "diffusion_path_sketch"
_WRAPPERS = (
    WrappersMP.OUTER_SAMPLE,
    WrappersMP.SAMPLER_SAMPLE,
    WrappersMP.PREDICT_NOISE,
    WrappersMP.CALC_COND_BATCH,
    WrappersMP.PREPARE_SAMPLING,
)
_MEMORY = {False: 3, True: 2}  # how many times the activations of one call a guided step holds, by checkpointed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Guidance:
    """One sketch and how strongly to follow it.

    sketch: gives, for a latent grid (H, W), the target that the predictor should see [1 or B, C, H, W] (frames of a
    video count as a batch), and the importance of each pixel [1 or B, 1, H, W] or None for 1 everywhere.
    beta: length of the guidance step as a multiple of the sampler's own step. start, end: the part of the path that is
    guided, in training time (1 = noise, 0 = picture); nothing where end is not below start. every: guide every n-th
    step of them. checkpointed: less memory, more time. preview: show the predicted edges beside the picture while
    guiding. schedule: multiplies beta along the path, and says by its zeros which steps are not guided, in the place of
    start and end. sigmas: the levels of the whole run that the sampled one is a part of, for every to count over.
    """

    predictor: EdgePredictor
    sketch: Callable[[int, int], tuple[Tensor, Tensor | None]]
    beta: float = 1.0
    start: float = 1.0
    end: float = 0.5
    every: int = 1
    checkpointed: bool = False
    preview: bool = False
    schedule: PathSchedule | None = None
    sigmas: Tensor | None = None

    @property
    def window(self) -> PathSchedule | None:
        """Where on the path the run is guided, and how strongly; None where it is not guided at all."""
        window = self.schedule
        if window is None and self.start > self.end:
            window = PathSchedule(self.start, self.end)
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
        if weights is None or beta == 0.0 or (weights.step(sigma) - weights.first) % self.every:
            return None
        following = Levels(sigmas).following(sigma)
        return None if following is None else ((sigma, following), beta)


@dataclass
class _Run:
    """One sampling run: the network on its device, the schedule, and the gradient that is being waited for."""

    network: PredictorNetwork
    target: Tensor
    weight: Tensor | None
    sigmas: Tensor
    weights: Weights | None
    noise: Tensor
    mask: Tensor | None
    aliases: gradients.Aliases = field(default_factory=dict)
    mutation: bool = False
    kernels: bool = False
    waiting: _Wanted | None = None
    seen: Tensor | None = None
    warned: bool = False


@dataclass
class _Wanted:
    """The gradient at one model call; `slope` and `denoised` are filled in by whoever runs the branch."""

    guider: Any
    conds: list[dict[str, Any]]
    slope: Tensor | None = None
    tried: bool = False


def guide(model: Any, guidance: Guidance) -> Any:
    """A clone of the MODEL that follows the sketch under any sampler and guider. beta = 0 gives the plain model."""
    clone = model.clone()
    for kind in _WRAPPERS:
        clone.remove_wrappers_with_key(kind, KEY)
    if guidance.window is None:
        return clone
    runner = _Runner(guidance, network_of(model))
    wrappers = (runner.outer, runner.sample, runner.predict, runner.branches, runner.prepare)
    for kind, wrapper in zip(_WRAPPERS, wrappers, strict=True):
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    return clone


@dataclass
class _Runner:
    """The wrappers of one guided model. Between runs it keeps only the targets, for the sizes that were sampled."""

    guidance: Guidance
    diffusion: torch.nn.Module
    runs: list[_Run] = field(default_factory=list)
    targets: dict[tuple[int, int], tuple[Tensor, Tensor | None]] = field(default_factory=dict)

    def outer(self, executor: Any, noise: Tensor, latent_image: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Prepare the target for this run's size, while the model is not loaded yet and the VAE has room."""
        if len(kwargs.get("latent_shapes") or [0]) > 1:
            raise ValueError("Sketch Guidance cannot guide a latent of several parts (video with audio): use one part.")
        frames = latent_image.shape[2] if latent_image.ndim == 5 else 1
        for name, given in zip(("sketches", "importance masks"), self.target(latent_image), strict=True):
            if given is not None and len(given) not in (1, frames, frames * len(latent_image)):
                raise ValueError(
                    f"There are {len(given)} {name} for a latent of {len(latent_image)} pictures"
                    f"{f' of {frames} frames' if frames > 1 else ''}: give one for all, or one for each."
                )
        return executor(noise, latent_image, *args, **kwargs)

    def target(self, latent: Tensor) -> tuple[Tensor, Tensor | None]:
        """Target and weight for a latent's size, made once."""
        size = (int(latent.shape[-2]), int(latent.shape[-1]))
        if size not in self.targets:
            self.targets[size] = self.guidance.sketch(*size)
        return self.targets[size]

    def prepare(self, executor: Any, model: Any, noise_shape: Any, *args: Any, **kwargs: Any) -> Any:
        """Let ComfyUI make room for the activations that a gradient needs."""
        shape = list(noise_shape)
        shape[0] *= _MEMORY[self.guidance.checkpointed]
        return executor(model, shape, *args, **kwargs)

    def sample(self, executor: Any, guider: Any, sigmas: Tensor, extra_args: Any, callback: Any, noise: Tensor,
               latent_image: Any = None, denoise_mask: Any = None, disable_pbar: bool = False) -> Any:  # fmt: skip
        """One run: the predictor lives on the device for its length."""
        network = self.guidance.predictor.network_on(noise.device)
        weights = self.guidance.weights(process.model_sampling(guider.model_patcher), sigmas)
        run = _Run(
            network, *self.target(noise), sigmas, weights, _unit_noise(noise, extra_args.get("seed")), denoise_mask
        )
        run.mutation = family_of(self.diffusion).in_place
        shown = self._beside(callback, run) if self.guidance.preview and callback is not None else callback
        self.runs.append(run)
        try:
            return executor(guider, sigmas, extra_args, shown, noise, latent_image, denoise_mask, disable_pbar)
        finally:
            self.runs.remove(run)

    def predict(self, executor: Any, x: Tensor, sigma: Tensor, model_options: Any = None, seed: Any = None) -> Tensor:
        """One evaluation of D: unguided, or with the branch that carries the gradient singled out."""
        run, guider = (self.runs[-1] if self.runs else None), executor.class_obj
        if run is None:
            return executor(x, sigma, model_options, seed)
        run.seen = None
        guided = self.guidance.step(run.weights, run.sigmas, float(sigma.max()))
        if guided is None:
            return executor(x, sigma, model_options, seed)
        step, beta = guided
        run.waiting = wanted = _Wanted(guider, self._branch(guider))
        try:
            denoised = executor(x, sigma, model_options, seed)
            if not wanted.tried:  # a guider that does not evaluate the branch by itself
                comfy.samplers.calc_cond_batch(guider.inner_model, [wanted.conds], x, sigma, model_options)
        finally:
            run.waiting = None
        if wanted.slope is None:
            if not run.warned:
                log.warning("Sketch Guidance: the model was skipped or seen only in parts, so this run is not guided.")
                run.warned = True
            return denoised
        return bend(guider.inner_model.model_sampling, x, denoised, wanted.slope, step, beta, run.mask)

    def branches(self, executor: Any, model: Any, conds: list[Any], x: Tensor, sigma: Tensor, options: Any) -> Any:
        """Run the guided branch by itself, with its gradient, and the others as ever."""
        run = self.runs[-1] if self.runs else None
        wanted = None if run is None else run.waiting
        place = -1 if wanted is None else next((i for i, c in enumerate(conds) if c is wanted.conds), -1)
        if run is None or wanted is None or wanted.tried or place < 0:
            return executor(model, conds, x, sigma, options)
        wanted.tried = True
        others = [None if i == place else cond for i, cond in enumerate(conds)]
        results: list[Tensor] = [torch.zeros_like(x)] * len(conds)
        if any(others):
            results = list(executor(model, others, x, sigma, options))
        results[place], wanted.slope = self._gradient(executor, run, wanted, x, sigma, options)
        return results

    def _branch(self, guider: Any) -> list[dict[str, Any]]:
        """The conds whose activations the predictor reads; its own branch where the guider has it."""
        conds = guider.conds
        return conds.get(self.guidance.predictor.branch) or conds.get("positive") or next(iter(conds.values()))

    def _gradient(
        self, executor: Any, run: _Run, wanted: _Wanted, x: Tensor, sigma: Tensor, model_options: Any
    ) -> tuple[Tensor, Tensor | None]:
        """D of the guided branch, and the gradient of the loss with respect to x (None where nothing was read)."""
        found: list[Tensor] = []
        roots, predictor = gradients.model_roots(wanted.guider), self.guidance.predictor
        options = gradients.gradient_options(model_options)
        inner = wanted.guider.inner_model

        def project(index: int, feature: Tensor) -> Tensor:
            return run.network.project(index, feature)

        def loss(state: Tensor) -> Tensor:
            found.clear()
            capture.readings.clear()
            found.append(executor(inner, [wanted.conds], state, sigma.clone(), options)[0].detach())
            with torch.enable_grad():
                return self._loss(run, capture, inner, state, sigma)

        scales = gradients.loss_scales(inner.get_dtype_inference())
        listening = capturing(self.diffusion, predictor.taps, project, gradients=True)
        ready = gradients.grad_ready(
            roots, x.device, self.guidance.checkpointed, run.mutation, run.aliases, run.kernels
        )
        with listening as capture, ready as take:
            error, (slope,) = take(loss, x, scales=scales)
            run.mutation, run.kernels = take.mutation, take.kernels
        if run.seen is not None and error > 0.0:
            gradients.refuse_no_gradient(
                slope,
                "the picture where the edge predictor reads it",
                "the sketch could not guide anything, so load a predictor that was trained on this model",
            )
        return found[0], (None if run.seen is None else slope)

    def _loss(self, run: _Run, capture: Capture, inner: Any, x: Tensor, sigma: Tensor) -> Tensor:
        """Sum over the samples of the mean weighted square distance to the sketch, over all whole-picture calls."""
        total = x.new_zeros(())
        size, frames = (int(x.shape[-2]), int(x.shape[-1])), (x.shape[2] if x.ndim == 5 else 1)
        for reading in capture.readings:
            call = reading.call
            if not reading.complete or (call.height, call.width) != size or call.frames != frames:
                continue  # a regional prompt sees a part of the picture, of which the sketch cannot be told
            level = level_input(run.network.noise, inner, sigma, run.noise, reading.batch * frames, frames)
            seen = run.network.combine(reading.values, level, size)
            target, weight = (self._spread(t, seen) for t in (run.target, run.weight))
            error = (seen - target) ** 2
            total = total + (error if weight is None else error * weight).flatten(1).mean(dim=1).sum()
            run.seen = seen.detach()[: x.shape[0] * frames]
        return total

    @staticmethod
    def _spread(given: Tensor | None, like: Tensor) -> Any:
        """Repeat a target to a batch. A normal tensor, whatever it was."""
        if given is None:
            return None
        copies = -(-like.shape[0] // given.shape[0])
        return given.clone().to(like).repeat(copies, 1, 1, 1)[: like.shape[0]]

    def _beside(self, callback: Callable[..., Any], run: _Run) -> Callable[..., Any]:
        """A sampler's callback that shows the predicted edges beside the picture, except at the last step."""

        def shown(step: int, denoised: Tensor, x: Tensor, total: int) -> Any:
            # What the last step shows becomes the node's output.
            if run.seen is None or step >= total - 1 or run.seen.shape != denoised.shape:
                return callback(step, denoised, x, total)
            return callback(step, torch.cat([denoised, run.seen.to(denoised)], dim=-1), x, total)

        return shown


def _unit_noise(noise: Tensor, seed: int | None) -> Tensor:
    """The run's initial noise; where its start was noised beforehand and none is added, noise of its seed."""
    if torch.count_nonzero(noise) > 0:
        return noise
    return torch.stack([item_noise(item, seed or 0, index) for index, item in enumerate(noise)])
