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
from ..samplers.inversion.residual import TURBO_CLIP, Residual
from ..samplers.inversion.run import Method
from ..samplers.path import DiffusionPath
from .inputs import choice, fraction, number, whole

METHODS: dict[str, type[Method]] = {
    method.name: method for method in (Residual, FixedPoint, Euler, NegativePrompt, NullText, Controlled)
}

# Widgets whose names differ from the fields of their methods.
_FIELDS = {"noise_label": "label", "save_memory": "checkpointed", "pull": "eta", "stop_at": "stop"}

METHOD_TIP = (
    "residual: exact at any given cfg. fixed point: the inverse of Euler sampling at cfg 1, to a tolerance. euler: "
    "DDIM inversion, the cheapest, with an exact way back at cfg 1. negative prompt: euler, with the source prompt as "
    "the negative one: an exact way back at any cfg. null text: per-step embeddings optimised for the given cfg. "
    "controlled: RF-Inversion."
)


def exact_input() -> Any:
    return io.Boolean.Input(
        "exact",
        default=Euler.exact,
        optional=True,
        advanced=True,
        tooltip="The way back shows the network what the way up showed it (DirectEdit), so that Euler steps lead to "
        "the picture exactly, at no cost; edits along the path begin from there.",
    )


def euler_inputs() -> list[Any]:
    return [
        choice(
            "noise_label",
            LABELS,
            LABELS[0],
            "The noise level given to the model at an upward step: that of its destination, as published, or of "
            "its origin, as flipped sigmas do.",
            advanced=True,
        ),
        exact_input(),
        io.Boolean.Input(
            "guided",
            default=Euler.guided,
            optional=True,
            advanced=True,
            tooltip="Invert at the given cfg instead of 1, so that the way back is exact at it: twice the evaluations.",
        ),
    ]


def residual_inputs() -> list[Any]:
    return [
        fraction(
            "eta",
            1.0,
            "Noise of the kernel that the residuals are taken from: 1 as published, lower values keep edits closer.",
            0.05,
        ),
        fraction(
            "shift",
            Residual.shift,
            "For models distilled to few steps: how much less noise the network sees than the level says, as a "
            "fraction of training time. TurboEdit: 0.2, with 4 steps from t0 0.8.",
            0.05,
            optional=True,
            advanced=True,
        ),
        number(
            "clip",
            Residual.clip,
            (0.0, 10.0),
            0.001,
            "For these models: the largest last residual (RMS). 0 keeps it whole, which is exact; "
            f"TurboEdit: {TURBO_CLIP:g}, for clearer edits.",
            round=False,
            optional=True,
            advanced=True,
        ),
    ]


def method_input(
    name: str = "method", first: str = Residual.name, tip: str = METHOD_TIP, iterations: int = 10, **more: Any
) -> Any:
    """A choice of the inversion methods with their widgets.

    first: the default, which heads the list. iterations: those of fixed point to begin with.
    """
    options = {
        "residual": residual_inputs(),
        "fixed point": [
            whole(
                "iterations",
                iterations,
                (1, 200),
                "Maximum evaluations per step; a step that has converged stops early. 1 is Uni-Inv: the cheapest, with "
                "an exact way back.",
            ),
            fraction(
                "tolerance", 1e-4, "Relative change of the state at which a step has converged.", 1e-5, advanced=True
            ),
        ],
        "euler": euler_inputs(),
        "negative prompt": [exact_input()],
        "null text": [
            whole(
                "iterations",
                10,
                (1, 500),
                "Maximum updates of the embedding per step; a step that is good enough stops early.",
            ),
            fraction(
                "stop",
                1e-5,
                "Squared error, at unit variance, below which a step is good enough; it rises to 101 times along the "
                "path, as published.",
                1e-6,
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
            fraction(
                "gamma",
                0.5,
                "Pull towards fresh noise on the way up: 0 is euler, 1 plain noising without any evaluation.",
                0.05,
            ),
            fraction(
                "pull", 0.9, "eta of the paper: pull of the prediction towards the picture on the way down.", 0.05
            ),
            fraction("stop_at", 0.25, "Share of the downward steps, from the noisy end, in which it pulls.", 0.05),
            choice(
                "trend",
                TRENDS,
                TRENDS[0],
                "Whether the pull is constant, or falls to 0 over these steps.",
                advanced=True,
            ),
        ],
    }
    order = sorted(METHODS, key=lambda method: method != first)
    return io.DynamicCombo.Input(
        name, options=[io.DynamicCombo.Option(method, options[method]) for method in order], tooltip=tip, **more
    )


def described_method(chosen: dict[str, Any], earlier: DiffusionPath | None = None, combo: str = "method") -> Method:
    """The method that the widgets describe. combo: the name of their input. Core gives None for what a prompt lacks."""
    name = chosen.get(combo)
    widgets = {_FIELDS.get(key, key): value for key, value in chosen.items() if key != combo and value is not None}
    if name == NullText.name:
        return NullText(**widgets, earlier=earlier)
    if name in METHODS:
        return METHODS[name](**widgets)
    raise ValueError(f"There is no inversion method {quoted(name)}: choose one of {', '.join(METHODS)}.")
