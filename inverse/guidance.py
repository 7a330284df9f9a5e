"""Measurement guidance: each guided prediction is moved to what it is if a measurement of the picture is known.

The gradient goes through the VAE's decoder alone (see `posterior`), and through the network of the model not at all: a
guided step takes the same evaluations as a plain one. Any solver follows the predictions. The decoder is loaded with
the model; its memory is reserved, and said, before the run.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from .. import gradients
from ..common.interrupts import interruptible
from ..samplers import process
from ..samplers.masks import block_of_vae
from ..samplers.schedule import PathSchedule, Weights, guided_window
from .decoder import Decoder, check_decoder
from .measurement import Measurement
from .posterior import Prediction, posterior_mean, spread

KEY = "diffusion_path_measurement"
RENDERING_ERROR = 0.03
"""Standard deviation of what a decoder cannot show of a picture, in 0..1, which no measurement should be fitted to."""
_WRAPPERS = (
    WrappersMP.OUTER_SAMPLE,
    WrappersMP.PREPARE_SAMPLING,
    WrappersMP.SAMPLER_SAMPLE,
    WrappersMP.PREDICT_NOISE,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Guidance:
    """A measurement and how strongly to follow it.

    strength: multiplies the precision of the measurement; 0 = off. iterations: of the solver. every: solve at each n-th
    step, counted from the last one so that the picture itself is solved for, and at the first guided one; move the
    predictions between by as much as the last one.
    start, end: the part of the path that is guided, in training time (1 = noise, 0 = picture); nothing unless end is
    below start. schedule: multiplies the strength along the path, instead of start and end. tiled: decode in tiles.
    """

    vae: Any
    measurement: Measurement
    strength: float = 1.0
    start: float = 1.0
    end: float = 0.0
    iterations: int = 2
    every: int = 4
    tiled: bool = False
    schedule: PathSchedule | None = None

    @property
    def window(self) -> PathSchedule | None:
        """Where on the path the run is guided, and how strongly; None if it is not guided at all."""
        window = guided_window(self.schedule, self.start, self.end)
        return None if window is None or window.weight * self.strength <= 0.0 else window

    @property
    def precision(self) -> float:
        """One over the variance of A dec(z) - y."""
        return self.strength / (self.measurement.noise**2 + RENDERING_ERROR**2)


def guide(model: Any, guidance: Guidance) -> Any:
    """A clone of the MODEL that follows the measurement under any sampler and guider. strength 0: the plain model."""
    clone = model.clone()
    for kind in _WRAPPERS:
        clone.remove_wrappers_with_key(kind, KEY)
    clone.remove_additional_models(KEY)
    if guidance.window is None:
        return clone
    process.model_sampling(model)  # refuses models without noise
    process.check_one_latent(model)
    check_decoder(model, guidance.vae)
    guided = _GuidedModel(guidance)
    wrappers = (guided.outer, guided.prepare, guided.sample, guided.predict)
    for kind, wrapper in zip(_WRAPPERS, wrappers, strict=True):
        clone.add_wrapper_with_key(kind, KEY, wrapper)
    clone.set_additional_models(KEY, [guidance.vae.patcher])
    return clone


class _GuidedModel:
    """The wrappers of one guided model, in the order in which ComfyUI calls them."""

    def __init__(self, guidance: Guidance) -> None:
        self.guidance = guidance
        self.run: _Run | None = None
        self.shape: tuple[int, ...] = ()  # of the picture's or video's latent

    def outer(self, executor: Any, noise: Tensor, latent_image: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Check the sizes before anything is loaded."""
        before, self.shape = self.shape, tuple((kwargs.get("latent_shapes") or [latent_image.shape])[0])
        try:
            check_size(self.guidance, self.shape)
            return executor(noise, latent_image, *args, **kwargs)
        finally:
            self.shape = before

    def prepare(self, executor: Any, model: Any, noise_shape: Any, *args: Any, **kwargs: Any) -> Any:
        """Let ComfyUI make room for the decoder's activations."""
        needed = Decoder(model, self.guidance.vae, self.guidance.tiled).memory(self.shape)
        log.info(
            "Measurement Guidance: a gradient through the decoder takes about %.1f GB%s.", needed / 1e9,
            "" if self.guidance.tiled else "; set memory to tiled if that is too much",
        )  # fmt: skip
        one = max(1, int(model.model.memory_required([1, *noise_shape[1:]])))
        shape = [noise_shape[0] + math.ceil(needed / (2 * one)), *noise_shape[1:]]  # two, for both prompts
        if not model.get_additional_models_with_key("multigpu"):
            return executor(model, shape, *args, **kwargs)
        # ComfyUI would copy the decoder to every further device, which it cannot do with each VAE; one is enough.
        decoder = model.get_additional_models_with_key(KEY)
        model.remove_additional_models(KEY)
        try:
            real, conds, loaded = executor(model, shape, *args, **kwargs)
        finally:
            model.set_additional_models(KEY, decoder)
        comfy.model_management.load_models_gpu([model, *decoder])
        return real, conds, [*loaded, *decoder]

    def sample(self, executor: Any, guider: Any, sigmas: Tensor, extra_args: Any, callback: Any, noise: Tensor,
               latent_image: Any = None, denoise_mask: Any = None, disable_pbar: bool = False) -> Any:  # fmt: skip
        """One sampling run."""
        before, self.run = self.run, _Run(self.guidance, guider.model_patcher, sigmas, self.shape)
        if denoise_mask is not None and latent_image is not None:
            self.run.kept = tuple(self.run.part(each.expand_as(noise)) for each in (denoise_mask, latent_image))
        try:
            return executor(guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask, disable_pbar)
        finally:
            self.run = before

    def predict(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        """One evaluation of D."""
        return executor(*args, **kwargs) if self.run is None else self.run.predict(executor, *args, **kwargs)


class _Run:
    """One sampling run: what stays the same throughout."""

    def __init__(self, guidance: Guidance, model: Any, sigmas: Tensor, shape: tuple[int, ...]) -> None:
        self.guidance, self.shape = guidance, shape
        self.decoder = Decoder(model, guidance.vae, guidance.tiled)
        block = block_of_vae(guidance.vae)
        self.measurement = guidance.measurement.cropped(block * shape[-2], block * shape[-1])
        self.needs = gradients.Needs()
        self.kept: tuple[Tensor, ...] | None = None  # a noise mask (1 = edit) and what is kept where it is 0
        self.shift: Tensor | None = None  # by which the last prediction that was solved for was moved
        self.solved = 0  # the step of it
        self.last = len(sigmas) - 2  # the last step of the run
        self.weights: Weights | None = None
        if guidance.window is not None and len(sigmas) > 1:
            places = process.positions(process.model_sampling(model), sigmas)
            self.weights = Weights(guidance.window, sigmas.tolist(), places)

    def part(self, state: Tensor) -> Tensor:
        """The picture's or video's part of a state, which may hold sound after it. [B, C, ..., h, w]"""
        if tuple(state.shape[1:]) == self.shape[1:]:
            return state
        return state[..., : math.prod(self.shape[1:])].reshape(-1, *self.shape[1:])

    def predict(self, executor: Any, x: Tensor, sigma: Tensor, model_options: Any = None, seed: Any = None) -> Any:
        """D, moved towards the measurement if the step is guided."""
        made, level = executor(x, sigma, model_options, seed), float(sigma.max())
        r = spread(executor.class_obj.inner_model.model_sampling, level)
        if isinstance(made, tuple):  # of several guidance scales (LanPaint), which are moved alike
            return tuple(self._moved(each, level, r) for each in made)
        return self._moved(made, level, r)

    def _moved(self, denoised: Tensor, level: float, r: float) -> Tensor:
        """A prediction that is moved by as much as the first one of its step."""
        weight = 0.0 if self.weights is None else self.weights.at(level)
        if weight <= 0.0 or self.weights is None or r == 0.0:
            return denoised
        own, step = self.part(denoised), self.weights.step(level)
        shift, every = self.shift, self.guidance.every
        same = self.solved <= step and (self.solved - self.last) // every == (step - self.last) // every
        if shift is None or shift.shape != own.shape or not same:
            shift = self._shift(own, r, weight * self.guidance.precision)
            self.shift, self.solved = shift, step
        found = own + shift
        if found.shape == denoised.shape:
            return found
        return torch.cat([found.reshape(len(found), 1, -1), denoised[..., found[0].numel() :]], dim=-1)

    def _shift(self, denoised: Tensor, r: float, precision: float) -> Tensor:
        """By how much the measurement moves the predictions [B, C, (T,) h, w].

        Every search begins at the prediction: what few iterations leave unchanged is then the model's. Begun where the
        last one ended, colours drift.
        """
        vae, moved = self.guidance.vae, []
        with gradients.grad_ready([vae.first_stage_model], vae.device, needs=self.needs) as take:
            for index in interruptible(range(len(denoised))):
                own = denoised[index : index + 1].detach().clone().float()
                given = Prediction(own, self._known(index, own.device), r, precision)
                if self.kept is not None:  # kept parts are what they are kept at
                    area, latent = (each[index : index + 1].clone().to(own) for each in self.kept)
                    given = replace(given, denoised=area * own + (1.0 - area) * latent, area=area)
                moved.append(posterior_mean(take, self.decoder, given, self.guidance.iterations) - given.denoised)
        return torch.cat(moved).to(denoised)

    def _known(self, index: int, device: torch.device) -> Measurement:
        """The measurement of one picture, or of the frames of one video."""
        given, batch = self.measurement, self.shape[0]
        if len(given) > 1 and len(self.shape) == 5:
            given = given.of(slice(index * len(given) // batch, (index + 1) * len(given) // batch))
        elif len(given) > 1:
            given = given.of(slice(index, index + 1))
        return given.on(device)


def check_size(guidance: Guidance, shape: tuple[int, ...]) -> None:
    """Raises ValueError unless the measurement is of pictures of a latent of this shape [B, C, (T,) h, w]."""
    block, count = block_of_vae(guidance.vae), len(guidance.measurement)
    guidance.measurement.cropped(block * shape[-2], block * shape[-1])
    if count > 1 and (count % shape[0] if len(shape) == 5 else count != shape[0]):
        raise ValueError(
            f"There are measurements of {count} pictures for a latent of {shape[0]}: give one for all, or one for each."
        )
