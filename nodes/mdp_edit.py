"""MDP in one node for the usual case, and a grid of edits to find a setting by eye."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.samplers
import latent_preview
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..common.interrupts import interruptible
from ..common.texts import quoted
from ..images.grid import labelled_grid
from ..samplers import masks, process, remarks
from ..samplers.counting import counting_from
from ..samplers.mdp import edit as mdp
from ..samplers.mdp.difference import POSITIONS, RegionSettings
from ..samplers.mdp.sweep import Cell, Grid, parse_numbers, weight_grid, window_grid
from ..samplers.mdp.sweep import sweep as run_sweep
from ..samplers.path import DiffusionPath
from ..samplers.schedule import PathSchedule
from ..samplers.sigmas import check_falling_to_zero, levels_of
from . import validate
from .cut_short import CutShort
from .mdp import CATEGORY, MASK_TIP
from .sdedit import seed_input, sigmas_input
from .sockets import DiffusionPath as DiffusionPathSocket
from .sockets import PathSchedule as PathScheduleSocket

DEFAULTS = mdp.MDPSettings()
_cut_short = CutShort()
WINDOWS, WEIGHTS = "windows", "weights"
RECOMMENDED, NOTEBOOK = "recommended", "notebook"
METHODS = (RECOMMENDED, *mdp.KINDS, NOTEBOOK)
_SIGMAS = ("steps and scheduler", " A path that is connected keeps its own levels.")
_METHOD_TIP = (
    "recommended: MDP-\u03b5 where the two prompts differ, the rest of the picture is kept. The others edit all of it. "
    "noise: MDP-\u03b5, the source's predicted noise. latent: MDP-x, its states. conditioning: MDP-c, its prompt. "
    "guidance: MDP-\u03b2, its guided prediction. notebook: MDP-\u03b5 in the window of the paper's notebook, there "
    "with 50 steps and cfg 7.5."
)


def make_settings(
    method: str,
    schedule: PathSchedule | None,
    steps: int,
    cfg: float,
    scheduler: str,
    threshold: float,
    sigmas: Tensor | None = None,
) -> mdp.MDPSettings:
    """Settings of a method; a schedule that is connected takes the place of the method's own."""
    if sigmas is not None:
        check_falling_to_zero(sigmas)
    if method not in METHODS:
        raise ValueError(f"There is no method {quoted(method)}: choose one of {', '.join(METHODS)}.")
    kind = "noise" if method in (RECOMMENDED, NOTEBOOK) else method
    own = {**mdp.WHOLE, RECOMMENDED: DEFAULTS.schedule, NOTEBOOK: mdp.NOTEBOOK}
    region = RegionSettings(threshold) if method == RECOMMENDED else None
    return mdp.MDPSettings(kind, schedule or own[method], steps, cfg, scheduler, region, sigmas)


def edit_inputs(schedule_tip: str) -> list[Any]:
    """The inputs that both nodes share."""
    return [
        io.Model.Input("model", tooltip="Any diffusion or flow model, with any other patches."),
        io.Conditioning.Input("positive", tooltip="The target prompt: what the picture shall show."),
        io.Conditioning.Input("negative", tooltip="What it shall not show; an empty prompt will do."),
        io.Conditioning.Input("source", tooltip="The source prompt: what the picture shows now."),
        io.Latent.Input(
            "latent",
            tooltip="A picture from VAE Encode, which is inverted, or an empty latent: then the source is generated "
            "from the seed and the source prompt. Unused where a path is connected.",
        ),
        seed_input(),
        io.Int.Input(
            "steps",
            default=DEFAULTS.steps,
            min=2,
            max=10000,
            tooltip="Steps of the path. A path that is connected keeps its own.",
        ),
        io.Float.Input(
            "cfg",
            default=DEFAULTS.cfg,
            min=0.0,
            max=100.0,
            step=0.1,
            round=0.01,
            tooltip="Guidance towards the target prompt. At 1 the negative prompt is not evaluated.",
        ),
        io.Combo.Input("method", options=list(METHODS), default=RECOMMENDED, tooltip=_METHOD_TIP),
        PathScheduleSocket.Input("schedule", optional=True, tooltip=schedule_tip),
        DiffusionPathSocket.Input(
            "path",
            optional=True,
            tooltip="The source's path, recorded or inverted: made once, it serves any number of edits.",
        ),
        io.Mask.Input("mask", optional=True, tooltip=MASK_TIP),
        io.Combo.Input(
            "scheduler",
            options=list(comfy.samplers.SCHEDULER_NAMES),
            default=DEFAULTS.scheduler,
            optional=True,
            advanced=True,
            tooltip="Noise levels of the path that is made. normal: uniform in training time, as in the paper.",
        ),
        io.Float.Input(
            "threshold",
            default=RegionSettings.threshold,
            min=0.001,
            max=10.0,
            step=0.01,
            round=False,
            optional=True,
            advanced=True,
            tooltip="For the method recommended: how much the predictions for both prompts must differ to count as "
            "edited, in standard deviations of the picture. Lower takes more of the picture in.",
        ),
    ]


