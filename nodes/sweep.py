"""The same edit over several settings: a grid to look at, and a plot of what is gained and lost."""

from __future__ import annotations

import math
from typing import Any

import latent_preview
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..common.interrupts import interruptible
from ..images.grid import labelled_grid
from ..images.plot import Axis, Series, line_plot
from ..images.realism import RealPictures, l2, middle, texture_share
from ..images.tensors import check_image, split_alpha
from ..samplers import masks, process, remarks
from ..samplers.sdedit import Settings
from ..samplers.sweep import DEFAULTS, SETTINGS, Point, parse_values, total_steps
from ..samplers.sweep import sweep as run_sweep
from . import validate
from .cut_short import CutShort
from .sdedit import CATEGORY, CFG_TIP, REPEATS_TIP, STEPS_TIP, mask_inputs, seed_input, solver_inputs, t0_input

_cut_short = CutShort()


class Sweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathSweep",
            display_name="SDEdit Sweep",
            category=CATEGORY,
            description="Runs one SDEdit over several t0, repeats or seeds. Gives a labelled grid, all latents, and a "
            "plot of faithfulness against realism. An interrupt keeps what is done.",
            search_aliases=["t0 sweep", "strength grid", "xy plot", "denoise comparison"],
            inputs=[
                io.Model.Input("model", tooltip="Any diffusion or flow model."),
                io.Conditioning.Input("positive", tooltip="What the picture shows."),
                io.Conditioning.Input("negative", tooltip="What it does not show."),
                io.Vae.Input("vae", tooltip="Encodes the guide once and decodes every result."),
                io.Image.Input("image", tooltip="The guide. Of a batch, each picture gets a row of the grid."),
                io.Combo.Input("sweep", options=list(SETTINGS), default="t0", tooltip="The setting that is varied."),
                io.String.Input(
                    "values",
                    default=DEFAULTS["t0"],
                    tooltip="Values of that setting, with commas between them. Empty: "
                    + "; ".join(f"{name}: {values}" for name, values in DEFAULTS.items())
                    + ".",
                ),
                seed_input(),
                t0_input("t0 of every run, unless it is swept."),
                io.Int.Input("steps", default=20, min=1, max=10000, tooltip=STEPS_TIP),
                io.Float.Input("cfg", default=4.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=CFG_TIP),
                *solver_inputs(),
                io.Int.Input("repeats", default=1, min=1, max=5, advanced=True, tooltip=REPEATS_TIP),
                io.Mask.Input("mask", optional=True, tooltip="1 = edit, 0 = keep."),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="Real pictures of the kind that is wanted, ten or more: realism is measured against them.",
                ),
                *mask_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="The guide and all results with their values."),
                io.Latent.Output(display_name="latents", tooltip="All results as a batch, in the order of the values."),
                io.Image.Output(
                    display_name="plot",
                    tooltip="Distance to the guide against realism: patch KID to the reference, or, without one, the "
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
        t0: float,
        steps: int,
        cfg: float,
        solver: str,
        scheduler: str,
        repeats: int = 1,
        mask: Tensor | None = None,
        reference: Tensor | None = None,
        mask_mode: str = "blend",
        keep_noise: str = "auto",
    ) -> io.NodeOutput:
        settings = Settings(t0, steps, cfg, solver, scheduler, repeats, mask_mode, keep_noise)
        numbers = parse_values(sweep, values)
        real = None if reference is None else RealPictures(reference)
        check_image(image, "image")
        image = split_alpha(image)[0]
        guide = validate.masked_latent(model, {"samples": vae.encode(image)}, mask, block=masks.block_of_vae(vae))
        callback = latent_preview.prepare_callback(model, total_steps(settings, sweep, numbers))
        points, complete = run_sweep(model, positive, negative, guide, seed, settings, sweep, numbers, callback)
        if not complete:
            _cut_short.note(cls)
        decoded = [_decoded(vae, point) for point in interruptible(points)]
        pictures = [made.nan_to_num(nan=0.5) for made in decoded]
        image = image[: len(pictures[0])]  # a video VAE leaves out frames that fill no latent
        measured = _measured(decoded, image, real)
        if all(math.isnan(distance) for distance, *_ in measured):
            raise ValueError("All results hold values that are no numbers: try the VAE, then the model, in fp32.")
        text = _table(sweep, points, measured, reference is not None, complete, len(numbers))
        batch = guide["samples"].shape[0]
        notes = [
            *remarks.about_guidance(positive, negative, cfg, batch),
            *remarks.about_mask(guide.get("noise_mask"), batch),
            *remarks.about_levels(process.model_sampling(model)),
        ]
        text = "\n".join([text, *remarks.lines(notes)])
        return io.NodeOutput(
            _grid(sweep, points, pictures, image),
            {"samples": torch.cat([point.edit.latent["samples"] for point in points])},
            _plot(sweep, points, measured, reference is not None),
            text,
            ui=ui.PreviewText(text),
        )


