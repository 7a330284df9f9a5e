"""The usual edit in one call: find or record the source's path, manipulate the target's, report the cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from torch import Tensor

from ...common.texts import quoted
from .. import masks, nested, process, remarks
from .. import noise as noises
from ..conditioning import fingerprint
from ..counting import Counter
from ..inversion.fixed_point import FixedPoint
from ..inversion.invert import invert
from ..inversion.run import Method
from ..path import DiffusionPath
from ..record import record
from ..replay import attach, replay_sampler, start
from ..schedule import PathSchedule
from ..sdedit import prepared
from ..sigmas import levels_of
from ..wrong_prompt import sample_with
from . import difference
from .conditions import mix_conditioning, mix_guidance
from .detail import keep_detail
from .states import inject_latent, inject_noise

KINDS = ("noise", "latent", "conditioning", "guidance")
GUIDES = ("source", "negative")
SOURCE_SHARE = 1 / 3
"""Of what cfg adds to 1, how much guidance away from the source prompt takes for an edit of the same strength."""

RECOMMENDED, RECOMMENDED_FEW = PathSchedule(0.8, 0.15), PathSchedule(0.8, 0.3)
"""The window of the recommended edit; the second one of the whole picture in few steps (see `recommended`)."""

FEW_STEPS_SCALE = 1.5
"""Guidance away from the source prompt in few steps, where the cfg is 1."""

LEAST_LED = 4
"""Steps that the target has to lead by itself for what it changes to be drawn well."""

SMALL, LEAST_NOISE = 0.2, 0.45
"""Within a region of at most this share of the picture, the source counts in no step that starts with less noise than
this share of the state.
"""

WHOLE: dict[str, PathSchedule] = {
    "noise": PathSchedule(0.8, 0.15),
    "latent": PathSchedule(0.9, 0.3, weight=0.3),
    "conditioning": PathSchedule(0.8, 0.3, weight=0.6),
    "guidance": PathSchedule(0.8, 0.3, weight=0.6),
}
"""Schedules of the manipulations for edits of the whole picture."""

NOTEBOOK = PathSchedule(0.96, 0.46)
"""The window of the paper's notebook: steps 48 to 23 of 50, used there with cfg 7.5."""

ARTICLE = PathSchedule(0.94, 0.42)
"""The window of an article that explains the paper and its code (t_max 47, t_m 26 of 50 steps), also with cfg 7.5."""


@dataclass(frozen=True)
class MDPSettings:
    """What to do. steps: of a new path; a given path keeps its own. sigmas: levels of a new path, falling to 0, instead
    of those of steps and scheduler.

    schedule: where on the path the source counts; None for what suits the run (see `recommended`).
    weight: of the source there; None for the schedule's own.
    region: how to find where the two prompts differ, to edit only there; None edits the whole picture.
    inversion: how the path of a picture is found; by default Uni-Inv, which is exact on the way back.
    guided_by: one of `GUIDES`, the prompt that guidance leads away from (see `led_from_source`).
    """

    kind: str = "noise"
    schedule: PathSchedule | None = None
    steps: int = 20
    cfg: float = 4.0
    scheduler: str = "normal"
    region: difference.RegionSettings | None = field(default_factory=difference.RegionSettings)
    sigmas: Tensor | None = None
    inversion: Method = field(default_factory=lambda: FixedPoint(iterations=1))
    guided_by: str = "source"
    weight: float | None = None

    def steps_on(self, path: DiffusionPath | None) -> int:
        """Steps of an edit on a path, or on a new one."""
        if path is not None:
            return path.steps
        return self.steps if self.sigmas is None else max(self.sigmas.numel() - 1, 0)

    def schedule_on(self, path: DiffusionPath | None) -> PathSchedule:
        """Where the source counts in an edit on a path, or on a new one, if the region is not small."""
        schedule = self.schedule or recommended(self.steps_on(path), self.cfg).schedule
        return schedule if self.weight is None else replace(schedule, weight=self.weight)


