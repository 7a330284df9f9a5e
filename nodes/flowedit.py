"""FlowEdit as a node."""

from __future__ import annotations

from typing import Any

import latent_preview
from comfy_api.latest import io, ui
from torch import Tensor

from ..samplers.flowedit import FlowEditSettings, flowedit
from ..views.reports import flowedit_report
from . import validate
from .inputs import (
    cfg_input,
    fraction,
    model_input,
    prompt_inputs,
    scheduler_input,
    seed_input,
    sigmas_input,
    steps_input,
    whole,
)
from .mdp import CATEGORY

DEFAULTS = FlowEditSettings()


class FlowEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathFlowEdit",
            display_name="FlowEdit",
            category=CATEGORY,
            description="Edits a picture by prompt without inverting it: follows the difference between the model's "
            "predictions for the two prompts. For flow, eps and v models.",
            search_aliases=["flow edit", "inversion free editing", "edit image", "prompt editing"],
            inputs=[
                model_input(),
                *prompt_inputs(
                    "The target prompt: what the picture should show.",
                    "What it should not show; used with both prompts.",
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
                cfg_input(
                    "Guidance of the source's prediction. The paper: 3.5 for SD3, 1.5 for Flux (set by FluxGuidance "
                    "on the prompts, with cfg 1 here).",
                    DEFAULTS.source_cfg,
                    "source_cfg",
                ),
                cfg_input("Guidance of the target's prediction. The paper: 13.5 for SD3, 5.5 for Flux.", DEFAULTS.cfg),
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
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited picture. Decode it with VAE Decode."),
                io.String.Output(
                    display_name="report",
                    tooltip="Start, steps and evaluations that were run, and notes on edits that cannot have worked.",
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
        **widgets: Any,
    ) -> io.NodeOutput:
        settings = FlowEditSettings(**widgets)
        latent = validate.masked_latent(model, latent, mask, "latent")
        callback = latent_preview.prepare_callback(model, settings.path_steps)
        edited, levels, evaluations = flowedit(model, source, positive, negative, latent, seed, settings, callback)
        prompts = (positive, source, negative)
        text = flowedit_report(model, prompts, latent, settings, edited, levels, evaluations)
        return io.NodeOutput(edited, text, ui=ui.PreviewText(text))


NODES: list[type[io.ComfyNode]] = [FlowEdit]
