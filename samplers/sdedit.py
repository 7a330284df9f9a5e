"""SDEdit (Meng et al. 2022): perturb a guide to t0, then run the reverse process down to a picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.sample
import comfy.samplers
import torch
from torch import Tensor

from ..common.texts import quoted
from . import nested, process, reverse_sde
from . import noise as noises
from .counting import Counter
from .langevin import STEPS
from .masked import MaskedSampler
from .masks import noise_mask
from .sigmas import LEVELS, levels_of
from .wrong_prompt import sample_with

SOLVERS: dict[str, Callable[[], comfy.samplers.Sampler]] = {
    "sde_small": lambda: reverse_sde.sampler("sde_small"),
    "sde_large_vp": lambda: reverse_sde.sampler("sde_large_vp"),
    "sde_large_ve": lambda: reverse_sde.sampler("sde_large_ve"),
    "ode": lambda: reverse_sde.sampler("ode"),
    "dpmpp_2m": lambda: comfy.samplers.sampler_object("dpmpp_2m"),
    "consistency": lambda: reverse_sde.sampler("consistency"),
}
"""Solvers with exactly one call of the guider per step, so that the number of steps is what is run."""


@dataclass(frozen=True)
class SDEditSettings:
    """How to edit. steps: per repeat, all of them after t0. sigmas: levels to run instead of those of t0,
    steps and scheduler, falling to 0; an empty tensor returns the guide. levels: one of `LEVELS`; with ``trained``,
    steps, scheduler and sigmas are those of the model's full run, the end of which is run. langevin_steps: Langevin
    steps before a step, in the mask mode ``langevin``.
    """

    t0: float = 0.5
    steps: int = 20
    cfg: float = 4.0
    solver: str = "sde_small"
    scheduler: str = "simple"
    repeats: int = 1
    mask_mode: str = "blend"
    keep_noise: str = "auto"
    sigmas: Tensor | None = None
    levels: str = LEVELS[0]
    langevin_steps: int = STEPS

    def schedule(self, sampling: Any) -> Tensor:
        """The levels of one repeat, falling to 0, [N + 1] on the CPU; empty where nothing is run."""
        return levels_of(sampling, self.t0, self.steps, self.scheduler, self.sigmas, True, self.levels)

    def full_run(self, sampling: Any) -> Tensor:
        """The levels of the model's full run, of which ``trained`` runs the end."""
        return levels_of(sampling, 1.0, self.steps, self.scheduler, self.sigmas, True)

    def run_steps(self, sampling: Any) -> int:
        """Steps of all repeats."""
        return self.repeats * max(len(self.schedule(sampling)) - 1, 0)

    def starts_from_noise(self, sampling: Any) -> bool:
        """Whether the path is entered where nothing of the guide is left."""
        levels = self.schedule(sampling)
        return len(levels) > 0 and process.is_prior(sampling, float(levels[0]))


@dataclass(frozen=True)
class SDEditResult:
    """The edited LATENT, the guide as the network saw it at t0 as LATENT, and what was run.

    evaluations: of the network, per picture.
    """

    latent: dict[str, Any]
    perturbed: dict[str, Any]
    sigmas: Tensor
    evaluations: int


def sdedit(
    model: Any,
    positive: Any,
    negative: Any,
    guide: dict[str, Any],
    seed: int,
    settings: SDEditSettings,
    callback: Callable[..., None] | None = None,
) -> SDEditResult:
    """Edits a LATENT; its noise_mask (1 = edit) and batch_index are honoured, and it is never changed.

    With the solver `ode` this is bit for bit core's SamplerCustomAdvanced with Euler on the same sigmas and noise.
    Where the mask is 0, and everywhere at t0 = 0, it is the guide bit for bit (except in the mode `paper`, which leaves
    noise in what it keeps). If that is the whole picture, nothing is run.
    Raises ValueError for a t0, steps, solver or scheduler that does not exist.
    """
    if settings.solver not in SOLVERS:
        raise ValueError(f"There is no solver {quoted(settings.solver)}: choose one of {', '.join(SOLVERS)}.")
    sampling = process.model_sampling(model)
    sigmas = settings.schedule(sampling)
    latent = prepared(model, guide)
    samples, mask, shapes = latent["samples"], latent.get("noise_mask"), nested.shapes_of(latent["samples"])
    # The mask on the latent's grid, and which items (and parts of them) have anything to edit there. [B, C, ...]
    grid = None if mask is None else nested.edit_mask(mask, samples)
    touched = None if grid is None else nested.pack(nested.each(_touched, nested.unpack(grid, shapes)))
    if len(sigmas) == 0 or (touched is not None and not touched.any()):
        return SDEditResult(latent, dict(latent), torch.empty(0), 0)

    noise = noises.start_run(latent, seed)
    start, noise = entered(model, samples, noise, float(sigmas[0]))
    seen = nested.unpack(process.network_view(sampling, start, sigmas[0]), shapes)
    counter = Counter(model, samples.shape[0])
    guider = comfy.samplers.CFGGuider(counter.model)
    guider.set_conds(positive, negative)
    guider.set_cfg(settings.cfg)
    solver, indices = SOLVERS[settings.solver](), noises.indices_of(latent)
    # Neutral settings are core's own masking.
    sampler = MaskedSampler(
        solver, settings.mask_mode, settings.keep_noise, settings.repeats, indices=indices,
        langevin_steps=settings.langevin_steps,
    )  # fmt: skip
    edited = sample_with(guider, noise, samples, sampler, sigmas, mask, callback, seed=seed)
    edited = edited.to(comfy.model_management.intermediate_device())
    if grid is not None and touched is not None:
        # A solver's last step rounds. `paper` leaves the noise of the last level in kept pixels.
        kept = (grid == 0 if settings.mask_mode != "paper" else ~touched).to(edited.device)
        edited = nested.unpack(torch.where(kept, *_alike(samples, edited)), shapes)
    return SDEditResult(
        {**latent, "samples": edited},
        {**latent, "samples": process.latent_out(model, seen).to(edited.device)},
        sigmas,
        counter.evaluations,
    )