@dataclass(frozen=True)
class Recommended:
    """The recommended edit in a run. schedule: where on the path the source counts; scale: of guidance away from the
    source prompt; alone: whether the target alone leads all steps where a region leaves the rest to the source.
    """

    schedule: PathSchedule
    scale: float
    alone: bool


def recommended(steps: int | Sequence[float], cfg: float) -> Recommended:
    """What suits a run of so many even steps, or of steps that start at these positions, at a cfg.

    Of four steps of a distilled model each draws a good part of the picture: one that is the source's own draws again
    what the edit should change. So where the window leaves the target fewer steps than `LEAST_LED`, it has none in a
    region, as the picture around it, which is held, keeps the layout too.
    """
    count = steps if isinstance(steps, int) else len(steps)
    if not remarks.has_few_steps(count, cfg):
        return Recommended(RECOMMENDED, 1.0 + SOURCE_SHARE * (cfg - 1.0), alone=False)
    window = RECOMMENDED_FEW
    taken = len(window.window(steps)) if window.holds_any(steps) else 0
    return Recommended(window, FEW_STEPS_SCALE, alone=count - taken < LEAST_LED)


@dataclass(frozen=True)
class Source:
    """The path of the source with its prompt. origin: given, recorded or inverted; evaluations: its cost."""

    path: DiffusionPath
    conditioning: Any
    origin: str = "given"
    evaluations: int = 0


@dataclass(frozen=True)
class EditRegion:
    """Where to edit: MASK [B or 1, h, w] on the latent grid ([T, h, w] of a video), 1 = edit, None for everywhere; and
    the evaluations that finding it took.

    found: where the prompts differ, before a given mask limits it.
    """

    mask: Tensor | None = None
    evaluations: int = 0
    found: Tensor | None = None


@dataclass(frozen=True)
class MDPResult:
    """The edited LATENT, the evaluations of the network that it took, per picture, and what guided it, in words.

    schedules: where on the path the source counted, for each picture.
    """

    latent: dict[str, Any]
    evaluations: int
    saved: int
    guidance: str = ""
    schedules: tuple[PathSchedule, ...] = ()


def find_source(
    model: Any,
    source: Any,
    negative: Any,
    latent: dict[str, Any],
    seed: int,
    settings: MDPSettings,
    callback: Callable[..., None] | None = None,
) -> Source:
    """The source's path: an empty LATENT is sampled from the seed and recorded, any other is inverted.

    Raises InterruptProcessingException where an interrupt left an optimisation (null text) unfinished.
    """
    latent = prepared(model, latent)
    samples = latent["samples"]
    sigmas = levels_of(process.model_sampling(model), 1.0, settings.steps, settings.scheduler, settings.sigmas)
    counter = Counter(model, samples.shape[0])
    if torch.count_nonzero(nested.video(samples)) > 0:
        method, cfg = settings.inversion, settings.cfg
        path = invert(counter.model, (source, negative), latent, sigmas, method, cfg, seed, callback)
        if path.figures.get("optimised_steps", (path.steps,))[0] < path.steps:
            raise comfy.model_management.InterruptProcessingException
        return Source(path, source, "inverted", counter.evaluations)
    guider = comfy.samplers.CFGGuider(counter.model)
    guider.set_conds(source, negative)
    guider.set_cfg(settings.cfg)
    euler, noise = comfy.samplers.sampler_object("euler"), noises.start_run(latent, seed)
    whole = {**latent, "noise_mask": None}  # the source is all of the picture
    path, _ = record(guider, euler, sigmas, noise, whole, callback, seed=seed)
    return Source(path, source, "recorded", counter.evaluations)


