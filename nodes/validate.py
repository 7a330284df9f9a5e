"""Checks that nodes call themselves, on latents and masks; `gate.py` checks types and ranges before `execute`."""

from __future__ import annotations

import logging
from typing import Any

import comfy.sampler_helpers
import torch
from torch import Tensor

from ..samplers import masks, nested, process
from ..samplers.grey_fill import is_grey_filled
from ..samplers.mask_frames import ratio_of_vae

log = logging.getLogger(__name__)


def check_latent(model: Any, latent: dict[str, Any], name: str = "guide") -> None:
    """Raises ValueError unless the LATENT is finite and one that this model can work on, with a mask that fits."""
    samples = latent["samples"]
    process.check_layout(model, samples, name)
    check_finite(samples, name)
    process.model_sampling(model)  # refuses models without noise
    if latent.get("noise_mask") is not None:
        masks.check_noise_mask(latent["noise_mask"], samples, masks.block_of(model), f"mask of the {name}")
        lost = masks.losses(latent["noise_mask"], samples)
        if lost:
            log.warning("%s", lost)


def masked_latent(
    model: Any, latent: dict[str, Any], mask: Tensor | None, name: str = "guide", vae: Any = None
) -> dict[str, Any]:
    """The LATENT, checked, with a MASK (if one is given) on its grid as noise_mask. Of a nested one, it is the video's.

    vae: the one that made the latent; None asks the model how it maps pixels.
    """
    if mask is None:
        check_latent(model, latent, name)
        return latent
    check_latent(model, {key: value for key, value in latent.items() if key != "noise_mask"}, name)
    shape = nested.video(latent["samples"]).shape
    if vae is None:
        grid = masks.on_grid_of(model, mask, shape)
    else:
        grid = masks.on_grid(mask, shape, masks.block_of_vae(vae), ratio_of_vae(vae))
    masked = nested.with_mask(latent, grid)
    if latent["samples"].is_nested:  # the sound may have a mask of its own
        masks.check_noise_mask(masked["noise_mask"], latent["samples"], name=f"mask of the {name}")
    return masked


def check_finite(samples: Any, name: str) -> None:
    """Raises ValueError that names the batch items with values that are not finite."""
    broken = ~torch.isfinite(nested.pack(samples))
    if broken.any():
        items = [i for i, each in enumerate(broken) if each.any()]
        raise ValueError(
            f"The {name} has {int(broken.sum())} values that are not finite (NaN or infinite), in batch item "
            f"{', '.join(map(str, items))}: make it again, with the VAE in fp32 if that is where they come from."
        )


def refuse_grey_fill(model: Any, latent: dict[str, Any]) -> None:
    """Raises ValueError for a latent of VAE Encode (for Inpainting), whose grey is no guide below t0 = 1."""
    mask, samples = latent.get("noise_mask"), latent["samples"]
    if mask is None or samples.ndim != 4 or not bool(((mask == 0) | (mask == 1)).all()):
        return
    grid = comfy.sampler_helpers.prepare_mask(masks.noise_mask(mask, samples), tuple(samples.shape), samples.device)
    latent_format = model.get_model_object("latent_format")
    if is_grey_filled(latent_format, process.latent_in(model, samples.float()), grid):
        raise ValueError(
            "The masked area of the guide is flat grey, as VAE Encode (for Inpainting) paints it, and below t0 = 1 "
            "that grey would shine through: use VAE Encode with Set Latent Noise Mask, or set t0 to 1."
        )
