"""What a prediction becomes if a measurement of the picture is known: the mean of the posterior, in a few gradients.

A denoised prediction D is the mean of the pictures that a noisy state may have come from. If their spread is r in every
direction and the measurement is y = A dec(z) + noise of precision w (one over its variance), the most probable latent
minimises

    w / 2 ||A dec(z) - y||^2 + 1 / (2 r^2) ||z - D||^2

For Gaussian data of unit variance and a linear decoder this is E[x0 | x, y] itself, so that a sampler that follows it
draws from the posterior (Song et al. 2023, PiGDM, has the same in pixel space). Solved by conjugate gradients with
exact step lengths, which need no learning rate; the decoder is taken as straight along the search direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..gradients import Gradients
from ..samplers import process
from .decoder import Decoder
from .measurement import Measurement

_PROBE = 0.05  # RMS of the step along which the decoder's derivative is measured, for latents of about unit variance


def spread(sampling: Any, sigma: float) -> float:
    """r of the pictures that a state may come from, for data of unit variance: b / sqrt(a^2 + b^2)."""
    a, b = process.coefficients(sampling, sigma)
    return float(b / (a**2 + b**2).sqrt())


@dataclass(frozen=True)
class Prediction:
    """The prediction of one picture, [1, C, (T,) h, w], and what is known of it.

    measurement: of the picture, or of each frame of a video, on the prediction's device. r: see `spread`. precision: w.
    area: 1 where the latent may change, [1, ..., h, w]; None for everywhere.
    """

    denoised: Tensor
    measurement: Measurement
    r: float
    precision: float
    area: Tensor | None = None


def posterior_mean(take: Gradients, decoder: Decoder, given: Prediction, iterations: int) -> Tensor:
    """The prediction given the measurement, [1, C, (T,) h, w]."""
    operator, known = given.measurement.operator, given.measurement.value
    z, direction, last = given.denoised, None, None
    for _ in range(iterations):

        def push(picture: Tensor) -> Tensor:
            return operator.transpose(operator.apply(picture) - known)

        picture, misfit = decoder.gradient(take, z, push)
        gradient = given.precision * misfit + (z - given.denoised) / given.r**2
        if given.area is not None:
            gradient = gradient * given.area
        power = gradient.square().sum()
        if not float(power) > 0.0:
            break
        conjugate = 0.0 if last is None else ((power - (gradient * last).sum()) / last.square().sum()).clamp_min(0.0)
        direction = -gradient if direction is None else conjugate * direction - gradient
        probe = _PROBE / direction.square().mean().sqrt()
        seen = operator.apply(decoder.picture(z + probe * direction) - picture) / probe
        curvature = given.precision * seen.square().sum() + direction.square().sum() / given.r**2
        z, last = z - (gradient * direction).sum() / curvature * direction, gradient
    return z
