"""FlowEdit as a node."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import latent_preview
from comfy_api.latest import io, ui
from torch import Tensor

from ..samplers import process, remarks
from ..samplers.flowedit import Settings, flowedit
from . import validate
from .mdp import CATEGORY
from .sdedit import seed_input, sigmas_input

DEFAULTS = Settings()


class FlowEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathFlowEdit",
            display_name="FlowEdit",
            category=CATEGORY,
            description="Edits a picture by prompt without inverting it: follows the difference of what the model "
            "predicts for both prompts. For flow, eps and v models.",
            search_aliases=["flow edit", "inversion free editing", "edit image", "prompt editing"],
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion or flow model."),
                io.Conditioning.Input("positive", tooltip="The target prompt: what the picture shall show."),
                io.Conditioning.Input("negative", tooltip="What it shall not show; used for both prompts."),
                io.Conditioning.Input("source", tooltip="The source prompt: what the picture shows now."),
                io.Latent.Input("latent", tooltip="The picture from VAE Encode; its noise mask (1 = edit) counts."),
                seed_input(),
                io.Float.Input(
                    "start",
                    default=DEFAULTS.start,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Where on the training time the edit begins (1 = noise): more changes more of the layout. "
                    "The paper skips the rest: 0.66 for SD3, 0.86 for Flux.",
                ),
                io.Int.Input(
                    "steps", default=DEFAULTS.steps, min=1, max=10000, tooltip="Steps after the start, all of them run."
                ),
                io.Float.Input(
                    "source_cfg",
                    default=DEFAULTS.source_cfg,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance of the source's prediction. The paper: 3.5 for SD3, 1.5 for Flux (there by "
                    "FluxGuidance on the prompts, with cfg 1 here).",
                ),
                io.Float.Input(
                    "cfg",
                    default=DEFAULTS.cfg,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    round=0.01,
                    tooltip="Guidance of the target's prediction. The paper: 13.5 for SD3, 5.5 for Flux.",
                ),
                io.Int.Input(
                    "n_avg",
                    default=DEFAULTS.n_avg,
                    min=1,
                    max=16,
                    advanced=True,
                    tooltip="Draws of noise that are averaged at each step: smoother edits, at so many times the cost.",
                ),
                io.Int.Input(
                    "refine",
                    default=DEFAULTS.refine,
                    min=0,
                    max=10000,
                    advanced=True,
                    tooltip="Last steps that sample the target as usual (n_min): more freedom in fine detail.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="1 = edit; where it is 0 the picture stays bit for bit."),
                io.Combo.Input(
                    "scheduler",
                    options=list(comfy.samplers.SCHEDULER_NAMES),
                    default=DEFAULTS.scheduler,
                    optional=True,
                    advanced=True,
                    tooltip="How the noise levels are spaced. normal: uniform in training time.",
                ),
                sigmas_input(
                    "start, steps and scheduler",
                    " The edit begins at the first one: split off what the paper skips.",
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited picture. Decode it with VAE Decode."),
                io.String.Output(
                    display_name="report",
                    tooltip="Start, steps and evaluations that were run, and notes where an edit cannot have worked.",
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
        start: float,
        steps: int,
        source_cfg: float,
        cfg: float,
        n_avg: int,
        refine: int,
        mask: Tensor | None = None,
        scheduler: str = DEFAULTS.scheduler,
        sigmas: Tensor | None = None,
    ) -> io.NodeOutput:
        latent = validate.masked_latent(model, latent, mask, "latent")
        settings = Settings(start, steps, source_cfg, cfg, scheduler, n_avg, refine, sigmas)
        callback = latent_preview.prepare_callback(model, steps if sigmas is None else max(sigmas.numel() - 1, 0))
        edited, levels, evaluations = flowedit(model, source, positive, negative, latent, seed, settings, callback)
        if len(levels) == 0:
            text = "start 0: the picture is returned as it is, 0 steps, 0 evaluations"
            return io.NodeOutput(edited, text, ui=ui.PreviewText(text))
        sampling, first = process.model_sampling(model), float(levels[0])
        if sigmas is not None:
            start = process.sigma_to_t0(sampling, first)
        text = (
            f"start {start:.4g}: sigma {first:.4g}, {float(process.noise_fraction(sampling, first)):.1%} noise, "
            f"{len(levels) - 1} steps, {evaluations} evaluations"
        )
        if sigmas is not None:
            text += " (connected sigmas instead of start, steps and scheduler)"
        batch = latent["samples"].shape[0]
        notes = [
            *remarks.about_prompts(positive, source, negative, cfg, batch),
            *remarks.about_mask(latent.get("noise_mask"), batch),
            *remarks.about_result(latent["samples"], edited["samples"]),
            *remarks.about_levels(sampling),
        ]
        text = "\n".join([text + validate.mask_line(latent), *remarks.lines(notes)])
        return io.NodeOutput(edited, text, ui=ui.PreviewText(text))


NODES: list[type[io.ComfyNode]] = [FlowEdit]
