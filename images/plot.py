"""Line plots and scatters drawn with Pillow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw
from torch import Tensor

from .plot_axes import linear_axis
from .plot_canvas import PALETTE, Canvas, Color, tint
from .tensors import from_pil
from .typography import INK, MUTED, PAPER, RULE, draw_text, line_height, text_width


@dataclass(frozen=True)
class Series:
    """One curve or cloud of points; `x` and `y` of equal length, NaN in `y` breaks the line.

    style: "line", "points", "both", or "steps" (the value holds until the next x, as a schedule does).
    errors / x_errors: half-lengths of error bars. labels: a word beside each point. axis: "left" or "right".
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: Literal["line", "points", "both", "steps"] = "both"
    errors: Sequence[float] | None = None
    x_errors: Sequence[float] | None = None
    labels: Sequence[str] | None = None
    axis: Literal["left", "right"] = "left"
    color: Color | None = None
    dashed: bool = False

    def __post_init__(self) -> None:
        for field in ("y", "errors", "x_errors", "labels"):
            values = getattr(self, field)
            if values is not None and len(values) != len(self.x):
                raise ValueError(
                    f"The series {self.name!r} has {len(values)} {field} for {len(self.x)} x values: give one for each."
                )


@dataclass(frozen=True)
class Window:
    """A shaded stretch of the x axis from `start` to `end`, with a word at its top."""

    start: float
    end: float
    label: str = ""
    color: Color = PALETTE[0]


