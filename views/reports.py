"""What nodes report about a run: a line on what was done, further lines on masks, and notes (`samplers/remarks.py`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..images.palette import hexadecimal
from ..lep.predictor import MapPredictor
from ..samplers import langevin, mask_times, masks, nested, process, remarks
from ..samplers import sdedit as edits
from ..samplers.conditioning import fingerprint
from ..samplers.experts import is_high
from ..samplers.flowedit import FlowEditSettings
from ..samplers.inversion.negative_prompt import NegativePrompt
from ..samplers.inversion.null_text import NullText
from ..samplers.inversion.residual import LAST_RESIDUAL, Residual
from ..samplers.path import DiffusionPath
from ..samplers.path_fit import check_path_fits
from ..samplers.replay import stand_in
from ..samplers.reverse_sde import ReverseSDESampler
from ..samplers.solvers import adds_noise


def sdedit_report(
    model: Any,
    positive: Any,
    negative: Any,
    guide: dict[str, Any],
    settings: edits.SDEditSettings,
    edit: edits.SDEditResult,
) -> str:
    """What was run, the mask, and notes on an edit that cannot have worked."""
    text, batch = sdedit_line(model, settings, edit), guide["samples"].shape[0]
    if edit.evaluations == 0:
        return text + mask_line(guide)
    notes = [
        *remarks.about_guidance(positive, negative, settings.cfg, batch),
        *remarks.about_mask(guide.get("noise_mask"), batch),
        *remarks.about_shared_times(model.model, mask_times.as_sampled(edit.latent), settings.mask_mode),
        *remarks.about_result(guide["samples"], edit.latent["samples"]),
        *remarks.about_model(model, settings.cfg),
        *levels_notes(model, settings),
    ]
    return "\n".join([text + mask_line(guide), *remarks.lines(notes)])


def levels_notes(model: Any, settings: edits.SDEditSettings, t0s: Sequence[float] = ()) -> list[str]:
    """On t0 and the levels of a distilled model's own run. t0s: of a sweep, instead of the settings' own."""
    sampling, trained, t0s = process.model_sampling(model), settings.levels == "trained", t0s or [settings.t0]
    suspect = settings.sigmas is None and remarks.may_be_distilled(model, settings.cfg, settings.steps)
    if not trained and not (suspect and any(0.0 < t0 < 1.0 for t0 in t0s)):
        return []
    return remarks.about_trained_levels(sampling, t0s, settings.full_run(sampling), trained)


def sigmas_report(sampling: Any, settings: edits.SDEditSettings, sigmas: Tensor) -> str:
    """The levels of an SDEdit run."""
    if len(sigmas) == 0:
        return "no levels, which leave a latent unchanged"
    first, steps = float(sigmas[0]), len(sigmas) - 1
    text = f"t0 {process.sigma_to_t0(sampling, first):.4g}: start {level(sampling, first)}, {steps} steps"
    if settings.levels != "trained":
        return text
    full = settings.full_run(sampling)
    notes = remarks.about_trained_levels(sampling, [settings.t0], full, True)
    return "\n".join([f"{text} of {len(full) - 1}", *remarks.lines(notes)])


def sdedit_line(model: Any, settings: edits.SDEditSettings, edit: edits.SDEditResult) -> str:
    """One line on what was actually run."""
    if edit.evaluations == 0:
        mask = edit.latent.get("noise_mask", torch.zeros(1))
        empty = not any(part.any() for part in (mask.unbind() if mask.is_nested else [mask]))
        if settings.sigmas is not None and settings.sigmas.numel() < 2:
            why = "the connected sigmas hold no step"
        elif settings.t0 == 0 and (settings.sigmas is None or settings.levels == "trained"):
            why = "t0 is 0"
        else:
            why = "the mask is 0 everywhere" + ("" if empty else " on the latent grid")
        return f"{why}: the guide is returned as it is, 0 steps, 0 evaluations"
    sampling, start = process.model_sampling(model), float(edit.sigmas[0])
    given, trained = settings.sigmas is not None, settings.levels == "trained"
    t0 = process.sigma_to_t0(sampling, start) if given or trained else settings.t0
    replaced = "steps and scheduler" if trained else "t0, steps and scheduler"
    spacing = f"connected sigmas instead of {replaced}" if given else settings.scheduler
    of = f" of {len(settings.full_run(sampling)) - 1}" if trained else ""
    repeats = f" x {settings.repeats} repeats" if settings.repeats > 1 else ""
    masked = settings.mask_mode == "langevin" and edit.latent.get("noise_mask") is not None
    thought = sum(langevin.rounds(sampling, edit.sigmas, settings.langevin_steps)) if masked else 0
    langevin_steps = f" and {thought} Langevin steps" if thought else ""
    return (
        f"t0 {t0:.4g}: start {level(sampling, start)}, {len(edit.sigmas) - 1} steps{of}{langevin_steps}{repeats}, "
        f"{edit.evaluations} evaluations ({settings.solver}, {spacing})"
    )


def perturb_report(sampling: Any, sigma: float, latent: dict[str, Any], noisy: dict[str, Any]) -> str:
    """latent: what was perturbed; noisy: the result."""
    text = f"t0 {process.sigma_to_t0(sampling, sigma):.4g}: {level(sampling, sigma)}"
    if sigma == 0.0:
        text += ": the latent is returned as it is"
    notes = remarks.about_mask(latent.get("noise_mask"), latent["samples"].shape[0])
    return "\n".join([text + mask_line(noisy), *remarks.lines(notes)])


def flowedit_report(
    model: Any,
    prompts: tuple[Any, Any, Any],
    latent: dict[str, Any],
    settings: FlowEditSettings,
    edited: dict[str, Any],
    levels: Tensor,
    evaluations: int,
) -> str:
    """prompts: target, source and negative; levels: those that were run."""
    if len(levels) == 0:
        return "start 0: the picture is returned as it is, 0 steps, 0 evaluations"
    sampling, first = process.model_sampling(model), float(levels[0])
    start = settings.start if settings.sigmas is None else process.sigma_to_t0(sampling, first)
    name, guided = settings.method.name, settings.method.guided_by_source
    text = f"{name}, start {start:.4g}: {level(sampling, first)}, {len(levels) - 1} steps, {evaluations} evaluations"
    if settings.sigmas is not None:
        text += " (connected sigmas instead of start, steps and scheduler)"
    batch = latent["samples"].shape[0]
    notes = [
        # Where the source prompt guides, the negative one is not used, so that nothing can be wrong with it.
        *remarks.about_prompts(*prompts[:2], None if guided else prompts[2], settings.cfg, batch),
        *remarks.about_mask(latent.get("noise_mask"), batch),
        *remarks.about_result(latent["samples"], edited["samples"]),
        *remarks.about_model(model, settings.cfg, settings.source_cfg),
    ]
    return "\n".join([text + mask_line(latent), *remarks.lines(notes)])


def inversion_report(
    model: Any, path: DiffusionPath, cfg: float, count: int, evaluations: int, notes: Sequence[str] = ()
) -> tuple[str, bool]:
    """The report, and whether all of the `count` steps were optimised. cfg: of the later edit; notes: to add."""
    text = f"{path.method}: {count} steps, {evaluations} evaluations"
    text += f", noise level {float(path.sigmas[0]):.4g} to {float(path.sigmas[-1]):.4g}"
    done = path.figures.get("optimised_steps", (count,))[0]
    if done < count:
        text += (
            f"; interrupted after {done:.0f} of {count} steps: queue again to continue, or connect this path as earlier"
        )
    elif "latent_psnr" in path.figures:
        text += f"; reconstructs at {_decibels(path.figures['latent_psnr'])} in latent space"
    if kept := path.figures.get(LAST_RESIDUAL):
        text += f"; the last residual was shrunk to {' / '.join(f'{share:.0%}' for share in kept)}"
    notes = [*notes, *remarks.about_model(model, cfg)]
    if path.method == NegativePrompt.name and cfg == 1.0:
        notes.append(
            "at cfg 1 the negative prompt is never used, so this path is that of euler: set the cfg of the later edit."
        )
    return "\n".join([text, *remarks.lines(notes)]), done >= count


def reconstruction_report(
    path: DiffusionPath, walked: DiffusionPath, positive: Any, cfg: float, own_solver: bool
) -> str:
    """own_solver: the path was walked with its own solver."""
    text = f"{path.method}, cfg {cfg:g}: {_decibels(walked.figures['latent_psnr'])} in latent space"
    if own_solver and (note := stand_in(path)):
        text += f"; {note}"
    made_for_one = path.method in (Residual.name, NullText.name) or (path.asked and path.cfg != 1.0)
    if made_for_one and path.cfg != cfg:
        text += f"; the path was made for cfg {path.cfg:g}"
    if path.conditioning and path.conditioning != fingerprint(positive):
        text += "; the prompt is not the one that the path was made with"
    return text


def entry_report(sampling: Any, path: DiffusionPath, rest: DiffusionPath, sampler: Any) -> str:
    """Where a path is entered; rest: what is left of it from there."""
    start = float(rest.sigmas[0])
    text = (
        f"{path.method}: enters at noise level {start:.4g} (t0 {process.sigma_to_t0(sampling, start):.3f}), "
        f"{rest.steps} of {path.steps} steps left"
    )
    if note := check_path_fits(path, sigmas=rest.sigmas):
        text += f". {note}"
    if note := stand_in(path):
        text += f"; {note}"
    if rest.steps < path.steps and adds_noise(sampler) and not isinstance(sampler, ReverseSDESampler):
        text += f". {path.sampler} draws different noise from there on than in the recorded run"
    return text


def path_report(path: DiffusionPath) -> str:
    """Summary of a path, in one line."""
    sound = " with sound" if path.latent_shapes else ""
    return (
        f"{path.model}: {path.method}, {path.steps} steps, {path.shape[0]} pictures of "
        f"{list(path.visible_shape[1:])}{sound}, cfg {path.cfg:g}, seed {path.seed}"
    )


def predictor_report(predictor: MapPredictor) -> str:
    """Summary of a predictor, in a few lines."""
    record = predictor.record
    lines = [
        f"{predictor.map}: {predictor.kind}, reads {len(predictor.taps)} blocks ({sum(predictor.channels)} channels)",
        "model: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in predictor.model.items() if value),
        f"noise: {predictor.noise_range[0]:.2f} to {predictor.noise_range[1]:.2f} of training time",
    ]
    if predictor.palette:
        lines.append(f"classes: {', '.join(map(hexadecimal, predictor.palette))}")
    if "steps" in record and "pictures" in record:
        lines.append(f"trained {record['steps']} steps on {record['pictures']} pictures")
        if record.get("versions", 1) > 1:
            lines[-1] += f" in {record['versions']} versions each"
    if "validation_loss" in record:
        lines[-1] += f", validation loss {record['validation_loss']:.4g}"
    return "\n".join(lines)


def experts_report(model: Any, boundary: float, sigmas: Tensor | None) -> str:
    """Which of a pair's models takes which steps. model: the high-noise one."""
    if boundary == 0.0:
        return "boundary 0: high_noise alone"
    if sigmas is None or sigmas.numel() < 2:
        return f"high_noise down to noise level {boundary:.4g}, low_noise below (connect sigmas to see the steps)"
    steps = sigmas.numel() - 1
    change = int(is_high(process.model_sampling(model), sigmas[:-1], boundary).sum())
    parts = [
        f"{name} takes steps {first + 1} to {last} of {steps} (sigma {float(sigmas[first]):.4g} to "
        f"{float(sigmas[last]):.4g})"
        for name, first, last in (("high_noise", 0, change), ("low_noise", change, steps))
        if last > first
    ]
    return ", ".join(parts)


