"""Steps from one noise level to the next, with k-diffusion's signature: the ODE, reverse SDEs and consistency steps.

Every step is written once for all families, in the coefficients of x = a x0 + b n. With D the model's denoised
prediction and q = (sigma' a) / (sigma a'), the ratio of the noise-to-signal levels, the three formulas below stay
finite where a flow model has no signal (a = 0, q = 0).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfy.samplers import KSAMPLER
from torch import Tensor
from tqdm.auto import trange

from ..common.texts import quoted
from . import nested, noise, process

KINDS = ("ode", "ancestral", "sde_small", "sde_large_vp", "sde_large_ve", "consistency")


class Step:
    """One transition sigma -> sigma' of a model: its coefficients as 0-dim tensors."""

    def __init__(self, sampling: Any, sigma: Tensor, sigma_next: Tensor) -> None:
        self.a, self.b = process.coefficients(sampling, sigma)
        self.a_next, self.b_next = process.coefficients(sampling, sigma_next)
        self.ratio = sigma_next / sigma
        self.q = torch.ones_like(sigma) if sigma == sigma_next else self.ratio * self.a / self.a_next


def euler_step(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """Euler on the probability-flow ODE = DDIM with eta 0, in the operations of core's Euler, bit for bit."""
    return x + (x - denoised) / sigma * (sigma_next - sigma)


def ancestral_step(x: Tensor, denoised: Tensor, step: Step, eta: float, z: Tensor) -> Tensor:
    """DDIM with eta (eq. 12, Song et al. 2021): eta 0 is the ODE, eta 1 the DDPM posterior. z: noise of unit variance.

    For eps and v models this is k-diffusion's Euler ancestral; for flows it keeps the DDPM noise, which core's own
    ancestral step for flows does not.
    """
    predicted_noise = (x - step.a * denoised) / step.b
    sigma_down, sigma_up = ancestral_sigmas(step.b_next, step.q, eta)
    return step.a_next * denoised + sigma_down * predicted_noise + sigma_up * z


def ancestral_sigmas(b_next: Tensor, q: Tensor, eta: float) -> tuple[Tensor, Tensor]:
    """sigma_down, the noise that an ancestral step keeps, and sigma_up, the fresh noise that brings it up to b'."""
    sigma_up = eta * b_next * (1 - q**2).clamp(min=0).sqrt()
    return (b_next**2 - sigma_up**2).clamp(min=0).sqrt(), sigma_up


def consistency_step(denoised: Tensor, step: Step, z: Tensor) -> Tensor:
    """Multistep consistency sampling (Algorithm 1, Song et al. 2023): the prediction, noised again to the next level.

    All of the noise is fresh, z of unit variance, so the state before the step is forgotten. It is core's ``lcm``.
    """
    return step.a_next * denoised + step.b_next * z


def reverse_sde_mean(x: Tensor, denoised: Tensor, step: Step) -> Tensor:
    """Mean of one Euler-Maruyama step of the reverse SDE (Algorithms 2 and 4, Meng et al. 2022)."""
    return step.ratio * step.q * x + step.a_next * (1 - step.q**2) * denoised


def small_variance(step: Step) -> Tensor:
    """The DDPM posterior's variance (``fixedsmall``): exact when the data is one point."""
    return step.b_next**2 * (1 - step.q**2)


def large_vp_variance(step: Step) -> Tensor:
    """beta_t of the variance-preserving SDE (``fixedlarge``; Algorithms 4 and 5): exact for data of unit variance."""
    total, total_next = step.a**2 + step.b**2, step.a_next**2 + step.b_next**2
    return total_next * step.b**2 * (1 - step.q**2) / total


def large_ve_variance(step: Step) -> Tensor:
    """sigma^2(t) - sigma^2(t - dt) of the variance-exploding SDE (Algorithms 2 and 3), in the step's coordinates.

    It has no limit where a flow model has no signal; large-VP is used instead, the limit for data of unit variance.
    """
    if step.a == 0:
        return large_vp_variance(step)
    return step.a_next**2 * step.b**2 * (1 - step.q**2) / step.a**2


_VARIANCES: dict[str, Callable[[Step], Tensor]] = {
    "sde_small": small_variance,
    "sde_large_vp": large_vp_variance,
    "sde_large_ve": large_ve_variance,
}


@torch.no_grad()
def sample_reverse_sde(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Callable[[dict[str, Any]], None] | None = None,
    disable: bool | None = None,
    kind: str = "sde_small",
    eta: float = 1.0,
    s_noise: float = 1.0,
    last_noise: bool = False,
    noise_sampler: noise.StepNoise | None = None,
    indices: Sequence[int] | None = None,
) -> Tensor:
    """SDEdit's reverse process from sigmas[0] to sigmas[-1], one evaluation of the model per step.

    x: [B, ...] at sigmas[0]. kind: one of `KINDS`; eta only affects ``ancestral``. s_noise multiplies the added
    noise. The last step, to sigma 0, returns the model's prediction; last_noise adds the step's noise even there, as
    the paper's pseudo-code does. Without a noise_sampler the noise is `noise.step_noise` of the run's seed, for items
    of these indices (batch_index), by default read back from the run's initial noise.
    """
    extra_args = extra_args or {}
    sampling = model.inner_model.inner_model.model_sampling
    if kind != "ode":  # which is Euler, and needs no more of a noise level than its number
        process.check_diffusion(sampling)
    if noise_sampler is None:
        seed = extra_args.get("seed") or 0
        if indices is None:
            shapes = nested.shapes_in(model.inner_model)
            indices = noise.batch_indices(getattr(model, "noise", None), seed, x.shape[0], shapes)
        noise_sampler = noise.step_noise(x, seed, indices)
    s_in = x.new_ones([x.shape[0]])
    own = None if kind == "ode" else nested.own_schedule_in(model.inner_model)
    for i in trange(len(sigmas) - 1, disable=disable):
        sigma, sigma_next = sigmas[i], sigmas[i + 1]
        denoised = model(x, sigma * s_in, **extra_args)
        if callback is not None:
            callback({"x": x, "i": i, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised})
        if own is not None:
            x, denoised = own.shared(x, sigma), own.prediction(x, denoised, sigma)
        if kind == "ode":
            x = euler_step(x, denoised, sigma, sigma_next)
        elif sigma_next == 0 and not last_noise:
            x = denoised
        else:
            step = Step(sampling, sigma, sigma_next)
            z = noise_sampler(sigma, sigma_next) * s_noise
            if kind == "ancestral":
                x = ancestral_step(x, denoised, step, eta, z)
            elif kind == "consistency":
                x = consistency_step(denoised, step, z)
            else:
                x = reverse_sde_mean(x, denoised, step) + _VARIANCES[kind](step).clamp(min=0).sqrt() * z
        if own is not None:
            x = own.own(x, sigma_next)
    return x


class ReverseSDESampler(KSAMPLER):
    """A ComfyUI SAMPLER that runs `sample_reverse_sde`."""

    def for_items(self, indices: Sequence[int]) -> ReverseSDESampler:
        """The same SAMPLER with the batch_index of each item, which a split run's later part cannot read from noise."""
        result = copy.copy(self)
        result.extra_options = {**self.extra_options, "indices": indices}
        return result


def sampler(kind: str, eta: float = 1.0, s_noise: float = 1.0, last_noise: bool = False) -> ReverseSDESampler:
    """A ComfyUI SAMPLER of one of `KINDS`; see `sample_reverse_sde`."""
    if kind not in KINDS:
        raise ValueError(f"There is no reverse SDE of the kind {quoted(kind)}: choose one of {', '.join(KINDS)}.")
    options = {"kind": kind, "eta": eta, "s_noise": s_noise, "last_noise": last_noise}
    return ReverseSDESampler(sample_reverse_sde, options)