def line_plot(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    title: str = "",
    right_label: str = "",
    windows: Sequence[Window] = (),
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    right_range: tuple[float, float] | None = None,
    flip_x: bool = False,
    size: tuple[int, int] = (1120, 700),
) -> Tensor:
    """Draw series over one x axis and up to two y axes.

    Ranges fit the data (error bars included) unless given; flip_x puts large x on the left, as noise levels run.
    Returns an IMAGE [1, height, width, 3]. Raises ValueError where no series holds a finite point.
    """
    colors = {id(s): s.color or PALETTE[i % len(PALETTE)] for i, s in enumerate(series)}
    sides = {side: [s for s in series if s.axis == side] for side in ("left", "right")}
    scale = min(size) / 700
    text = max(12, round(20 * scale**0.6))
    x_axis = linear_axis(_extent(series, "x", [e for w in windows for e in (w.start, w.end)]), x_range, 8)
    axes = {
        side: linear_axis(_extent(sides[side], "y"), wanted, 6)
        for side, wanted in (("left", y_range), ("right", right_range))
        if sides[side] or side == "left"
    }

    tick_widths = {side: max(text_width(label, text) for label in axis.labels) for side, axis in axes.items()}
    pad = round(0.9 * text)
    left = round(pad + line_height(text) + tick_widths["left"] + 1.3 * text)
    right = size[0] - (
        round(tick_widths["right"] + line_height(text) + 1.3 * text + pad) if "right" in axes else 2 * pad
    )
    legend = [s for s in series if s.name] if len(series) > 1 else []
    head = pad + (round(1.7 * text) if title else 0)
    legend_rows = _legend_rows(legend, text, right - left)
    top = head + len(legend_rows) * round(1.5 * text) + pad
    bottom = size[1] - pad - 2 * line_height(text) - round(0.9 * text)

    def place(x: float, y: float, side: str = "left") -> tuple[float, float]:
        across = x_axis.fraction(x)
        return (
            left + (1 - across if flip_x else across) * (right - left),
            bottom - axes[side].fraction(y) * (bottom - top),
        )

    canvas = Canvas(size, scale)
    for window in windows:
        (x0, _), (x1, _) = place(window.start, axes["left"].low), place(window.end, axes["left"].low)
        canvas.box((min(x0, x1), top, max(x0, x1), bottom), tint(window.color, 0.13))
    for tick in axes["left"].ticks:
        y = place(x_axis.low, tick)[1]
        canvas.line([(left, y), (right, y)], RULE, 1.2)
    for tick in x_axis.ticks:
        x = place(tick, axes["left"].low)[0]
        canvas.line([(x, bottom), (x, bottom + 0.35 * text)], MUTED, 1.4)
    canvas.line([(left, bottom), (right, bottom)], MUTED, 1.6)
    _draw_legend_marks(canvas, legend_rows, colors, (left, head + text), text)
    spots: list[tuple[float, float, str, Color]] = []
    for one in series:
        color = colors[id(one)]
        points = [place(x, y, one.axis) if math.isfinite(y) else None for x, y in zip(one.x, one.y, strict=True)]
        _draw_errors(canvas, one, points, place, color)
        if one.style != "points":
            for stretch in _stretches(points):
                canvas.line(_stairs(stretch) if one.style == "steps" else stretch, color, 3.2, one.dashed)
        if one.style in ("points", "both"):
            for point in points:
                if point:
                    canvas.dot(point, color, 5.2)
        spots += [(*p, label, color) for p, label in zip(points, one.labels or [""] * len(points), strict=True) if p]
    picture, draw = canvas.finish()

    if title:
        draw_text(draw, (left, pad + 1.1 * text), title, round(1.2 * text))
    for row, entries in enumerate(legend_rows):
        for one, x in entries:
            draw_text(draw, (left + x + 2.1 * text, head + row * round(1.5 * text) + text), one.name, text)
    for window in windows:
        (x0, _), (x1, _) = place(window.start, axes["left"].low), place(window.end, axes["left"].low)
        draw_text(draw, ((x0 + x1) / 2, top + 1.1 * text), window.label, round(0.85 * text), window.color, "center")
    for tick, label in zip(x_axis.ticks, x_axis.labels, strict=True):
        x = place(tick, axes["left"].low)[0]
        draw_text(draw, (x, bottom + 0.6 * text + text), label, text, MUTED, "center")
    draw_text(draw, ((left + right) / 2, size[1] - pad - 0.2 * text), x_label, text, INK, "center")
    for side, axis in axes.items():
        owners = {colors[id(s)] for s in sides[side]}
        shade = owners.pop() if len(owners) == 1 and len(axes) == 2 else None
        x = left - 0.6 * text if side == "left" else right + 0.6 * text
        for tick, label in zip(axis.ticks, axis.labels, strict=True):
            y = place(x_axis.low, tick, side)[1] + 0.36 * text
            draw_text(draw, (x, y), label, text, shade or MUTED, "right" if side == "left" else "left")
        centre = pad + line_height(text) / 2 if side == "left" else size[0] - pad - line_height(text) / 2
        _draw_upright(
            picture, (centre, (top + bottom) / 2), y_label if side == "left" else right_label, text, shade or INK
        )
    _draw_spot_labels(draw, spots, (left, top, right, bottom), round(0.9 * text))
    return from_pil(picture)


def _extent(series: Sequence[Series], key: Literal["x", "y"], more: Sequence[float] = ()) -> tuple[float, float]:
    """Smallest and largest finite value that must be visible."""
    values = list(more)
    for one in series:
        spread = (one.x_errors if key == "x" else one.errors) or [0.0] * len(one.x)
        for x, y, e in zip(one.x, one.y, spread, strict=True):
            value = x if key == "x" else y
            if math.isfinite(x) and math.isfinite(y):
                reach = abs(e) if math.isfinite(e) else 0.0
                values += [value - reach, value + reach]
    if not values:
        raise ValueError("There is nothing to plot: no series holds a finite point.")
    return min(values), max(values)


