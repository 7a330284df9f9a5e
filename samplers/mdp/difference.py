"""Where two prompts want different pictures: a mask from the model's own predictions along the source's path.

As in DiffEdit (Couairon et al. 2023) the mask is where the predictions for both prompts differ. Here they are compared
at the states of the source's path, where they agree on everything that the edit does not concern, so that a few levels
without guidance are enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.samplers import CFGGuider
from torch import Tensor
from torch.nn import functional as F

from .. import nested, process
from .. import noise as noises
from ..caching import without_step_caches
from ..own_sampler import SamplerRun, run_inside
from ..path import DiffusionPath
from ..path_fit import check_path_fits
from .conditions import check_same_kind

POSITIONS = (0.9, 0.75)
"""Where on the path the prompts are compared: while the layout is decided, all of an edit's region differs."""

WHOLE = 0.7
"""Share of the picture above which a region is the whole of it."""

_LOW, _HIGH = 0.6, 1.5  # the mask rises from 0 to 1 between these multiples of the threshold
_STRONGEST = 0.99  # the share of the picture that differs less than the strongest differences do
_WEAK, _LEAST = 0.32, 0.1  # from where on strongest differences are weak; how far the threshold goes down with them


@dataclass(frozen=True)
class RegionSettings:
    """threshold: difference that counts, in standard deviations of the picture (see `region_of`); grow: cells of the
    latent. keep_detail: share of the edit's mean change below which fine detail within the region stays the source's
    (see `detail.keep_detail`).
    """

    threshold: float = 0.08
    grow: int = 1
    keep_detail: float = 0.45


def prompt_difference(
    model: Any, path: DiffusionPath, source: Any, target: Any, callback: Callable[..., None] | None = None
) -> Tensor:
    """How much the predictions for two prompts differ along a path, [B, 1, ...], in deviations of the picture.

    Of video with sound, that of the video.
    Costs two evaluations for each of `POSITIONS`, in one step only two. Raises ValueError for a path of another model
    or other prompts.
    """
    check_path_fits(path, model)
    steps = compared_steps(path.step_positions)
    guider = CFGGuider(without_step_caches(model, "The comparison of prompts"))
    guider.inner_set_conds({"positive": target, "source": source})

    def compare(given: SamplerRun) -> Tensor:
        conds = given.guider.conds
        check_same_kind(conds["positive"], conds["source"])
        differences = []
        for done, step in enumerate(steps):
            comfy.model_management.throw_exception_if_processing_interrupted()
            x = path.states[step].to(given.latent_image)
            sigma = path.sigmas[step].to(x).repeat(x.shape[0])
            both = [conds["positive"], conds["source"]]
            wanted, kept = comfy.samplers.calc_cond_batch(given.guider.inner_model, both, x, sigma, given.model_options)
            apart = path.visible(wanted - kept)
            differences.append(apart.square().mean(1, keepdim=True).sqrt())
            if given.callback is not None:
                given.callback(done, wanted, x, len(steps))
        return torch.stack(differences).mean(0).cpu().float()

    latent = process.latent_out(model, nested.unpack(path.picture, path.latent_shapes))
    noises.start_run({"samples": latent}, path.seed)
    noise = nested.each(torch.zeros_like, latent)
    difference = run_inside(guider, noise, latent, path.sigmas, compare, callback, path.seed)
    spread = path.visible(path.picture).flatten(1).std(1).reshape(-1, *[1] * (difference.ndim - 1))
    return difference / spread.clamp(min=1e-6)


def compared_steps(starts: Sequence[float]) -> list[int]:
    """The steps at which prompts are compared, each once: those that start nearest to `POSITIONS`."""
    found: list[int] = []
    for position in POSITIONS[: len(starts)]:
        rest = [step for step in range(len(starts)) if step not in found]
        found.append(min(rest, key=lambda step: abs(starts[step] - position)))
    return sorted(found)


def region_of(difference: Tensor, settings: RegionSettings | None = None) -> Tensor:
    """The region of an edit, [B, 1, ...] in 0..1, from `prompt_difference`: soft at its edge, and grown.

    An edit of the whole picture, as of the time of day, can differ weakly everywhere, since the states show the
    source's tone. So where even the strongest differences are weak, the threshold goes down with them.
    """
    settings = settings or RegionSettings()
    flat = difference.flatten(0, 2)[:, None] if difference.ndim == 5 else difference
    smooth = F.avg_pool2d(flat, 3, 1, 1, count_include_pad=False)
    threshold = _threshold(smooth.reshape(len(difference), -1), settings.threshold)
    threshold = threshold.repeat_interleave(len(flat) // len(difference)).reshape(-1, 1, 1, 1)
    low, high = _LOW * threshold, _HIGH * threshold
    region = ((smooth - low) / (high - low)).clamp(0, 1)
    if settings.grow:
        region = F.max_pool2d(region, 2 * settings.grow + 1, 1, settings.grow)
    # If nearly everything is edited, the rest is too small to tell from noise, and would show as a patch.
    region = torch.where(region.mean((1, 2, 3), keepdim=True) > WHOLE, torch.ones_like(region), region)
    return region.reshape(difference.shape)


def _threshold(differences: Tensor, given: float) -> Tensor:
    """What counts in each picture, [B]; differences: [B, cells]."""
    strongest = differences.kthvalue(max(1, math.ceil(_STRONGEST * differences.shape[1])), dim=1).values
    return given * (strongest / _WEAK).clamp(_LEAST, 1)