def level(sampling: Any, sigma: float) -> str:
    """A noise level, and its share of the variance."""
    return f"sigma {sigma:.4g}, {float(process.noise_fraction(sampling, sigma)):.1%} noise"


def mask_line(latent: dict[str, Any]) -> str:
    """A further line on a LATENT's noise_mask as the sampler sees it; empty without one."""
    mask, samples = latent.get("noise_mask"), latent["samples"]
    grid = mask_times.as_sampled(latent)
    if mask is None or grid is None:
        return ""
    lost = masks.losses(mask, samples)
    return f"\nmask: {masks.cell_count(grid[:, :1])} edited{_sound(latent)}{f'. {lost}' if lost else ''}"


def _sound(latent: dict[str, Any]) -> str:
    """How much of the sound of a video is edited, to add to the line on its mask."""
    samples = latent["samples"]
    if not samples.is_nested:
        return ""
    whole = nested.edit_mask(masks.noise_mask(latent["noise_mask"], samples), samples)
    sound = whole[..., math.prod(nested.video(samples).shape[1:]) :]
    return f", and {float((sound > 0).float().mean()):.1%} of the sound"


def _decibels(values: tuple[float, ...]) -> str:
    return " / ".join("exact" if value == float("inf") else f"{value:.1f} dB" for value in values)
