"""A sketch as guidance needs it: lines for the predictor to see, on the latent grid of the run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.edges import FAINT, Lines, as_picture, ink, of_width
from ..images.tensors import match_batch
from ..samplers.masks import (
    block_of_vae,
    check_proportions,
    find_crop,
    fits_grid,
    is_uniform,
    over_time,
    read_mask,
    reduce_mask,
)
from .predictor import MapPredictor
from .targets import binary, check_drawn, check_target, edge_target, normal

log = logging.getLogger(__name__)

GREYS = ("importance", "shade")

Greys = Literal["importance", "shade"]

_CROPPED = (
    "where another node samples a crop of the picture (a detailer, crop and stitch), crop the sketch by the same node, "
    "or give that node the model without this guidance"
)
_NEIGHBOURHOOD = 0.02  # of the shorter side: how far a stroke's own grey reaches


@dataclass(frozen=True)
class Sketch:
    """A drawing and everything that turns it into a target.

    strokes: light lines on dark [B, H, W]. importance: weight of each pixel [B, H, W], or None. greys: "importance"
    draws every stroke in full and at the predictor's line width, and follows grey ones less; "shade" takes the drawing
    as it is, so that a grey stroke asks for an edge of that grey.
    """

    model: Any
    vae: Any
    predictor: MapPredictor
    strokes: Tensor
    importance: Tensor | None = None
    greys: Greys = "importance"

    def at(self, height: int, width: int) -> tuple[Tensor, Tensor | None]:
        """Target [B, C, h, w] and weight [B, 1, h, w] for a latent of this size, as normal CPU tensors.

        Raises ValueError where the latent has other proportions than the sketch.
        """
        block = block_of_vae(self.vae)
        drawing = as_encoded(self.strokes, (height, width), block, "sketch", _CROPPED)
        own, picture = (drawing.shape[2], drawing.shape[1]), (width * block, height * block)
        if own != picture:
            # A run does not know which part of a picture it works on: a crop is guided by the whole sketch.
            log.info("The whole sketch of %d x %d guides a picture of %d x %d.", *own, *picture)
        strokes, weight = (by_importance if self.greys == "importance" else as_shades)(drawing)
        fitted = fit_lines(strokes, height * block, width * block)
        if self.greys == "importance":
            fitted = of_width(fitted, self.predictor.line_width)
        if self.predictor.binarise:
            fitted = binary(fitted)
        target = edge_target(self.model, self.vae, as_picture(fitted), self.predictor.target, (height, width))
        check_target(self.model, self.predictor.target, target, (height, width), "the sketch")
        grid = self._weight(weight, (height, width), block)
        if grid is None:
            return normal(target).cpu(), None
        if len(target) < len(self.strokes) == len(grid):  # a video VAE, which makes one latent of several frames
            grid = over_time(grid, len(target), "area")
        return normal(target).cpu(), normal(grid.unsqueeze(1))

    def _weight(self, greys: Tensor | None, size: tuple[int, int], block: int) -> Tensor | None:
        """The importance of each cell, [B, h, w]: stroke greys by their share of it, the mask by its largest value."""
        weight = None if greys is None else reduce_mask(greys, size, "area")
        if self.importance is None:
            return weight
        if is_uniform(self.importance):
            given = self.importance[:, :1, :1].expand(-1, *size)
        else:
            given = reduce_mask(as_encoded(self.importance, size, block, "importance mask"), size, "max")
        return given if weight is None else weight * given


def read_sketch(image: Tensor, lines: Lines = "auto", name: str = "sketch") -> Tensor:
    """A drawing [B, H, W, C] as light strokes on dark [B, H, W], greys kept. Raises ValueError for an empty one."""
    strokes = torch.from_numpy(ink(image, lines, name)).float()
    check_drawn(strokes, name)
    return strokes


def read_importance(mask: Tensor, strokes: Tensor) -> Tensor:
    """A weight MASK [B, H, W] in 0..1 of the sketch's proportions, of any size where it is the same everywhere.

    Raises ValueError for other masks.
    """
    weight = read_mask(mask, "importance mask")
    if weight.shape[0] > 1 and strokes.shape[0] > 1:
        match_batch(weight, strokes.shape[0], "importance mask", "the sketch")
    if not is_uniform(weight):
        check_proportions(
            weight.shape[2], weight.shape[1], strokes.shape[2], strokes.shape[1], "importance mask", "the sketch"
        )
    return weight


def as_encoded(plane: Tensor, grid: tuple[int, int], block: int, name: str, advice: str = "") -> Tensor:
    """The part of a drawing [B, H, W] that the VAE would encode to the latent grid (h, w), at the drawing's own size.

    Raises ValueError if the latent has other proportions; advice: what else may help.
    """
    size = (plane.shape[1], plane.shape[2])
    if not fits_grid(size, grid):
        check_proportions(size[1], size[0], grid[1] * block, grid[0] * block, name, "the picture", advice)
    crop = find_crop(size, grid, block)
    return plane if crop is None else crop.of(plane, grid)


def by_importance(strokes: Tensor) -> tuple[Tensor, Tensor]:
    """Strokes drawn in full, and the weight from each one's grey in its neighbourhood; the background weighs 1."""
    from scipy.ndimage import maximum_filter

    reach = 2 * max(1, round(_NEIGHBOURHOOD * min(strokes.shape[1:]))) + 1
    darkest = torch.from_numpy(
        np.stack([maximum_filter(drawing, reach, mode="constant") for drawing in strokes.numpy()])
    )
    drawn = darkest > FAINT
    full = torch.where(drawn, strokes / darkest.clamp_min(FAINT), torch.zeros_like(strokes))
    return full, torch.where(drawn, darkest, torch.ones_like(darkest))


def as_shades(strokes: Tensor) -> tuple[Tensor, None]:
    """Strokes as they are, all with the same weight."""
    return strokes, None


def fit_lines(lines: Tensor, height: int, width: int) -> Tensor:
    """Lines [B, H, W] at another size; thin ones survive a reduction."""
    if tuple(lines.shape[1:]) == (height, width):
        return lines
    picture = lines.unsqueeze(1)
    if height < lines.shape[1]:
        return F.adaptive_max_pool2d(picture, (height, width)).squeeze(1)
    return F.interpolate(picture, size=(height, width), mode="bilinear", align_corners=False).squeeze(1)
