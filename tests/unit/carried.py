"""Models whose prompts carry more than text, each with a target's and a source's prompt that differ in it."""

from __future__ import annotations

from functools import cache
from typing import Any

import comfy.supported_models as supported
import torch
from diffusion_path.tests.unit import families, tiny
from diffusion_path.tests.unit.families import Family
from torch import Tensor

ZIMAGE = Family(
    "Z-Image",
    supported.ZImage,
    {
        "image_model": "lumina2", "patch_size": 2, "in_channels": 16, "dim": 256, "cap_feat_dim": tiny.WIDTH,
        "n_layers": 1, "qk_norm": True, "n_heads": 2, "n_kv_heads": 2, "axes_dims": [32, 48, 48],
        "axes_lens": [300, 512, 512], "rope_theta": 256.0, "ffn_dim_multiplier": 8 / 3, "n_refiner_layers": 1,
        "z_image_modulation": True, "time_scale": 1000.0, "pad_tokens_multiple": 32,
    },
    prefix=None,
)  # fmt: skip


def randn(seed: int, *size: int) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def masked(given: list[list[Any]], tokens: int) -> list[list[Any]]:
    """A CONDITIONING whose last tokens are padding."""
    mask = (torch.arange(given[0][0].shape[1]) < tokens).long()[None]
    return [[given[0][0], {**given[0][1], "attention_mask": mask}]]


def with_extras(seed: int, **extras: Any) -> list[list[Any]]:
    return [[tokens, {**given, **extras}] for tokens, given in tiny.cond(seed)]


@cache
def flux_with_references() -> tuple[Any, Any, Any]:
    """References of other sizes, another number of them, and other guidance."""
    source = with_extras(1, reference_latents=[randn(3, 1, 16, 8, 8), randn(4, 1, 16, 4, 8)], guidance=2.0)
    return tiny.flux(), with_extras(0, reference_latents=[randn(5, 1, 16, 6, 6)]), source


@cache
def zimage_with_padding() -> tuple[Any, Any, Any]:
    """The number of tokens counts, and only one prompt has a mask."""
    model = families.built(ZIMAGE)
    return model, masked(families.cond(ZIMAGE, 0), 3), families.cond(ZIMAGE, 1)