def entered(model: Any, samples: Any, noise: Any, sigma: float) -> tuple[Tensor, Any]:
    """The state (packed, in model space) in which a run enters the path at sigma, and the noise that leads to it.

    The noise is the one given, except for sound that has a noise level of its own.
    """
    picture, shapes = nested.pack(process.latent_in(model, samples.float())), nested.shapes_of(samples)
    drawn, own = nested.pack(noise), nested.own_schedule(model.model, model.model_options, shapes)
    if own is not None:
        drawn = own.noise(picture, drawn.to(picture), sigma)
        noise = nested.unpack(drawn, shapes)
    return process.perturb(process.model_sampling(model), picture, drawn, sigma), noise


def _touched(grid: Tensor) -> Tensor:
    """Whether anything of an item is edited, for all of it."""
    return grid.flatten(1).any(dim=1).reshape(-1, *[1] * (grid.ndim - 1)).expand_as(grid)


def _alike(samples: Any, edited: Any) -> tuple[Tensor, Tensor]:
    """Both packed, the first as the second in type and device."""
    packed = nested.pack(edited)
    return nested.pack(samples).to(packed), packed


def prepared(model: Any, latent: dict[str, Any]) -> dict[str, Any]:
    """A LATENT as core's samplers take it: a copy, with the frame axis of video models, without size hints.

    Its noise_mask is in floats, and one for each picture.
    """
    latent = dict(latent)
    ratios = [latent.pop("downscale_ratio_spacial", None), latent.pop("downscale_ratio_temporal", None)]
    while ratios and ratios[-1] is None:
        ratios.pop()  # an older core has no temporal ratio, and none of its latents need one
    latent["samples"] = comfy.sample.fix_empty_latent_channels(model, latent["samples"], *ratios)
    if latent.get("noise_mask") is not None:
        latent["noise_mask"] = noise_mask(latent["noise_mask"], latent["samples"])
    return latent


def perturbed(model: Any, latent: dict[str, Any], sigma: float, seed: int) -> tuple[dict[str, Any], Tensor]:
    """The forward process alone: a LATENT that samplers *without noise* finish from sigma, and what the network sees.

    Pixels where the noise_mask is 0 stay clean. The second value is the network's view in VAE space, decodable; of
    video with sound, the video's.
    Raises ValueError at a flow model's sigma = 1.
    """
    sampling = process.model_sampling(model)
    latent = prepared(model, latent)
    samples, shapes, mask = latent["samples"].float(), nested.shapes_of(latent["samples"]), latent.get("noise_mask")
    clean = nested.pack(samples)
    edit = None if mask is None else nested.edit_mask(mask, samples).to(clean)

    def out(x: Tensor) -> Any:
        """A state in VAE space, clean where the mask is 0."""
        found = process.latent_out(model, nested.unpack(x, shapes))
        if edit is None:
            return found
        return nested.unpack(torch.where(edit > 0, edit * nested.pack(found) + (1.0 - edit) * clean, clean), shapes)

    if sigma == 0.0:  # converting to model space and back would not be exact
        latent["samples"] = samples
        return latent, nested.video(samples)
    x, _ = entered(model, samples, noises.draw_noise(latent, seed), sigma)
    latent["samples"] = out(process.resumable(sampling, x, sigma))
    return latent, nested.video(out(process.network_view(sampling, x, sigma)))
