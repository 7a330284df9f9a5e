"""Help-page pictures of the MDP family, all of them runs of its own nodes on the demo model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from ..demo.model import load_demo_model
from ..demo.render import render
from ..demo.scenes import Scene, full_caption
from ..images.composite import composite_exact
from ..images.grid import labelled_grid
from ..images.tensors import from_uint8
from ..nodes.flowedit import FlowEdit
from ..nodes.mdp import MDP, MDPAttention
from ..nodes.mdp_edit import METHODS, MDPEdit, MDPSweep
from ..nodes.schedule import PathScheduleNode, make_schedule
from ..samplers.flowedit import Settings as FlowEditSettings
from ..samplers.mdp import edit as mdp
from ..samplers.path import DiffusionPath
from ..samplers.replay import start
from ..samplers.schedule import PathSchedule

_SCENE = Scene(seed=5)
_WINTER = _SCENE.with_(season="winter")
_SEED, _CFG, _STEPS = 1, 4.0, 20


@cache
def _models() -> tuple[Any, Any, Any]:
    return load_demo_model()


def _encoded(text: str) -> Any:
    clip = _models()[1]
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


@cache
def _picture(scene: Scene = _SCENE) -> Tensor:
    return from_uint8(render(scene))[None]


def _decoded(latent: dict[str, Any]) -> Tensor:
    return _models()[2].decode(latent["samples"])


def _prompts(scene: Scene = _SCENE, target: Scene = _WINTER) -> tuple[Any, Any, Any]:
    """Positive, negative and source."""
    return _encoded(full_caption(target)), _encoded(""), _encoded(full_caption(scene))


def _edit(scene: Scene, target: Scene, method: str = METHODS[0], **extra: Any) -> tuple[Any, ...]:
    """MDP Edit of a rendered scene: its outputs."""
    model, _, vae = _models()
    latent = {"samples": vae.encode(_picture(scene))}
    return MDPEdit.execute(
        model, *_prompts(scene, target), latent, _SEED, steps=_STEPS, cfg=_CFG, method=method, **extra
    ).args


@cache
def _path() -> DiffusionPath:
    """The path of the usual scene."""
    return _edit(_SCENE, _WINTER, "noise")[1]


def _sampled(model: Any, positive: Any = None) -> Tensor:
    """The winter prompt from the path's start with a manipulated model, as IMAGE."""
    noise, latent = start(model, _path())
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive or _encoded(full_caption(_WINTER)), _encoded(""))
    guider.set_cfg(_CFG)
    euler, drawn = comfy.samplers.sampler_object("euler"), noise.generate_noise(latent)
    made = guider.sample(drawn, latent["samples"], euler, _path().sigmas, disable_pbar=True, seed=_SEED)
    return _decoded({"samples": made})


def mdp_edit() -> Tensor:
    """Three edits: the source, where the prompts differ, the edit, and the original laid over it where they do not."""
    edits = ((_SCENE, _WINTER), (_SCENE, _SCENE.with_(house="blue")), (_SCENE, _SCENE.with_(lake="meadow")))
    shown = []
    for scene, target in edits:
        latent, _, _, mask = _edit(scene, target)
        edited = _decoded(latent)
        done = composite_exact(_picture(scene), edited, mask, border=0)
        shown += [_picture(scene), done.weight[..., None].expand(-1, -1, -1, 3), edited, done.image]
    return labelled_grid(
        torch.cat(shown),
        col_labels=["source", "mask", "edited", "with Composite Exact"],
        row_labels=["to winter", "a blue house", "no lake"],
    )[0]


def schedule() -> Tensor:
    """The plot of a window with two shapes."""
    curve = "1:1, 0.6:0.9, 0.3:0.2, 0:0"
    plots = [
        PathScheduleNode.execute(0.8, 0.15, "constant", 1.0).args[1],
        PathScheduleNode.execute(0.8, 0.15, "cosine", 1.0).args[1],
        PathScheduleNode.execute(0.8, 0.15, "curve", 1.0, curve).args[1],
    ]
    return torch.cat(plots, dim=2)[0]


