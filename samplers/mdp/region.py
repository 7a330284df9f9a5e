"""Where an edit may happen: a MASK, 1 = edit, brought to the grid of the latent."""

from __future__ import annotations

import comfy.sampler_helpers
import torch
from torch import Tensor

from ..picture_masks import is_still, one_each

_ASPECT_SLACK = 0.05


def edit_region(mask: Tensor | None, latent: Tensor, device: torch.device) -> Tensor | None:
    """The mask [H, W] or [B, H, W] ([T, H, W] for a video) as [B, C, ...] like the latent; None if all is edited.

    Raises ValueError for a mask of another shape, batch or range.
    """
    if mask is None or bool((mask == 1).all()):
        return None
    low, high = float(mask.min()), float(mask.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise ValueError(f"The mask goes from {low:.3g} to {high:.3g}: it must stay within 0 (keep) and 1 (edit).")
    height, width, tall, wide = *mask.shape[-2:], *latent.shape[-2:]
    if abs(height * wide - width * tall) > _ASPECT_SLACK * max(height * wide, width * tall):
        raise ValueError(
            f"The mask is {width} x {height}, which is not the shape of the latent ({wide} x {tall}): resize or crop "
            "the mask to the picture."
        )
    masks = mask.shape[0] if mask.ndim > 2 else 1
    if (latent.ndim == 4 or is_still(latent)) and masks not in (1, latent.shape[0]):
        raise ValueError(
            f"There are {masks} masks for {latent.shape[0]} pictures: give one mask, or one for each picture."
        )
    mask = one_each(mask.float(), latent)
    return comfy.sampler_helpers.prepare_mask(mask, tuple(latent.shape), device).clamp(0, 1)
