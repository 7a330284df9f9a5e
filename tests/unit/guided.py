"""Runs of sketch guidance with random predictors and given targets, shared by its tests."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from diffusion_path.lep import families
from diffusion_path.lep.features import survey
from diffusion_path.lep.predictor import MapPredictor, build_network
from diffusion_path.samplers import process
from diffusion_path.tests.unit import tiny
from torch import Tensor

STEPS = 4


def predictor_for(
    model: ModelPatcher, kind: str = "mlp", feature_set: str = "levels", seed: int = 0, like: Tensor | None = None,
    cond: Any = None,
) -> MapPredictor:  # fmt: skip
    """Random weights: guidance must be right for any predictor. like, cond: a latent and a prompt of the model."""
    like = tiny.latent(model)["samples"] if like is None else like
    taps, channels = survey(model, like, cond or tiny.cond(), feature_set)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build_network(kind, channels, int(like.shape[1]))
    return MapPredictor(fresh, kind, taps, channels, families.signature(model, taps))


def drawing_for(model: ModelPatcher, batch: int = 1, seed: int = 4) -> Tensor:
    shape = tiny.latent_shape(model, batch)
    frames = shape[2] if len(shape) == 5 else 1
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch * frames, shape[1], *shape[-2:], generator=generator)


def sketch_for(model: ModelPatcher, batch: int = 1, seed: int = 4) -> Fixed:
    return Fixed(drawing_for(model, batch, seed))


class Fixed:
    """A sketch that is given on the latent grid already."""

    def __init__(self, target: Tensor, weight: Tensor | None = None) -> None:
        self.target, self.weight = target, weight

    def __call__(self, height: int, width: int) -> tuple[Tensor, Tensor | None]:
        assert self.target.shape[-2:] == (height, width)
        return self.target, self.weight


def run(
    model: ModelPatcher, sampler: str = "euler", batch: int = 1, cfg: float = 3.0, positive: Any = None,
    indices: list[int] | None = None, mask: Tensor | None = None, callback: Any = None, steps: int = STEPS,
) -> Tensor:  # fmt: skip
    """A run of a core sampler with core's noise, as a workflow makes it."""
    with torch.inference_mode():
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive or tiny.cond(0), tiny.cond(1))
        guider.set_cfg(cfg)
        latent = tiny.latent(model, batch=4)["samples"][: batch if indices is None else None]
        noise = torch.randn(tiny.latent_shape(model, 4), generator=torch.Generator().manual_seed(3))[: len(latent)]
        if indices is not None:
            latent, noise = latent[indices], noise[indices]
        sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(model), "normal", steps)
        chosen = comfy.samplers.sampler_object(sampler)
        return guider.sample(noise, latent, chosen, sigmas, mask, callback, disable_pbar=True, seed=1)


class Recorder:
    """Records x and D of each model call, outside all other wrappers."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, float, Tensor]] = []

    def on(self, model: ModelPatcher) -> ModelPatcher:
        clone = model.clone()
        kind = comfy.patcher_extension.WrappersMP.PREDICT_NOISE
        # Wrappers run in the order of their keys' arrival; the first is the outermost.
        existing = clone.wrappers.get(kind, {})
        clone.wrappers[kind] = {"record": [self], **existing}
        return clone

    def __call__(self, executor: Any, x: Tensor, sigma: Tensor, options: Any = None, seed: Any = None) -> Tensor:
        denoised = executor(x, sigma, options, seed)
        self.calls.append((x.clone(), float(sigma[0]), denoised.clone()))
        return denoised