def _stretches(points: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """Runs of two or more neighbouring points."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if len(run) > 1]


def _stairs(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    stairs = [points[0]]
    for (_, y0), (x1, y1) in itertools.pairwise(points):
        stairs += [(x1, y0), (x1, y1)]
    return stairs


def _draw_errors(
    canvas: Canvas,
    one: Series,
    points: Sequence[tuple[float, float] | None],
    place: Callable[[float, float, str], tuple[float, float]],
    color: Color,
) -> None:
    pale, cap = tint(color, 0.55), 5 * canvas.scale
    for i, point in enumerate(points):
        if point is None:
            continue
        if one.errors is not None and one.errors[i] > 0:
            (x, y0), (_, y1) = (place(one.x[i], one.y[i] + s * one.errors[i], one.axis) for s in (-1, 1))
            for ends in ([(x, y0), (x, y1)], [(x - cap, y0), (x + cap, y0)], [(x - cap, y1), (x + cap, y1)]):
                canvas.line(ends, pale, 1.8)
        if one.x_errors is not None and one.x_errors[i] > 0:
            (x0, y), (x1, _) = (place(one.x[i] + s * one.x_errors[i], one.y[i], one.axis) for s in (-1, 1))
            for ends in ([(x0, y), (x1, y)], [(x0, y - cap), (x0, y + cap)], [(x1, y - cap), (x1, y + cap)]):
                canvas.line(ends, pale, 1.8)


def _legend_rows(legend: Sequence[Series], text: int, width: float) -> list[list[tuple[Series, float]]]:
    """Legend entries with their x offsets, broken into rows that fit."""
    rows: list[list[tuple[Series, float]]] = []
    x = math.inf
    for one in legend:
        wide = 3.6 * text + text_width(one.name, text)
        if x + wide > width:
            rows.append([])
            x = 0.0
        rows[-1].append((one, x))
        x += wide
    return rows


def _draw_legend_marks(
    canvas: Canvas,
    rows: Sequence[Sequence[tuple[Series, float]]],
    colors: dict[int, Color],
    corner: tuple[float, float],
    text: int,
) -> None:
    """A short piece of each curve; `corner` is the left end of the first row's baseline."""
    for row, entries in enumerate(rows):
        middle = corner[1] + row * round(1.5 * text) - 0.34 * text
        for one, x in entries:
            start, end = corner[0] + x, corner[0] + x + 1.6 * text
            if one.style != "points":
                canvas.line([(start, middle), (end, middle)], colors[id(one)], 3.2, one.dashed)
            if one.style in ("points", "both"):
                canvas.dot(((start + end) / 2, middle), colors[id(one)], 5.2)


def _draw_upright(picture: Image.Image, centre: tuple[float, float], words: str, text: int, color: Color) -> None:
    """Set a line of text reading upwards."""
    strip = Image.new("RGB", (max(1, math.ceil(text_width(words, text)) + 2), line_height(text)), PAPER)
    draw_text(ImageDraw.Draw(strip), (1, text), words, text, color)
    turned = strip.rotate(90, expand=True)
    picture.paste(turned, (round(centre[0] - turned.width / 2), round(centre[1] - turned.height / 2)))


def _draw_spot_labels(
    draw: ImageDraw.ImageDraw,
    spots: Sequence[tuple[float, float, str, Color]],
    frame: tuple[float, float, float, float],
    text: int,
) -> None:
    """Set each point's word on the free side of the point: the side where it covers the fewest points and words."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y, _, _ in spots]
    # Points on the way between neighbours stand for the line that joins them.
    for (x0, y0, *_), (x1, y1, *_) in itertools.pairwise(spots):
        taken += [(x0 + (x1 - x0) * f, y0 + (y1 - y0) * f) * 2 for f in (0.15, 0.3, 0.5, 0.7, 0.85)]
    for x, y, label, color in spots:
        if not label:
            continue
        wide, gap = text_width(label, text), 0.6 * text
        sides = [(gap, -gap), (gap, gap + 0.6 * text), (-gap - wide, -gap), (-gap - wide, gap + 0.6 * text),
                 (-wide / 2, -1.1 * gap), (-wide / 2, 1.1 * gap + 0.7 * text)]  # fmt: skip
        boxes = [(x + dx, y + dy - 0.8 * text, x + dx + wide, y + dy + 0.2 * text) for dx, dy in sides]
        costs = [sum(_overlap(b, t) for t in taken) + 4 * (not _inside(b, frame)) for b in boxes]
        best = boxes[costs.index(min(costs))]
        taken.append(best)
        draw_text(draw, (best[0], best[3] - 0.2 * text), label, text, tint(color, 0.85))


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _inside(box: tuple[float, ...], frame: tuple[float, ...]) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


__all__ = ["PALETTE", "Series", "Window", "line_plot"]
