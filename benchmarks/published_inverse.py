"""Straightforward implementations of published samplers for inverse problems, to measure against.

On the landscape model (eps, VP, latents of unit variance) with guidance; constants are those of the papers' codes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import comfy.samplers
import torch
from torch import Tensor

from ..demo.autoencoder import LandscapeAutoencoder
from ..demo.model import read_weights
from ..devtools.world import World
from ..inverse.measurement import Measurement, as_image
from ..samplers import process
from .published import Published


@dataclass(frozen=True)
class _Problem:
    """One picture's prompts, measurement, source of noise and noise levels."""

    prompts: Published
    known: Measurement
    generator: torch.Generator
    sigmas: Tensor

    def draw(self) -> Tensor:
        return torch.randn(1, 4, 32, 32, generator=self.generator)


METHODS = {"DPS, 50 steps": "dps", "FlowDPS, 28 steps": "flowdps"}


@torch.inference_mode(False)
@torch.enable_grad()
def dps(world: World, captions: list[str], known: Measurement, cfg: float, seed: int) -> tuple[Tensor, int]:
    """Diffusion posterior sampling (Chung et al. 2023) in the latent: an ancestral step, then against the gradient of
    ||y - A dec(D)|| (not squared) through decoder and network, scale 0.3. Few steps for it; the paper takes 1000.
    """
    pictures = []
    for each in _each(world, captions, known, seed, 50):
        sigmas, y = each.sigmas, each.known
        x = each.draw() * sigmas[0]
        for sigma, below in itertools.pairwise(sigmas):
            x = x.detach().requires_grad_(True)
            denoised = _guided(each.prompts, x, sigma, cfg)
            error = (y.operator.apply(_decoded(denoised)) - y.value).norm()
            (gradient,) = torch.autograd.grad(error, x)
            down = min(below, ((sigma**2 - below**2) * below**2 / sigma**2).sqrt())
            to = (below**2 - down**2).clamp_min(0).sqrt()
            arrived = denoised + to / sigma * (x - denoised) + down * each.draw()
            # The scale is that of VP states; one of VE is (1 + sigma^2)^1/2 times as large, and so is the gradient.
            x = (arrived - 0.3 * (1 + below**2).sqrt() * (1 + sigma**2).sqrt() * gradient).detach()
        pictures.append(_decoded(x.detach()).detach())
    return as_image(torch.cat(pictures)).clamp(0, 1), 2 * 50


@torch.inference_mode(False)
@torch.enable_grad()
def flowdps(world: World, captions: list[str], known: Measurement, cfg: float, seed: int) -> tuple[Tensor, int]:
    """FlowDPS (Kim et al. 2025): three steps of 15 from D against the gradient of ||A^+ y - A^+ A dec(z)||, mixed with
    D by the flow's time s / (1 + s), then noise of which 1 - s' / (1 + s') is new.
    """
    pictures = []
    for each in _each(world, captions, known, seed, 28):
        sigmas, y = each.sigmas, each.known
        x, back = each.draw() * sigmas[0], y.operator.inverse
        for sigma, below in itertools.pairwise(sigmas):
            with torch.no_grad():
                denoised = _guided(each.prompts, x, sigma, cfg)
            z = denoised
            for _ in range(3):
                z = z.detach().requires_grad_(True)
                error = (back(y.value) - back(y.operator.apply(_decoded(z)))).norm()
                z = (z - 15 * torch.autograd.grad(error, z)[0]).detach()
            share, following = sigma / (1 + sigma), below / (1 + below)
            mixed = (1 - share) * denoised + share * z
            noise = (x - denoised) / sigma
            x = mixed + below * (following.sqrt() * noise + (1 - following).sqrt() * each.draw())
        pictures.append(_decoded(x).detach())
    return as_image(torch.cat(pictures)).clamp(0, 1), 2 * 28


def _each(world: World, captions: list[str], known: Measurement, seed: int, steps: int) -> Iterator[_Problem]:
    """Picture by picture."""
    sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(world.model), "normal", steps).clone()
    for index, caption in enumerate(captions):
        prompts = Published.of(world.encoded(caption), world.negative)
        measured = known.of(slice(index, index + 1)).on(torch.device("cpu"))
        yield _Problem(prompts, measured, torch.Generator().manual_seed(seed + index), sigmas)


@cache
def _autoencoder() -> LandscapeAutoencoder:
    network = LandscapeAutoencoder()
    weights = read_weights()[0]
    network.load_state_dict({key[4:]: value.float() for key, value in weights.items() if key.startswith("vae.")})
    return network.train(False).requires_grad_(False)


def _decoded(latent: Tensor) -> Tensor:
    """[1, 4, h, w] to [1, 3, H, W] in about 0..1."""
    return _autoencoder().decode(latent) / 2 + 0.5


def _guided(prompts: Published, x: Tensor, sigma: Tensor, cfg: float) -> Tensor:
    without, with_prompt = prompts.denoised(x, sigma, prompts.negative, prompts.positive)
    return without + cfg * (with_prompt - without)
