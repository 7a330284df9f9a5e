"""Strength maps: a t0 for every pixel, as a mask relative to the largest one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def strength_map(masks: Sequence[tuple[Tensor, float]], base: float = 0.0) -> tuple[Tensor, float]:
    """The map t0(pixel) / t0 and the t0 to run with, from masks and the t0 that each stands for at mask = 1.

    masks: [B, H, W] with values 0..1; where they overlap the largest t0 wins. base: the t0 of pixels that no mask
    covers, towards which grey ones blend; it may be more than a mask's own, to spare what the mask covers. Raises
    ValueError for masks of different sizes or batches, or if every t0 is 0.
    """
    if not masks:
        raise ValueError("A strength map needs at least one mask: connect one.")
    size = masks[0][0].shape[-2:]
    batch = max(mask.shape[0] for mask, _ in masks)
    strengths, covered = [], []
    for number, (mask, t0) in enumerate(masks, 1):
        if mask.shape[-2:] != size:
            raise ValueError(
                f"Mask {number} is {mask.shape[-1]} x {mask.shape[-2]} but the first is {size[1]} x {size[0]}: "
                "resize them to one size."
            )
        if mask.shape[0] not in (1, batch):
            raise ValueError(
                f"Mask {number} has {mask.shape[0]} pictures and another has {batch}: use one, or as many."
            )
        area = mask.to(masks[0][0]).expand(batch, *size)
        strengths.append(area * t0)
        covered.append(area)
    largest = max(base, *(t0 for _, t0 in masks))
    if largest <= 0:
        raise ValueError("Every t0 of the strength map is 0, so nothing would be edited: raise one of them.")
    elsewhere = 1.0 - torch.stack(covered).amax(dim=0)
    return (torch.stack(strengths).amax(dim=0) + elsewhere * base) / largest, largest
