"""Strength maps: a t0 for every pixel, as a mask relative to the largest one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .masks import is_uniform, read_mask


def strength_map(
    masks: Sequence[tuple[Tensor, float]], base: float = 0.0, names: Sequence[str] | None = None
) -> tuple[Tensor, float]:
    """The map t0(pixel) / t0 and the t0 to run with, from masks and the t0 that each stands for at mask = 1.

    masks: [B, H, W] with values 0..1; where they overlap the largest t0 wins. base: the t0 of pixels that no mask
    covers, towards which grey ones blend; it may be more than a mask's own, to protect what the mask covers. names:
    those of the masks, for errors. Raises ValueError for masks of different sizes (unless they are the same everywhere)
    or batches, or if every t0 is 0.
    """
    if not masks:
        raise ValueError("A strength map needs at least one mask: connect one.")
    names = names or [f"mask_{number}" for number in range(1, len(masks) + 1)]
    areas = {name: read_mask(mask, name) for name, (mask, _) in zip(names, masks, strict=True)}
    size, batch = _common_size(areas), max(len(area) for area in areas.values())
    for name, area in areas.items():
        if len(area) not in (1, batch):
            raise ValueError(
                f"The {name} is a batch of {len(area)}, but another mask is one of {batch}: give one mask for all "
                "pictures, or one for each."
            )
    covered = torch.stack([
        (area[:, :1, :1] if is_uniform(area) else area).expand(batch, *size) for area in areas.values()
    ])  # fmt: skip
    t0s = torch.tensor([t0 for _, t0 in masks])
    largest = max(base, *(t0 for _, t0 in masks))
    if largest <= 0:
        raise ValueError("Every t0 of the strength map is 0, so nothing would be edited: raise one of them.")
    strength = (covered * t0s.reshape(-1, 1, 1, 1)).amax(dim=0)
    elsewhere = 1.0 - covered.amax(dim=0)
    return (strength + elsewhere * base) / largest, largest


def _common_size(areas: dict[str, Tensor]) -> tuple[int, int]:
    """The one size that all masks share; those that are the same everywhere fit any."""
    sized = {name: area for name, area in areas.items() if not is_uniform(area)}
    first, one = next(iter((sized or areas).items()))
    for name, area in sized.items():
        if area.shape[1:] != one.shape[1:]:
            raise ValueError(
                f"The {name} is {area.shape[2]} x {area.shape[1]}, but the {first} is {one.shape[2]} x "
                f"{one.shape[1]}: resize them to one size."
            )
    return one.shape[1], one.shape[2]