def find_region(
    model: Any,
    target: Any,
    source: Source,
    settings: MDPSettings,
    mask: Tensor | None = None,
    callback: Callable[..., None] | None = None,
) -> EditRegion:
    """The MASK, limited to the region where both prompts differ along the path if the settings say so."""
    given = None if mask is None else masks.on_grid_of(model, mask, source.path.visible_shape)
    if settings.region is None:
        return EditRegion(None if given is None or bool((given == 1).all()) else masks.as_mask(given))
    counter = Counter(model, source.path.shape[0])
    differs = difference.prompt_difference(counter.model, source.path, source.conditioning, target, callback)
    region = difference.region_of(differs, settings.region)
    if not masks.is_still(region.shape):  # one for all frames, which fits those of the decoded video too
        region = region.amax((0, 2), keepdim=True)
    found = masks.as_mask(region)
    return EditRegion(found if given is None else masks.as_mask(region * given), counter.evaluations, found)


def led_from_source(target: Any, source: Source, settings: MDPSettings) -> list[bool]:
    """For each picture, whether guidance leads away from the source prompt or from the negative one.

    As in FlowAlign (Kim et al. 2026) it is the source's where the settings say so, D = D_A + g (D_B - D_A), which
    amplifies nothing but what the target prompt changes. Only a path without guidance of its own goes with it: on one
    that was generated or inverted at a cfg, the negative prompt has its part. A target prompt that leaves open most of
    the picture would be led away from all that it does not name: there the negative prompt guides.
    """
    batch = source.path.shape[0]
    if settings.guided_by != "source" or source.path.cfg != 1.0:
        return [False] * batch
    return [not short for short in remarks.much_shorter(target, source.conditioning, batch)]


def schedules_of(source: Source, settings: MDPSettings, mask: Tensor | None) -> list[PathSchedule]:
    """Where the source counts, for each picture: the schedule of the settings, or what suits its region.

    Around a region the source is held, which keeps the layout too. So within it the target may lead more of the steps:
    in few steps all of them (see `recommended`) unless a weight is set, and in a small region those in which the house
    of the source, say, would be drawn again in its own colour (see `LEAST_NOISE`).
    """
    path, batch = source.path, source.path.shape[0]
    usual = settings.schedule_on(path)
    if mask is None or settings.schedule is not None:
        return [usual] * batch
    if recommended(path.step_positions, settings.cfg).alone:
        alone = replace(usual, weight=0.0) if settings.weight is None else usual
        within, most = alone, difference.WHOLE
    else:
        within, most = _ended_in_noise(usual, path), SMALL
    is_empty = not usual.holds_any(path.step_positions)
    is_video = len(path.visible_shape) == 5 and path.visible_shape[2] > 1  # whose mask holds frames, of all videos
    shares = [float(part.mean()) for part in ([mask] if is_video else remarks.per_picture(mask, batch))]
    schedules = [within if is_empty or share <= most else usual for share in shares]
    return schedules if len(schedules) == batch else schedules * batch


def _ended_in_noise(schedule: PathSchedule, path: DiffusionPath) -> PathSchedule:
    """The schedule without its steps of less than `LEAST_NOISE`, if any remain."""
    shares = path.noise / (path.signal + path.noise)
    clean = [p for p, share in zip(path.step_positions, shares.tolist(), strict=False) if share < LEAST_NOISE]
    end = max([schedule.end, *clean])
    shorter = replace(schedule, end=end) if end < schedule.start else schedule
    return shorter if shorter.holds_any(path.step_positions) else schedule


def manipulated(model: Any, source: Source, kind: str, schedule: PathSchedule, mask: Tensor | None = None) -> Any:
    """A clone of the MODEL with one of `KINDS`. Outside the mask the source's path is held, whatever the kind."""
    if kind not in KINDS:
        raise ValueError(f"There is no manipulation {quoted(kind)}: choose one of {', '.join(KINDS)}.")
    if kind == "noise":
        return inject_noise(model, source.path, schedule, mask)
    if kind == "latent":
        return inject_latent(model, source.path, schedule, mask)
    mix = mix_conditioning if kind == "conditioning" else mix_guidance
    model = mix(model, source.conditioning, schedule)
    return model if mask is None else inject_latent(model, source.path, replace(schedule, weight=0.0), mask)


