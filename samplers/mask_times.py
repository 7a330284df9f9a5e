"""The noise levels and states that go to a network which takes its time from the mask.

Some video networks (LTX-Video, LTX-2, Wan 2.2 5B, Cosmos-Predict2) take a noise level for each place: that of the call
times the mask of the place. Kept places are shown to them without noise. Core computes these times before a run, from
the mask of the run; `told` computes them from the mask that is in force in a call.

Wan 2.2 5B and Cosmos-Predict2 take one time for each frame, the mean of its mask, so the level that they get
is right only for frames with one noise level: `in_units` makes a mask the same all over each frame.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import comfy.sampler_helpers
import torch
from comfy.model_base import BaseModel
from torch import Tensor

from . import nested
from .masks import noise_mask

_KEYS = ("denoise_mask", "audio_denoise_mask")
_LARGE = ("cross_attn",)  # text, which some models encode further; their masks do not depend on it


def as_sampled(latent: dict[str, Any]) -> Tensor | None:
    """A LATENT's noise_mask as core's samplers reduce it to its grid, [B, C, ...]; None without mask or picture.

    Of video with sound, the video's.
    """
    mask, samples = latent.get("noise_mask"), nested.video(latent["samples"])
    if mask is None or samples.ndim < 4:
        return None
    mask = nested.video(mask)
    return comfy.sampler_helpers.prepare_mask(noise_mask(mask, samples), tuple(samples.shape), torch.device("cpu"))


def takes_times(model: Any) -> bool:
    """Whether the network of a BaseModel takes its times from a mask."""
    return "denoise_mask" in inspect.signature(type(model).process_timestep).parameters


def shares_times(model: Any, mask: Tensor) -> bool:
    """Whether the network takes one time for a frame, the mean of its mask [B, C, T, h, w], not one for each place."""
    if not takes_times(model) or mask.ndim != 5 or mask.shape[-1] * mask.shape[-2] == 1:
        return False
    probe = mask.new_zeros([1, 1, *mask.shape[2:]])
    probe[..., 0, 0] = 1.0
    times = model.process_timestep(mask.new_ones([1]), x=probe, denoise_mask=probe)
    times = times[0] if isinstance(times, tuple) else times
    return bool(((times > 0) & (times < 1)).any())


def mixes_frames(model: Any, mask: Tensor) -> bool:
    """Whether a network of shared times would be given a mask [B, C, T, h, w] that varies within a frame."""
    varies = mask.ndim == 5 and bool((mask != mask[..., :1, :1]).any())
    return varies and shares_times(model, mask)


def in_units(mask: Tensor, shared: bool) -> Tensor:
    """The mask, or with shared times its largest value in each frame, at every place of it."""
    return mask.amax((1, 3, 4), keepdim=True).expand_as(mask) if shared else mask


def keeps_clean(model: Any) -> bool:
    """Whether core shows this model kept places without noise, because it was trained on pictures with clean parts."""
    return type(model).scale_latent_inpaint is not BaseModel.scale_latent_inpaint


def told(guider: Any, mask: Tensor) -> contextlib.AbstractContextManager[None]:
    """Gives the network the times of this mask, [B, C, ...] like the run's, for the length of a ``with`` block.

    A mask of the conditioning's own (`concat_mask`) stays. Does nothing for networks that take no times from a mask.
    """
    return _conditions(guider, lambda cond: _told(guider.inner_model, cond, mask))


def told_noisy(guider: Any, places: Tensor) -> contextlib.AbstractContextManager[None]:
    """Gives the network the level of the call itself where `places`, [B, C, ...], is true, for a ``with`` block."""
    return _conditions(guider, lambda cond: _told_noisy(cond, places))


def fitting(guider: Any, mask: Tensor) -> contextlib.AbstractContextManager[None]:
    """Takes the mask, [B, C, ...] like the run's, out of the network's input where it does not fit, for a block.

    HunyuanVideo 1.5 and Kandinsky 5 have one input channel for the mask of a video that starts with a given picture.
    Core gives them a run's mask with all channels of the latent, at which their first layer fails.
    """
    return _conditions(guider, lambda cond: _fitting(guider.inner_model, cond, mask))


Seen = Callable[[Tensor, Tensor], Tensor]
"""A state [B, C, ...] at a level sigma (0-dim) as the network sees it."""


@contextlib.contextmanager
def told_region(guider: Any, mask: Tensor | None, picture: Tensor) -> Iterator[Seen]:
    """For methods that add noise everywhere and edit wherever a mask is above 0: times of that region, for a block.

    Gives how the network sees a state: a network that takes its times from the mask sees `picture` as core shows kept
    places, where nothing is edited; any other sees the state itself.
    """
    model = guider.inner_model
    if mask is None or not takes_times(model):
        yield lambda x, _: x
        return
    region = in_units((mask > 0).to(picture), shares_times(model, mask))

    def seen(x: Tensor, sigma: Tensor) -> Tensor:
        sigmas, nothing = sigma * x.new_ones([x.shape[0]]), torch.zeros_like(x)
        kept = model.scale_latent_inpaint(x=x, sigma=sigmas, noise=nothing, latent_image=picture, denoise_mask=region)
        return torch.where(region > 0, x, kept)

    with told(guider, region):
        yield seen


@contextlib.contextmanager
def _conditions(guider: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[None]:
    """Changes every condition of a run, in the guider's own dict, which whatever wraps the guider sees too."""
    conds = getattr(guider, "conds", None)
    if not isinstance(conds, dict):
        yield
        return
    before = dict(conds)
    conds.update({name: [change(cond) for cond in group] for name, group in conds.items()})
    try:
        yield
    finally:
        conds.clear()
        conds.update(before)


def _told(model: Any, cond: dict[str, Any], mask: Tensor) -> dict[str, Any]:
    """A condition with the inputs that the model itself makes of the mask."""
    given = cond.get("model_conds", {})
    if not (takes_times(model) or any(key in given for key in _KEYS)):
        return cond
    shapes = getattr(given.get("latent_shapes"), "cond", None) or [tuple(mask.shape)]
    run = {"device": mask.device, "noise": mask, "latent_image": mask, "denoise_mask": mask, "latent_shapes": shapes}
    made = model.extra_conds(**{**run, **{key: value for key, value in cond.items() if key not in _LARGE}})
    kept = {key: value for key, value in given.items() if key not in _KEYS}
    return {**cond, "model_conds": {**kept, **{key: made[key] for key in _KEYS if key in made}}}


def _fitting(model: Any, cond: dict[str, Any], mask: Tensor) -> dict[str, Any]:
    given = cond.get("model_conds", {})
    if "c_concat" not in given:
        return cond
    inputs = {key: value for key, value in cond.items() if key not in _LARGE}
    made = model.concat_cond(**{**inputs, "device": mask.device, "noise": mask, "latent_image": mask})
    if made is None or made.shape[1] == given["c_concat"].cond.shape[1]:
        return cond
    return {**cond, "model_conds": {**given, "c_concat": type(given["c_concat"])(made)}}


def _told_noisy(cond: dict[str, Any], places: Tensor) -> dict[str, Any]:
    given = cond.get("model_conds", {})
    held = getattr(given.get("denoise_mask"), "cond", None)
    shapes = getattr(given.get("latent_shapes"), "cond", None) or ()
    places = nested.video(places, tuple(shapes) if len(shapes) > 1 else None)
    if not isinstance(held, Tensor) or held.shape != places.shape:
        return cond
    freed = held.masked_fill(places.to(held.device), 1.0)
    return {**cond, "model_conds": {**given, "denoise_mask": type(given["denoise_mask"])(freed)}}
