"""Line plots and scatters, drawn by matplotlib in the style of the pack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from .tensors import from_uint8
from .typography import INK, MUTED, PAPER, RULE, Color

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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

_DPI = 100


@dataclass(frozen=True)
class Series:
    """One curve or cloud of points; `x` and `y` of equal length, NaN in `y` breaks the line.

    style: "line", "points", "both", or "steps" (the value holds until the next x, as a schedule does).
    errors / x_errors: half-lengths of error bars. labels: a word next to each point. axis: "left" or "right".
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
    """A shaded range of the x axis from `start` to `end`, with a word at its top."""

    start: float
    end: float
    label: str = ""
    color: Color = PALETTE[0]


@dataclass(frozen=True)
class Axis:
    """What an axis measures, and its limits if they are not fitted to the data."""

    label: str
    ends: tuple[float, float] | None = None


def line_plot(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    right: Axis | None = None,
    title: str = "",
    windows: Sequence[Window] = (),
    flip_x: bool = False,
    size: tuple[int, int] = (1120, 700),
) -> Tensor:
    """Draw series over one x axis and up to two y axes (`right`: for the series of that axis).

    flip_x puts large x on the left, as for noise levels. size: width and height in pixels.
    Returns an IMAGE [1, height, width, 3]. Raises ValueError if no series has a finite point.
    """
    if not any(math.isfinite(x) and math.isfinite(y) for one in series for x, y in zip(one.x, one.y, strict=True)):
        raise ValueError("There is nothing to plot: no series has a finite point.")
    # Imported here, so that the first plot takes half a second longer instead of ComfyUI's start.
    import matplotlib.style

    with matplotlib.style.context("default"):  # other packs may have settings of their own
        return _draw_plot(series, x, y, right, title, windows, flip_x, size)


def _draw_plot(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    right: Axis | None,
    title: str,
    windows: Sequence[Window],
    flip_x: bool,
    size: tuple[int, int],
) -> Tensor:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    text = 11.0 * (min(size) / 700) ** 0.6  # points
    layout = ConstrainedLayoutEngine(w_pad=text / 72, h_pad=text / 72)
    figure = Figure((size[0] / _DPI, size[1] / _DPI), _DPI, facecolor=_rgb(PAPER), layout=layout)
    canvas = FigureCanvasAgg(figure)
    left = figure.add_subplot()
    axes = {"left": left} if right is None else {"left": left, "right": left.twinx()}
    colors = [one.color or PALETTE[i % len(PALETTE)] for i, one in enumerate(series)]
    for side, ax in axes.items():
        owners = {color for one, color in zip(series, colors, strict=True) if one.axis == side}
        # With two axes, the tick labels take the colour of the curve they belong to.
        shade = owners.pop() if right and len(owners) == 1 else None
        _set_up_axis(ax, (side == "right" and right) or y, shade, text)
    for one, color in zip(series, colors, strict=True):
        _draw(axes[one.axis], one, color)
    left.grid(axis="y", color=_rgb(RULE))
    left.set_xlabel(x.label, color=_rgb(INK), fontsize=text)
    if x.ends is not None:
        left.set_xlim(*x.ends)
    if flip_x:
        left.invert_xaxis()
    for window in windows:
        _shade(left, window, text)
    named = [handle for ax in axes.values() for handle in ax.get_legend_handles_labels()[0]]
    _set_head(left, title, named if len(series) > 1 else [], text)
    figure.draw_without_rendering()  # the axes' positions must be known before labels are placed next to their points
    for one, color in zip(series, colors, strict=True):
        _label_points(axes[one.axis], one, color, text)
    canvas.draw()
    return from_uint8(np.asarray(canvas.buffer_rgba())[..., :3]).unsqueeze(0)


def _rgb(color: Color) -> tuple[float, float, float]:
    r, g, b = color
    return r / 255, g / 255, b / 255


def _set_up_axis(ax: Axes, axis: Axis, shade: Color | None, text: float) -> None:
    ax.set_facecolor(_rgb(PAPER))
    ax.set_ylabel(axis.label, color=_rgb(shade or INK), fontsize=text)
    ax.tick_params(axis="y", length=0, labelcolor=_rgb(shade or MUTED), labelsize=text)
    ax.tick_params(axis="x", color=_rgb(MUTED), labelcolor=_rgb(MUTED), labelsize=text)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_rgb(MUTED))
    ax.margins(x=0.04, y=0.06)
    if axis.ends is not None:
        low, high = min(axis.ends), max(axis.ends)
        reach = 0.03 * (high - low or 1.0)
        ax.set_ylim(low - reach, high + reach)


def _set_head(ax: Axes, title: str, named: Sequence[Any], text: float) -> None:
    """The legend above the plot, and the title above the legend."""
    columns = 4
    if named:
        ax.legend(
            handles=named, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(columns, len(named)), frameon=False,
            fontsize=text, labelcolor=_rgb(INK), borderaxespad=0.4,
        )  # fmt: skip
    if title:
        above = (1 + 1.6 * math.ceil(len(named) / columns)) * text
        ax.set_title(title, color=_rgb(INK), fontsize=1.2 * text, loc="left", pad=above)


def _draw(ax: Axes, one: Series, color: Color) -> None:
    marks = {"marker": "o", "markersize": 7, "markeredgecolor": _rgb(PAPER), "markeredgewidth": 1.5}
    ax.errorbar(
        one.x,
        one.y,
        yerr=one.errors,
        xerr=one.x_errors,
        color=_rgb(color),
        ecolor=(*_rgb(color), 0.55),
        capsize=4,
        linewidth=2.3,
        linestyle="" if one.style == "points" else "--" if one.dashed else "-",
        drawstyle="steps-post" if one.style == "steps" else "default",
        label=one.name or "_unnamed",
        **(marks if one.style in ("points", "both") else {}),
    )


def _shade(ax: Axes, window: Window, text: float) -> None:
    color = _rgb(window.color)
    ax.axvspan(window.start, window.end, color=color, alpha=0.13, linewidth=0)
    # Placed in axes coordinates, so that the word stays at the top of the plot whatever is drawn.
    place = ((window.start + window.end) / 2, 0.93)
    top = ax.get_xaxis_transform()
    ax.text(*place, window.label, transform=top, color=color, fontsize=0.85 * text, ha="center", va="top")


def _label_points(ax: Axes, one: Series, color: Color, text: float) -> None:
    """Place each point's label next to the curve, on the outer side of its bend."""
    if one.labels is None:
        return
    places = ax.transData.transform(np.column_stack([np.asarray(one.x, float), np.asarray(one.y, float)]))
    for i, label in enumerate(one.labels):
        if not np.isfinite(places[i]).all():
            continue
        before, after = places[max(i - 1, 0)], places[min(i + 1, len(places) - 1)]
        along = np.nan_to_num(after - before)
        normal = np.array([-along[1], along[0]]) / (float(np.hypot(*along)) or 1.0)
        if not along.any():
            normal = np.array([0.7, 0.7])
        inwards = np.nan_to_num((before + after) / 2 - places[i]) @ normal
        outwards = normal if inwards <= 0 else -normal
        dx, dy = (1.3 * text * outwards).tolist()
        shade, font = _rgb(color), 0.9 * text
        place = (one.x[i], one.y[i])
        ax.annotate(
            label, place, (dx, dy), textcoords="offset points", color=shade, fontsize=font, ha="center", va="center"
        )


__all__ = ["PALETTE", "Axis", "Series", "Window", "line_plot"]
