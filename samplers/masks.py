"""What a MASK is, and how it maps to the grid of a latent. 1 = edit, 0 = keep.

One rule for every MASK input and for the `noise_mask` of a LATENT:

- A mask is [H, W], [B, H, W] or [B, 1, H, W] with values from 0 to 1; true and false count as 1 and 0. There is one for
  all pictures or one for each; for a video, one for each frame.
- A mask that is the same everywhere fits every size (Load Image gives one of 64 x 64 for a picture without alpha).
- Any other has the proportions of the picture, and maps to the latent grid as the VAE maps pixels: the VAE crops a
  picture that does not divide into its blocks to the middle. Frames are put together as a video VAE does
  (`mask_frames`).
- A cell is edited if any of its pixels is ("max"), so that no thin stroke is lost. The `noise_mask` of a LATENT is
  reduced by core, which takes a few samples of each cell: `losses` reports what vanishes in this way.

Block sides come from the VAE or the model where one is known, else from the sizes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.interrupts import answering, interruptible
from ..common.texts import quoted
from . import nested
from .mask_frames import frames_fit, frames_note, latent_frames, ratio_of

Reduction = Literal["area", "max", "bilinear"]
REDUCTIONS: tuple[Reduction, ...] = ("area", "max", "bilinear")
BLOCKS = (2, 4, 8, 16, 32)
"""Sides, in pixels, of the blocks that become one cell, for VAEs that crop pictures."""

_RANGE_SLACK = 1e-3
_ROUNDING = 16  # pixels that a picture may have gained or lost by rounding to whole blocks
log = logging.getLogger(__name__)


def read_mask(mask: Any, name: str = "mask") -> Tensor:
    """A MASK as float32 [B, H, W] in 0..1 on the CPU.

    Accepts [H, W], [B, H, W] and [B, 1, H, W]. Raises a ValueError that names what is wrong with any other: its shape,
    no pixels, values that are NaN, infinite or outside 0..1.
    """
    given = mask
    if isinstance(given, Tensor) and given.ndim == 2:
        given = given.unsqueeze(0)
    if isinstance(given, Tensor) and given.ndim == 4 and given.shape[1] == 1:
        given = given.squeeze(1)
    if not isinstance(given, Tensor) or given.is_nested or given.ndim != 3:
        raise ValueError(
            f"The {name} is {_described(mask)}, but a MASK [batch, height, width] is expected: connect a MASK output."
        )
    return _checked(given, name).clamp(0.0, 1.0)


def _described(given: Any) -> str:
    if getattr(given, "is_nested", False):
        return "nested, made of several parts"
    return str(list(given.shape)) if isinstance(given, Tensor) else type(given).__name__


def _checked(mask: Tensor, name: str) -> Tensor:
    """Floats on the CPU; raises ValueError for an empty mask and for values out of range."""
    if 0 in mask.shape:
        raise ValueError(f"The {name} is empty ({list(mask.shape)}): connect a mask with at least one pixel.")
    mask = mask.detach().to(device="cpu", dtype=torch.float32)
    bad = (~torch.isfinite(mask)).flatten(1).sum(dim=1)
    if bad.any():
        item = int(bad.nonzero()[0, 0])
        raise ValueError(
            f"The {name} holds {int(bad[item])} values that are NaN or infinite (batch item {item}): make it again."
        )
    low, high = float(mask.min()), float(mask.max())
    if low < -_RANGE_SLACK or high > 1 + _RANGE_SLACK:
        raise ValueError(
            f"The {name} goes from {low:.3g} to {high:.3g}, but it must stay within 0 (keep) and 1 (edit): divide "
            "values of 0 to 255 by 255, clamp others."
        )
    return mask


def is_uniform(mask: Tensor) -> bool:
    """Whether each mask of [..., H, W] is the same everywhere, so that its size carries no meaning."""
    return bool((mask == mask[..., :1, :1]).all())


def is_still(shape: Sequence[int]) -> bool:
    """Whether a latent of this shape holds pictures: [B, C, h, w], or [B, C, 1, h, w] of a video model."""
    return len(shape) == 4 or (len(shape) == 5 and shape[2] == 1)


def grid_size(samples: Any) -> tuple[int, int]:
    """(h, w) in cells of a latent [B, C, h, w] or [B, C, frames, h, w]; raises ValueError where it has no such grid."""
    if not isinstance(samples, Tensor) or samples.is_nested or samples.ndim not in (4, 5):
        plain = isinstance(samples, Tensor) and not samples.is_nested
        raise ValueError(
            f"The latent is {f'{samples.ndim}-dimensional' if plain else 'nested, made of several parts'}, but one "
            "picture [batch, channels, height, width] or video is expected: connect a picture's latent, or the picture "
            "part alone."
        )
    return samples.shape[-2], samples.shape[-1]


@dataclass(frozen=True)
class Crop:
    """The part of a picture that becomes a latent grid: blocks of `block` pixels, from `top` and `left` on."""

    block: int
    top: int
    left: int

    def of(self, plane: Tensor, grid: tuple[int, int]) -> Tensor:
        """What is left of [..., H, W]: [..., h * block, w * block]."""
        height, width = grid[0] * self.block, grid[1] * self.block
        return plane[..., self.top : self.top + height, self.left : self.left + width]

    def back(self, plane: Tensor, size: tuple[int, int], mode: str = "constant") -> Tensor:
        """[B, h * block, w * block] in its place in [B, H, W]; the rim is 0, or repeats the border ("replicate")."""
        below, right = size[0] - plane.shape[-2] - self.top, size[1] - plane.shape[-1] - self.left
        return F.pad(plane.unsqueeze(1), (self.left, right, self.top, below), mode=mode).squeeze(1)


def find_crop(size: tuple[int, int], grid: tuple[int, int], block: int | None = None) -> Crop | None:
    """How a VAE maps a picture of `size` (H, W) to `grid` (h, w); None if it cannot: then one is scaled to the other.

    block: from the VAE or the model, if known. Otherwise it is found from the sizes: the power of 2 that gives this
    grid; twice as much, or half, would give another one. Where a block is no power of 2 (Stable Cascade), or a mask has
    another resolution, nothing is cropped.
    """
    lowest = max(side // (cells + 1) + 1 for side, cells in zip(size, grid, strict=True))
    highest = min(side // cells for side, cells in zip(size, grid, strict=True))
    power = 1 << max(highest.bit_length() - 1, 0)  # the largest one
    side = block if block is not None and lowest <= block <= highest else power
    if not lowest <= side <= highest or side & (side - 1):
        return None
    return Crop(side, size[0] % side // 2, size[1] % side // 2)


def fits_grid(size: tuple[int, int], grid: tuple[int, int]) -> bool:
    """Whether a picture of `size` (H, W), or of another resolution of it, becomes the latent `grid` (h, w)."""
    # Each axis allows a range of block sides; half a pixel for the rounding of a resized mask.
    lowest = max((side - 0.5) / (cells + 1) for side, cells in zip(size, grid, strict=True))
    highest = min((side + 0.5) / cells for side, cells in zip(size, grid, strict=True))
    return lowest < highest


def block_of(model: Any) -> int:
    """Pixels per cell of the latents that a MODEL works on."""
    return int(model.get_model_object("latent_format").spacial_downscale_ratio)


def block_of_vae(vae: Any) -> int:
    """Pixels per cell of the latents that a VAE makes of a picture."""
    return int(vae.spacial_compression_encode())


def check_grid(size: tuple[int, int], grid: tuple[int, int], name: str, block: int | None = None) -> None:
    """Raises ValueError where a mask or sketch of `size` has other proportions than the latent's picture."""
    if fits_grid(size, grid):
        return
    pixels = f", {grid[1] * block} x {grid[0] * block} pixels," if block else ""
    raise ValueError(
        f"The {name} is {size[1]} x {size[0]}, but the latent is {grid[1]} x {grid[0]}{pixels} of other proportions: "
        f"make, crop or resize the {name} to match the picture."
    )


