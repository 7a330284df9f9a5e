"""The second world: other pictures of the same scenes, and a model of other widths trained on them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_path.demo.attributes import read_attributes
from diffusion_path.demo.model import UNET_CONFIG, build_base_model
from diffusion_path.demo.scenes import ATTRIBUTES, Scene
from diffusion_path.demo.training.evaluate import unseen_scenes
from diffusion_path.demo.training.style import PAINTED, PAPER, STYLES
from diffusion_path.devtools.world import World


def test_its_pictures_are_others_and_the_same_every_time() -> None:
    scene = Scene(seed=3)
    picture = PAPER.render(scene)
    assert picture.shape == (256, 256, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(picture, PAPER.render(scene))
    assert np.abs(picture.astype(float) - PAINTED.render(scene)).mean() > 20
    assert not np.array_equal(picture, PAPER.render(scene, detail=0.0))


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_an_attribute_changes_its_own_part_and_leaves_the_layout(name: str) -> None:
    scene = Scene(seed=5, season="autumn", time="sunset")
    others = [value for value in ATTRIBUTES[name] if value != getattr(scene, name)]
    before = PAPER.render(scene).astype(float)
    for value in others:
        changed = np.abs(PAPER.render(scene.with_(**{name: value})) - before).max(-1) > 5
        assert changed.mean() > 0.005, f"{name}: {value} is not seen"
        if name not in ("time", "season"):
            assert changed.mean() < 0.5, f"{name}: {value} changes the whole picture"


@pytest.mark.parametrize("style", STYLES.values(), ids=list(STYLES))
def test_the_classifier_of_each_world_reads_its_own_pictures(style: object) -> None:
    assert style in (PAINTED, PAPER)
    chosen = PAPER if style is PAPER else PAINTED
    scenes = unseen_scenes(24, 91)
    read = read_attributes(chosen.rendered(*scenes), chosen.attributes)
    assert sum(r == {name: getattr(s, name) for name in ATTRIBUTES} for r, s in zip(read, scenes, strict=True)) >= 23


def test_the_widths_of_a_network_are_those_of_its_file() -> None:
    wide, other = build_base_model(), build_base_model(unet=PAPER.unet)
    count = [sum(p.numel() for p in each.diffusion_model.parameters()) for each in (wide, other)]
    assert count[1] < count[0]
    assert UNET_CONFIG["channel_mult"] == (1, 2, 2), "the shared configuration is left alone"


def test_its_model_makes_what_it_is_told() -> None:
    world, scenes = World(style=PAPER), unseen_scenes(8, 92)
    with torch.inference_mode():
        read = world.read(world.generated(scenes, seed=1))
    right = [r[name] == getattr(s, name) for r, s in zip(read, scenes, strict=True) for name in ATTRIBUTES]
    assert sum(right) / len(right) >= 0.9
