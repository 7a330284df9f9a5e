"""One sentence for every kind of bad input: what was given, what was expected, what to do."""

from __future__ import annotations

from typing import Any

import comfy.sampler_helpers
import torch
from torch import Tensor

from ..samplers import process
from ..samplers.grey_fill import is_grey_filled
from ..samplers.picture_masks import is_still

_RANGE_SLACK = 1e-3
_ASPECT_SLACK = 0.02


def check_latent(model: Any, latent: dict[str, Any], name: str = "guide") -> None:
    """Raises ValueError unless the LATENT is one finite tensor that this model can work on, with a mask that fits."""
    process.check_one_latent(model)
    samples = latent["samples"]
    if samples.is_nested:
        raise ValueError(
            f"The {name} is a nested latent (video with sound), which cannot be edited as one: separate it first and "
            "connect a plain latent."
        )
    process.check_layout(model, samples, name)
    check_finite(samples, name)
    process.model_sampling(model)  # refuses models without noise
    if latent.get("noise_mask") is not None:
        downscale = model.get_model_object("latent_format").spacial_downscale_ratio
        check_noise_mask(latent["noise_mask"], samples, downscale, name)


def check_finite(samples: Tensor, name: str) -> None:
    """Raises ValueError that names the batch items with values that are not finite."""
    broken = ~torch.isfinite(samples)
    if broken.any():
        items = [i for i in range(samples.shape[0]) if broken[i].any()]
        raise ValueError(
            f"The {name} has {int(broken.sum())} values that are not finite (NaN or infinite), in batch item "
            f"{', '.join(map(str, items))}: make it again, with the VAE in fp32 if that is where they come from."
        )


def check_noise_mask(mask: Any, samples: Tensor, downscale: int, name: str = "guide") -> None:
    """Raises ValueError unless a mask has the shape, batch and range for these samples."""
    if mask.is_nested:
        raise ValueError(f"The mask of the {name} is nested: set one plain mask (Set Latent Noise Mask).")
    if not torch.isfinite(mask).all():
        raise ValueError(f"The mask of the {name} has values that are not finite (NaN or infinite): make it again.")
    low, high = float(mask.min()), float(mask.max())
    if low < -_RANGE_SLACK or high > 1 + _RANGE_SLACK:
        raise ValueError(
            f"The mask of the {name} goes from {low:.3g} to {high:.3g}: it must stay within 0 (keep) and 1 (edit)."
        )
    if samples.ndim < 4:
        return
    height, width, tall, wide = *mask.shape[-2:], *samples.shape[-2:]
    same_grid = (height // downscale, width // downscale) == (tall, wide)
    same_aspect = abs(height * wide - width * tall) <= _ASPECT_SLACK * max(height * wide, width * tall)
    if not same_grid and not same_aspect:
        raise ValueError(
            f"The mask is {width} x {height} but the {name} is {wide * downscale} x {tall * downscale} pixels: "
            "resize or crop the mask to the picture."
        )
    pictures = mask.shape[0] if mask.ndim > 2 else 1
    if (samples.ndim == 4 or is_still(samples)) and pictures not in (1, samples.shape[0]):
        raise ValueError(
            f"There are {pictures} masks for a {name} of {samples.shape[0]} pictures: give one mask, or one for each."
        )


def refuse_grey_fill(model: Any, latent: dict[str, Any]) -> None:
    """Raises ValueError for a latent of VAE Encode (for Inpainting), whose grey is no guide below t0 = 1."""
    mask, samples = latent.get("noise_mask"), latent["samples"]
    if mask is None or samples.ndim != 4 or not bool(((mask == 0) | (mask == 1)).all()):
        return
    grid = comfy.sampler_helpers.prepare_mask(mask, tuple(samples.shape), samples.device)
    latent_format = model.get_model_object("latent_format")
    if is_grey_filled(latent_format, process.latent_in(model, samples.float()), grid):
        raise ValueError(
            "The masked area of the guide is flat grey, as VAE Encode (for Inpainting) paints it, and below t0 = 1 "
            "that grey would shine through: use VAE Encode with Set Latent Noise Mask, or set t0 to 1."
        )
