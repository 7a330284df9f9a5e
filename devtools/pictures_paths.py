"""Help-page pictures of paths and inversion, all of them runs of the family's own nodes on the demo model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import comfy.samplers
import torch
from comfy_extras import nodes_custom_sampler as core
from torch import Tensor

from ..demo.model import load_demo_model
from ..demo.render import render
from ..demo.scenes import Scene, full_caption
from ..images.grid import labelled_grid
from ..images.tensors import from_uint8
from ..nodes.inversion import Invert, Reconstruct
from ..nodes.inversion_methods import METHODS
from ..nodes.paths import Filmstrip, PathReport, RecordPath, ToSampling
from ..samplers.path import DiffusionPath
from ..samplers.path_file import load_path, save_path

_SCENE = Scene(seed=5, time="day", season="summer", trees="pines", house="red")
_STEPS, _CFG = 16, 4.0
_CHOICES: dict[str, dict[str, Any]] = {
    "residual": {"eta": 1.0},
    "fixed point": {"iterations": 10, "tolerance": 1e-4},
    "euler": {"noise_label": "destination"},
    "negative prompt": {},
    "null text": {"iterations": 10, "stop": 1e-5, "save_memory": False},
    "controlled": {"gamma": 0.5, "pull": 0.9, "stop_at": 0.25, "trend": "constant"},
}


@cache
def _models() -> tuple[Any, Any, Any]:
    return load_demo_model()


def _prompts(scene: Scene = _SCENE) -> tuple[Any, Any]:
    clip = _models()[1]
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (full_caption(scene), ""))
    return positive, negative


@cache
def _latent() -> Tensor:
    return _models()[2].encode(from_uint8(render(_SCENE))[None])


@cache
def _inverted(method: str) -> DiffusionPath:
    chosen = {"method": method, **_CHOICES[method]}
    latent = {"samples": _latent()}
    return Invert.execute(_models()[0], *_prompts(), latent, 1, 1.0, _STEPS, "normal", _CFG, chosen).args[0]


def _walked(path: DiffusionPath, cfg: float, scene: Scene = _SCENE) -> tuple[Tensor, DiffusionPath, float]:
    """The picture that a walk ends in, the walk, and its PSNR in latent space."""
    latent, walked, _ = Reconstruct.execute(_models()[0], *_prompts(scene), path, cfg).args
    return _decoded(latent["samples"]), walked, walked.figures["latent_psnr"][0]


def _decoded(samples: Tensor) -> Tensor:
    return _models()[2].decode(samples)


def _strip(path: DiffusionPath, other: DiffusionPath | None = None, show: str = "prediction") -> Tensor:
    return Filmstrip.execute(path, _models()[2], 6, show, 0, other).args[0][0]


def _edited(t0: float, scene: Scene) -> tuple[DiffusionPath, Tensor]:
    """The residual path, entered at t0 with another caption."""
    noise, sigmas, latent, sampler, model, _ = ToSampling.execute(_models()[0], _inverted("residual"), t0).args
    guider = core.CFGGuider.execute(model, *_prompts(scene), _CFG).args[0]
    path, made = RecordPath.execute(noise, guider, sampler, sigmas, latent).args
    return path, _decoded(made["samples"])


def filmstrip() -> Tensor:
    """A path of a summer landscape, and the path of its winter edit."""
    return _strip(_inverted("residual"), _edited(1.0, _SCENE.with_(season="winter"))[0])


def record_path() -> Tensor:
    """A recorded run: its states, and what the model predicted at them."""
    model = _models()[0]
    guider = core.CFGGuider.execute(model, *_prompts(), _CFG).args[0]
    sigmas = core.BasicScheduler.execute(model, "normal", _STEPS, 1.0).args[0]
    empty = {"samples": torch.zeros_like(_latent())}
    noise = core.RandomNoise.execute(12).args[0]
    path = RecordPath.execute(noise, guider, comfy.samplers.sampler_object("euler"), sigmas, empty).args[0]
    return torch.cat([_strip(path, show="state"), _strip(path)])


def inversions() -> Tensor:
    """One picture and its reconstruction by every method, with guidance."""
    shown, labels = [_decoded(_latent())], ["picture"]
    for method in METHODS:
        made, _, psnr = _walked(_inverted(method), _CFG)
        shown.append(made)
        labels.append(f"{method}\n{psnr:.0f} dB in latent space")
    return labelled_grid(torch.cat(shown), labels, columns=7)[0]


def reconstruct() -> Tensor:
    """What guidance does to the walk along three paths."""
    methods, cfgs = ("euler", "negative prompt", "residual"), (1.0, 4.0, 7.5)
    shown = [_walked(_inverted(method), cfg)[0] for method in methods for cfg in cfgs]
    columns = ["cfg 1", "cfg 4, that of the paths", "cfg 7.5"]
    return labelled_grid(torch.cat(shown), col_labels=columns, row_labels=list(methods))[0]


def path_report() -> Tensor:
    """The plots of a walk that drifts and of one that null text holds."""
    plots = []
    for method in ("euler", "null text"):
        path = _inverted(method)
        plots.append(PathReport.execute(path, _walked(path, _CFG)[1], 30.0, _models()[2]).args[1])
    return labelled_grid(torch.cat(plots), col_labels=["euler", "null text"])[0]


def path_edit() -> Tensor:
    """The residual path entered at several t0 with winter in the prompt."""
    t0s, scene = (0.4, 0.6, 0.8, 1.0), _SCENE.with_(season="winter")
    shown = [_decoded(_latent()), *(_edited(t0, scene)[1] for t0 in t0s)]
    return labelled_grid(torch.cat(shown), ["picture", *(f"winter, entered at t0 {t0:g}" for t0 in t0s)], columns=5)[0]


def path_file() -> Tensor:
    """A picture, its walk along a path that was saved and loaded, and their difference."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "path.safetensors"
        save_path(_inverted("residual"), file)
        size = file.stat().st_size / 2**20
        made = _walked(load_path(file), _CFG)[0]
    picture = _decoded(_latent())
    shown = torch.cat([picture, made, (8 * (made - picture)).abs().clamp(0, 1)])
    return labelled_grid(shown, ["picture", f"from a file of {size:.1f} MB", "difference x 8"], columns=3)[0]


PICTURES: dict[str, Callable[[], Tensor]] = {
    "filmstrip": filmstrip,
    "record-path": record_path,
    "inversions": inversions,
    "reconstruct": reconstruct,
    "path-report": path_report,
    "path-edit": path_edit,
    "path-file": path_file,
}