def check_proportions(
    width: int, height: int, target_width: int, target_height: int, name: str, target: str, advice: str = ""
) -> None:
    """Refuse a size whose proportions differ by more than rounding the target to blocks of some pixels can explain.

    advice: what else may help, appended after a semicolon.
    """
    stretch = (width / height) / (target_width / target_height)
    slack = 1 + _ROUNDING / min(target_width, target_height)
    if not 1 / slack <= stretch <= slack:
        raise ValueError(
            f"The {name} is {width} x {height}, but {target} is {target_width} x {target_height}, of other "
            f"proportions: make, crop or resize the {name} to match{'; ' if advice else ''}{advice}."
        )


def check_count(count: int, shape: Sequence[int], name: str = "mask") -> None:
    """Raises ValueError unless there is one mask for all of a latent's pictures, or one for each (frame of a video)."""
    if is_still(shape):
        if count not in (1, shape[0]):
            raise ValueError(
                f"The {name} is a batch of {count}, but there are {shape[0]} pictures: give one mask for all, or one "
                "for each."
            )
    elif len(shape) == 5 and 1 < count < shape[2]:
        raise ValueError(
            f"The {name} is a batch of {count}, but the latent is a video of {shape[2]} frames: give one mask for all, "
            "or one for each frame."
        )


