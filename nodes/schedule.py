"""The weight of the source along the path, as a value that every manipulation takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from ..common import limits
from ..common.texts import quoted
from ..samplers.process import model_sampling, positions
from ..samplers.schedule import SHAPES, Curve, PathSchedule, even_steps, parse_curve
from ..views.schedule import schedule_plot, schedule_report, shown
from .inputs import choice, fraction, number, whole
from .sockets import PathSchedule as PathScheduleSocket

CATEGORY = "diffusion path/mdp"


class PathScheduleNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSchedule",
            display_name="Path Schedule",
            category=CATEGORY,
            description="Sets how much the source counts along the path: a window of the path and a shape inside "
            "it, drawn or from a formula. Outside the window the weight is 0.",
            search_aliases=["window", "weight schedule", "injection schedule", "curve", "mdp schedule"],
            inputs=[
                fraction(
                    "start",
                    1.0,
                    "Where the window begins on the path, as a fraction of training time like t0: 1 = noise.",
                ),
                fraction("end", 0.5, "Where the window ends, below start: 0 = the picture."),
                choice(
                    "shape",
                    SHAPES,
                    "constant",
                    "The weight inside the window. linear, cosine and exponential fall from 1 (to 0, 0 and 0.0067); "
                    "curve is the drawn one.",
                ),
                number(
                    "weight",
                    1.0,
                    (-1.0, 1.0),
                    0.01,
                    "Multiplies the shape. 1 = inject the source, between 0 and 1 = interpolate, 0 = no "
                    "manipulation, below 0 = away from the source.",
                    round=False,
                ),
                io.MultiType.Input(
                    io.String.Input(
                        "curve",
                        default="",
                        optional=True,
                        tooltip="For the shape curve, drawn or typed: position:weight pairs joined by straight "
                        "lines, such as '1:1, 0.5:0.8, 0:0' (1 = noisy end of the window). Or connect a "
                        "CURVE: its left edge is the noisy end. Other shapes leave it unchanged.",
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
                    tooltip="With sigmas: tells where these noise levels lie on the model's path. Without it the "
                    "plot shows steps evenly spaced in training time.",
                ),
                whole(
                    "steps",
                    20,
                    (1, 10000),
                    "Steps in the plot, unless sigmas are connected. The schedule itself fits any number.",
                    optional=True,
                ),
            ],
            outputs=[
                PathScheduleSocket.Output(display_name="schedule", tooltip="For the MDP nodes and Sketch Guidance."),
                io.Image.Output(display_name="plot", tooltip="The weights at the steps that are actually run."),
                io.String.Output(display_name="report", tooltip="Which steps the window contains, and their weights."),
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


NODES: list[type[io.ComfyNode]] = [PathScheduleNode]
