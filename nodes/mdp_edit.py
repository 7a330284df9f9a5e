"""MDP in one node for the usual case, and a grid of edits to find a setting by eye."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import latent_preview
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..common.texts import quoted
from ..samplers import masks, nested, process, remarks
from ..samplers.conditioning import fingerprint
from ..samplers.counting import counting_from
from ..samplers.inversion.fixed_point import FixedPoint
from ..samplers.mdp import edit as mdp
from ..samplers.mdp.difference import RegionSettings, compared_steps
from ..samplers.mdp.sweep import parse_numbers, weight_grid, window_grid
from ..samplers.mdp.sweep import sweep as run_sweep
from ..samplers.path import DiffusionPath
from ..samplers.schedule import PathSchedule
from ..samplers.sigmas import check_falling_to_zero, levels_of
from ..views.mdp_sweep import mdp_swept
from . import validate
from .cut_short import CutShort
from .inputs import (
    CELLS_TIP,
    MASK_TIP,
    cfg_input,
    choice,
    model_input,
    number,
    part_inputs,
    path_input,
    prompt_inputs,
    schedule_input,
    scheduler_input,
    seed_input,
    sigmas_input,
    steps_input,
)
from .inversion_methods import described_method, method_input
from .mdp import ANY_PATCHED, CATEGORY
from .sockets import DiffusionPath as DiffusionPathSocket
from .sockets import SweepCells

DEFAULTS = mdp.MDPSettings()
_cut_short = CutShort()
WINDOWS, WEIGHTS = "windows", "weights"
RECOMMENDED, NOTEBOOK, ARTICLE = "recommended", "notebook", "article"
METHODS = (RECOMMENDED, *mdp.KINDS, NOTEBOOK, ARTICLE)
_SIGMAS = ("steps and scheduler", " A connected path keeps its own levels.")
_METHOD_TIP = (
    "recommended: MDP-\u03b5 where the two prompts differ, guided away from the source prompt; the rest of the picture "
    "is kept. The others edit the whole picture, guided away from the negative prompt. noise: MDP-\u03b5, the source's "
    "predicted noise. latent: MDP-x, its states. conditioning: MDP-c, its prompt. guidance: MDP-\u03b2, its guided "
    "prediction. notebook: MDP-\u03b5 in the window of the paper's notebook, 0.96 to 0.46, and article in that of an "
    "article on it, 0.94 to 0.42: both use 50 steps and cfg 7.5."
)

_INVERSION_TIP = (
    "How the path of a picture is found, as in Invert Picture to Path: fixed point with 1 iteration (Uni-Inv) is the "
    "cheapest and leads back exactly. Unused for an empty latent or with a connected path."
)


def make_settings(
    method: str,
    steps: int,
    cfg: float,
    schedule: PathSchedule | None = None,
    scheduler: str = DEFAULTS.scheduler,
    sigmas: Tensor | None = None,
    inversion: dict[str, Any] | None = None,
    **region: Any,
) -> mdp.MDPSettings:
    """Settings of a method; a connected schedule replaces the method's own.

    inversion: its widgets' values. region: of the method recommended, by the names of `RegionSettings`.
    """
    if sigmas is not None:
        check_falling_to_zero(sigmas)
    if method not in METHODS:
        raise ValueError(f"There is no method {quoted(method)}: choose one of {', '.join(METHODS)}.")
    kind = method if method in mdp.KINDS else "noise"
    own = {**mdp.WHOLE, NOTEBOOK: mdp.NOTEBOOK, ARTICLE: mdp.ARTICLE}
    where = RegionSettings(**region) if method == RECOMMENDED else None
    finder = described_method(inversion, combo="inversion") if inversion else DEFAULTS.inversion
    guide = "source" if method == RECOMMENDED else "negative"
    return mdp.MDPSettings(kind, schedule or own.get(method), steps, cfg, scheduler, where, sigmas, finder, guide)


def edit_inputs(schedule_tip: str) -> list[Any]:
    """The inputs that both nodes share."""
    return [
        model_input(ANY_PATCHED),
        *prompt_inputs("The target prompt: what the picture should show.", "What it should not show; may be empty."),
        io.Conditioning.Input("source", tooltip="The source prompt: what the picture shows now."),
        io.Latent.Input(
            "latent",
            tooltip="A picture from VAE Encode, which is inverted, or an empty latent: then the source is generated "
            "from the seed and the source prompt. Unused if a path is connected.",
        ),
        seed_input(),
        steps_input("Steps of the path. A connected path keeps its own.", DEFAULTS.steps, 2),
        cfg_input(
            "Guidance towards the target prompt. At 1 the negative prompt is not evaluated. At 1 in up to 8 steps, as "
            "for distilled models, recommended is guided away from the source prompt at 1.5.",
            DEFAULTS.cfg,
        ),
        choice("method", METHODS, RECOMMENDED, _METHOD_TIP),
        schedule_input(schedule_tip, optional=True),
        path_input(
            tooltip="The source's path, recorded or inverted: made once, it serves any number of edits.", optional=True
        ),
        io.Mask.Input("mask", optional=True, tooltip=MASK_TIP),
        scheduler_input(
            "Noise levels of a new path. normal: uniform in training time, as in the paper.",
            DEFAULTS.scheduler,
            optional=True,
            advanced=True,
        ),
        number(
            "threshold",
            RegionSettings.threshold,
            (0.001, 10.0),
            0.01,
            "For the method recommended: how much the predictions for the two prompts must differ for a place to be "
            "edited, in standard deviations of the picture. Lower values edit more of the picture.",
            round=False,
            optional=True,
            advanced=True,
        ),
        number(
            "keep_detail",
            RegionSettings.keep_detail,
            (0.0, 2.0),
            0.05,
            "For the method recommended: small changes of fine detail are undone, up to this share of the mean change "
            "of the picture. Higher values keep more of the source's texture, and can leave shadows of what should go. "
            "0 = off.",
            round=False,
            optional=True,
            advanced=True,
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


Callback = Callable[..., None] | None


class Prompts(NamedTuple):
    """CONDITIONING of the target, the negative and the source prompt."""

    positive: Any
    negative: Any
    source: Any


def prepare(
    model: Any,
    prompts: Prompts,
    latent: dict[str, Any],
    seed: int,
    settings: mdp.MDPSettings,
    path: DiffusionPath | None,
    mask: Tensor | None,
    edits: int = 1,
) -> tuple[mdp.Source, mdp.EditRegion, Callback]:
    """The connected path, or a new one of the latent; where to edit it; and the callback for the edits.

    A mask that does not fit is refused before any work is done.
    """
    if path is None:
        validate.check_latent(model, latent, "latent")
    if mask is not None:
        shape = nested.video(latent["samples"]).shape if path is None else path.visible_shape
        masks.on_grid_of(model, mask, shape)
    steps = settings.steps_on(path)
    before = 0 if path is not None else steps
    looks = len(compared_steps(step_positions(model, settings, path))) if settings.region else 0
    total = before + looks + edits * steps
    callback = latent_preview.prepare_callback(model, total)
    if path is not None:
        found = mdp.Source(path, prompts.source)
    else:
        counted = counting_from(callback, 0, total)
        found = mdp.find_source(model, prompts.source, prompts.negative, latent, seed, settings, counted)
    region = mdp.find_region(model, prompts.positive, found, settings, mask, counting_from(callback, before, total))
    return found, region, counting_from(callback, before + looks, total)


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
                    "Where on the path the source counts (Path Schedule). Without one, the method's own window, shown "
                    f"in the report: {mdp.RECOMMENDED.start:g} to {mdp.RECOMMENDED.end:g} for recommended. In up to "
                    f"{remarks.FEW_STEPS} steps at cfg 1 it ends at {mdp.RECOMMENDED_FEW.end:g}, and in up to 6 the "
                    "target alone leads all steps within a region."
                ),
                sigmas_input(*_SIGMAS),
                method_input("inversion", FixedPoint.name, _INVERSION_TIP, iterations=1, optional=True),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The edited picture. Decode it with VAE Decode."),
                DiffusionPathSocket.Output(display_name="path", tooltip="The source's path, for further edits."),
                io.String.Output(
                    display_name="report",
                    tooltip="The window in steps, the evaluations made and saved, and notes on edits that cannot "
                    "have worked, with what to do.",
                ),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="Where the picture was edited: 1 = edit. Composite Exact uses it to restore the rest of "
                    "the original in the decoded edit, pixel by pixel.",
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
        path: DiffusionPath | None = None,
        mask: Tensor | None = None,
        **widgets: Any,
    ) -> io.NodeOutput:
        settings = make_settings(**widgets)
        schedule = settings.schedule_on(path)
        places = step_positions(model, settings, path)
        if settings.schedule is not None or not mdp.recommended(places, settings.cfg).alone:
            schedule.window(places)  # refuses an empty window before any work
        prompts = Prompts(positive, negative, source)
        found, region, callback = prepare(model, prompts, latent, seed, settings, path, mask)
        edited = mdp.edit(model, positive, negative, found, settings, region.mask, callback)
        notes = mdp.shared_remarks(model, positive, negative, found, settings, mask, region)
        notes += mdp.own_remarks(found, schedule, edited)
        text = mdp.report(found, region, settings, edited, notes)
        where = torch.ones(1, *found.path.visible_shape[-2:]) if region.mask is None else region.mask
        return io.NodeOutput(edited.latent, found.path, text, where, ui=ui.PreviewText(text))


class MDPSweep(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DPathMDPSweep",
            display_name="MDP Sweep",
            category=CATEGORY,
            description="A grid of MDP edits over window starts and lengths, or over weights, on one path of the "
            "source. Interrupting keeps the finished edits.",
            search_aliases=["mdp grid", "window sweep", "xy plot", "parameter search"],
            inputs=[
                *edit_inputs("Shape and weight of every window; in a sweep over weights also the window."),
                io.Vae.Input("vae", tooltip="Decodes the source and every edit for the grid."),
                choice(
                    "sweep",
                    [WINDOWS, WEIGHTS],
                    WINDOWS,
                    "windows: starts down, lengths across. weights: one row of weights.",
                ),
                io.String.Input(
                    "starts",
                    default="1, 0.9, 0.8, 0.7",
                    tooltip="Where the windows begin, as fractions of the path: 1 = the noisy end.",
                ),
                io.String.Input(
                    "lengths",
                    default="0.3, 0.5, 0.6, 0.7",
                    tooltip="How long the windows are, as fractions of the path.",
                ),
                io.String.Input(
                    "weights", default="0, 0.25, 0.5, 0.75, 1", tooltip="Weights of the source, from -1 to 1."
                ),
                sigmas_input(*_SIGMAS),
                *part_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="grid", tooltip="The source and all edits, labelled."),
                io.Latent.Output(display_name="latents", tooltip="All edits as a batch, row by row."),
                DiffusionPathSocket.Output(display_name="path", tooltip="The source's path, for further edits."),
                io.String.Output(display_name="report", tooltip="Evaluations of every edit and in total, with notes."),
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
        source: Any,
        latent: dict[str, Any],
        seed: int,
        vae: Any,
        sweep: str,
        starts: str,
        lengths: str,
        weights: str,
        path: DiffusionPath | None = None,
        mask: Tensor | None = None,
        part: int = 1,
        parts: int = 1,
        **widgets: Any,
    ) -> io.NodeOutput:
        settings = make_settings(**widgets)
        schedule, places = settings.schedule_on(path), step_positions(model, settings, path)
        if sweep == WINDOWS:
            layout = window_grid(schedule, parse_numbers(starts, "starts"), parse_numbers(lengths, "lengths"), places)
        else:
            schedule.window(places)
            layout = weight_grid(schedule, parse_numbers(weights, "weights"))
        grid = layout.part(part, parts)
        prompts = Prompts(positive, negative, source)
        found, region, callback = prepare(model, prompts, latent, seed, settings, path, mask, len(grid))
        cells, complete = run_sweep(model, positive, negative, found, settings, grid, region.mask, callback)
        if not complete:
            _cut_short.note(cls)
        swept = mdp_swept(
            vae,
            found,
            region,
            layout,
            cells,
            same=(
                *map(fingerprint, prompts),
                seed,
                layout,
                settings.kind,
                settings.schedule,
                settings.cfg,
                found.path.steps,
                found.path.shape,
            ),
            wanted=len(grid),
            levels=mdp.levels_note(found, settings),
            notes=(*mdp.shared_remarks(model, positive, negative, found, settings, mask, region), *layout.missed),
        )
        text = swept.report()
        outputs = (swept.grid(), swept.latents(), found.path, text, swept)
        return io.NodeOutput(*outputs, ui=ui.PreviewText(text))


NODES: list[type[io.ComfyNode]] = [MDPEdit, MDPSweep]
