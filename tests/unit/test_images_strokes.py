"""Stroke simulation, through the node DPathStrokes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusion_path.images.strokes import simulate_strokes, stroke_kernel, wide_median
from diffusion_path.images.tensors import from_pil
from diffusion_path.nodes.pictures import StrokesNode
from PIL import Image, ImageFilter
from skimage import data
from torch import Tensor


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(data.astronaut()).reduce(2)  # 256 x 256, the size of the paper's pictures


def colors_in(picture: Tensor) -> int:
    return len(picture.reshape(-1, picture.shape[-1]).unique(dim=0))


def test_at_the_papers_size_it_is_pillows_median_and_adaptive_palette_exactly(photo: Image.Image) -> None:
    median = photo.filter(ImageFilter.MedianFilter(23))
    for colors in (3, 6, 16):
        wanted = median.convert("P", palette=Image.Palette.ADAPTIVE, colors=colors).convert("RGB")
        assert torch.equal(simulate_strokes(from_pil(photo), colors), from_pil(wanted))


def test_the_kernel_follows_the_size_and_is_odd() -> None:
    assert stroke_kernel(256) == 23
    assert stroke_kernel(512) in (45, 47)
    assert stroke_kernel(1024) in (91, 93)
    for side in range(16, 2000, 37):
        assert stroke_kernel(side) % 2 == 1
        assert abs(stroke_kernel(side) - 23 * side / 256) <= 1


def test_a_wide_median_by_way_of_a_reduced_picture_is_close_to_the_exact_one(photo: Image.Image) -> None:
    from skimage.filters import rank

    kernel, crop = 75, slice(37, 37 + 256)
    padded = np.pad(np.array(photo), ((37, 37), (37, 37), (0, 0)), mode="edge")
    footprint = np.ones((kernel, kernel), np.uint8)
    exact = np.stack([rank.median(padded[..., c], footprint)[crop, crop] for c in range(3)], -1).astype(float)
    ours = wide_median(np.array(photo), kernel)
    assert np.sqrt(np.mean((ours - exact) ** 2)) < 2.5  # grey levels of 255, for a brush three times the paper's


def test_batches_equal_singles_and_runs_repeat(photo: Image.Image) -> None:
    batch = torch.cat((from_pil(photo), from_pil(photo).flip(1) * 0.5, torch.rand(1, 256, 256, 3)))[:, ::2, ::2]
    before = batch.clone()
    many = StrokesNode.execute(batch, 6, 23.0).args[0]
    assert torch.equal(many, torch.cat([simulate_strokes(item[None]) for item in batch]))
    assert torch.equal(many, simulate_strokes(batch))
    assert torch.equal(batch, before)
    assert all(colors_in(item) <= 6 for item in many)


@pytest.mark.parametrize("colors", [2, 3, 6, 30, 50])
def test_colors_are_as_many_as_asked_for(photo: Image.Image, colors: int) -> None:
    assert 2 <= colors_in(simulate_strokes(from_pil(photo), colors)) <= colors


def test_more_colors_and_a_finer_brush_are_closer_to_the_photo(photo: Image.Image) -> None:
    image = from_pil(photo)

    def distance(colors: int, brush: float) -> float:
        return (simulate_strokes(image, colors, brush) - image).square().mean().item()

    by_color = [distance(n, 23) for n in (3, 6, 16, 50)]
    assert by_color == sorted(by_color, reverse=True)
    by_brush = [distance(50, brush) for brush in (0, 5, 11, 23, 45)]
    assert by_brush == sorted(by_brush)


def test_opaque_alpha_changes_nothing_and_hidden_colours_do_not_bleed(photo: Image.Image) -> None:
    image = from_pil(photo)
    opaque = torch.cat((image, torch.ones_like(image[..., :1])), dim=-1)
    assert torch.equal(simulate_strokes(opaque)[..., :3], simulate_strokes(image))
    assert simulate_strokes(opaque)[..., 3].min() == 1
    cut = opaque.clone()
    cut[:, :, 128:, 3] = 0.0
    other = cut.clone()
    other[:, :, 128:, :3] = torch.tensor([1.0, 0.0, 1.0])
    assert torch.equal(simulate_strokes(cut), simulate_strokes(other))
    hidden = opaque.clone()
    hidden[..., 3] = 0.0
    assert simulate_strokes(hidden)[..., 3].max() == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (40, 17), (1000, 30)])
def test_odd_sizes_and_grey_pictures(size: tuple[int, int]) -> None:
    picture = torch.rand(2, *size, 1)
    assert simulate_strokes(picture).shape == (2, *size, 3)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="A painting cannot have 1 colours: give 2 to 256"):
        simulate_strokes(torch.rand(1, 8, 8, 3), colors=1)
    with pytest.raises(ValueError, match="image is .3, 8, 8., but an IMAGE batch"):
        simulate_strokes(torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match="image holds 1 values that are NaN"):
        simulate_strokes(torch.tensor([0.5, float("nan")]).reshape(1, 2, 1, 1).expand(1, 2, 1, 1).clone())
