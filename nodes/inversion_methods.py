"""The widgets of the inversion methods, and the methods that they describe."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..common.texts import quoted
from ..samplers.inversion.controlled import TRENDS, Controlled
from ..samplers.inversion.euler import LABELS, Euler
from ..samplers.inversion.fixed_point import FixedPoint
from ..samplers.inversion.negative_prompt import NegativePrompt
from ..samplers.inversion.null_text import NullText
from ..samplers.inversion.residual import Residual
from ..samplers.inversion.run import Method
from ..samplers.path import DiffusionPath

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (Residual, FixedPoint, Euler, NegativePrompt, NullText, Controlled)
}

METHOD_TIP = (
    "residual: exact at the cfg given, whatever it is. fixed point: the exact inverse of Euler "
    "sampling at cfg 1. euler: DDIM inversion, the cheapest. negative prompt: euler, with the source prompt as the "
    "negative one. null text: per-step embeddings optimised for the cfg given. controlled: RF-Inversion."
)


def method_input() -> Any:
    def number(name: str, default: float, most: float, step: float, tooltip: str, advanced: bool = False) -> Any:
        return io.Float.Input(
            name, default=default, min=0.0, max=most, step=step, round=False, advanced=advanced, tooltip=tooltip
        )

    options = {
        "residual": [
            number(
                "eta",
                1.0,
                1.0,
                0.05,
                "Noise of the kernel that the residuals are taken from: 1 as published, less keeps edits closer.",
            ),
        ],
        "fixed point": [
            io.Int.Input(
                "iterations",
                default=10,
                min=1,
                max=200,
                tooltip="Most evaluations per step after the first; a step that has converged stops early.",
            ),
            number("tolerance", 1e-4, 1.0, 1e-5, "Relative change of the state at which a step has converged.", True),
        ],
        "euler": [
            io.Combo.Input(
                "noise_label",
                options=list(LABELS),
                default=LABELS[0],
                advanced=True,
                tooltip="The noise level that the model is told at a step upwards: that of its destination, as "
                "published, or of its origin, as flipped sigmas do.",
            ),
        ],
        "negative prompt": [],
        "null text": [
            io.Int.Input(
                "iterations",
                default=10,
                min=1,
                max=500,
                tooltip="Most updates of the embedding per step; a step that is good enough stops early.",
            ),
            number(
                "stop",
                1e-5,
                1.0,
                1e-6,
                "Squared error, at unit variance, below which a step is good enough; it rises to 101 times along the "
                "path, as published.",
                advanced=True,
            ),
            io.Boolean.Input(
                "save_memory",
                default=False,
                advanced=True,
                tooltip="Recompute activations for the gradient: about a third of the memory, a third more time.",
            ),
        ],
        "controlled": [
            number(
                "gamma",
                0.5,
                1.0,
                0.05,
                "Pull towards fresh noise on the way up: 0 is euler, 1 plain noising without any evaluation.",
            ),
            number(
                "pull", 0.9, 1.0, 0.05, "eta of the paper: pull of the prediction towards the picture on the way down."
            ),
            number("stop_at", 0.25, 1.0, 0.05, "Share of the steps down, from the noisy end, in which it pulls."),
            io.Combo.Input(
                "trend",
                options=list(TRENDS),
                default=TRENDS[0],
                advanced=True,
                tooltip="Whether the pull is constant, or falls to 0 over these steps.",
            ),
        ],
    }
    return io.DynamicCombo.Input(
        "method", options=[io.DynamicCombo.Option(name, options[name]) for name in METHODS], tooltip=METHOD_TIP
    )


def described_method(chosen: dict[str, Any], earlier: DiffusionPath | None) -> Method:
    """The method that the widgets describe."""
    name = chosen.get("method")
    if name == Residual.name:
        return Residual(eta=chosen["eta"])
    if name == FixedPoint.name:
        return FixedPoint(chosen["iterations"], chosen["tolerance"])
    if name == Euler.name:
        return Euler(chosen["noise_label"])
    if name == NullText.name:
        return NullText(chosen["iterations"], chosen["stop"], chosen["save_memory"], earlier)
    if name == Controlled.name:
        return Controlled(chosen["gamma"], chosen["pull"], chosen["stop_at"], chosen["trend"])
    if name == NegativePrompt.name:
        return NegativePrompt()
    raise ValueError(f"There is no inversion method {quoted(name)}: choose one of {', '.join(METHODS)}.")