def _decoded(vae: Any, point: Point) -> Tensor:
    pictures = vae.decode(point.edit.latent["samples"])
    return pictures.reshape(-1, *pictures.shape[-3:])


def _measured(pictures: list[Tensor], image: Tensor, real: RealPictures | None) -> list[tuple[float, float, float]]:
    """Distance to the guide, realism and its standard error, of each point; NaN where a picture is."""
    measured = []
    for made in pictures:
        if not bool(torch.isfinite(made).all()):
            measured.append((math.nan, math.nan, math.nan))
        elif real is None:
            measured.append((l2(made, image), 100 * float(texture_share(made).mean()), math.nan))
        else:
            distance = real.distance(made)
            measured.append((l2(made, image), distance.value, distance.standard_error))
    return measured


def _written(value: float | int) -> str:
    """A value in full: rounded to a few digits, one seed would look like another."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def _label(setting: str, value: float | int) -> str:
    return f"{setting} {_written(value)}"


def _grid(setting: str, points: list[Point], pictures: list[Tensor], image: Tensor) -> Tensor:
    height, width = pictures[0].shape[1:3]
    guide = middle(image, height, width).to(pictures[0])
    labels = ["guide", *(_label(setting, point.value) for point in points)]
    rows = image.shape[0]
    cells = torch.cat([torch.stack([guide[row], *(made[row] for made in pictures)]) for row in range(rows)])
    if rows == 1:
        return labelled_grid(cells, labels)
    return labelled_grid(cells, col_labels=labels)


def _plot(setting: str, points: list[Point], measured: list[tuple[float, float, float]], against: bool) -> Tensor:
    shown = [(point, row) for point, row in zip(points, measured, strict=True) if not math.isnan(row[0])]
    distances, realism, errors = (list(column) for column in zip(*(row for _, row in shown), strict=True))
    labels = [_label(setting, point.value) for point, _ in shown]
    style = "points" if setting == "seed" else "both"
    bars = errors if against and not any(map(math.isnan, errors)) else None
    series = Series("SDEdit", distances, realism, style=style, errors=bars, labels=labels)
    kind = "distance to real pictures (patch KID), lower is more real" if against else "fine texture (% of pixels)"
    return line_plot(
        [series],
        Axis("distance to the guide (L2), lower is more faithful"),
        Axis(kind),
        title=f"Sweep over {setting}",
    )


def _table(
    setting: str,
    points: list[Point],
    measured: list[tuple[float, float, float]],
    against: bool,
    complete: bool,
    wanted: int,
) -> str:
    heading = f"{setting:>8}  {'L2':>8}  {'patch KID' if against else 'texture %':>10}  evaluations"
    rows = [
        f"{_written(point.value):>8}  {distance:>8.3f}  {realism:>10.4f}  {point.edit.evaluations:>11}"
        for point, (distance, realism, _) in zip(points, measured, strict=True)
    ]
    left = [] if complete else [f"interrupted: {len(points)} of {wanted} values were run"]
    if any(math.isnan(distance) for distance, *_ in measured):
        left.append(
            "nan: the pictures hold values that are no numbers (grey in the grid); try the VAE or model in fp32"
        )
    return "\n".join([heading, *rows, *left])


NODES: list[type[io.ComfyNode]] = [Sweep]