def on_grid(
    mask: Any,
    shape: Sequence[int],
    block: int | None = None,
    ratio: int | None = None,
    name: str = "mask",
    reduction: Reduction = "max",
) -> Tensor:
    """A MASK on the grid of a latent of `shape` [B, C, (T,) h, w]: [1 or B, 1, h, w], or [1 or B, 1, T, h, w].

    block, ratio: pixels per cell and frames per latent frame of the VAE or model, if known. Core takes the result as a
    noise_mask without changing it.
    Raises ValueError for anything but a mask, for other proportions, and for a wrong number of masks.
    """
    given = read_mask(mask, name)
    check_count(given.shape[0], shape, name)
    if is_uniform(given):
        cells = given[:, :1, :1].expand(-1, *(shape[-2:] if len(shape) > 3 else (1, 1)))
    elif len(shape) < 4:
        raise ValueError(
            f"The {name} has height and width, but the latent has neither ({list(shape)}): remove the {name}, or use "
            "one latent of a picture or video."
        )
    else:
        cells = reduced(given, (shape[-2], shape[-1]), reduction, block, name)
        if bool(((given.amax((1, 2)) > 0) & (cells.amax((1, 2)) == 0)).any()):
            log.warning("The %s lies in the rim that the VAE crops, or vanishes: no latent cell is edited.", name)
    if len(shape) < 4:
        return cells.contiguous()  # [B, 1, 1], for sound
    if len(shape) == 4:
        return cells.unsqueeze(1).contiguous()
    if is_still(shape):
        return cells[:, None, None].contiguous()
    frames = over_time(cells, shape[2], reduction, ratio)
    if float(cells.amax()) > float(frames.amax()) == 0.0 or not frames_fit(len(cells), shape[2], ratio):
        log.warning("%s", frames_note(len(cells), shape[2], ratio, name))
    return frames[None, None].contiguous()


def on_grid_of(model: Any, mask: Any, shape: Sequence[int]) -> Tensor:
    """`on_grid` for a latent of the MODEL."""
    return on_grid(mask, shape, block_of(model), ratio_of(model))


def edit_region(mask: Any, model: Any, latent: Any, device: torch.device) -> Tensor | None:
    """A MASK as [B, C, ...] like a latent of the MODEL, on the device; None where everything is edited.

    Of a nested latent it is packed, and edits all of the sound. Raises ValueError as `on_grid` does.
    """
    if mask is None:
        return None
    video = nested.video(latent)
    grid = on_grid_of(model, mask, video.shape)
    if bool((grid == 1).all()):
        return None
    region = grid.expand(video.shape)
    return (nested.edit_mask(region, latent) if latent.is_nested else region).to(device)


def reduced(
    mask: Tensor, grid: tuple[int, int], reduction: Reduction, block: int | None = None, name: str = "mask"
) -> Tensor:
    """[B, H, W] to the latent grid, [B, h, w], as the VAE maps pixels; "bilinear" as core does, over all of it."""
    size = (mask.shape[-2], mask.shape[-1])
    check_grid(size, grid, name, block)
    crop = None if reduction == "bilinear" else find_crop(size, grid, block)
    return reduce_mask(mask if crop is None else crop.of(mask, grid), grid, reduction)