def step_positions(model: Any, settings: mdp.MDPSettings, path: DiffusionPath | None) -> list[float]:
    """Where the steps of the source's path start, as fractions of training time, before that path is made."""
    if path is not None:
        return path.step_positions
    sampling = process.model_sampling(model)
    return process.positions(
        sampling, levels_of(sampling, 1.0, settings.steps, settings.scheduler, settings.sigmas)[:-1]
    )


def found_source(
    model: Any,
    source: Any,
    negative: Any,
    latent: dict[str, Any],
    path: DiffusionPath | None,
    seed: int,
    settings: mdp.MDPSettings,
    mask: Tensor | None,
    callback: Callable[..., None] | None,
) -> mdp.Source:
    """The connected path, or a new one of the latent; a mask that does not fit is said before any work is done."""
    if path is not None:
        if mask is not None:
            masks.on_grid(mask, path.shape, masks.block_of(model))
        return mdp.Source(path, source)
    validate.check_latent(model, latent, "latent")
    if mask is not None:
        masks.on_grid(mask, latent["samples"].shape, masks.block_of(model))
    return mdp.find_source(model, source, negative, latent, seed, settings, callback)


class MDPEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMDPEdit",
            display_name="MDP Edit",
            category=CATEGORY,
            description="Edits a picture by prompt and keeps its layout: finds the path of the source (or generates "
            "one), then walks towards the target prompt along it, and only where the prompts differ.",
            search_aliases=["mdp", "edit image", "prompt editing", "image editing", "change prompt keep layout"],
            inputs=[
                *edit_inputs(
                    "Where on the path the source counts (Path Schedule). Without one the method's own, which the "
                    f"report names: {DEFAULTS.schedule.start:g} to {DEFAULTS.schedule.end:g} where it is recommended."
                ),
                sigmas_input(*_SIGMAS),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited picture. Decode it with VAE Decode."),
                DiffusionPathSocket.Output(display_name="path", tooltip="The source's path, for further edits."),
                io.String.Output(
                    display_name="report",
                    tooltip="The window in steps, the evaluations made and saved, and notes where an edit cannot have "
                    "worked, with what to do.",
                ),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="Where it was edited, 1 = edit. Composite Exact lays the rest of the original over the "
                    "decoded edit, pixel by pixel.",
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
        steps: int,
        cfg: float,
        method: str,
        schedule: PathSchedule | None = None,
        path: DiffusionPath | None = None,
        mask: Tensor | None = None,
        scheduler: str = DEFAULTS.scheduler,
        threshold: float = RegionSettings.threshold,
        sigmas: Tensor | None = None,
    ) -> io.NodeOutput:
        settings = make_settings(method, schedule, steps, cfg, scheduler, threshold, sigmas)
        before = 0 if path is not None else settings.path_steps
        walk = settings.path_steps if path is None else path.steps
        settings.schedule.window(step_positions(model, settings, path))  # an empty window is said before any work
        looks = len(POSITIONS) if settings.region else 0
        total = before + looks + walk
        callback = latent_preview.prepare_callback(model, total)
        there = found_source(
            model, source, negative, latent, path, seed, settings, mask, counting_from(callback, 0, total)
        )
        region = mdp.find_region(model, positive, there, settings, mask, counting_from(callback, before, total))
        made = mdp.edit(
            model, positive, negative, there, settings, region.mask, counting_from(callback, before + looks, total)
        )
        notes = mdp.shared_remarks(model, positive, negative, there, cfg, mask, region)
        notes += mdp.own_remarks(there, settings.schedule, made)
        text = mdp.report(there, region, settings, made, notes)
        where = torch.ones(1, *there.path.shape[-2:]) if region.mask is None else region.mask
        return io.NodeOutput(made.latent, there.path, text, where, ui=ui.PreviewText(text))


class MDPSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMDPSweep",
            display_name="MDP Sweep",
            category=CATEGORY,
            description="A grid of MDP edits over window starts and lengths, or over weights, on one path of the "
            "source. An interrupt keeps what is done.",
            search_aliases=["mdp grid", "window sweep", "xy plot", "parameter search"],
            inputs=[
                *edit_inputs("Shape and weight of every window; in a sweep over weights also the window."),
                io.Vae.Input("vae", tooltip="Decodes the source and every edit for the grid."),
                io.Combo.Input(
                    "sweep",
                    options=[WINDOWS, WEIGHTS],
                    default=WINDOWS,
                    tooltip="windows: starts down, lengths across. weights: one row of weights.",
                ),
                io.String.Input(
                    "starts",
                    default="1, 0.9, 0.8, 0.7",
                    tooltip="Where the windows begin, as fractions of the path: 1 = the noisy end.",
                ),
                io.String.Input(
                    "lengths", default="0.3, 0.5, 0.6, 0.7", tooltip="How long they are, as fractions of the path."
                ),
                io.String.Input(
                    "weights", default="0, 0.25, 0.5, 0.75, 1", tooltip="Weights of the source, from -1 to 1."
                ),
                sigmas_input(*_SIGMAS),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="The source and all edits, labelled."),
                io.Latent.Output(display_name="latents", tooltip="All edits as a batch, row by row."),
                DiffusionPathSocket.Output(display_name="path", tooltip="The source's path, for further edits."),
                io.String.Output(
                    display_name="report", tooltip="Evaluations of every edit and of all together, with notes."
                ),
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
        source: Any,
        latent: dict[str, Any],
        seed: int,
        steps: int,
        cfg: float,
        method: str,
        vae: Any,
        sweep: str,
        starts: str,
        lengths: str,
        weights: str,
        schedule: PathSchedule | None = None,
        path: DiffusionPath | None = None,
        mask: Tensor | None = None,
        scheduler: str = DEFAULTS.scheduler,
        threshold: float = RegionSettings.threshold,
        sigmas: Tensor | None = None,
    ) -> io.NodeOutput:
        settings = make_settings(method, schedule, steps, cfg, scheduler, threshold, sigmas)
        before = 0 if path is not None else settings.path_steps
        walk = settings.path_steps if path is None else path.steps
        places = step_positions(model, settings, path)
        if sweep == WINDOWS:
            grid = window_grid(
                settings.schedule, parse_numbers(starts, "starts"), parse_numbers(lengths, "lengths"), places
            )
        else:
            settings.schedule.window(places)
            grid = weight_grid(settings.schedule, parse_numbers(weights, "weights"))
        looks = len(POSITIONS) if settings.region else 0
        total = before + looks + len(grid) * walk
        callback = latent_preview.prepare_callback(model, total)
        there = found_source(
            model, source, negative, latent, path, seed, settings, mask, counting_from(callback, 0, total)
        )
        region = mdp.find_region(model, positive, there, settings, mask, counting_from(callback, before, total))
        cells, complete = run_sweep(
            model,
            positive,
            negative,
            there,
            settings,
            grid,
            region.mask,
            counting_from(callback, before + looks, total),
        )
        if not complete:
            _cut_short.note(cls)
        notes = mdp.shared_remarks(model, positive, negative, there, cfg, mask, region)
        text = sweep_report(there, region, cells, len(grid), mdp.levels_note(there, settings), notes)
        latents = {"samples": torch.cat([cell.edit.latent["samples"] for cell in cells])}
        return io.NodeOutput(draw_grid(vae, there, grid, cells), latents, there.path, text, ui=ui.PreviewText(text))


def draw_grid(vae: Any, source: mdp.Source, grid: Grid, cells: list[Cell]) -> Tensor:
    """The source's picture and the edits; of a batch, the first picture. What was not made stays grey."""
    picture = _decoded(vae, source.path.to_vae(source.path.picture[:1]))
    pictures = {
        (cell.row, cell.column): _decoded(vae, cell.edit.latent["samples"][:1]) for cell in interruptible(cells)
    }
    empty = torch.full_like(picture, 0.5)
    rows = [
        torch.cat([picture if row == 0 else torch.ones_like(picture)]
                  + [pictures.get((row, column), empty) for column in range(len(grid.columns))])
        for row in range(len(grid.rows))
    ]  # fmt: skip
    labels = grid.rows if any(grid.rows) else None
    return labelled_grid(torch.cat(rows), col_labels=["source", *grid.columns], row_labels=labels)


def _decoded(vae: Any, samples: Tensor) -> Tensor:
    pictures = vae.decode(samples).cpu()
    return pictures.reshape(-1, *pictures.shape[-3:])[:1]


def sweep_report(
    source: mdp.Source, region: mdp.EditRegion, cells: list[Cell], wanted: int, levels: str, notes: Sequence[str] = ()
) -> str:
    """A line per edit, with what is to be said of it alone, what all of it cost, and notes that are true of all.

    levels: a note on the levels of the source's path.
    """
    lines: list[str] = []
    for cell in cells:
        lines.append(
            f"{cell.schedule.start:.3g} to {cell.schedule.end:.3g}, weight {cell.schedule.weight:.3g}: "
            f"{cell.edit.evaluations} evaluations, {cell.edit.saved} saved"
        )
        lines += remarks.lines(mdp.own_remarks(source, cell.schedule, cell.edit))
    total = source.evaluations + region.evaluations + sum(cell.edit.evaluations for cell in cells)
    shared = f"{source.evaluations} of them for the source's path{levels}"
    if region.evaluations:
        shared += f" and {region.evaluations} to find the region"
    lines.append(f"together: {total} evaluations, {shared}")
    if len(cells) < wanted:
        lines.append(f"interrupted: {len(cells)} of {wanted} edits were made")
    return "\n".join([*lines, *remarks.lines(notes)])


NODES: list[type[io.ComfyNode]] = [MDPEdit, MDPSweep]