def edit(
    model: Any,
    target: Any,
    negative: Any,
    source: Source,
    settings: MDPSettings,
    mask: Tensor | None = None,
    callback: Callable[..., None] | None = None,
) -> MDPResult:
    """Samples the target from the source path's start, manipulated. Neither inputs nor path are changed.

    mask: MASK, 1 = edit; where it is 0 the result is the source's picture bit for bit. A batch whose pictures are
    guided or led in different ways is sampled in each of them, so that each picture is what it is alone. Raises
    ValueError for a path of another model, an empty window, or prompts of different kinds.
    """
    path, cfg = source.path, settings.cfg
    away, schedules = led_from_source(target, source, settings), schedules_of(source, settings, mask)

    def run(from_source: bool, schedule: PathSchedule) -> MDPResult:
        scale = recommended(path.steps, cfg).scale
        guide = (source.conditioning, scale, "source") if from_source else (negative, cfg, "negative")
        return _edited(model, target, guide, source, replace(settings, schedule=schedule), mask, callback)

    ways = list(zip(away, schedules, strict=True))
    results = {way: run(*way) for way in sorted(dict.fromkeys(ways), key=lambda way: not way[0])}
    guided = {from_source: result.guidance for (from_source, _), result in results.items()}
    edited = [results[way].latent["samples"] for way in ways]
    if len(results) > 1:
        edited = [nested.each(lambda part, i=i: part[i : i + 1], samples) for i, samples in enumerate(edited)]
    return MDPResult(
        {**results[ways[0]].latent, "samples": nested.joined(edited) if len(results) > 1 else edited[0]},
        sum(result.evaluations for result in results.values()),
        sum(result.saved for result in results.values()),
        ", or ".join(guided.values()) + (" where the target prompt is short" if len(guided) > 1 else ""),
        tuple(schedules),
    )


def _edited(
    model: Any,
    target: Any,
    guide: tuple[Any, float, str],
    source: Source,
    settings: MDPSettings,
    mask: Tensor | None,
    callback: Callable[..., None] | None,
) -> MDPResult:
    """An edit in one way. guide: a prompt to lead away from, the scale, and the prompt's name."""
    path, (away_from, scale, name) = source.path, guide
    counter = Counter(attach(model, path), path.shape[0])
    noise, latent = start(model, path)
    patched = manipulated(counter.model, source, settings.kind, settings.schedule_on(path), mask)
    patched.parent = model  # whose place in ComfyUI's list of loaded models it leaves: the clones between are gone then
    guider = comfy.samplers.CFGGuider(patched)
    guider.set_conds(target, away_from)
    guider.set_cfg(scale)
    solver = comfy.samplers.sampler_object("euler") if path.residuals is None else replay_sampler(path)
    drawn = noise.generate_noise(latent)
    edited = sample_with(guider, drawn, latent["samples"], solver, path.sigmas, callback=callback, seed=path.seed)
    plain = path.steps * (1 if scale == 1.0 else 2)
    edited = _with_detail(model, path, edited, settings, mask).to(comfy.model_management.intermediate_device())
    guided = f"away from the {name} prompt at {scale:.3g}"
    saved = max(0, plain - counter.evaluations)
    return MDPResult({**latent, "samples": edited}, counter.evaluations, saved, guided)


def _with_detail(model: Any, path: DiffusionPath, edited: Any, settings: MDPSettings, mask: Tensor | None) -> Any:
    """The edited samples with the fine detail of the source that they hardly changed, within the mask."""
    share = settings.region.keep_detail if settings.region else 0.0
    if share == 0.0:
        return edited
    source = nested.video(process.latent_out(model, nested.unpack(path.picture, path.latent_shapes)))
    before = nested.video(edited)
    kept = keep_detail(source.to(before), before, share)
    if mask is not None:
        kept = torch.where(masks.on_grid_of(model, mask, before.shape).to(before) > 0, kept, before)
    return nested.with_video(edited, kept)


