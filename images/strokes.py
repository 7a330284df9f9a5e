"""Stroke simulation: turns a photo into flat strokes, as a guide for SDEdit."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..common.interrupts import answering, interruptible
from .tensors import check_image, from_uint8, split_alpha, to_uint8

PAPER_KERNEL, PAPER_SIZE, PAPER_COLORS = 23, 256, 6
# Above one and a half times this width the median is computed on a reduced picture: its cost grows with the cube of
# the size, and with the paper's brush the result differs by less than one grey level of 255 (root mean square).
_WIDEST_KERNEL = 45
_BAND = 1 << 18  # pixels filtered between two checks for an interrupt


def simulate_strokes(images: Tensor, colors: int = PAPER_COLORS, brush: float = PAPER_KERNEL) -> Tensor:
    """Simulated stroke painting (evaluation of SDEdit, Meng et al. 2022): median filter, then an adaptive palette.

    images [B, H, W, C] in 0..1, each painted with its own palette; alpha is simplified by the same median, and hidden
    colours do not bleed into visible ones. colors: 2..256. brush: width of the median filter in pixels for a picture
    whose shorter side is 256, scaled with the size and made odd; 1 or less applies only the palette.
    Returns float32 [B, H, W, 3] (4 with alpha). Deterministic.
    """
    images = check_image(images, "image")
    if not 2 <= colors <= 256:
        raise ValueError(f"A painting cannot have {colors} colours: give 2 to 256 (the paper uses 6).")
    color, alpha = split_alpha(images)
    kernel = stroke_kernel(min(images.shape[1:3]), brush)
    painted = []
    for item in interruptible(range(images.shape[0])):
        picture = to_uint8(color[item])
        cover = None if alpha is None else to_uint8(alpha[item, ..., 0])
        if cover is not None:
            picture = answering(_fill_hidden, picture, cover)
        strokes = from_uint8(answering(_palette, wide_median(picture, kernel), colors))
        if cover is not None:
            strokes = torch.cat((strokes, from_uint8(wide_median(cover[..., None], kernel))), dim=-1)
        painted.append(strokes)
    return torch.stack(painted)


def stroke_kernel(shorter_side: int, brush: float = PAPER_KERNEL) -> int:
    """Odd median width for a picture of this size: `brush` at 256 pixels, in proportion at other sizes."""
    return _odd(brush * shorter_side / PAPER_SIZE)


def _odd(width: float) -> int:
    return max(1, 2 * round((width - 1) / 2) + 1)


def wide_median(picture: np.ndarray, kernel: int) -> np.ndarray:
    """Square median filter of uint8 [H, W, C] with repeated edges; wide kernels use a reduced picture."""
    if kernel < 3:
        return picture
    factor = max(1, round(kernel / _WIDEST_KERNEL))
    height, width = picture.shape[:2]
    channels = []
    for plane in interruptible(np.moveaxis(picture, -1, 0)):
        small = Image.fromarray(np.ascontiguousarray(plane)).reduce(factor)
        filtered = Image.fromarray(_exact_median(np.array(small), _odd(kernel / factor)))
        if factor > 1:
            filtered = filtered.resize((width, height), Image.Resampling.BICUBIC)
        channels.append(np.array(filtered))
    return np.stack(channels, axis=-1)


def _exact_median(plane: np.ndarray, kernel: int) -> np.ndarray:
    from skimage.filters import rank  # slow to import, and only this function needs it

    reach = kernel // 2
    padded = np.pad(plane, reach, mode="edge")
    brush, height = np.ones((kernel, kernel), dtype=np.uint8), max(1, _BAND // plane.shape[1])
    bands = [
        rank.median(padded[top : min(top + height, plane.shape[0]) + 2 * reach], brush)[reach:-reach, reach:-reach]
        for top in interruptible(range(0, plane.shape[0], height))
    ]
    return np.concatenate(bands)


def _palette(picture: np.ndarray, colors: int) -> np.ndarray:
    """Reduce uint8 [H, W, 3] to an adaptive palette by median cut, without dithering."""
    reduced = Image.fromarray(picture).quantize(colors, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return np.array(reduced.convert("RGB"))


def _fill_hidden(picture: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Give fully transparent pixels the colour of the nearest visible one."""
    hidden = cover == 0
    if not hidden.any() or hidden.all():
        return picture
    from scipy.ndimage import distance_transform_edt

    nearest = np.asarray(distance_transform_edt(hidden, return_distances=False, return_indices=True))
    return picture[nearest[0], nearest[1]]
