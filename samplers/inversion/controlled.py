"""Controlled inversion (RF-Inversion, Rout et al. 2025), for flows as published and for eps and v models alike.

Upwards, each step is mixed with one that holds the noise y1 (equation 8): gamma 0 is Euler inversion, gamma 1 draws a
straight line to y1, which is plain noising. As published, a step upwards passes the model the level that it starts from
(the lowest level of training for the clean picture, where a prediction says nothing about the derivative). Downwards,
the prediction is mixed with the picture y0 (equation 15): D* = (1 - eta) D + eta y0, in the first part of the steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import nested, process
from .euler import euler_up
from .run import Fields, Method, Run, climbing

TRENDS = ("constant", "falling")


@dataclass(frozen=True)
class Controlled(Method):
    """gamma: 0..1, pull towards fresh noise on the way up. eta: 0..1, pull towards the picture on the way down, in the
    share `stop` of the steps from the noisy end; trend ``falling`` lets it fall linearly to 0 there.
    """

    name = "controlled"

    gamma: float = 0.5
    eta: float = 0.9
    stop: float = 0.25
    trend: str = "constant"

    def plan(self, steps: int, cfg: float) -> int:
        return 0 if self.gamma == 1.0 else steps

    def __call__(self, run: Run) -> Fields:
        states = climbing(run, lambda x, i: self.up(run, x, run.sigmas[i + 1], run.sigmas[i]))
        return {"states": states, "control": self.control(run.steps)}

    def up(self, run: Run, x: Tensor, sigma: Tensor, sigma_next: Tensor) -> tuple[Tensor, Tensor]:
        """One step from sigma up to sigma_next."""
        a, b = process.coefficients(run.sampling, sigma)
        a_next, b_next = process.coefficients(run.sampling, sigma_next)
        own = nested.own_schedule_in(run.guider)
        held = a_next / a * (x if own is None else own.shared(x, sigma)) + (b_next - a_next * b / a) * run.noise
        held = held if own is None else own.own(held, sigma_next)
        if self.gamma == 1.0:
            return held, run.picture  # the prediction has no weight, so the model is not called
        free, denoised = euler_up(run, x, sigma, sigma_next, "origin")
        return (1 - self.gamma) * free + self.gamma * held, denoised

    def control(self, steps: int) -> Tensor:
        """eta of every step, from the noisy end. [N]"""
        count = round(self.stop * steps)
        weights = torch.zeros(steps)
        weights[:count] = self.eta
        if self.trend == "falling":
            weights[:count] *= 1 - torch.arange(count) / max(count, 1)
        return weights
