"""A Path Schedule over the steps of a run: a plot, a line, and what the curve editor shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..images.plot import Axis, Series, Window, line_plot
from ..samplers.schedule import PathSchedule

CURVE_SAMPLES = 96


def shown(schedule: PathSchedule, starts: Sequence[float], sigmas: torch.Tensor | None) -> dict[str, Any]:
    """What the curve editor shows after a run: the actual steps, their levels, and whatever came through a link."""
    places = [k / CURVE_SAMPLES for k in range(CURVE_SAMPLES + 1)]
    return {
        "start": schedule.start,
        "end": schedule.end,
        "shape": schedule.shape,
        "weight": schedule.weight,
        "steps": len(starts),
        "positions": list(starts),
        "sigmas": None if sigmas is None else [float(sigma) for sigma in sigmas],
        "curve": [[u, schedule.curve(u)] for u in places] if schedule.curve else None,
    }


def schedule_plot(schedule: PathSchedule, starts: Sequence[float], sigmas: torch.Tensor | None = None) -> torch.Tensor:
    """The weight at each step as an IMAGE [1, H, W, 3]: the path runs from left (noise) to right (picture).

    starts: where each step starts on the path.
    """
    weights, window, steps = schedule.weights(starts), schedule.window(starts), len(starts)
    places = [*starts, 0.0]
    series = [Series("weight of the source", places, [*weights, weights[-1]], style="steps")]
    shade = Window(places[window.start], places[window.stop], f"{len(window)} of {steps} steps")
    right = None
    if sigmas is not None and len(sigmas) == steps + 1:
        levels = [float(sigma) for sigma in sigmas]
        series.append(Series("noise level", places, levels, style="line", axis="right"))
        right = Axis("noise level sigma", (0.0, levels[0]))
    return line_plot(
        series,
        Axis("position on the path (1 = noise, 0 = picture)", (0.0, 1.0)),
        Axis("weight of the source", (min(0.0, *weights), max(1.0, *weights))),
        right=right,
        windows=[shade],
        flip_x=True,
    )


def schedule_report(schedule: PathSchedule, starts: Sequence[float]) -> str:
    """The window in steps, and the weights in it."""
    window, weights = schedule.window(starts), schedule.weights(starts)
    inside = ", ".join(f"{round(weights[i], 12):.3g}" for i in window)  # a cosine's 6e-17 is 0
    return f"steps {window.start + 1} to {window.stop} of {len(starts)} ({schedule.shape}): {inside}"