def reduce_mask(mask: Tensor, grid: tuple[int, int], reduction: Reduction) -> Tensor:
    """[B, H, W] to [B, h, w]: masked share of a cell, largest value in it, or the bilinear samples that core takes."""
    mask = mask.unsqueeze(1)
    if reduction == "area":
        cells = F.adaptive_avg_pool2d(mask, grid)
    elif reduction == "max":
        cells = F.adaptive_max_pool2d(mask, grid)
    elif reduction == "bilinear":
        cells = F.interpolate(mask, size=grid, mode="bilinear")
    else:
        raise ValueError(f"There is no reduction {quoted(reduction)}: choose one of {', '.join(REDUCTIONS)}.")
    return cells.squeeze(1)


def over_time(frames: Tensor, count: int, reduction: Reduction = "max", ratio: int | None = None) -> Tensor:
    """Masks for the frames of a video [N, h, w] as those of its latent frames [T, h, w].

    A single mask applies to all frames. "bilinear" is core's reduction, which interpolates over time.
    """
    if len(frames) in (1, count):
        return frames.expand(count, -1, -1)
    if reduction == "bilinear":
        size = (count, *frames.shape[1:])
        return F.interpolate(frames[None, None], size=size, mode="trilinear")[0, 0]
    places = latent_frames(len(frames), count, ratio)
    groups = [frames[places == place] for place in range(count)]
    return torch.stack([group.amax(0) if reduction == "max" else group.mean(0) for group in groups])


def as_mask(grid: Tensor) -> Tensor:
    """A mask of `on_grid` as MASK: [B, h, w], or [T, h, w] of a video, [1, h, w] where its frames have the same one.

    Several videos share one, since a MASK has no room for their frames.
    """
    if grid.ndim == 4:
        return grid[:, 0]
    if grid.shape[2] == 1:
        return grid[:, 0, 0]
    frames = grid.amax((0, 1))
    return frames[:1] if bool((frames == frames[:1]).all()) else frames


def on_picture(mask: Any, height: int, width: int, target: str, name: str = "mask") -> Tensor:
    """A MASK at the size of the picture it belongs to, [B, H, W]; raises ValueError where the proportions differ.

    A mask on the latent grid of this picture is put where the VAE took it from. Other masks are reduced by area, so
    that no stroke vanishes, or enlarged by repeating pixels.
    """
    given = read_mask(mask, name)
    size = (given.shape[-2], given.shape[-1])
    if size == (height, width):
        return given
    if is_uniform(given):
        return given[:, :1, :1].expand(-1, height, width)
    crop = find_crop((height, width), size)
    if crop is not None and crop.block > 1:
        cells = given.repeat_interleave(crop.block, 1).repeat_interleave(crop.block, 2)
        return crop.back(cells, (height, width), "replicate")
    check_proportions(size[1], size[0], width, height, name, target)
    mode = "area" if size[0] >= height and size[1] >= width else "nearest-exact"
    return F.interpolate(given.unsqueeze(1), size=(height, width), mode=mode).squeeze(1)


