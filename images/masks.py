"""Grows and feathers a pixel mask, reduces it to the latent grid, and reports lost strokes. 1 = edit, 0 = keep."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from ..samplers.masks import Reduction, check_grid, find_crop, is_uniform, read_mask, reduced, vanished_strokes
from .morphology import feather, grow


@dataclass(frozen=True)
class LatentMask:
    """A mask on the latent grid and what the reduction did to it."""

    grid: Tensor  # [B, h, w], one value per latent cell
    pixels: Tensor  # [B, H, W], the same values at the size of the pixel mask: what the model sees
    report: str
    warnings: tuple[str, ...]


def latent_mask(
    mask: Tensor,
    grid_size: tuple[int, int],
    reduction: Reduction = "max",
    grow_pixels: int = 0,
    feather_pixels: int = 0,
    patch: int = 1,
) -> LatentMask:
    """Grow and feather a pixel mask, reduce it to the latent grid, and report what was lost.

    mask [B, H, W] in 0..1; grid_size (h, w) in cells; grow_pixels and feather_pixels as in `morphology`, in pixels of
    the mask; patch: size of the model's patches in cells (1 = none, 2 for most diffusion transformers); all cells of
    a patch get one value. Raises ValueError if mask and grid differ in proportions.
    """
    given = read_mask(mask)
    size = (given.shape[1], given.shape[2])
    if is_uniform(given):
        grid = given[:, :1, :1].expand(given.shape[0], *grid_size).clone()
        warning = "The mask is 0 everywhere: nothing will be edited." if not given.any() else ""
        report = warning or "The mask is uniform: it was only resized to the latent grid."
        return LatentMask(grid, given.clone(), report, (warning,) if warning else ())
    check_grid(size, grid_size, "mask")  # before growing, which takes its time
    wanted = feather(grow(given, grow_pixels), feather_pixels)
    grid = snap_to_patches(reduced(wanted, grid_size, reduction), patch, reduction)
    pixels = _in_pixels(grid, size)
    warnings = tuple(_losses(given, wanted, pixels))
    report = (
        f"Mask {size[1]} x {size[0]} to a grid of {grid_size[1]} x {grid_size[0]} cells by {reduction}. "
        f"Edited share of the picture: {_share(given)} in the mask, {_share(wanted)} after growing and feathering, "
        f"{_share(grid)} on the grid."
    )
    return LatentMask(grid, pixels, "\n".join((report, *warnings)), warnings)


def _in_pixels(grid: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, h, w] at the places where the model sees it in a picture of `size`: 0 in the margin, which the VAE crops."""
    crop = find_crop(size, (grid.shape[1], grid.shape[2]))
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
