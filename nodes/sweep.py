"""The same edit with several settings: a grid of the results, and a plot of the trade-off."""

from __future__ import annotations

from typing import Any

import latent_preview
from comfy_api.latest import io, ui
from torch import Tensor

from ..common import limits
from ..common.interrupts import interruptible
from ..images.realism import RealPictures
from ..images.tensors import check_image, split_alpha
from ..samplers import mask_times, process, remarks
from ..samplers.conditioning import fingerprint
from ..samplers.sdedit import SDEditSettings
from ..samplers.sweep import DEFAULTS, SETTINGS, parse_values, runs_of, share_of, total_steps
from ..samplers.sweep import sweep as run_sweep
from ..views.pictures import decoded
from ..views.reports import levels_notes
from ..views.sweep import SDEditSwept, likeness, written
from ..views.swept import Result, Swept, check_measured, join, measured
from . import validate
from .cut_short import CutShort
from .inputs import (
    CELLS_TIP,
    choice,
    langevin_input,
    levels_input,
    mask_mode_inputs,
    model_input,
    part_inputs,
    prompt_inputs,
    sdedit_inputs,
)
from .sdedit import CATEGORY
from .sockets import SweepCells

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
                *part_inputs(),
                langevin_input(),
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
                SweepCells.Output(display_name="cells", tooltip=CELLS_TIP),
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
        part: int = 1,
        parts: int = 1,
        **widgets: Any,
    ) -> io.NodeOutput:
        settings = SDEditSettings(**widgets)
        numbers = parse_values(sweep, values)
        places = share_of(len(numbers), part, parts)
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
        runs = runs_of(settings, seed, sweep, [numbers[place] for place in places])
        callback = latent_preview.prepare_callback(model, total_steps(sampling, runs))
        points, complete = run_sweep(model, positive, negative, guide, runs, callback)
        if not complete:
            _cut_short.note(cls)
        results = [decoded(vae, point.edit.latent["samples"]) for point in interruptible(points)]
        image = image[: len(results[0])]  # a video VAE drops frames that do not fill a latent
        rows = [measured(pictures, image, real) for pictures in results]
        check_measured(rows)
        batch = guide["samples"].shape[0]
        notes = [
            *remarks.about_guidance(positive, negative, settings.cfg, batch),
            *remarks.about_mask(guide.get("noise_mask"), batch),
            *remarks.about_model(model, settings.cfg),
            *remarks.about_shared_times(model.model, mask_times.as_sampled(guide), settings.mask_mode),
            *(levels_notes(model, settings, numbers if sweep == "t0" else ()) if settings.levels == "trained" else []),
        ]
        prompts = [fingerprint(each) for each in (positive, negative)]
        swept = SDEditSwept(
            names=tuple(map(written, numbers)),
            same=(*prompts, seed, sweep, tuple(numbers), settings, likeness(image)),
            each=len(results[0]),
            wanted=len(runs),
            results={
                place: Result(pictures, row, point.edit.latent["samples"], point.edit.evaluations)
                for place, pictures, row, point in zip(places, results, rows, points, strict=False)
            },
            setting=sweep,
            guide=image,
            real=real,
            notes=tuple(notes),
        )
        text = swept.report()
        return io.NodeOutput(swept.grid(), swept.latents(), swept.plot(), text, swept, ui=ui.PreviewText(text))


class JoinSweeps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathJoinSweeps",
            display_name="Join Sweeps",
            category=CATEGORY,
            description="Puts the parts of a sweep together, which ran one after the other or on several machines: one "
            "grid, one plot and one report, as if nothing had been split.",
            search_aliases=["join parts", "collect sweep", "merge grids", "distributed sweep"],
            inputs=[
                io.Autogrow.Input(
                    "cells",
                    template=io.Autogrow.TemplatePrefix(
                        SweepCells.Input("part", tooltip="The output cells of SDEdit Sweep or MDP Sweep."),
                        prefix="part",
                        min=1,
                        max=limits.SWEEP_PARTS,
                    ),
                    tooltip="The output cells of each part, in any order.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="All results of all parts in their order, decoded, where the parts ran on other machines: "
                    "from Distributed Collector, for example. One connected part then suffices.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="All results, labelled."),
                io.Latent.Output(
                    display_name="latents", tooltip="The results of the connected parts as a batch, in their order."
                ),
                io.Image.Output(display_name="plot", tooltip="The same as the sweep's."),
                io.String.Output(display_name="report", tooltip="The same as the sweep's."),
                SweepCells.Output(display_name="cells", tooltip="The joined results, to join with further parts."),
            ],
        )

    @classmethod
    def execute(cls, cells: dict[str, Swept], images: Tensor | None = None) -> io.NodeOutput:
        if images is not None:
            check_image(images, "images")
        whole = join(list(cells.values()), images)
        text = whole.report()
        outputs = (whole.grid(), whole.latents(), whole.plot(), text, whole)
        return io.NodeOutput(*outputs, ui=ui.PreviewText(text))


NODES: list[type[io.ComfyNode]] = [Sweep, JoinSweeps]
