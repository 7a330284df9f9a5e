"""FlowEdit as a node."""

from __future__ import annotations

from typing import Any

import latent_preview
from comfy_api.latest import io, ui
from torch import Tensor

from ..common.texts import quoted
from ..samplers.flowedit import FlowEditSettings, flowedit
from ..samplers.flowedit_methods import METHODS, FlowAlign, FlowEditMethod
from ..views.reports import flowedit_report
from . import validate
from .inputs import (
    cfg_input,
    fraction,
    model_input,
    number,
    prompt_inputs,
    scheduler_input,
    seed_input,
    sigmas_input,
    steps_input,
    whole,
)
from .mdp import CATEGORY

DEFAULTS = FlowEditSettings()
METHOD_TIP = (
    "flowedit: the paper's step. flowalign: guided away from the source prompt instead of the negative one, with a "
    "pull back to the source. infedit: consistency steps, for few-step models. uni-edit: as flowalign without the "
    "pull, with guidance that is stronger where the prompts differ more."
)


def method_input() -> Any:
    zeta = number(
        "zeta",
        FlowAlign.zeta,
        (0.0, 1.0),
        0.001,
        "Pull back to the source at each step: 0.01 as published, for 33 steps. It adds up, so fewer steps need more.",
        round=False,
    )
    options = [io.DynamicCombo.Option(name, [zeta] if name == FlowAlign.name else []) for name in METHODS]
    return io.DynamicCombo.Input("method", options=options, optional=True, tooltip=METHOD_TIP)


def _cfg_inputs() -> list[Any]:
    """Guidance of the two predictions."""
    return [
        cfg_input(
            "Guidance of the source's prediction. The paper: 3.5 for SD3, 1.5 for Flux (set by FluxGuidance "
            "on the prompts, with cfg 1 here). InfEdit: 1. flowalign and uni-edit always use 1.",
            DEFAULTS.source_cfg,
            "source_cfg",
        ),
        cfg_input(
            "Guidance of the target's prediction. The paper: 13.5 for SD3, 5.5 for Flux. FlowAlign: 7.5 to "
            "13.5 for SD3, InfEdit: 2, Uni-Edit: 5.",
            DEFAULTS.cfg,
        ),
    ]


def described_method(chosen: dict[str, Any] | None) -> FlowEditMethod:
    """The method that the widgets describe; FlowEdit's own without them."""
    widgets = dict(chosen or {})
    name = widgets.pop("method", FlowEditMethod.name)
    if name not in METHODS:
        raise ValueError(f"There is no method {quoted(name)}: choose one of {', '.join(METHODS)}.")
    return METHODS[name](**widgets)


class FlowEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathFlowEdit",
            display_name="FlowEdit",
            category=CATEGORY,
            description="Edits a picture by prompt without inverting it: follows the difference between the model's "
            "predictions for the two prompts, by FlowEdit, FlowAlign, InfEdit or Uni-Edit's guidance. For flow, eps "
            "and v models.",
            search_aliases=[
                "flow edit",
                "inversion free editing",
                "edit image",
                "prompt editing",
                "flowalign",
                "infedit",
                "uniedit",
            ],
            inputs=[
                model_input(),
                *prompt_inputs(
                    "The target prompt: what the picture should show.",
                    "What it should not show; used with both prompts. flowalign and uni-edit do not use it.",
                ),
                io.Conditioning.Input("source", tooltip="The source prompt: what the picture shows now."),
                io.Latent.Input(
                    "latent", tooltip="The picture from VAE Encode; its noise mask (1 = edit) is honoured."
                ),
                seed_input(),
                fraction(
                    "start",
                    DEFAULTS.start,
                    "Where the edit begins, as a fraction of training time (1 = noise): higher values change more "
                    "of the layout. The paper starts at 0.66 for SD3, 0.86 for Flux.",
                ),
                steps_input("Steps after the start; all of them are run.", DEFAULTS.steps),
                *_cfg_inputs(),
                whole(
                    "n_avg",
                    DEFAULTS.n_avg,
                    (1, 16),
                    "Noise samples averaged at each step: smoother edits. The cost grows in proportion.",
                    advanced=True,
                ),
                whole(
                    "refine",
                    DEFAULTS.refine,
                    (0, 10000),
                    "Number of final steps that sample the target as usual (n_min): more freedom in fine detail.",
                    advanced=True,
                ),
                io.Mask.Input(
                    "mask", optional=True, tooltip="1 = edit; where it is 0 the picture is kept bit for bit."
                ),
                scheduler_input(
                    "How the noise levels are spaced. normal: uniform in training time.",
                    DEFAULTS.scheduler,
                    optional=True,
                    advanced=True,
                ),
                sigmas_input(
                    "start, steps and scheduler", " The edit begins at the first one: split off what the paper skips."
                ),
                method_input(),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited picture. Decode it with VAE Decode."),
                io.String.Output(
                    display_name="report",
                    tooltip="Method, start, steps and evaluations that were run, and notes on edits that cannot have "
                    "worked.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        source: Any,
        latent: dict[str, Any],
        seed: int,
        mask: Tensor | None = None,
        method: dict[str, Any] | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        settings = FlowEditSettings(**widgets, method=described_method(method))
        latent = validate.masked_latent(model, latent, mask, "latent")
        callback = latent_preview.prepare_callback(model, settings.path_steps)
        edited, levels, evaluations = flowedit(model, source, positive, negative, latent, seed, settings, callback)
        prompts = (positive, source, negative)
        text = flowedit_report(model, prompts, latent, settings, edited, levels, evaluations)
        return io.NodeOutput(edited, text, ui=ui.PreviewText(text))


NODES: list[type[io.ComfyNode]] = [FlowEdit]
