"""Renders a drawing at any size: the paint, its mask, how far each stroke may be changed, and the sketch lines.

`web/js/canvas/layer.js` shows the same in the page, in straight 8-bit RGBA; here colours are premultiplied floats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..common import limits
from ..common.interrupts import check_interrupt, interruptible
from ..common.memory import check_memory
from .morphology import grow
from .strokes_blur import soften
from .strokes_coverage import Cover, brush_cover, brush_pixels, fill_cover
from .strokes_document import EFFECTS, Drawing, Gradient, Layer, Placed, Stroke
from .strokes_grain import grained
from .strokes_pictures import Opener, placed_pixels
from .strokes_smudge import Tip, needed, smear
from .tensors import check_image, split_alpha

_BYTES = 120  # taken at the highest for each pixel, by a wide blur
_BYTES_OF_LAYERS = 150  # the same of several layers
_EFFECT = 10  # times as long as a brush takes for each pixel, at most
_BAND = 1 << 22  # pixels of a layer processed between two checks for an interrupt


@dataclass(frozen=True)
class Rendering:
    """A drawing in pixels."""

    strokes: Tensor  # [1, H, W, 4], colours not premultiplied by alpha
    mask: Tensor  # [1, H, W], 1 where there is paint
    t0s: Tensor  # [1, H, W], the t0 of the uppermost stroke
    sketch: Tensor  # [1, H, W], importance of the sketch lines, 0 elsewhere


def render_drawing(drawing: Drawing, width: int, height: int, opened: Opener = lambda _: None) -> Rendering:
    """The whole drawing at a given size; positions scale with the picture, widths with the mean of both directions.

    Hidden layers leave no trace, and neither do those whose picture is not `opened`. Raises ValueError, before any
    work, for a picture or a drawing that would take too much memory or time.
    """
    scale = np.array([width / drawing.width, height / drawing.height]) if drawing.width else np.ones(2)
    layers = _shown(drawing)
    _check_size(layers, scale, width, height)
    sum_of_paint, sketch = None, np.zeros((height, width), np.float32)
    for layer, strokes in layers:
        if layer.picture is not None:
            paint = _paint_picture(layer, layer.picture, opened(layer), scale, width, height)
            sum_of_paint = paint if sum_of_paint is None else _over(sum_of_paint, paint)
        elif layer.kind == "sketch":
            np.maximum(sketch, _lines(layer, strokes, scale, width, height), out=sketch)
        else:
            paint = _paint_layer(layer, strokes, scale, width, height)
            sum_of_paint = paint if sum_of_paint is None else _over(sum_of_paint, paint)
    paint = sum_of_paint or _Paint.blank(width, height)
    check_interrupt()
    alpha = paint.pixels[..., 3:]
    color = np.divide(paint.pixels[..., :3], alpha, out=np.zeros_like(paint.pixels[..., :3]), where=alpha > 0)
    strokes = torch.from_numpy(np.concatenate([color, alpha], -1).clip(0, 1))
    tensors = (torch.from_numpy(plane)[None] for plane in (paint.mask, paint.t0s, sketch))
    return Rendering(strokes[None], *tensors)


@dataclass(frozen=True)
class _Paint:
    """A layer of paint in pixels, or several; changed in place while it is painted."""

    pixels: np.ndarray  # [H, W, 4], colours premultiplied by alpha
    mask: np.ndarray  # [H, W]
    t0s: np.ndarray  # [H, W], multiplied by `covered`
    covered: np.ndarray  # [H, W], how much of the t0 of what lies below is replaced

    @classmethod
    def blank(cls, width: int, height: int) -> _Paint:
        return cls(np.zeros((height, width, 4), np.float32), *np.zeros((3, height, width), np.float32))

    @property
    def planes(self) -> tuple[np.ndarray, ...]:
        return self.pixels, self.mask, self.t0s, self.covered

    def part(self, cover: Cover) -> _Paint:
        height, width = cover.values.shape[:2]
        region = slice(cover.y, cover.y + height), slice(cover.x, cover.x + width)
        return _Paint(self.pixels[region], self.mask[region], self.t0s[region], self.covered[region])


def _shown(drawing: Drawing) -> list[tuple[Layer, list[Stroke]]]:
    """The visible layers that are not empty, the lowest first, and the strokes of each."""
    strokes: dict[str, list[Stroke]] = {layer.id: [] for layer in drawing.layers}
    for stroke in drawing.strokes:
        strokes[stroke.layer].append(stroke)
    shown = [layer for layer in drawing.layers if not layer.hidden and (layer.picture or strokes[layer.id])]
    return [(layer, strokes[layer.id]) for layer in shown]


def _paint_layer(layer: Layer, strokes: list[Stroke], scale: np.ndarray, width: int, height: int) -> _Paint:
    result = _Paint.blank(width, height)
    for stroke in interruptible(strokes):
        if (cover := _cover(stroke, scale, width, height)) is None:
            continue
        if stroke.tool == "blur":
            soften(result.planes, cover, _alpha(cover, stroke, scale), _diameter(stroke, scale, width, height))
        elif stroke.tool == "smudge":
            smear(result.planes, cover, _alpha(cover, stroke, scale), _tip(stroke, scale, width, height))
        else:
            _paint(result.part(cover), cover, stroke, scale)
    if layer.opacity < 1:
        np.multiply(result.pixels, np.float32(layer.opacity), out=result.pixels)
    return result


def _paint_picture(
    layer: Layer, placed: Placed, image: Image.Image | None, scale: np.ndarray, width: int, height: int
) -> _Paint:
    """A picture is one stroke: wherever it is seen, the picture below may change by its t0."""
    result = _Paint.blank(width, height)
    cover = placed_pixels(image, placed, scale, width, height) if image is not None else None
    if cover is None:
        return result
    part, alpha = result.part(cover), cover.values[..., 3]
    np.multiply(cover.values, np.float32(layer.opacity), out=part.pixels)
    part.mask[:] = part.covered[:] = alpha
    np.multiply(alpha, np.float32(layer.t0), out=part.t0s)
    return result


def _lines(layer: Layer, strokes: list[Stroke], scale: np.ndarray, width: int, height: int) -> np.ndarray:
    sketch = np.zeros((height, width), np.float32)
    for stroke in interruptible(strokes):
        if (cover := _cover(stroke, scale, width, height)) is not None:
            rows = slice(cover.y, cover.y + cover.values.shape[0])
            _draw_line(sketch[rows, cover.x : cover.x + cover.values.shape[1]], cover.values, stroke)
    return sketch * np.float32(layer.opacity) if layer.opacity < 1 else sketch


def _over(below: _Paint, above: _Paint) -> _Paint:
    """One layer over another, in place of the lower one, in bands that an interrupt can end."""
    height, width = below.mask.shape
    band = max(1, _BAND // width)
    for top in interruptible(range(0, height, band)):
        rows = slice(top, top + band)
        below.pixels[rows] *= 1 - above.pixels[rows, :, 3:]
        below.pixels[rows] += above.pixels[rows]
        np.maximum(below.mask[rows], above.mask[rows], out=below.mask[rows])
        for plane in (below.t0s, below.covered):
            plane[rows] *= 1 - above.covered[rows]
        below.t0s[rows] += above.t0s[rows]
        below.covered[rows] += above.covered[rows]
    return below


def _check_size(layers: list[tuple[Layer, list[Stroke]]], scale: np.ndarray, width: int, height: int) -> None:
    if width * height > limits.DRAWING_PIXELS:
        raise ValueError(
            f"The picture is {width} x {height} = {width * height / 1e6:.0f} million pixels: paint at "
            f"{limits.DRAWING_PIXELS / 1e6:.0f} million or fewer (8192 x 8192), and enlarge the result."
        )
    bytes_needed = (_BYTES if len(layers) <= 1 else _BYTES_OF_LAYERS) * width * height
    check_memory(bytes_needed, f"A drawing of {width} x {height} pixels", "paint on a smaller picture")
    passed = beyond = 0
    for stroke in interruptible([stroke for _, strokes in layers for stroke in strokes]):
        reach = 1.0 if stroke.tool == "fill" else _diameter(stroke, scale, width, height) / 2 + 1.0
        for path in stroke.paths:
            passed += brush_pixels(np.asarray(path, np.float64) * scale, reach, width, height)
        if stroke.tool == "smudge":
            pixels, more = needed(_tip(stroke, scale, width, height), width, height)
            passed, beyond = passed + _EFFECT * pixels, max(beyond, more)
        elif stroke.tool == "blur":
            ends = np.asarray(stroke.paths[0], np.float64) * scale
            passed += _EFFECT * brush_pixels(np.array([ends.min(0), ends.max(0)]), 2 * reach, width, height)
    if passed > limits.BRUSH_PIXELS:
        raise ValueError(
            f"The strokes pass over {passed / 1e9:.0f} billion pixels in total, but at most "
            f"{limits.BRUSH_PIXELS / 1e9:.0f} are allowed: use fewer points or smaller brushes, or paint on a "
            "smaller picture."
        )
    if beyond:
        check_memory(bytes_needed + beyond, "Smudging with so wide a brush", "use a smaller brush or a smaller picture")


def over_background(strokes: Tensor, background: Tensor | None, paper: tuple[int, int, int]) -> Tensor:
    """Strokes [1, H, W, 4] over pictures [B, H, W, C], or over paper of one colour, as [B, H, W, 3].

    Only a picture's colours count, as in Load Image and VAE Encode: alpha is dropped, and nothing shows through.
    """
    color, alpha = strokes[..., :3], strokes[..., 3:]
    if background is None:
        return color * alpha + torch.tensor(paper, dtype=torch.float32) / 255 * (1 - alpha)
    below, _ = split_alpha(check_image(background, "background"))
    return color * alpha + below * (1 - alpha)


def edit_masks(rendering: Rendering, grow_pixels: int, on_paper: bool = False) -> tuple[Tensor, Tensor, float]:
    """The mask, the t0 of each pixel relative to the largest, and the largest t0; both masks grow equally.

    on_paper: there is no background, and nothing of the bare paper is to be kept: its t0 is the largest.
    """
    mask, t0s = (grow(plane, grow_pixels).clamp(0, 1) for plane in (rendering.mask, rendering.t0s))
    largest = float(t0s.max())
    strength = t0s / largest if largest > 0 else t0s
    return mask, (strength + 1.0 - mask).clamp(0, 1) if on_paper and largest > 0 else strength, largest


def _cover(stroke: Stroke, scale: np.ndarray, width: int, height: int) -> Cover | None:
    if stroke.tool == "fill":
        return fill_cover([np.asarray(path, np.float64) * scale for path in stroke.paths], width, height)
    path, radii, _, hardness = _tip(stroke, scale, width, height)
    return brush_cover(path, radii, hardness, width, height)


def _tip(stroke: Stroke, scale: np.ndarray, width: int, height: int) -> Tip:
    path, diameter = np.asarray(stroke.paths[0], np.float64) * scale, _diameter(stroke, scale, width, height)
    pressure = np.asarray(stroke.pressure) if stroke.pressure else np.ones(len(path))
    return Tip(path, diameter / 2 * pressure, diameter, stroke.hardness)


def _diameter(stroke: Stroke, scale: np.ndarray, width: int, height: int) -> float:
    """Of a stroke's brush in pixels. Blur and smudge, which take memory for all that they could reach, are at most as
    wide as the longer side of the picture, as in web/js/canvas/covers.js.
    """
    diameter = stroke.size * float(np.sqrt(scale.prod()))
    return min(diameter, float(max(width, height))) if stroke.tool in EFFECTS else diameter


def _draw_line(sketch: np.ndarray, cover: np.ndarray, stroke: Stroke) -> None:
    if stroke.tool == "eraser":
        sketch *= 1 - cover * np.float32(stroke.opacity)
    else:
        np.maximum(sketch, cover * np.float32(stroke.importance), out=sketch)


def _paint(below: _Paint, covered: Cover, stroke: Stroke, scale: np.ndarray) -> None:
    """Paints one stroke. Opacity and grain only thin the colour: where there is paint, the picture may change fully."""
    cover = covered.values
    alpha = _alpha(covered, stroke, scale)[..., None]
    np.multiply(below.pixels, 1 - alpha, out=below.pixels)
    if stroke.tool == "eraser":
        for plane in (below.mask, below.t0s, below.covered):
            plane *= 1 - alpha[..., 0]
        return
    color = _opaque(stroke.color)
    if stroke.gradient is not None:
        color = color + _along(covered, stroke.gradient, scale) * (_opaque(stroke.gradient.color) - color)
    np.add(below.pixels, alpha * color, out=below.pixels)
    np.maximum(below.mask, cover, out=below.mask)
    for plane, value in ((below.t0s, stroke.t0), (below.covered, 1.0)):
        plane *= 1 - cover
        plane += cover * np.float32(value)


def _alpha(cover: Cover, stroke: Stroke, scale: np.ndarray) -> np.ndarray:
    """How much a stroke does where it covers the picture, [h, w]."""
    seen = cover.values if stroke.tool == "fill" else grained(cover, stroke.size, stroke.grain, scale)
    return seen * np.float32(stroke.opacity)


def _opaque(color: tuple[int, int, int]) -> np.ndarray:
    return np.array([*color, 255], np.float32) / 255


_LEAST_WAY = 1e-3
"""Pixels between the two places of a gradient; with less it is filled with its first colour. As in blend.js."""


def _along(cover: Cover, gradient: Gradient, scale: np.ndarray) -> np.ndarray:
    """How far along a gradient the pixels of a cover lie, 0..1: [h, w, 1]."""
    height, width = cover.values.shape
    begin, end = np.asarray(gradient.begin) * scale, np.asarray(gradient.end) * scale
    way = end - begin
    length = float(way @ way)
    if length < _LEAST_WAY**2:
        return np.zeros((height, width, 1), np.float32)
    x = (np.arange(width, dtype=np.float32) + np.float32(cover.x + 0.5 - begin[0])) * np.float32(way[0] / length)
    y = (np.arange(height, dtype=np.float32) + np.float32(cover.y + 0.5 - begin[1])) * np.float32(way[1] / length)
    return np.clip(x + y[:, None], 0, 1)[..., None]
