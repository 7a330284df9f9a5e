"""Which picture of a batch a mask belongs to."""

from __future__ import annotations

from torch import Tensor


def is_still(samples: Tensor) -> bool:
    """Whether a latent holds pictures of a video model, [B, C, 1, H, W] (Qwen-Image, Wan)."""
    return samples.ndim == 5 and samples.shape[2] == 1


def one_each(mask: Tensor, samples: Tensor) -> Tensor:
    """A MASK or noise_mask as core's ``prepare_mask`` gives each picture its own.

    Of `is_still` latents core takes a batch of masks for the frames of one video, and mixes them.
    """
    return mask.reshape(-1, 1, 1, *mask.shape[-2:]) if is_still(samples) and mask.ndim < 5 else mask
