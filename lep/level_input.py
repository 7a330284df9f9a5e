"""The noise level in the form that each kind of predictor takes."""

from __future__ import annotations

import math
from typing import Any

import torch
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding
from torch import Tensor

from ..samplers import process


def angle(sampling: Any, sigma: Tensor) -> Tensor:
    """2/pi atan(b / a): 0 = clean, 1 = pure noise, the same for equal noise in every model family. Shape of sigma."""
    a, b = process.coefficients(sampling, sigma.float())
    return torch.atan2(b, a) * (2.0 / math.pi)


def scaled_noise(sampling: Any, sigma: Tensor, noise: Tensor) -> Tensor:
    """sqrt(1 - abar) n [B, C, H, W], which public predictors take as their noise level."""
    a, b = process.coefficients(sampling, sigma.float())
    return (b / (a**2 + b**2).sqrt()).reshape(-1, *[1] * (noise.ndim - 1)) * noise


def time_embedding(inner: Any, sigma: Tensor) -> Tensor:
    """A U-Net's own embedding of its time step [B, E]."""
    network = inner.diffusion_model
    steps = inner.model_sampling.timestep(sigma).float()
    return network.time_embed(timestep_embedding(steps, network.model_channels).to(network.dtype)).float()


def level_input(kind: str, inner: Any, sigma: Tensor, noise: Tensor | None, count: int, frames: int = 1) -> Tensor:
    """The noise level for a network of `PredictorNetwork.noise` = kind, for `count` pictures of a call at sigma [B].

    noise: the run's initial noise [B, C, H, W], for kind "map". A call may hold the batch several times over (several
    prompts), and a video's frames count as pictures.
    """
    if kind == "embedding":
        level = time_embedding(inner, sigma)
    elif kind == "map":
        if noise is None:
            raise ValueError("This predictor needs the run's initial noise, but this run has none.")
        level = scaled_noise(inner.model_sampling, sigma, noise)
    else:
        level = angle(inner.model_sampling, sigma)
    level = level.repeat_interleave(frames, dim=0)
    return level.repeat(-(-count // level.shape[0]), *[1] * (level.ndim - 1))[:count]
