"""Renders a drawing at any size: the paint, its mask, how far each stroke may be changed, and the sketch lines.

`web/js/canvas/layer.js` shows the same in the page, in straight 8-bit RGBA; here colours are premultiplied floats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..common import limits
from ..common.interrupts import check_interrupt, interruptible
from ..common.memory import check_memory
from .morphology import grow
from .strokes_coverage import Cover, brush_cover, brush_pixels, fill_cover
from .strokes_document import Drawing, Stroke
from .tensors import check_image, split_alpha

_BYTES = 100  # taken at the highest for each pixel


@dataclass(frozen=True)
class Rendering:
    """A drawing in pixels."""

    strokes: Tensor  # [1, H, W, 4], colours not premultiplied by alpha
    mask: Tensor  # [1, H, W], 1 where there is paint
    t0s: Tensor  # [1, H, W], the t0 of the uppermost stroke
    sketch: Tensor  # [1, H, W], importance of the sketch lines, 0 elsewhere


def render_drawing(drawing: Drawing, width: int, height: int) -> Rendering:
    """The whole drawing at a given size; positions scale with the picture, widths with the mean of both directions.

    Raises ValueError, before any work, for a picture or a drawing that would take too much memory or time.
    """
    scale = np.array([width / drawing.width, height / drawing.height]) if drawing.width else np.ones(2)
    _check_size(drawing, scale, width, height)
    paint = np.zeros((height, width, 4), np.float32)  # colours premultiplied by alpha
    mask, t0s, sketch = (np.zeros((height, width), np.float32) for _ in range(3))
    for stroke in interruptible(drawing.strokes):
        cover = _cover(stroke, scale, width, height)
        if cover is None:
            continue
        rows = slice(cover.y, cover.y + cover.values.shape[0])
        region = (rows, slice(cover.x, cover.x + cover.values.shape[1]))
        if stroke.layer == "sketch":
            _draw_line(sketch[region], cover.values, stroke)
        else:
            _paint(paint[region], mask[region], t0s[region], cover.values, stroke)
    check_interrupt()
    alpha = paint[..., 3:]
    color = np.divide(paint[..., :3], alpha, out=np.zeros_like(paint[..., :3]), where=alpha > 0)
    strokes = torch.from_numpy(np.concatenate([color, alpha], -1).clip(0, 1))
    tensors = (torch.from_numpy(plane)[None] for plane in (mask, t0s, sketch))
    return Rendering(strokes[None], *tensors)


def _check_size(drawing: Drawing, scale: np.ndarray, width: int, height: int) -> None:
    if width * height > limits.DRAWING_PIXELS:
        raise ValueError(
            f"The picture is {width} x {height} = {width * height / 1e6:.0f} million pixels: paint at "
            f"{limits.DRAWING_PIXELS / 1e6:.0f} million or fewer (8192 x 8192), and enlarge the result."
        )
    check_memory(_BYTES * width * height, f"A drawing of {width} x {height} pixels", "paint on a smaller picture")
    passed = 0
    for stroke in interruptible(drawing.strokes):
        reach = 1.0 if stroke.tool == "fill" else _radius(stroke, scale) + 1.0
        for path in stroke.paths:
            passed += brush_pixels(np.asarray(path, np.float64) * scale, reach, width, height)
    if passed > limits.BRUSH_PIXELS:
        raise ValueError(
            f"The strokes pass over {passed / 1e9:.0f} billion pixels in total, but at most "
            f"{limits.BRUSH_PIXELS / 1e9:.0f} are allowed: use fewer points or smaller brushes, or paint on a "
            "smaller picture."
        )


def over_background(strokes: Tensor, background: Tensor | None, paper: tuple[int, int, int]) -> Tensor:
    """Strokes [1, H, W, 4] over pictures [B, H, W, C], or over paper of one colour, as [B, H, W, 3].

    Only a picture's colours count, as in Load Image and VAE Encode: alpha is dropped, and nothing shows through.
    """
    color, alpha = strokes[..., :3], strokes[..., 3:]
    if background is None:
        return color * alpha + torch.tensor(paper, dtype=torch.float32) / 255 * (1 - alpha)
    below, _ = split_alpha(check_image(background, "background"))
    return color * alpha + below * (1 - alpha)


def edit_masks(rendering: Rendering, grow_pixels: int) -> tuple[Tensor, Tensor, float]:
    """The mask, the t0 of each pixel relative to the largest, and the largest t0; both masks grow equally."""
    mask, t0s = (grow(plane, grow_pixels).clamp(0, 1) for plane in (rendering.mask, rendering.t0s))
    largest = float(t0s.max())
    return mask, t0s / largest if largest > 0 else t0s, largest


def _cover(stroke: Stroke, scale: np.ndarray, width: int, height: int) -> Cover | None:
    paths = [np.asarray(path, np.float64) * scale for path in stroke.paths]
    if stroke.tool == "fill":
        return fill_cover(paths, width, height)
    pressure = np.asarray(stroke.pressure) if stroke.pressure else np.ones(len(paths[0]))
    return brush_cover(paths[0], _radius(stroke, scale) * pressure, stroke.hardness, width, height)


def _radius(stroke: Stroke, scale: np.ndarray) -> float:
    return stroke.size / 2 * float(np.sqrt(scale.prod()))


def _draw_line(sketch: np.ndarray, cover: np.ndarray, stroke: Stroke) -> None:
    if stroke.tool == "eraser":
        sketch *= 1 - cover * np.float32(stroke.opacity)
    else:
        np.maximum(sketch, cover * np.float32(stroke.importance), out=sketch)


def _paint(paint: np.ndarray, mask: np.ndarray, t0s: np.ndarray, cover: np.ndarray, stroke: Stroke) -> None:
    """Paints one stroke. Opacity only affects the colour: wherever there is paint, the picture may change fully."""
    alpha = cover[..., None] * np.float32(stroke.opacity)
    paint *= 1 - alpha
    if stroke.tool == "eraser":
        mask *= 1 - alpha[..., 0]
        t0s *= 1 - alpha[..., 0]
        return
    color = np.array([*stroke.color, 255], np.float32) / 255
    paint += alpha * color
    np.maximum(mask, cover, out=mask)
    t0s *= 1 - cover
    t0s += cover * np.float32(stroke.t0)
