"""Edit-friendly inversion (Huberman-Spiegelglas et al. 2024), with the residuals kept whole.

The states are the picture with independent noise at every level, not a trajectory. The difference between the next
state and the posterior mean of a step is stored, R_i = x_(i+1) - m_i(x_i), and added when the path is replayed: the sum
telescopes, so the picture comes back for any guidance, eta and start, in every family. (The published code divides by
the step's noise and drops the last residual, and is therefore not exact.)

The states do not depend on one another, so that several levels are evaluated in one call of the model.

On models distilled to few steps the residuals are larger than the kernel's noise. TurboEdit (Deutch et al. 2024) shows
the network states with less noise than the level passed to it, and shrinks the last residual, which carries what it
could not explain into the edit. Edits then run from the source prompt, as the negative one, to the target at cfg 1.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from .. import noise as noises
from .. import process
from ..reverse_sde import Step, ancestral_step
from .run import Fields, Method, Run

TURBO_CLIP = 0.121
"""15.5, the longest last residual of TurboEdit's code, over the root of the 4 x 64 x 64 values of its latents."""

_TIMED = {"control", "gligen", "hooks", "area", "mask", "default", "timestep_start", "timestep_end"}
LAST_RESIDUAL = "last_residual"  # the figure of a path that says by how much its last residual was shrunk
_FOUND_TO = 1e-5  # of training time
MOST_AT_ONCE = 16  # items in one call: more would gain nothing, and the progress bar should move


@dataclass(frozen=True)
class Residual(Method):
    """eta: noise of the kernel whose mean is taken, 1 = the posterior as published.

    shift: how much lower the states' own noise is than the level at which they stand, as a fraction of training time;
    0.2 in TurboEdit. clip: RMS, in standard deviations of the picture, above which an item's last residual is shrunk to
    it; 0 keeps it whole and the way back exact. TurboEdit: `TURBO_CLIP`.
    """

    name = "residual"

    eta: float = 1.0
    at_once: int | None = None
    shift: float = 0.0
    clip: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.shift <= 1.0 or not 0.0 <= self.clip < math.inf:
            raise ValueError(
                f"The residual inversion has a shift of {self.shift:g} and a clip of {self.clip:g}: give a shift from "
                "0 to 1 and a clip of 0 or more."
            )

    def run_cfg(self, cfg: float) -> float:
        return cfg

    def plan(self, steps: int, cfg: float) -> int:
        return steps if cfg == 1.0 else 2 * steps

    def kept_states(self, steps: int) -> int:
        return 2 * steps + 1

    def __call__(self, run: Run) -> Fields:
        states = independent_states(run, self.shift)
        residuals = run.room(run.steps)
        for steps in torch.arange(run.steps).split(self.at_once or levels_at_once(run)):
            x, sigma = states[steps].to(run.picture), run.sigmas[steps]
            together = run.denoise(x.flatten(0, 1), sigma.repeat_interleave(x.shape[1]))
            for i, state, denoised in zip(steps.tolist(), x, together.reshape(x.shape), strict=True):
                step = Step(run.sampling, run.sigmas[i], run.sigmas[i + 1])
                residuals[i] = states[i + 1].to(x) - posterior_mean(state, denoised, step, self.eta)
            run.progress(x[-1], together.reshape(x.shape)[-1], len(steps))
        fields: Fields = {"states": states, "eta": self.eta, "continuous": False}
        if self.clip:
            share = share_within(residuals[-1], self.clip)
            residuals[-1] = residuals[-1] * share.reshape(-1, *[1] * (states.ndim - 2))
            fields["figures"] = {LAST_RESIDUAL: tuple(share.tolist())}
        return {**fields, "residuals": residuals}


def posterior_mean(x: Tensor, denoised: Tensor, step: Step, eta: float = 1.0) -> Tensor:
    """m(x): where a step of the kernel goes without its noise. [B, C, ...]"""
    return ancestral_step(x, denoised, step, eta, torch.zeros_like(x))


def share_within(residual: Tensor, most: float) -> Tensor:
    """The factor, 1 at most, that gives each item of a residual [B, C, ...] an RMS of `most` or less. [B]"""
    return most / residual.flatten(1).square().mean(1).sqrt().clamp(min=most)


def quieter(sampling: Any, sigma: Tensor, shift: float) -> Tensor:
    """The level that is this fraction of training time below sigma, 0 at the least. 0-dim, as sigma."""
    position = process.sigma_to_t0(sampling, float(sigma)) - shift
    # The inverse is not exact, and an eps model's first level is not 0.
    return sigma.new_tensor(process.t0_to_sigma(sampling, position) if position > _FOUND_TO else 0.0)


def independent_states(run: Run, shift: float = 0.0) -> Tensor:
    """a x0 + b n with fresh noise per level and item, and the picture itself at the end. [N + 1, B, C, ...], on the CPU

    shift: as in `Residual`; such a state gives the network what it would see at its own, lower level.
    """
    states = run.room(run.steps + 1)
    for i, sigma in enumerate(run.sigmas):
        drawn = [
            noises.item_noise(item, run.seed, index, "residual", float(sigma))
            for item, index in zip(run.picture, run.indices, strict=True)
        ]
        own = quieter(run.sampling, sigma, shift) if shift else sigma
        state = run.noised(run.picture, torch.stack(drawn), own)
        states[i] = process.same_view(run.sampling, state, own, sigma) if shift else state
    if run.sigmas[-1] == 0:
        states[-1] = run.picture
    return states


def levels_at_once(run: Run) -> int:
    """How many levels fit into one call: limited by memory, and 1 if something needs a single level per call."""
    if process.makes_sound(run.guider.model_patcher) or _needs_single_level(run.guider, run.model_options):
        return 1
    batch = run.picture.shape[0]
    model = run.guider.inner_model
    free = comfy.model_management.get_free_memory(run.picture.device)
    count = max(1, MOST_AT_ONCE // batch)
    while count > 1 and model.memory_required([2 * count * batch, *run.picture.shape[1:]]) * 1.5 > free:
        count //= 2
    return min(count, run.steps)


def _needs_single_level(guider: Any, options: dict[str, Any]) -> bool:
    """Whether a prompt or a patch may read the noise level of the call and assume that it applies to every item."""
    timed = any(_TIMED & set(cond) for conds in getattr(guider, "conds", {}).values() for cond in conds)
    transformer = options.get("transformer_options", {})
    patched = set(options) - {"transformer_options"} or set(transformer) - {"sample_sigmas", "callbacks", "wrappers"}
    wrapped = any(any(found.values()) for found in transformer.get("wrappers", {}).values())
    return bool(timed or patched or wrapped)