def shared_remarks(
    model: Any,
    target: Any,
    negative: Any,
    source: Source,
    settings: MDPSettings,
    mask: Tensor | None,
    region: EditRegion,
) -> list[str]:
    """Remarks on an edit that are known before it is run; the same for all edits of a sweep."""
    path, batch, cfg = source.path, source.path.shape[0], settings.cfg
    unused = cfg != 1.0 and all(led_from_source(target, source, settings))
    return [
        *remarks.about_prompts(target, source.conditioning, None if unused else negative, cfg, batch),
        *(remarks.about_unused_negative(negative, batch) if unused else []),
        *(remarks.about_path(path.conditioning, fingerprint(source.conditioning)) if source.origin == "given" else []),
        *remarks.about_mask(mask, batch),
        *remarks.about_region(region.found, region.mask, batch),
        *remarks.about_model(model, cfg),
    ]


def own_remarks(source: Source, schedule: PathSchedule, result: MDPResult) -> list[str]:
    """Remarks on one edit, from its result."""
    path = source.path
    return [
        *(remarks.about_weights(schedule.weights(path.step_positions)) if schedule in result.schedules else []),
        *remarks.about_result(path.to_vae(path.picture), nested.video(result.latent["samples"])),
    ]


def report(
    source: Source, region: EditRegion, settings: MDPSettings, result: MDPResult, notes: Sequence[str] = ()
) -> str:
    """What was run, in a few lines; notes: remarks to add."""
    path = source.path
    origin = {
        "given": f"as given ({path.method}, {path.steps} steps)",
        "recorded": f"recorded from seed {path.seed} in {source.evaluations} evaluations",
        "inverted": f"found by inversion ({path.method}) in {source.evaluations} evaluations",
    }[source.origin]
    origin += levels_note(source, settings)
    total = source.evaluations + region.evaluations + result.evaluations
    shares = [] if region.mask is None else remarks.per_picture(region.mask, path.shape[0])
    where = " / ".join(masks.cell_count(share) for share in shares) or "the whole picture"
    found = f", found in {region.evaluations} evaluations" if region.evaluations else ""
    least = settings.region.keep_detail if settings.region else 0.0
    detail = [f"fine detail: small changes undone (keep_detail {least:g})"] if least else []
    return "\n".join(
        [
            *leading(source, settings, result),
            f"source path: {origin}",
            f"region: {where}{found}",
            f"guidance: {result.guidance}",
            *detail,
            f"edit: {result.evaluations} evaluations of the network, {result.saved} saved where the path was known",
            f"together: {total} evaluations",
            *remarks.lines(notes),
        ]
    )


def leading(source: Source, settings: MDPSettings, result: MDPResult) -> list[str]:
    """Which steps are the source's, in a line; where pictures differ in it, in one of each kind."""
    lines = []
    for schedule in dict.fromkeys(result.schedules):
        line = f"{settings.kind}: {_window_line(source.path, settings, schedule)}"
        lines += remarks.for_pictures([each == schedule for each in result.schedules], line)
    return lines


def _window_line(path: DiffusionPath, settings: MDPSettings, schedule: PathSchedule) -> str:
    if settings.schedule is None and schedule.weight == 0.0:
        return f"within the region the target alone leads all {path.steps} steps"
    window, usual = schedule.window(path.step_positions), settings.schedule_on(path)
    small = "" if schedule == usual else f" ({usual.end:g} where the region is not small)"
    return (
        f"window {schedule.start:g} to {schedule.end:.3g}{small} = steps {window.start + 1} to {window.stop} of "
        f"{path.steps}, {schedule.shape}, weight {schedule.weight:g}"
    )


def levels_note(source: Source, settings: MDPSettings) -> str:
    """How connected SIGMAS were used, to add to the line on the source's path; empty if there are none."""
    if settings.sigmas is None:
        return ""
    if source.origin == "given":
        return "; it has its own levels, so the connected sigmas are not used"
    return ", over the connected sigmas instead of steps and scheduler"
