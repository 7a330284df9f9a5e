"""Help-page pictures of the MDP family, all of them runs of its own nodes on the demo model."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from ...demo.scenes import Scene, full_caption
from ...images.composite import composite_exact
from ...samplers.flowedit import FlowEditSettings
from ...samplers.mdp import edit as mdp
from ...samplers.path import DiffusionPath
from ...samplers.schedule import PathSchedule
from ..direct import call
from ..world import rendered, sampled_from
from .shared import grid, picture, world

_SCENE = Scene(seed=5)
_WINTER = _SCENE.with_(season="winter")
_STEPS = 20


def _edit(node_id: str, scene: Scene = _SCENE, target: Scene = _WINTER, **changes: Any) -> tuple[Any, ...]:
    """The outputs of a node that edits a rendered scene."""
    given = {"source": world().encoded(scene), "latent": world().latent(rendered(scene)), "seed": 1, "steps": _STEPS}
    return call(node_id, **world().inputs(target), **{**given, **changes})


@cache
def _path() -> DiffusionPath:
    """The path of the usual scene."""
    return _edit("DPathMDPEdit", method="noise")[1]


def _sampled(model: Any, positive: Any = None) -> Tensor:
    """The winter prompt from the path's start with a manipulated model, as IMAGE."""
    positive = positive or world().encoded(_WINTER)
    return world().decoded(sampled_from(_path(), model, positive, world().negative))


@picture
def schedule() -> Tensor:
    """The plot of a window with three shapes."""
    shapes = ({"shape": "constant"}, {"shape": "cosine"}, {"shape": "curve", "curve": "1:1, 0.6:0.9, 0.3:0.2, 0:0"})
    plots = [call("DPathSchedule", **{"start": 0.8, "end": 0.15, "weight": 1.0}, **shape)[1] for shape in shapes]
    return torch.cat(plots, dim=2)[0]


@picture
def mdp_edit() -> Tensor:
    """Three edits: the source, where the prompts differ, the edit, and the original laid over it where they do not."""
    edits = ((_SCENE, _WINTER), (_SCENE, _SCENE.with_(house="blue")), (_SCENE, _SCENE.with_(lake="meadow")))
    shown = []
    for scene, target in edits:
        latent, _, _, mask = _edit("DPathMDPEdit", scene, target)
        edited = world().decoded(latent)
        done = composite_exact(rendered(scene), edited, mask, border=0)
        shown += [rendered(scene), done.weight, edited, done.image]
    columns = ["source", "mask", "edited", "with Composite Exact"]
    return grid(shown, col_labels=columns, row_labels=["to winter", "a blue house", "no lake"])


def _row(models: dict[str, Any]) -> Tensor:
    """The source and a sample with each model."""
    return grid([rendered(_SCENE), *map(_sampled, models.values())], ["source", *models])


@picture
def mdp_noise() -> Tensor:
    """Windows of MDP-epsilon."""
    models: dict[str, Any] = {"no manipulation": world().model}
    for begin, end in ((1.0, 0.5), (0.8, 0.15), (0.7, 0.3)):
        models[f"window {begin:g} to {end:g}"] = _manipulated("noise", _path(), PathSchedule(begin, end))
    return _row(models)


def _manipulated(kind: str, source: Any, schedule: PathSchedule) -> Any:
    return call("DPathMDP", model=world().model, kind=kind, source=source, schedule=schedule)[0]


def _weights(kind: str, source: Any, window: PathSchedule, weights: tuple[float, ...]) -> Tensor:
    schedules = {f"weight {w:g}": PathSchedule(window.start, window.end, weight=w) for w in weights}
    return _row({name: _manipulated(kind, source, schedule) for name, schedule in schedules.items()})


@picture
def mdp_latent() -> Tensor:
    """Weights of MDP-x."""
    return _weights("latent", _path(), PathSchedule(0.9, 0.3), (0.0, 0.15, 0.3, 0.6))


@picture
def mdp_conditioning() -> Tensor:
    """Weights of MDP-c."""
    source = world().encoded(_SCENE)
    return _weights("conditioning", source, mdp.WHOLE["conditioning"], (0.0, 0.3, 0.6, 1.0))


@picture
def mdp_guidance() -> Tensor:
    """Weights of MDP-beta, below 0 too."""
    source = world().encoded(_SCENE)
    return _weights("guidance", source, mdp.WHOLE["guidance"], (-0.3, 0.0, 0.6, 1.0))


@picture
def mdp_attention() -> Tensor:
    """Cross-attention alone, with self-attention, and words swapped."""
    texts = {"clip": world().clip, "source_prompt": full_caption(_SCENE), "target_prompt": full_caption(_WINTER)}
    given = {"model": world().model, "path": _path()}
    shown, labels = [rendered(_SCENE), _sampled(world().model)], ["source", "no manipulation"]
    for label, mode, cross, within in (
        ("refine, 1 to 0.2", "refine", PathSchedule(1.0, 0.2), 0.0),
        ("and self-attention 0.6", "refine", PathSchedule(1.0, 0.2), 0.6),
        ("replace, 0.8 to 0.4", "replace", PathSchedule(0.8, 0.4), 0.0),
    ):
        chosen = {"mode": mode, **texts, "self_attention": within}
        shown.append(_sampled(*call("DPathMDPAttention", **given, schedule=cross, mode=chosen)))
        labels.append(label)
    return grid(shown, labels)


@picture
def mdp_sweep() -> Tensor:
    """Starts of the window down, lengths across."""
    given = {"method": "noise", "vae": world().vae, "starts": "0.9, 0.8, 0.7", "lengths": "0.25, 0.5, 0.65"}
    return _edit("DPathMDPSweep", **given, weights="")[0][0]


@picture
def flowedit() -> Tensor:
    """Starts of FlowEdit, at equal steps per unit of time."""
    starts = (0.5, 0.7, FlowEditSettings().start, 0.95)
    made = [_edit("DPathFlowEdit", start=begin, steps=round(begin * _STEPS))[0] for begin in starts]
    return grid([rendered(_SCENE), *map(world().decoded, made)], ["source", *(f"start {begin:g}" for begin in starts)])
