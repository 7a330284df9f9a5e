"""Masks in pixels and on the latent grid (1 = edit), through the node DPathLatentMask."""

from __future__ import annotations

import comfy.utils
import numpy as np
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from diffusion_path.images.masks import LatentGrid, latent_mask, snap_to_patches
from diffusion_path.images.morphology import feather, grow
from diffusion_path.nodes.pictures import LatentMaskNode
from diffusion_path.samplers.masks import REDUCTIONS, on_picture, reduce_mask
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt


def square(size: int = 64, low: int = 24, high: int = 40) -> torch.Tensor:
    mask = torch.zeros(1, size, size)
    mask[:, low:high, low:high] = 1.0
    return mask


@pytest.mark.parametrize("pixels", [1, 2, 5, 12])
def test_growing_a_point_gives_a_disc_of_that_radius(pixels: int) -> None:
    point = torch.zeros(1, 41, 41)
    point[0, 20, 20] = 1.0
    grown = grow(point, pixels)[0].numpy() > 0
    distance = distance_transform_edt(point[0].numpy() == 0)
    assert grown[20, 20 + pixels]
    assert not grown[20, 21 + pixels]
    reached = np.asarray(distance)[grown].max()
    assert pixels <= reached <= 1.1 * pixels + 0.5
    assert grown[np.asarray(distance) <= 0.9 * pixels].all()


def test_shrinking_is_growing_the_rest_and_stops_at_the_pictures_edge() -> None:
    mask = square()
    assert torch.equal(grow(mask, -5), 1 - grow(1 - mask, 5))
    assert grow(mask, -5).sum() < mask.sum()
    half = torch.zeros(1, 32, 32)
    half[:, :, :16] = 1.0
    assert torch.equal(grow(half, -4)[0, :, 0], torch.ones(32)), "the left edge of the picture is no border"
    assert grow(half, -4)[0, 16].sum() == 12


def test_zero_pixels_change_nothing() -> None:
    mask = torch.rand(2, 20, 30)
    assert torch.equal(grow(mask, 0), mask)
    assert torch.equal(feather(mask, 0), mask)


def test_feather_falls_in_equal_steps_and_lies_on_the_side_it_was_asked_for() -> None:
    mask = square()
    outside, inside = feather(mask, 3), feather(mask, -3)
    assert torch.equal(outside[mask == 1], mask[mask == 1])
    assert torch.allclose(outside[0, 32, 40:44], torch.tensor([0.75, 0.5, 0.25, 0.0]))
    assert torch.equal(inside[mask == 0], mask[mask == 0])
    assert torch.allclose(inside[0, 32, 36:41], torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))


def test_bilinear_is_what_core_does_and_core_takes_the_grid_as_it_is() -> None:
    mask = torch.rand(3, 64, 96)
    ours = reduce_mask(mask, (8, 12), "bilinear")
    assert torch.equal(ours.unsqueeze(1), comfy.utils.reshape_mask(mask, (3, 1, 8, 12)))
    assert torch.equal(ours.unsqueeze(1), comfy.utils.reshape_mask(ours.unsqueeze(1), (3, 1, 8, 12)))


def test_area_keeps_the_share_and_max_keeps_every_stroke() -> None:
    mask = torch.zeros(1, 128, 128)
    mask[0, 62, 10:118] = 1.0  # one pixel wide, off the points that bilinear looks at
    assert torch.isclose(reduce_mask(mask, (16, 16), "area").mean(), mask.mean())
    assert reduce_mask(mask, (16, 16), "max").sum() == 14
    assert reduce_mask(mask, (16, 16), "bilinear").sum() == 0


def test_vanishing_strokes_and_dropping_coverage_are_reported() -> None:
    mask = square(128, 32, 96)
    mask[0, 10, 4:124] = 1.0
    for reduction in REDUCTIONS:
        lost = reduction != "max"
        result = latent_mask(mask, LatentGrid((16, 16)), reduction)
        assert ("1 of 2 strokes vanish" in result.report) is lost
        assert bool(result.warnings) is lost
    thick = latent_mask(mask, LatentGrid((16, 16)), "area", grow_pixels=6)
    assert "vanish" not in thick.report
    gone = latent_mask(square(128, 60, 68), LatentGrid((16, 16)), "area", grow_pixels=-6)
    assert "1 of 1 strokes vanish" in gone.report
    checker = (torch.arange(64)[:, None] % 8 < 3).float().expand(64, 64)
    assert "Coverage drops" in latent_mask(checker, LatentGrid((8, 8)), "area").report


def test_patches_get_one_value_each() -> None:
    grid = torch.rand(2, 7, 9)
    for patch in (2, 3):
        largest = snap_to_patches(grid, patch, "max")
        assert largest.shape == grid.shape
        assert (largest >= grid).all()
        for y in range(0, 7, patch):
            for x in range(0, 9, patch):
                cell = largest[:, y : y + patch, x : x + patch]
                assert torch.equal(cell, cell[:, :1, :1].expand_as(cell))
    whole = snap_to_patches(grid[:, :6, :8], 2, "area")
    assert torch.allclose(whole[:, 2, 4], grid[:, 2:4, 4:6].mean(dim=(1, 2)))
    assert torch.equal(snap_to_patches(grid, 1, "max"), grid)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), pixels=st.integers(-6, 6), patch=st.integers(1, 3))
