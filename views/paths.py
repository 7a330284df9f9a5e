"""Pictures and figures of paths: the film strip, and the verdict of Path Report."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..images.grid import labelled_grid
from ..images.metrics import edit_metrics
from ..images.plot import Axis, Series, line_plot
from ..samplers.path import DiffusionPath
from ..samplers.path_fit import drift, latent_psnr
from ..samplers.schedule import PathSchedule

MOST_CURVES = 6
FLOOR = -160.0  # dB: below it two float32 states are equal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Verdict:
    path: DiffusionPath
    plot: Tensor
    text: str
    psnr: float
    passed: bool


def judge(path: DiffusionPath, walked: DiffusionPath, threshold: float, vae: Any) -> Verdict:
    """Compare a path with its walk; raises ValueError if they are not paths of the same pictures."""
    apart = drift(path, walked)
    figures = {"latent_psnr": latent_psnr(path.visible(path.picture), walked.visible(walked.picture))}
    if vae is not None:
        first, second = (decoded(each, each.picture, vae) for each in (path, walked))
        frames = first.shape[0] // path.shape[0]
        values = edit_metrics(first, second).values["whole"]
        figures["psnr"] = _per_item(values["psnr"], frames)
        figures["ssim"] = _per_item(values["ssim"], frames)
    decisive = figures.get("psnr", figures["latent_psnr"])
    worst = min(decisive)
    passed = worst >= threshold
    lines = [_line(i, {name: found[i] for name, found in figures.items()}) for i in range(path.shape[0])]
    mark = "pass" if passed else "warn"
    text = "\n".join(
        [f"{mark}: {path.method}, cfg {walked.cfg:g}, worst {_decibels(worst)}, threshold {threshold:g} dB", *lines]
    )
    if not passed:
        log.warning("Path Report: %s reconstructs at %s only.", path.method, _decibels(worst))
    return Verdict(path.replaced(figures={**path.figures, **figures}), _plot(walked, apart), text, worst, passed)


@dataclass(frozen=True)
class Strip:
    """Decoded points of one or two paths: at these levels of the first one, a row of pictures [count, H, W, 3] each."""

    levels: list[int]
    rows: list[Tensor]
    names: list[str]


def filmstrip(
    path: DiffusionPath, vae: Any, count: int, show: str, item: int, other: DiffusionPath | None = None
) -> Strip:
    """Decoded predictions or states of one batch item at `count` points, the last of them the picture."""
    paths = [path] if other is None else [path, other]
    for each in paths:
        if item >= each.shape[0]:
            raise ValueError(f"The path holds {each.shape[0]} pictures, so there is no item {item}: count from 0.")
    columns = [round(k * (path.steps - 1) / max(count - 2, 1)) for k in range(count - 1)]
    columns = sorted(set(columns)) if path.steps < count - 1 else columns
    sigmas = [float(path.sigmas[step]) for step in columns]
    rows = [_row(each, sigmas, vae, show, item) for each in paths]
    if rows[0].shape != rows[-1].shape:
        raise ValueError("The two paths have different sizes: choose two of the same resolution to show side by side.")
    return Strip([*columns, path.steps], rows, [path.method] if other is None else _names(path, other))


def noise_fraction(path: DiffusionPath) -> Tensor:
    """The noise's part of the variance at each level, [N + 1]."""
    return path.noise**2 / (path.signal**2 + path.noise**2)


def strip_sheet(strip: Strip, path: DiffusionPath) -> Tensor:
    """One row per path, labelled with the share of noise. IMAGE [1, H, W, 3]."""
    labels = [*(f"{float(s):.0%} noise" for s in noise_fraction(path)[strip.levels[:-1]]), "picture"]
    return labelled_grid(torch.cat(strip.rows), col_labels=labels, row_labels=strip.names if strip.rows[1:] else None)


def strip_numbers(
    strip: Strip, path: DiffusionPath, item: int, other: DiffusionPath | None, schedule: PathSchedule | None
) -> dict[str, Any]:
    """What the path viewer shows under the pictures, at each level of the path."""
    apart = None
    if other is not None:
        with suppress(ValueError):  # paths on different levels cannot be compared
            apart = drift(other, path)[:, item].tolist()
    names = [path.method] if other is None else [f"path: {path.method}", f"other: {other.method}"]
    return {
        "names": names,
        "levels": strip.levels,
        "sigmas": path.sigmas.tolist(),
        "shares": noise_fraction(path).tolist(),
        "drift": apart,
        "weights": None if schedule is None else list(schedule.weights(path.step_positions)),
    }


def _names(path: DiffusionPath, other: DiffusionPath) -> list[str]:
    return [path.method, other.method] if path.method != other.method else [path.method, f"{other.method}, second"]


def _row(path: DiffusionPath, sigmas: list[float], vae: Any, show: str, item: int) -> Tensor:
    steps = [path.step_at(sigma) for sigma in sigmas]
    if show == "prediction":
        views = [path.prediction(step)[item] for step in steps]
    else:
        # At unit variance, as far as a VAE can show noise at all.
        scale = torch.hypot(path.signal, path.noise)
        views = [path.states[step][item] / scale[step] for step in steps]
    return decoded(path, torch.stack([*views, path.picture[item]]), vae, middle=True)


def decoded(path: DiffusionPath, latents: Tensor, vae: Any, middle: bool = False) -> Tensor:
    """Pictures [B, H, W, 3] of clean latents [B, C, ...]; of video all frames, or the one in the middle."""
    pictures = vae.decode(path.to_vae(latents))
    if pictures.ndim == 5:
        pictures = pictures[:, pictures.shape[1] // 2] if middle else pictures.flatten(0, 1)
    return pictures.float().clamp(0, 1)


def _per_item(values: list[float], frames: int) -> tuple[float, ...]:
    """The worst frame of each item."""
    return tuple(min(values[i : i + frames]) for i in range(0, len(values), frames))


def _decibels(value: float) -> str:
    return "identical" if math.isinf(value) else f"{value:.2f} dB"


def _line(item: int, values: dict[str, float]) -> str:
    parts = [f"latent {_decibels(values['latent_psnr'])}"]
    if "psnr" in values:
        parts += [f"PSNR {_decibels(values['psnr'])}", f"SSIM {values['ssim']:.4f}"]
    return f"picture {item + 1}: " + ", ".join(parts)


def _plot(walked: DiffusionPath, apart: Tensor) -> Tensor:
    """Distance of the walks over the steps, one curve per picture, or mean and worst of many."""
    decibels = (20 * torch.log10(apart.clamp(min=1e-8))).clamp(min=FLOOR)
    steps = [float(i) for i in range(apart.shape[0])]
    if apart.shape[1] <= MOST_CURVES:
        names = ["distance"] if apart.shape[1] == 1 else [f"picture {i + 1}" for i in range(apart.shape[1])]
        curves = [Series(name, steps, decibels[:, i].tolist()) for i, name in enumerate(names)]
    else:
        curves = [
            Series("worst picture", steps, decibels.amax(1).tolist()),
            Series("mean", steps, decibels.mean(1).tolist()),
        ]
    return line_plot(
        curves,
        Axis("step, from noise (0) to picture"),
        Axis(
            "distance in dB (0 = a whole state)", (min(-60.0, float(decibels.min())), max(0.0, float(decibels.max())))
        ),
        title=f"Drift of the walk at cfg {walked.cfg:g}",
    )
