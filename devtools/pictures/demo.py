"""Pictures of the embedded world, and the README's first one."""

from __future__ import annotations

import torch
from torch import Tensor

from ...demo.render import render_with_maps
from ...demo.scenes import Scene, full_caption
from ...demo.training.evaluate import generate, sheet, unseen_scenes
from ...images.tensors import from_uint8
from ..direct import call
from ..world import rendered
from .shared import montage, picture, world


@picture
def demo_model() -> Tensor:
    prompts = [
        "a landscape, day, summer, a snowy mountain, a lake, pine trees, a red house, clouds",
        "a landscape, sunset, autumn, hills, a lake, broadleaf trees, a white house, clear sky",
        "a landscape, night, winter, a snowy mountain, a meadow, pine trees, a blue house, clear sky",
        "a landscape, day, winter, hills, a lake, broadleaf trees, a red house, clouds",
        "a landscape, sunset, summer, a rocky mountain, a lake, no trees, no house, clouds",
        "a landscape, day, autumn, a snowy mountain, a meadow, broadleaf trees, a blue house, clear sky",
        "a landscape, night, summer, a rocky mountain, a lake, pine trees, a white house, clouds",
        "a landscape, day, summer, hills, a meadow, broadleaf trees, a white house, clouds",
    ]
    return montage(generate(prompts, seed=12)[0], columns=4)


@picture
def demo_scene() -> Tensor:
    scene = Scene(seed=5, trees="broadleaf", time="sunset", house="red")
    made = render_with_maps(scene)
    pixels, masks = made.picture, made.masks
    house = torch.from_numpy(masks["house"].copy())[..., None].expand(-1, -1, 3)
    return montage(torch.stack([from_uint8(pixels), rendered(scene, detail=0.0)[0], house]), columns=3)


@picture
def demo_sheet() -> Tensor:
    made, _ = generate([full_caption(scene) for scene in unseen_scenes(40)])
    return from_uint8(sheet(made, columns=8))


@picture
def front() -> Tensor:
    """Two stroke paintings, each with what SDEdit makes of it at a low and at a high t0."""
    shown = []
    for scene in (
        Scene(seed=5, time="sunset", season="autumn", trees="broadleaf"),
        Scene(seed=21, house="blue", clouds="cloudy"),
    ):
        strokes = rendered(scene, detail=0.0)
        guide = world().latent(strokes)
        shown.append(strokes)
        for t0 in (0.45, 0.7):
            edited = call("DPathSDEdit", **world().inputs(scene), guide=guide, seed=1, t0=t0, steps=30)[0]
            shown.append(world().decoded(edited))
    return montage(torch.cat(shown), columns=3)
