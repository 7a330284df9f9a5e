"""The same edit with several settings: a grid of the results, and a plot of the trade-off."""

from __future__ import annotations

import math
from typing import Any

import latent_preview
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..common.interrupts import interruptible
from ..images.realism import RealPictures
from ..images.tensors import check_image, split_alpha
from ..samplers import mask_times, process, remarks
from ..samplers.sdedit import SDEditSettings
from ..samplers.sweep import DEFAULTS, SETTINGS, parse_values, total_steps
from ..samplers.sweep import sweep as run_sweep
from ..views.pictures import decoded
from ..views.reports import levels_notes
from ..views.sweep import measured, sweep_plot, sweep_sheet, sweep_table
from . import validate
from .cut_short import CutShort
from .inputs import choice, levels_input, mask_mode_inputs, model_input, prompt_inputs, sdedit_inputs
from .sdedit import CATEGORY

_cut_short = CutShort()


class Sweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSweep",
            display_name="SDEdit Sweep",
            category=CATEGORY,
            description="Runs the same SDEdit with several values of t0, repeats or seed. Outputs a labelled grid, "
            "all latents, and a plot of faithfulness against realism. Interrupting keeps the finished "
            "results.",
            search_aliases=["t0 sweep", "strength grid", "xy plot", "denoise comparison"],
            inputs=[
                model_input(),
                *prompt_inputs(),
                io.Vae.Input("vae", tooltip="Encodes the guide once and decodes every result."),
                io.Image.Input("image", tooltip="The guide. Each picture of a batch gets its own row in the grid."),
                choice("sweep", SETTINGS, "t0", "The setting to vary."),
                io.String.Input(
                    "values",
                    default=DEFAULTS["t0"],
                    tooltip="Values of that setting, separated by commas. If empty: "
                    + "; ".join(f"{name}: {values}" for name, values in DEFAULTS.items())
                    + ".",
                ),
                *sdedit_inputs("t0 of every run, unless it is swept."),
                io.Mask.Input("mask", optional=True, tooltip="1 = edit, 0 = keep."),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="Real pictures of the desired kind, ten or more: realism is measured against them.",
                ),
                *mask_mode_inputs(advanced=True),
                levels_input(),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="The guide and all results with their values."),
                io.Latent.Output(display_name="latents", tooltip="All results as a batch, in the order of the values."),
                io.Image.Output(
                    display_name="plot",
                    tooltip="Distance to the guide against realism: patch KID to the reference or, without one, the "
                    "share of fine texture.",
                ),
                io.String.Output(display_name="report", tooltip="The numbers of the plot as a table."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, **_: Any) -> int:
        return _cut_short.count(cls)

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        negative: Any,
        vae: Any,
        image: Tensor,
        sweep: str,
        values: str,
        seed: int,
        mask: Tensor | None = None,
        reference: Tensor | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        settings = SDEditSettings(**widgets)
        numbers = parse_values(sweep, values)
        real = None if reference is None else RealPictures(reference)
        check_image(image, "image")
        image = split_alpha(image)[0]
        if process.makes_sound(model):
            raise ValueError(
                "This model works on video and sound together, but a sweep starts from pictures, which have no sound: "
                "use SDEdit on a latent of both (Concat AV Latent), once for each value."
            )
        guide = validate.masked_latent(model, {"samples": vae.encode(image)}, mask, vae=vae)
        sampling = process.model_sampling(model)
        callback = latent_preview.prepare_callback(model, total_steps(sampling, settings, sweep, numbers))
        points, complete = run_sweep(model, positive, negative, guide, seed, settings, sweep, numbers, callback)
        if not complete:
            _cut_short.note(cls)
        results = [decoded(vae, point.edit.latent["samples"]) for point in interruptible(points)]
        image = image[: len(results[0])]  # a video VAE drops frames that do not fill a latent
        rows = [measured(pictures, image, real) for pictures in results]
        if all(math.isnan(row.distance) for row in rows):
            raise ValueError("All results contain NaN or infinite values: try the VAE, then the model, in fp32.")
        batch = guide["samples"].shape[0]
        notes = [
            *remarks.about_guidance(positive, negative, settings.cfg, batch),
            *remarks.about_mask(guide.get("noise_mask"), batch),
            *remarks.about_model(model, settings.cfg),
            *remarks.about_shared_times(model.model, mask_times.as_sampled(guide), settings.mask_mode),
            *(levels_notes(model, settings, numbers if sweep == "t0" else ()) if settings.levels == "trained" else []),
        ]
        table = sweep_table(sweep, points, rows, reference is not None, len(numbers))
        text = "\n".join([table, *remarks.lines(notes)])
        return io.NodeOutput(
            sweep_sheet(sweep, points, [pictures.nan_to_num(nan=0.5) for pictures in results], image),
            {"samples": torch.cat([point.edit.latent["samples"] for point in points])},
            sweep_plot(sweep, points, rows, reference is not None),
            text,
            ui=ui.PreviewText(text),
        )


NODES: list[type[io.ComfyNode]] = [Sweep]
