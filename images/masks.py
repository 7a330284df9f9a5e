"""Grows and feathers a pixel mask, reduces it to the latent grid, and reports lost strokes. 1 = edit, 0 = keep."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..samplers.masks import (
    Reduction,
    check_grid,
    find_crop,
    frames_note,
    is_uniform,
    latent_frames,
    over_time,
    read_mask,
    reduced,
    vanished_strokes,
)
from .morphology import feather, grow


@dataclass(frozen=True)
class LatentGrid:
    """The grid of cells that a mask is reduced to.

    size: (h, w) in cells. patch: size of the model's patches in cells (1 = none, 2 for most diffusion transformers);
    all cells of a patch get one value. frames: latent frames of a video, None for pictures. block, ratio: pixels per
    cell and frames per latent frame of the VAE, if known.
    """

    size: tuple[int, int]
    patch: int = 1
    frames: int | None = None
    block: int | None = None
    ratio: int | None = None


@dataclass(frozen=True)
class LatentMask:
    """A mask on the latent grid and what the reduction did to it."""

    grid: Tensor  # [B, h, w], one value per latent cell; [T, h, w] for the latent frames of a video
    pixels: Tensor  # [B, H, W], the same values at the size of the pixel mask: what the model sees
    report: str
    warnings: tuple[str, ...]


def latent_mask(
    mask: Tensor, grid: LatentGrid, reduction: Reduction = "max", grow_pixels: int = 0, feather_pixels: int = 0
) -> LatentMask:
    """Grow and feather a pixel mask, reduce it to the latent grid, and report what was lost.

    mask [B, H, W] in 0..1; grow_pixels and feather_pixels as in `morphology`, in pixels of the mask. Raises ValueError
    if mask and grid differ in proportions.
    """
    given = read_mask(mask)
    size, (rows, columns) = (given.shape[1], given.shape[2]), grid.size
    if is_uniform(given):
        wanted, cells = given, given[:, :1, :1].expand(given.shape[0], rows, columns).clone()
        report = "The mask is uniform: it was only resized to the latent grid."
    else:
        check_grid(size, grid.size, "mask", grid.block)  # before growing, which takes its time
        wanted = feather(grow(given, grow_pixels), feather_pixels)
        cells = snap_to_patches(reduced(wanted, grid.size, reduction, grid.block), grid.patch, reduction)
        report = (
            f"Mask {size[1]} x {size[0]} to a grid of {columns} x {rows} cells by {reduction}. "
            f"Edited share of the picture: {_share(given)} in the mask, {_share(wanted)} after growing and feathering, "
            f"{_share(cells)} on the grid."
        )
    found, lines = cells, [report]
    if grid.frames is not None:
        found = over_time(cells, grid.frames, reduction, grid.ratio)
        cells = _in_frames(found, len(given), grid.ratio)
        lines.append(frames_note(len(given), grid.frames, grid.ratio))
    pixels = cells[:, :1, :1].expand(-1, *size).clone() if is_uniform(given) else _in_pixels(cells, size, grid.block)
    warnings: tuple[str, ...] = ()
    if not given.any():
        warnings = ("The mask is 0 everywhere: nothing will be edited.",)
        lines = []
    elif grid.frames is not None or not is_uniform(given):
        warnings = tuple(_losses(given, wanted, pixels))
    return LatentMask(found, pixels, "\n".join((*lines, *warnings)), warnings)


def _in_frames(grid: Tensor, count: int, ratio: int | None) -> Tensor:
    """[T, h, w] of a video for each of `count` masks; 0 for frames that the VAE drops."""
    places = latent_frames(count, len(grid), ratio)
    return grid[places] * (places >= 0).to(grid).reshape(-1, 1, 1)


def _in_pixels(grid: Tensor, size: tuple[int, int], block: int | None) -> Tensor:
    """[B, h, w] at the places where the model sees it in a picture of `size`: 0 in the margin, which the VAE crops."""
    crop = find_crop(size, (grid.shape[1], grid.shape[2]), block)
    if crop is None:
        return F.interpolate(grid.unsqueeze(1), size=size, mode="nearest-exact").squeeze(1)
    return crop.back(grid.repeat_interleave(crop.block, 1).repeat_interleave(crop.block, 2), size)


def snap_to_patches(grid: Tensor, patch: int, reduction: Reduction) -> Tensor:
    """Give the cells of each patch x patch block of [B, h, w] one value: the largest for "max", otherwise the mean."""
    if patch <= 1:
        return grid
    height, width = grid.shape[1:]
    # Models pad a grid that is not a multiple of the patch size at its end; the padding must not count.
    padded = F.pad(grid.unsqueeze(1), (0, -width % patch, 0, -height % patch), mode="replicate")
    pooled = F.max_pool2d(padded, patch) if reduction == "max" else F.avg_pool2d(padded, patch)
    return pooled.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[:, 0, :height, :width]


def _share(mask: Tensor) -> str:
    return f"{100 * mask.mean().item():.2f} %"


def _losses(given: Tensor, wanted: Tensor, seen: Tensor) -> list[str]:
    """Sentences on strokes that vanish and on masked pixels that will mostly not be edited."""
    warnings = []
    strokes, vanished = vanished_strokes(given, seen)
    if vanished:
        warnings.append(
            f"{vanished} of {strokes} strokes vanish: no latent cell under them reaches one half. "
            "Reduce by max, or grow the mask."
        )
    inside = wanted >= 0.5
    kept = (inside & (seen >= 0.5)).sum().item() / max(1, inside.sum().item())
    if inside.any() and kept < 0.9:
        warnings.append(
            f"Coverage drops: only {100 * kept:.0f} % of the masked pixels lie in cells that reach one half. "
            "Reduce by max, or grow the mask."
        )
    return warnings
