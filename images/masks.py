"""From a pixel mask to the latent grid without losing strokes. Convention everywhere: 1 = edit, 0 = keep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..common.interrupts import answering, interruptible
from ..common.texts import quoted
from .morphology import check_proportions, feather, grow, is_uniform
from .tensors import check_mask

Reduction = Literal["area", "max", "bilinear"]
REDUCTIONS: tuple[Reduction, ...] = ("area", "max", "bilinear")


@dataclass(frozen=True)
class LatentMask:
    """A mask on the latent grid and what the reduction did to it."""

    grid: Tensor  # [B, h, w], one value per latent cell
    pixels: Tensor  # [B, H, W], the same values at the size of the pixel mask: what the model will see
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
    the mask; patch: side in cells of the model's patches (1 = none, 2 for most diffusion transformers), all cells of
    a patch get one value. Raises ValueError where the proportions of mask and grid differ.
    """
    given = check_mask(mask)
    height, width = given.shape[1:]
    if is_uniform(given):
        grid = given[:, :1, :1].expand(given.shape[0], *grid_size).clone()
        warning = "The mask is 0 everywhere: nothing will be edited." if not given.any() else ""
        report = warning or "The mask is the same everywhere: it was only brought to the latent grid."
        return LatentMask(grid, given.clone(), report, (warning,) if warning else ())
    check_proportions(width, height, grid_size[1], grid_size[0], "mask", "the latent grid", rounding=2)
    wanted = feather(grow(given, grow_pixels), feather_pixels)
    grid = snap_to_patches(reduce_mask(wanted, grid_size, reduction), patch, reduction)
    pixels = F.interpolate(grid.unsqueeze(1), size=(height, width), mode="nearest-exact").squeeze(1)
    warnings = tuple(_losses(given, wanted, pixels))
    report = (
        f"Mask {width} x {height} to a grid of {grid_size[1]} x {grid_size[0]} cells by {reduction}. "
        f"Edited share of the picture: {_share(given)} in the mask, {_share(wanted)} after growing and feathering, "
        f"{_share(grid)} on the grid."
    )
    return LatentMask(grid, pixels, "\n".join((report, *warnings)), warnings)


def reduce_mask(mask: Tensor, grid_size: tuple[int, int], reduction: Reduction) -> Tensor:
    """[B, H, W] to [B, h, w]: masked share of a cell, largest value in a cell, or the bilinear samples core takes."""
    mask = mask.unsqueeze(1)
    if reduction == "area":
        reduced = F.adaptive_avg_pool2d(mask, grid_size)
    elif reduction == "max":
        reduced = F.adaptive_max_pool2d(mask, grid_size)
    elif reduction == "bilinear":
        reduced = F.interpolate(mask, size=grid_size, mode="bilinear")
    else:
        raise ValueError(f"There is no reduction {quoted(reduction)}: choose one of {', '.join(REDUCTIONS)}.")
    return reduced.squeeze(1)


def snap_to_patches(grid: Tensor, patch: int, reduction: Reduction) -> Tensor:
    """Give all patch x patch cells of [B, h, w] one value: their largest for "max", else their mean."""
    if patch <= 1:
        return grid
    height, width = grid.shape[1:]
    # Models pad a grid that does not divide into patches at its end; the padding must not weigh in.
    padded = F.pad(grid.unsqueeze(1), (0, -width % patch, 0, -height % patch), mode="replicate")
    pooled = F.max_pool2d(padded, patch) if reduction == "max" else F.avg_pool2d(padded, patch)
    return pooled.repeat_interleave(patch, 2).repeat_interleave(patch, 3)[:, 0, :height, :width]


def _share(mask: Tensor) -> str:
    return f"{100 * mask.mean().item():.2f} %"


def _losses(given: Tensor, wanted: Tensor, seen: Tensor) -> list[str]:
    """Sentences on strokes that vanish and on pixels that were to be edited and mostly will not be."""
    warnings = []
    strokes, vanished = _vanished_strokes(given, seen)
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


def _vanished_strokes(mask: Tensor, seen: Tensor) -> tuple[int, int]:
    """Number of connected strokes in [B, H, W] and of those under which `seen` stays below one half."""
    from scipy.ndimage import label, maximum

    strokes = vanished = 0
    for item, result in interruptible(zip((mask >= 0.5).numpy(), seen.numpy(), strict=True)):
        regions, count = answering(label, item, structure=np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
        strokes += count
        if count:
            vanished += int((np.atleast_1d(answering(maximum, result, regions, range(1, count + 1))) < 0.5).sum())
    return strokes, vanished


def latent_grid_size(samples: object) -> tuple[int, int]:
    """(h, w) in cells of a latent [B, C, h, w] or [B, C, frames, h, w]; refused where there is no picture grid."""
    if not isinstance(samples, Tensor) or samples.ndim not in (4, 5):
        given = f"{samples.ndim}-dimensional" if isinstance(samples, Tensor) else "made of several parts"
        raise ValueError(
            f"The latent is {given}, but one picture [batch, channels, height, width] or video is expected: "
            "connect a picture's latent, or the picture part alone."
        )
    return samples.shape[-2], samples.shape[-1]