def test_values_stay_in_range_and_larger_masks_give_larger_grids(seed: int, pixels: int, patch: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 48, 64, generator=generator) * (torch.rand(1, 48, 64, generator=generator) > 0.7)
    large = torch.maximum(small, torch.rand(1, 48, 64, generator=generator) * 0.5)
    grid = LatentGrid((6, 8), patch)
    for reduction in REDUCTIONS:
        a = latent_mask(small, grid, reduction, pixels, pixels).grid
        b = latent_mask(large, grid, reduction, pixels, pixels).grid
        assert a.min() >= 0
        assert b.max() <= 1
        assert (b >= a - 1e-6).all()


def test_node_gives_a_noise_mask_and_leaves_the_latent_alone() -> None:
    latent = {"samples": torch.zeros(2, 4, 16, 16), "batch_index": [3, 7], "noise_mask": torch.ones(1, 1, 8, 8)}
    mask = torch.cat((square(128, 32, 64), square(128, 40, 100)))
    before = mask.clone()
    result, preview, report = LatentMaskNode.execute(mask, latent, "max", 0, 0).args
    assert result["noise_mask"].shape == (2, 1, 16, 16)
    assert torch.equal(result["noise_mask"][:, 0], reduce_mask(mask, (16, 16), "max"))
    assert result["batch_index"] == [3, 7]
    assert result["samples"] is latent["samples"]
    assert latent["noise_mask"].shape == (1, 1, 8, 8)
    assert torch.equal(mask, before)
    assert preview.shape == mask.shape
    assert "16 x 16 cells by max" in report


def test_a_mask_of_the_same_value_everywhere_fits_any_size() -> None:
    latent = {"samples": torch.zeros(1, 4, 8, 24)}
    result, _, report = LatentMaskNode.execute(torch.zeros(1, 64, 64), latent, "max", 4, 4).args
    assert torch.equal(result["noise_mask"], torch.zeros(1, 1, 8, 24))
    assert "nothing will be edited" in report
    result, _, report = LatentMaskNode.execute(torch.ones(1, 64, 64), latent, "area", -4, -4).args
    assert torch.equal(result["noise_mask"], torch.ones(1, 1, 8, 24))
    assert "uniform" in report


def test_video_latents_take_one_mask_item_per_frame() -> None:
    latent = {"samples": torch.zeros(1, 16, 3, 8, 8)}
    mask = torch.rand(9, 64, 64)
    given = LatentMaskNode.execute(mask, latent, "area", 0, 0).args[0]["noise_mask"]
    assert given.shape == (1, 1, 3, 8, 8)
    means = reduce_mask(mask, (8, 8), "area")
    expected = torch.stack([means[0], means[1:5].mean(0), means[5:].mean(0)])
    torch.testing.assert_close(given[0, 0], expected)
    assert torch.equal(comfy.utils.reshape_mask(given, (1, 16, 3, 8, 8)), given.expand(1, 16, 3, 8, 8))


def test_half_precision_inference_tensors_are_fine() -> None:
    with torch.inference_mode():
        mask = square().half()
        result = LatentMaskNode.execute(mask, {"samples": torch.zeros(1, 4, 8, 8)}, "area", 1, 1).args[0]
    assert result["noise_mask"].dtype == torch.float32


@pytest.mark.parametrize(
    ("mask", "samples", "words"),
    [
        (torch.rand(1, 64, 64), torch.zeros(1, 4, 8, 12), "64 x 64.*12 x 8.*other proportions"),
        (torch.rand(3, 64, 64), torch.zeros(2, 4, 8, 8), "batch of 3.*there are 2 pictures"),
        (torch.full((1, 64, 64), float("nan")), torch.zeros(1, 4, 8, 8), "mask holds 4096 values that are NaN"),
        (torch.rand(1, 64, 64, 3), torch.zeros(1, 4, 8, 8), "a MASK .* is expected"),
        (torch.zeros(1, 0, 64), torch.zeros(1, 4, 8, 8), "empty"),
        (torch.rand(1, 64, 64), torch.zeros(1, 64, 100), "3-dimensional"),
        (torch.rand(1, 64, 64), NestedTensor([torch.zeros(1, 4, 8, 12)]), "64 x 64.*12 x 8.*other proportions"),
    ],
)
def test_bad_input_is_named(mask: torch.Tensor, samples: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LatentMaskNode.execute(mask, {"samples": samples}, "max", 0, 0)


def test_fitting_a_mask_to_a_picture_keeps_thin_strokes() -> None:
    mask = torch.zeros(1, 128, 128)
    mask[0, 62, :] = 1.0
    assert (on_picture(mask, 64, 64, "the picture") > 0).any(dim=1).all()
    assert torch.equal(on_picture(square(), 128, 128, "the picture"), square(128, 48, 80))