def cropped_by_a_vae(size: tuple[int, int], picture: tuple[int, int]) -> bool:
    """Whether (h, w) is what a VAE keeps of a picture (H, W) that does not divide into its blocks."""
    return any(size == (picture[0] // block * block, picture[1] // block * block) for block in BLOCKS)


def check_noise_mask(mask: Any, samples: Any, block: int | None = None, name: str = "mask") -> None:
    """Raises ValueError unless a LATENT's noise_mask fits its samples by the rules of this module.

    Also accepts core's form for videos, [1 or B, 1, T, H, W]. Of a nested latent, a plain mask is for the video; a
    nested one has a mask for each part.
    """
    if samples.is_nested and getattr(mask, "is_nested", False):
        given, wanted = mask.unbind(), samples.unbind()
        if len(given) != len(wanted):
            raise ValueError(
                f"The {name} has {len(given)} parts, but the latent {len(wanted)}: set a mask on the video and on the "
                "sound before you join them (Concat AV Latent)."
            )
        check_noise_mask(given[0], wanted[0], block, name)
        for sound, heard in zip(given[1:], wanted[1:], strict=True):
            check_noise_mask(sound, heard.flatten(2), name=f"sound's part of the {name}")
        return
    samples = nested.video(samples)
    if not isinstance(mask, Tensor) or mask.is_nested:
        raise ValueError(f"The {name} is {_described(mask)}: set one plain mask (Set Latent Noise Mask).")
    flat = mask.ndim in (2, 3) or (mask.ndim == 4 and mask.shape[1] == 1)
    video = mask.ndim == 5 == samples.ndim and mask.shape[1] in (1, samples.shape[1])
    if not flat and not video and samples.ndim > 3:
        raise ValueError(
            f"The {name} is {_described(mask)}, but [batch, 1, height, width] is expected: use Set Latent Noise Mask "
            "or Mask to Latent."
        )
    given = _checked(mask, name)
    if samples.ndim < 4:
        return
    if video:
        if mask.shape[0] not in (1, samples.shape[0]):
            check_count(mask.shape[0], (*samples.shape[:2], 1, *samples.shape[3:]), name)
        check_count(mask.shape[2], (1, *samples.shape[1:]), name)
    else:
        check_count(mask.shape[0] if mask.ndim > 2 else 1, samples.shape, name)
    if not is_uniform(given):
        check_grid((mask.shape[-2], mask.shape[-1]), (samples.shape[-2], samples.shape[-1]), name, block)


def noise_mask(mask: Any, samples: Any) -> Any:
    """A LATENT's noise_mask as core's samplers can take it: in floats, and one for each picture.

    For pictures of a video model, [B, C, 1, h, w], core would take a batch of masks for the frames of one video and mix
    them.
    """
    if mask.is_nested:
        return nested.each(noise_mask, mask, samples)
    samples = nested.video(samples)
    mask = mask if mask.is_floating_point() else mask.float()
    one_each = samples.ndim == 5 and is_still(samples.shape) and mask.ndim < 5
    return mask.reshape(-1, 1, 1, *mask.shape[-2:]) if one_each else mask


def losses(mask: Any, samples: Any) -> str:
    """A sentence where strokes of a LATENT's noise_mask vanish as core reduces it; else an empty string."""
    samples = nested.video(samples)
    mask = mask if mask is None else nested.video(mask)
    if mask is None or samples.ndim not in (4, 5):
        return ""
    planes, grid = mask.detach().float().cpu().reshape(-1, *mask.shape[-2:]), grid_size(samples)
    frames, video = len(planes), not is_still(samples.shape)
    if video and mask.ndim < 5 and frames not in (1, samples.shape[2]) and bool((planes != planes[:1]).any()):
        return (
            f"The {frames} frames of the mask are mixed into {samples.shape[2]} latent frames that do not hold the "
            "same ones: bring it there with Mask to Latent."
        )
    if planes.shape[-2] <= grid[0] or is_uniform(planes):
        return ""
    seen = F.interpolate(reduce_mask(planes, grid, "bilinear")[:, None], size=planes.shape[-2:], mode="nearest-exact")
    strokes, vanished = vanished_strokes(planes, seen[:, 0])
    if not vanished:
        return ""
    return f"{vanished} of {strokes} strokes of the mask vanish on the latent grid: bring it there with Mask to Latent."


def vanished_strokes(mask: Tensor, seen: Tensor) -> tuple[int, int]:
    """Number of connected strokes in [B, H, W], and of those under which `seen` stays below one half."""
    from scipy.ndimage import label, maximum

    strokes = vanished = 0
    for item, result in interruptible(zip((mask >= 0.5).numpy(), seen.numpy(), strict=True)):
        regions, count = answering(label, item, structure=np.ones((3, 3)))  # pyright: ignore[reportGeneralTypeIssues]
        strokes += count
        if count:
            vanished += int((np.atleast_1d(answering(maximum, result, regions, range(1, count + 1))) < 0.5).sum())
    return strokes, vanished


def cell_count(grid: Tensor) -> str:
    """How much of a mask on the latent grid is edited, as text for a report."""
    edited, cells = int((grid > 0).sum()), grid.numel()
    return f"{edited} of {cells} latent cells ({edited / cells:.1%})"
