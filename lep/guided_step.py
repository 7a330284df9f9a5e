"""The arithmetic of a guided step: how far the prediction is moved."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..samplers import process


def bend(
    sampling: Any, x: Tensor, denoised: Tensor, gradient: Tensor, step: tuple[float, float], beta: float,
    mask: Tensor | None = None, drop: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """D for which an Euler step ends up beta times its own length against the gradient (section 4.2, per sample).

    x, denoised, gradient: [B, ...]; step: (sigma, sigma_next). Lengths are in variance-preserving units. mask: 1 where
    the picture may change: lengths are measured only there. A sample whose gradient is zero keeps its D. drop [B]: how
    much of the loss a step may take away at most, to first order, which bounds its length to drop / ||gradient||
    (Polyak's step length, 1969, where drop is all of the loss above its least value).
    """
    sigma, sigma_next = step
    ratio = sigma_next / sigma
    spread, spread_next = (deviation(sampling, level) for level in step)
    area = torch.ones_like(x) if mask is None else mask.to(x).expand_as(x)
    arrived = ratio * x + (1.0 - ratio) * denoised
    length = beta * _norm((x / spread - arrived / spread_next) * area)
    direction = gradient.to(x) * area
    gradient_norm = _norm(direction)
    if drop is not None:
        length = torch.minimum(length, drop.to(length).reshape(gradient_norm.shape) / gradient_norm / spread)
    # Divided in two steps: a gradient may be so small that its square underflows.
    unit = direction / torch.where(gradient_norm > 0, gradient_norm, torch.ones_like(gradient_norm))
    shift = -length * spread_next * unit / (1.0 - ratio)
    moved = (denoised + shift).to(denoised.dtype)
    return torch.where(gradient_norm > 0, moved, denoised)


def deviation(sampling: Any, sigma: float) -> float:
    """sqrt(a^2 + b^2): the spread of unit-variance data at noise level sigma, which brings a state to VP units."""
    a, b = process.coefficients(sampling, sigma)
    return float((a**2 + b**2).sqrt())


def _norm(tensor: Tensor) -> Tensor:
    """The length of each sample, shaped to broadcast against the batch; computed so that nothing underflows."""
    flat = tensor.flatten(1)
    largest = flat.abs().amax(dim=1, keepdim=True)
    scaled = flat / torch.where(largest > 0, largest, torch.ones_like(largest))
    length = scaled.norm(dim=1, keepdim=True) * largest
    return length.reshape(-1, *[1] * (tensor.ndim - 1))
