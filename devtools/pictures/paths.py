"""Help-page pictures of paths and inversion, all of them runs of the family's own nodes on the demo model."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import torch
from comfy_extras import nodes_custom_sampler as core
from torch import Tensor

from ...demo.scenes import Scene
from ...images.plot import PALETTE, Axis, Series, Window, line_plot
from ...nodes.inversion_methods import METHODS
from ...samplers.path import DiffusionPath
from ...samplers.path_file import load_path, save_path
from ..direct import call
from ..world import rendered, sampler_inputs
from .shared import grid, picture, world

_SCENE = Scene(seed=5, time="day", season="summer", trees="pines", house="red")
_WINTER = _SCENE.with_(season="winter")
_STEPS, _CFG = 16, 4.0


@cache
def _picture() -> Tensor:
    """The scene as the autoencoder gives it back."""
    return world().decoded(world().latent(rendered(_SCENE)))


@cache
def _inverted(method: str) -> DiffusionPath:
    given = {"latent": world().latent(rendered(_SCENE)), "seed": 1, "steps": _STEPS, "cfg": _CFG}
    return call("DPathInvert", **world().inputs(_SCENE), **given, method=method)[0]


def _replayed(path: DiffusionPath, cfg: float = _CFG) -> tuple[Tensor, DiffusionPath]:
    """The picture at the end of the path, followed with its own prompt, and the path that this took."""
    latent, replayed, _ = call("DPathReconstruct", **world().inputs(_SCENE), path=path, cfg=cfg)
    return world().decoded(latent), replayed


def _strip(path: DiffusionPath, other: DiffusionPath | None = None, show: str = "prediction") -> Tensor:
    return call("DPathFilmstrip", path=path, vae=world().vae, show=show, other=other)[0][0]


def _edited(t0: float) -> tuple[DiffusionPath, Tensor]:
    """The residual path, entered at t0 with winter in the prompt."""
    given = {"model": world().model, "path": _inverted("residual"), "t0": t0}
    noise, sigmas, latent, sampler, model, _ = call("DPathToSampling", **given)
    inputs = sampler_inputs(model, world().encoded(_WINTER), world().negative, _CFG, sigmas, latent)
    path, made = call("DPathRecord", **{**inputs, "noise": noise, "sampler": sampler})
    return path, world().decoded(made)


@picture
def filmstrip() -> Tensor:
    """A path of a summer landscape, and the path of its winter edit."""
    return _strip(_inverted("residual"), _edited(1.0)[0])


@picture
def record_path() -> Tensor:
    """A recorded run: its states, and what the model predicted at them."""
    sigmas = core.BasicScheduler.execute(world().model, "normal", _STEPS, 1.0).args[0]
    empty = {"samples": torch.zeros(1, 4, 32, 32)}
    inputs = sampler_inputs(**world().inputs(_SCENE), cfg=_CFG, sigmas=sigmas, latent=empty, seed=12)
    path = call("DPathRecord", **inputs)[0]
    return torch.cat([_strip(path, show="state"), _strip(path)])


@picture
def inversions() -> Tensor:
    """One picture and its reconstruction by every method, with guidance."""
    found = {method: _replayed(_inverted(method)) for method in METHODS}
    psnr = {method: path.figures["latent_psnr"][0] for method, (_, path) in found.items()}
    labels = [f"{method}\n{psnr[method]:.0f} dB in latent space" for method in METHODS]
    return grid([_picture(), *(made for made, _ in found.values())], ["picture", *labels])


@picture
def reconstruct() -> Tensor:
    """What guidance does to the run along three paths."""
    methods, cfgs = ("euler", "negative prompt", "residual"), (1.0, 4.0, 7.5)
    shown = [_replayed(_inverted(method), cfg)[0] for method in methods for cfg in cfgs]
    return grid(shown, col_labels=["cfg 1", "cfg 4, that of the paths", "cfg 7.5"], row_labels=methods)


@picture
def path_report() -> Tensor:
    """The plots of a run that drifts and of one that null text holds."""
    methods = ["euler", "null text"]
    given = ({"path": path, "walked": _replayed(path)[1], "vae": world().vae} for path in map(_inverted, methods))
    return grid([call("DPathReport", **each)[1] for each in given], col_labels=methods)


@picture
def path_edit() -> Tensor:
    """The residual path entered at several t0 with winter in the prompt."""
    t0s = (0.4, 0.6, 0.8, 1.0)
    labels = ["picture", *(f"winter, entered at t0 {t0:g}" for t0 in t0s)]
    return grid([_picture(), *(_edited(t0)[1] for t0 in t0s)], labels)


@picture
def path_file() -> Tensor:
    """A picture, the run along its path after that was saved and loaded, and their difference."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "path.safetensors"
        save_path(_inverted("residual"), file)
        size, (made, _) = file.stat().st_size / 2**20, _replayed(load_path(file))
    shown = [_picture(), made, (8 * (made - _picture())).abs().clamp(0, 1)]
    return grid(shown, ["picture", f"from a file of {size:.1f} MB", "difference x 8"])


@picture
def join_models() -> Tensor:
    """The noise levels of a run of Wan 2.2, and the model that takes each step."""
    steps, shift, boundary = 20, 5.0, 0.875
    sigmas = [shift * t / (1 + (shift - 1) * t) for t in (1 - i / steps for i in range(steps + 1))]
    change = sum(sigma >= boundary for sigma in sigmas[:-1])
    series = [
        Series("noise level of the step", list(range(1, steps + 1)), sigmas[:-1]),
        Series("boundary 0.875", [0.5, steps + 0.5], [boundary, boundary], style="line", dashed=True),
    ]
    windows = [
        Window(0.5, change + 0.5, f"high_noise: {change} steps"),
        Window(change + 0.5, steps + 0.5, f"low_noise: {steps - change} steps", PALETTE[2]),
    ]
    return line_plot(series, Axis("step"), Axis("sigma", (0.0, 1.2)), windows=windows)[0]
