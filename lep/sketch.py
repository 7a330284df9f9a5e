"""What a person draws as guidance needs it: lines or a map for the predictor to see, on the latent grid of the run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.drag import fill_hole
from ..images.edges import FAINT, Lines, as_picture, ink, of_width
from ..images.palette import hexadecimal, nearest
from ..images.tensors import check_image, match_batch, split_alpha
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
from .maps import EDGES, MAPS
from .predictor import MapPredictor
from .targets import binary, check_drawn, check_target, normal

log = logging.getLogger(__name__)

GREYS = ("importance", "shade")

Greys = Literal["importance", "shade"]

_CROPPED = (
    "where another node samples a crop of the picture (a detailer, crop and stitch), crop the sketch by the same node, "
    "or give that node the model without this guidance"
)
_KNOWN = 0.2  # distance in 0..1 at which a colour is still the palette's
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
        return _encoded(self, as_picture(fitted), weight, block, (height, width))


@dataclass(frozen=True)
class DrawnMap:
    """A drawn map of another kind than lines, such as depth or classes, and everything that turns it into a target.

    picture [B, H, W, 3]; opacity: how much of each pixel was drawn, [B, H, W], or None for all of it. importance:
    weight of each pixel [B, H, W], or None.
    """

    model: Any
    vae: Any
    predictor: MapPredictor
    picture: Tensor
    opacity: Tensor | None = None
    importance: Tensor | None = None

    def at(self, height: int, width: int) -> tuple[Tensor, Tensor | None]:
        """Target and weight as those of `Sketch.at`."""
        block = block_of_vae(self.vae)
        planes = [*self.picture.unbind(-1), *([] if self.opacity is None else [self.opacity])]
        red, green, blue, *drawn = (as_encoded(each, (height, width), block, "sketch", _CROPPED) for each in planes)
        maps = torch.stack([red, green, blue], dim=-1)
        return _encoded(self, maps, drawn[0] if drawn else None, block, (height, width))


def _encoded(
    drawn: Sketch | DrawnMap, maps: Tensor, own: Tensor | None, block: int, size: tuple[int, int]
) -> tuple[Tensor, Tensor | None]:
    """Target and weight of maps [B, H, W, 3]. own: the weight that is in the drawing itself [B, H, W], or None."""
    encoding = drawn.predictor.encoding
    target = encoding.encode(drawn.model, drawn.vae, maps, size)
    check_target(drawn.model, encoding, target, size, "the sketch")
    grid = _weight(own, drawn.importance, size, block)
    if grid is None:
        return normal(target).cpu(), None
    if len(target) < len(maps) == len(grid):  # a video VAE, which makes one latent of several frames
        grid = over_time(grid, len(target), "area")
    return normal(target).cpu(), normal(grid.unsqueeze(1))


def _weight(own: Tensor | None, importance: Tensor | None, size: tuple[int, int], block: int) -> Tensor | None:
    """The importance of each cell, [B, h, w]: stroke greys by their share of it, the mask by its largest value."""
    weight = None if own is None else reduce_mask(own, size, "area")
    if importance is None:
        return weight
    if is_uniform(importance):
        given = importance[:, :1, :1].expand(-1, *size)
    else:
        given = reduce_mask(as_encoded(importance, size, block, "importance mask"), size, "max")
    return given if weight is None else weight * given


def read_drawing(
    model: Any, vae: Any, predictor: MapPredictor, image: Tensor, importance: Tensor | None = None,
    lines: Lines = "auto", greys: Greys = "importance",
) -> Sketch | DrawnMap:  # fmt: skip
    """What a person drew for the predictor [B, H, W, C], and a MASK of its importance. Raises ValueError for others."""
    if predictor.map == EDGES:
        strokes = read_sketch(image, lines)
        weight = None if importance is None else read_importance(importance, strokes)
        return Sketch(model, vae, predictor, strokes, weight, greys)
    picture, opacity = read_map(image, predictor, lines)
    weight = None if importance is None else read_importance(importance, picture)
    return DrawnMap(model, vae, predictor, picture, opacity, weight)


def ignored(drawn: Sketch | DrawnMap) -> str:
    """Why nothing of a drawing can be followed, as the subject and verb of a sentence; "" where something can."""
    if drawn.importance is not None and not bool(drawn.importance.any()):
        return "the importance mask is 0 everywhere"
    if isinstance(drawn, DrawnMap) and drawn.opacity is not None and not bool(drawn.opacity.any()):
        return "the sketch is transparent everywhere"
    return ""


def read_map(image: Tensor, predictor: MapPredictor, lines: Lines = "auto") -> tuple[Tensor, Tensor | None]:
    """A drawn map [B, H, W, C] of the predictor's kind as [B, H, W, 3], and how much of each pixel was drawn.

    The latter is the picture's alpha [B, H, W], None without one; what is hidden takes the nearest colour that is not,
    so that it does not bleed into cells at the border. lines: "dark on light" exchanges light and dark of grey maps.
    Where most of a map of classes is in colours that are not in the palette, a warning says so.
    """
    colour, alpha = split_alpha(check_image(image, "sketch"))
    if MAPS[predictor.map].grey and lines == "dark on light":
        colour = 1.0 - colour
    if palette := predictor.palette:
        known = (nearest(colour, palette)[1] < _KNOWN).float()
        drawn = torch.ones_like(known) if alpha is None else alpha[..., 0]
        share = float((known * drawn).sum() / drawn.sum().clamp_min(1e-6))
        if share < 0.5 and bool(drawn.any()):
            known_ones = ", ".join(map(hexadecimal, palette))
            log.warning(
                "Sketch Guidance: %.0f %% of the sketch has other colours than the predictor's classes (%s), so each "
                "pixel counts as the class of the nearest one.", 100 * (1 - share), known_ones,
            )  # fmt: skip
    if alpha is None:
        return colour, None
    opacity = alpha[..., 0]
    return torch.stack([fill_hole(*each, "nearest") for each in zip(colour, opacity == 0, strict=True)]), opacity


def read_sketch(image: Tensor, lines: Lines = "auto", name: str = "sketch") -> Tensor:
    """A drawing [B, H, W, C] as light strokes on dark [B, H, W], greys kept. Raises ValueError for an empty one."""
    strokes = torch.from_numpy(ink(image, lines, name)).float()
    check_drawn(strokes, name)
    return strokes


def read_importance(mask: Tensor, strokes: Tensor) -> Tensor:
    """A weight MASK [B, H, W] in 0..1 of the proportions of a sketch [B, H, W, ...].

    It may have any size where it is the same everywhere. Raises ValueError for other masks.
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
