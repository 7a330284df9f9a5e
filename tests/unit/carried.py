"""Models whose prompts carry more than text, each with a target's and a source's prompt that differ in it."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from diffusion_path.tests.unit import families, tiny
from torch import Tensor

ZIMAGE = families.EVERY["Z-Image"]


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
    model = families.made(ZIMAGE)
    return model, masked(families.cond(ZIMAGE, 0), 3), families.cond(ZIMAGE, 1)