def _row(models: dict[str, Any]) -> Tensor:
    """The source and a sample with each model."""
    shown = [_picture(), *(_sampled(model) for model in models.values())]
    return labelled_grid(torch.cat(shown), ["source", *models], columns=1 + len(models))[0]


def mdp_noise() -> Tensor:
    """Windows of MDP-epsilon."""
    model, windows = _models()[0], ((1.0, 0.5), (0.8, 0.15), (0.7, 0.3))
    made: dict[str, Any] = {"no manipulation": model}
    for begin, end in windows:
        schedule = make_schedule(begin, end, "constant", 1)
        made[f"window {begin:g} to {end:g}"] = MDP.execute(model, "noise", _path(), schedule).args[0]
    return _row(made)


def _weights(kind: str, source: Any, window: tuple[float, float], weights: tuple[float, ...]) -> Tensor:
    model = _models()[0]
    return _row(
        {f"weight {w:g}": MDP.execute(model, kind, source, PathSchedule(*window, weight=w)).args[0] for w in weights}
    )


def mdp_latent() -> Tensor:
    """Weights of MDP-x."""
    return _weights("latent", _path(), (0.9, 0.3), (0.0, 0.15, 0.3, 0.6))


def mdp_conditioning() -> Tensor:
    """Weights of MDP-c."""
    own = mdp.WHOLE["conditioning"]
    return _weights("conditioning", _encoded(full_caption(_SCENE)), (own.start, own.end), (0.0, 0.3, 0.6, 1.0))


def mdp_guidance() -> Tensor:
    """Weights of MDP-beta, below 0 too."""
    own = mdp.WHOLE["guidance"]
    return _weights("guidance", _encoded(full_caption(_SCENE)), (own.start, own.end), (-0.3, 0.0, 0.6, 1.0))


def mdp_attention() -> Tensor:
    """Cross-attention alone, with self-attention, and words swapped."""
    model, clip, _ = _models()
    texts = full_caption(_SCENE), full_caption(_WINTER)
    shown, labels = [_picture(), _sampled(model)], ["source", "no manipulation"]
    for label, mode, cross, within in (
        ("refine, 1 to 0.2", "refine", PathSchedule(1.0, 0.2), 0.0),
        ("and self-attention 0.6", "refine", PathSchedule(1.0, 0.2), 0.6),
        ("replace, 0.8 to 0.4", "replace", PathSchedule(0.8, 0.4), 0.0),
    ):
        patched, positive = MDPAttention.execute(model, clip, _path(), cross, *texts, mode, "", within).args
        shown.append(_sampled(patched, positive))
        labels.append(label)
    return labelled_grid(torch.cat(shown), labels, columns=5)[0]


def mdp_sweep() -> Tensor:
    """Starts of the window down, lengths across."""
    model, _, vae = _models()
    latent = {"samples": vae.encode(_picture())}
    return MDPSweep.execute(
        model, *_prompts(), latent, _SEED, vae, "windows", "0.9, 0.8, 0.7", "0.25, 0.5, 0.65", "", steps=_STEPS,
        cfg=_CFG, method="noise",
    ).args[0][0]  # fmt: skip


def flowedit() -> Tensor:
    """Starts of FlowEdit, at equal steps per unit of time."""
    model, _, vae = _models()
    latent = {"samples": vae.encode(_picture())}
    shown, starts = [_picture()], (0.5, 0.7, FlowEditSettings.start, 0.95)
    for begin in starts:
        steps = round(begin * _STEPS)
        made = FlowEdit.execute(model, *_prompts(), latent, _SEED, start=begin, steps=steps).args[0]
        shown.append(_decoded(made))
    return labelled_grid(torch.cat(shown), ["source", *(f"start {begin:g}" for begin in starts)], columns=5)[0]


PICTURES: dict[str, Callable[[], Tensor]] = {
    "schedule": schedule,
    "mdp-edit": mdp_edit,
    "mdp-noise": mdp_noise,
    "mdp-latent": mdp_latent,
    "mdp-conditioning": mdp_conditioning,
    "mdp-guidance": mdp_guidance,
    "mdp-attention": mdp_attention,
    "mdp-sweep": mdp_sweep,
    "flowedit": flowedit,
}
