"""The attribute reader judges edits later, so it must read fresh renders right, and soft or scaled ones too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusion_path.demo.attributes import FEATURES, features, probabilities, read_attributes
from diffusion_path.demo.render import render
from diffusion_path.demo.scenes import ATTRIBUTES, Scene, random_scene
from torch import Tensor
from torch.nn import functional as F


@pytest.fixture(scope="module")
def fresh() -> tuple[list[Scene], Tensor]:
    rng = np.random.default_rng(987654)
    scenes = [random_scene(rng) for _ in range(300)]
    return scenes, torch.from_numpy(np.stack([render(scene) for scene in scenes])).float() / 255


def shares(scenes: list[Scene], images: Tensor) -> dict[str, float]:
    read = read_attributes(images)
    return {
        name: float(np.mean([r[name] == getattr(s, name) for r, s in zip(read, scenes, strict=True)]))
        for name in ATTRIBUTES
    }


def test_every_attribute_of_fresh_renders_is_read_right(fresh: tuple[list[Scene], Tensor]) -> None:
    got = shares(*fresh)
    assert all(share >= 0.97 for share in got.values()), got


def test_softened_pictures_are_read_right_too(fresh: tuple[list[Scene], Tensor]) -> None:
    scenes, images = fresh
    small = F.interpolate(images.permute(0, 3, 1, 2), size=96, mode="area")
    got = shares(scenes, F.interpolate(small, size=256, mode="bilinear").permute(0, 2, 3, 1))
    assert all(share >= 0.94 for share in got.values()), got


def test_probabilities_sum_to_one_and_a_batch_equals_its_singles(fresh: tuple[list[Scene], Tensor]) -> None:
    images = fresh[1][:4]
    together = probabilities(images)
    for name, values in ATTRIBUTES.items():
        assert together[name].shape == (4, len(values))
        assert torch.allclose(together[name].sum(dim=1), torch.ones(4), atol=1e-5)
        assert torch.allclose(together[name][2:3], probabilities(images[2:3])[name], atol=1e-5)


def test_features_tell_landscapes_apart_from_noise(fresh: tuple[list[Scene], Tensor]) -> None:
    f = features(fresh[1][:32])
    assert f.shape == (32, FEATURES)
    noise = features(torch.rand(32, 256, 256, 3, generator=torch.Generator().manual_seed(0)))
    within = (f[:16].mean(dim=0) - f[16:].mean(dim=0)).norm()
    assert (f.mean(dim=0) - noise.mean(dim=0)).norm() > 2 * within


def test_pictures_with_alpha_and_other_sizes_are_read(fresh: tuple[list[Scene], Tensor]) -> None:
    _scenes, images = fresh
    rgba = torch.cat([images[:2], torch.ones(2, 256, 256, 1)], dim=3)
    assert read_attributes(rgba) == read_attributes(images[:2])
    assert len(read_attributes(torch.rand(1, 90, 120, 3))) == 1


def test_missing_weights_are_one_sentence(tmp_path: Path) -> None:
    weights = tmp_path / "attributes.safetensors"
    with pytest.raises(ValueError, match="missing or damaged: reinstall the pack"):
        read_attributes(torch.rand(1, 64, 64, 3), weights)
    weights.write_bytes(b"not a tensor file")
    with pytest.raises(ValueError, match="missing or damaged: reinstall the pack"):
        read_attributes(torch.rand(1, 64, 64, 3), weights)
