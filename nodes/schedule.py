"""The weight of the source along the path, as a value that every manipulation takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from ..common import limits
from ..common.texts import quoted
from ..images.plot import Axis, Series, Window, line_plot
from ..samplers.process import model_sampling, positions
from ..samplers.schedule import SHAPES, Curve, PathSchedule, even_steps, parse_curve
from .sockets import PathSchedule as PathScheduleSocket

CATEGORY = "diffusion path/mdp"
CURVE_SAMPLES = 96


class PathScheduleNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSchedule",
            display_name="Path Schedule",
            category=CATEGORY,
            description="How much the source counts along the path: a window of the path and a shape inside of it, by "
            "formula or drawn. Outside of the window the weight is 0.",
            search_aliases=["window", "weight schedule", "injection schedule", "curve", "mdp schedule"],
            inputs=[
                io.Float.Input(
                    "start",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Where the window begins on the path, as a fraction of training time, as t0: 1 = noise.",
                ),
                io.Float.Input(
                    "end",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Where the window ends, below start: 0 = the picture.",
                ),
                io.Combo.Input(
                    "shape",
                    options=list(SHAPES),
                    default="constant",
                    tooltip="The weight inside of the window. linear, cosine and exponential fall from 1 (to 0, 0 and "
                    "0.0067); curve is the drawn one.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Multiplies the shape. 1 = inject the source, between 0 and 1 = interpolate, 0 = no "
                    "manipulation, below 0 = away from the source.",
                ),
                io.MultiType.Input(
                    io.String.Input(
                        "curve",
                        default="",
                        optional=True,
                        tooltip="For the shape curve, drawn or written: pairs position:weight, straight between them, "
                        "such as '1:1, 0.5:0.8, 0:0' (1 = noisy end of the window). Or connect a CURVE: its left edge "
                        "is the noisy end. Other shapes leave it as it is.",
                    ),
                    types=[io.Curve],
                ),
                io.Sigmas.Input(
                    "sigmas",
                    optional=True,
                    tooltip="The schedule that will be run, for the plot: its steps and their noise levels.",
                ),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="With sigmas: where these noise levels lie on the model's path. Without it the plot shows "
                    "steps that are even in training time.",
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=10000,
                    optional=True,
                    tooltip="Steps in the plot, unless sigmas are connected. The schedule itself fits any number.",
                ),
            ],
            outputs=[
                PathScheduleSocket.Output(display_name="schedule", tooltip="For the MDP nodes and Sketch Guidance."),
                io.Image.Output(display_name="plot", tooltip="The weights at the steps that are really run."),
                io.String.Output(display_name="report", tooltip="Which steps the window holds, and their weights."),
            ],
        )

    @classmethod
    def execute(
        cls,
        start: float,
        end: float,
        shape: str,
        weight: float,
        curve: Any = "",
        sigmas: torch.Tensor | None = None,
        steps: int = 20,
        model: Any = None,
    ) -> io.NodeOutput:
        schedule = make_schedule(start, end, shape, weight, curve)
        if sigmas is not None:
            steps = max(1, len(sigmas) - 1)
        starts = even_steps(steps)
        if sigmas is not None and model is not None and len(sigmas) > 1:
            starts = positions(model_sampling(model), sigmas[:-1])
        plot, text = schedule_plot(schedule, starts, sigmas), schedule_report(schedule, starts)
        return io.NodeOutput(schedule, plot, text, ui={"dpath_schedule": [shown(schedule, starts, sigmas)]})


def make_schedule(start: float, end: float, shape: str, weight: float, curve: Any = "") -> PathSchedule:
    """A schedule from widget values; curve: text or a CURVE, for the shape curve alone."""
    drawn: Curve | None = None
    if isinstance(curve, str):
        # A drawing is kept while another shape is tried out.
        drawn = parse_curve(curve) if curve.strip() and shape == "curve" else None
    elif curve is not None:
        from comfy_api.input import CurveInput  # cannot be imported before comfy_api.latest

        if shape != "curve":
            raise ValueError(
                f"A curve is connected, but the shape is {shape}: set the shape to curve, or disconnect it."
            )
        try:
            connected = CurveInput.from_raw(curve)
            points = np.array(connected.points, dtype=float)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise ValueError(f"The connected curve is {quoted(curve)}: connect a CURVE with points (x, y).") from error
        if not 0 < len(points) <= limits.CURVE_POINTS or not np.isfinite(points).all():
            raise ValueError(
                f"The connected curve has {len(points)} points: connect one of 1 to {limits.CURVE_POINTS}, all "
                "of them finite."
            )
        drawn = connected.interp
    return PathSchedule(start, end, shape, weight, drawn)


def shown(schedule: PathSchedule, starts: Sequence[float], sigmas: torch.Tensor | None) -> dict[str, Any]:
    """What the curve editor shows after a run: the real steps, their levels, and whatever came by link."""
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


NODES: list[type[io.ComfyNode]] = [PathScheduleNode]
