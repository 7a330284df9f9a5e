"""The drawing surface of the plots: smooth lines, dots and boxes, and their colours."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from PIL import Image, ImageDraw

from .typography import PAPER

Color = tuple[int, int, int]
PALETTE: tuple[Color, ...] = (
    (47, 103, 177),  # blue
    (214, 106, 43),  # orange
    (46, 139, 99),  # green
    (134, 88, 171),  # violet
    (193, 63, 79),  # red
    (36, 146, 160),  # teal
    (150, 120, 60),  # ochre
    (110, 116, 124),  # grey
)
_SUPERSAMPLING = 4


class Canvas:
    """Shapes drawn large and reduced, so that edges are smooth; text is set afterwards at its final size."""

    def __init__(self, size: tuple[int, int], scale: float) -> None:
        self.factor, self.size, self.scale = _SUPERSAMPLING, size, scale
        self.picture = Image.new("RGB", (size[0] * self.factor, size[1] * self.factor), PAPER)
        self.draw = ImageDraw.Draw(self.picture)

    def line(self, points: Sequence[tuple[float, float]], color: Color, width: float, dashed: bool = False) -> None:
        pieces = dashes(points, 10 * self.scale, 7 * self.scale) if dashed else [list(points)]
        thick = max(self.factor, round(width * self.scale * self.factor))
        for piece in pieces:
            large = [(x * self.factor, y * self.factor) for x, y in piece]
            self.draw.line(large, fill=color, width=thick, joint="curve")
            if thick > 2 * self.factor:  # round caps, which Pillow's lines lack
                for x, y in (large[0], large[-1]):
                    self.draw.circle((x, y), thick / 2, fill=color)

    def dot(self, point: tuple[float, float], color: Color, radius: float) -> None:
        x, y = (v * self.factor for v in point)
        radius *= self.scale * self.factor
        self.draw.circle((x, y), radius * 1.4, fill=PAPER)
        self.draw.circle((x, y), radius, fill=color)

    def box(self, box: tuple[float, float, float, float], color: Color) -> None:
        self.draw.rectangle([v * self.factor for v in box], fill=color)

    def finish(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        picture = self.picture.reduce(self.factor)
        return picture, ImageDraw.Draw(picture)


def tint(color: Color, strength: float) -> Color:
    r, g, b = (round(p + (c - p) * strength) for c, p in zip(color, PAPER, strict=True))
    return r, g, b


def dashes(points: Sequence[tuple[float, float]], on: float, off: float) -> list[list[tuple[float, float]]]:
    """Cut a polyline into dashes of equal length along the curve."""
    pieces: list[list[tuple[float, float]]] = []
    travelled = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        length = math.hypot(x1 - x0, y1 - y0)
        position = 0.0
        while position < length:
            phase = travelled % (on + off)
            step = min(length - position, on - phase if phase < on else on + off - phase)
            step = max(step, 1e-6)
            if phase < on:
                a, b = position / length, (position + step) / length
                pieces.append([(x0 + (x1 - x0) * f, y0 + (y1 - y0) * f) for f in (a, b)])
            position, travelled = position + step, travelled + step
    return pieces
