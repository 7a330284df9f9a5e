"""Pictures of the embedded world."""

from __future__ import annotations

import torch
from torch import Tensor

from ...demo.render import render_with_maps
from ...demo.scenes import Scene, full_caption
from ...demo.training.evaluate import generate, sheet, unseen_scenes
from ...images.tensors import from_uint8
from ..world import rendered
from .shared import montage, picture


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
