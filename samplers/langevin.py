"""Langevin steps before the steps of a solver, so that an edit fits what is kept (LanPaint; Zheng, Lan, Wang 2025).

Putting kept pixels back at each level tells the edited part what surrounds it, but not the other way round, and a step
is too long to settle what both have to agree on. Here the state takes a few short steps of Langevin dynamics at its own
level. Edited pixels become a sample given the kept ones, partly denoised and noised again. Kept pixels are pulled to
the picture and pushed away from what the network takes them for, so that what they miss is made up for beside them.

All of it in the coordinates u = x / sqrt(a^2 + b^2), in which every family is a VP model with the share of signal
abar = a^2 / (a^2 + b^2). The linear part of the drift is integrated exactly, so that a step of any length is stable.
"""

from __future__ import annotations

import copy
import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfy.samplers import KSAMPLER
from torch import Tensor
from tqdm.auto import trange

from ..common.interrupts import check_interrupt
from ..common.texts import quoted
from . import nested, noise, process
from .solvers import SINGLE_STEP, innermost, sampler_name

STEPS, SIZE, PUSH = 5, 0.2, 5.0  # LanPaint's defaults: n, the length h of a step, lambda

log = logging.getLogger(__name__)


def check_single_step(sampler: Any) -> None:
    """Raises ValueError unless each step of a SAMPLER starts from the state alone, so that it may be moved before."""
    name = sampler_name(sampler)
    if name not in SINGLE_STEP or innermost(sampler) is not sampler:
        own = "Reverse SDE Sampler (any kind, as SDEdit's other solvers are)"
        core = ", ".join(each for each in SINGLE_STEP if each != "reverse_sde")
        raise ValueError(
            f"The mask mode langevin moves the state between the steps, but {quoted(name)} builds on earlier ones or "
            f"is not known: use {own} or one of {core}."
        )


def rounds(sampling: Any, sigmas: Tensor, steps: int) -> list[int]:
    """How many Langevin steps come before each step: `steps` times the share of noise, and none before the last one."""
    shares = process.noise_fraction(sampling, sigmas[:-1])
    return [round(steps * float(share)) if after > 0 else 0 for share, after in zip(shares, sigmas[1:], strict=True)]


def langevin_step(
    u: Tensor, denoised: Tensor, picture: Tensor, mask: Tensor, abar: Tensor, z: Tensor, size: float = SIZE
) -> Tensor:
    """One step at the share of signal abar (0-dim); z: unit noise; the others [B, C, ...], mask 1 = edit.

    With a long step an edited pixel is noised all over again from its prediction, as in RePaint.
    """
    signal, noisy = abar.sqrt(), 1.0 - abar
    free, held = torch.exp(-size / noisy), torch.exp(-(1.0 + PUSH) * size / noisy)
    edited = free * u + (1.0 - free) * signal * denoised + ((1.0 - free**2) * noisy).sqrt() * z
    target = signal * picture + PUSH / (1.0 + PUSH) * (u - signal * denoised)
    kept = held * u + (1.0 - held) * target + ((1.0 - held**2) * noisy / (1.0 + PUSH)).sqrt() * z
    return mask * edited + (1.0 - mask) * kept


class Thinking:
    """Moves states by Langevin steps. mask, picture: [B, C, ...]; seed, indices: of the noise; own: of the sound."""

    def __init__(
        self, sampling: Any, mask: Tensor, picture: Tensor, seed: int, indices: Sequence[int],
        own: nested.OwnSchedule | None = None,
    ) -> None:  # fmt: skip
        self.sampling, self.mask = sampling, mask
        self.picture = picture if own is None else own.shared(picture, 0.0)
        self.seed, self.indices, self.own = seed, indices, own

    def moved(self, x: Tensor, sigma: Tensor, count: int, predict: Callable[[Tensor], Tensor]) -> Tensor:
        """The state x [B, C, ...] at sigma (0-dim) after `count` steps; predict: the network's prediction at a state.

        The noise depends on seed, batch index, level and round alone.
        """
        a, b = process.coefficients(self.sampling, sigma)
        scale = torch.hypot(a, b)
        for each in range(count):
            check_interrupt()
            denoised = predict(x)
            if self.own is not None:
                x, denoised = self.own.shared(x, sigma), self.own.prediction(x, denoised, sigma)
            keys = [(self.seed, index, "langevin", float(sigma), each) for index in self.indices]
            z = torch.stack([noise.item_noise(item, *key) for item, key in zip(x, keys, strict=True)])
            x = scale * langevin_step(x / scale, denoised, self.picture, self.mask, (a / scale) ** 2, z)
            if self.own is not None:
                x = self.own.own(x, sigma)
        return x


Think = Callable[[Tensor, Tensor, int, dict[str, Any]], Tensor]
"""A state from (state, sigma, Langevin steps, extra_args of the model)."""


def stepwise(sampler: KSAMPLER, think: Think, steps: int, sampling: Any, step_noise: noise.StepNoise) -> KSAMPLER:
    """A copy of a single-step SAMPLER that has each state moved before its step.

    step_noise: for solvers that would otherwise begin their stream of noise again at every step.
    """
    function = sampler.sampler_function
    draws = "noise_sampler" in inspect.signature(function).parameters

    @functools.wraps(function)
    @torch.no_grad()
    def stepped(
        model: Any,
        x: Tensor,
        sigmas: Tensor,
        extra_args: dict[str, Any] | None = None,
        callback: Callable[[dict[str, Any]], None] | None = None,
        disable: bool | None = None,
        **options: Any,
    ) -> Tensor:
        args, total = extra_args or {}, len(sigmas) - 1
        if "s_churn" in options:  # is spread over the steps of a run
            options["s_churn"] = options["s_churn"] / max(total, 1)
        if draws and options.get("noise_sampler") is None:
            options["noise_sampler"] = step_noise
        counts = rounds(sampling, sigmas, steps)
        log.info("%d steps and %d Langevin steps, an evaluation each", total, sum(counts))
        for i in trange(total, disable=disable):
            x = think(x, sigmas[i], counts[i], args)
            given = {"extra_args": args, "callback": _at_step(callback, i), "disable": True}
            x = function(model, x, sigmas[i : i + 2], **given, **options)
        return x

    clone = copy.copy(sampler)
    clone.sampler_function = stepped
    return clone


def _at_step(callback: Callable[[dict[str, Any]], None] | None, step: int) -> Callable[[dict[str, Any]], None] | None:
    """A callback for a run of one step that is this one of the whole."""
    return None if callback is None else lambda state: callback({**state, "i": step})
