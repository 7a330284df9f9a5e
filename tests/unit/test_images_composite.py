"""Exact composites, through the node DPathCompositeExact."""

from __future__ import annotations

import pytest
import torch
from diffusion_path.images.composite import composite_exact
from diffusion_path.images.morphology import feather, grow
from diffusion_path.nodes.pictures import CompositeExactNode
from torch import Tensor


def random_mask(seed: int, batch: int, height: int, width: int) -> Tensor:
    """Blobs, hard for even seeds and soft for odd ones."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(batch, 1, 6, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(rough, size=(height, width), mode="bicubic")[:, 0]
    return (smooth > 0.6).float() if seed % 2 == 0 else (2 * smooth - 1).clamp(0, 1)


def changed(picture: Tensor, seed: int = 0) -> Tensor:
    return torch.rand(picture.shape, generator=torch.Generator().manual_seed(1000 + seed))


def test_pixels_outside_twenty_masks_are_identical_in_a_batch_of_three() -> None:
    for seed in range(20):
        original = torch.rand(3, 72, 60, 3, generator=torch.Generator().manual_seed(seed)) * 1.2 - 0.1
        mask = random_mask(seed, 3 if seed % 3 else 1, 72, 60)
        edited = changed(original, seed)
        kept = (original.clone(), edited.clone(), mask.clone())
        result = CompositeExactNode.execute(edited, original, mask, seed % 11, 0.5 * (seed % 3)).args[0]
        outside = (mask == 0).expand(3, 72, 60)
        assert outside.any()
        assert torch.equal(result[outside].view(torch.int32), original[outside].view(torch.int32))
        assert not torch.equal(result[~outside], original[~outside])
        for before, after in zip(kept, (original, edited, mask), strict=True):
            assert torch.equal(before, after), "an input was changed"


def test_without_border_a_hard_mask_gives_the_edit_exactly() -> None:
    original = torch.rand(2, 40, 40, 3)
    edited, mask = changed(original), random_mask(2, 2, 40, 40)
    result = composite_exact(original, edited, mask, border=0).image
    assert torch.equal(result, torch.where(mask[..., None] > 0, edited, original))


def test_the_border_lies_inside_the_mask_and_has_the_width_asked_for() -> None:
    original, edited, mask = torch.zeros(1, 50, 50, 3), torch.ones(1, 50, 50, 3), torch.zeros(1, 50, 50)
    mask[:, 10:40, 10:40] = 1.0
    result = composite_exact(original, edited, mask, border=4)
    assert torch.equal(result.weight, feather(mask, -4))
    assert torch.allclose(result.image[0, 25, 8:16, 0], torch.tensor([0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1]))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_keep_and_all_edit_of_any_size(value: float) -> None:
    original = torch.rand(2, 30, 46, 3)
    edited = changed(original)
    result = composite_exact(original, edited, torch.full((1, 64, 64), value), color_match=1.0)
    assert torch.equal(result.image, edited if value else original)
    assert ("100.00 %" in result.report) is (value == 0)


def test_colour_match_undoes_a_global_shift_of_colour_and_contrast() -> None:
    original = torch.rand(2, 80, 80, 3, generator=torch.Generator().manual_seed(5)) * 0.5 + 0.25
    mask = torch.zeros(1, 80, 80)
    mask[:, 30:60, 20:50] = 1.0
    content = original.clone()
    content[:, 30:60, 20:50] = changed(content[:, 30:60, 20:50]) * 0.5 + 0.25
    shifted = (content - 0.5) * torch.tensor([0.8, 1.0, 1.1]) + torch.tensor([0.55, 0.42, 0.5])
    errors = []
    for strength in (0.0, 0.5, 1.0):
        result = composite_exact(original, shifted, mask, border=0, color_match=strength).image
        errors.append((result - content).abs().mean().item())
        assert torch.equal(result[(mask == 0).expand(2, 80, 80)], original[(mask == 0).expand(2, 80, 80)])
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.08 * errors[0]


def test_colour_match_without_a_ring_says_so() -> None:
    original = torch.rand(1, 32, 32, 3)
    mask = torch.ones(1, 32, 32)
    mask[:, 0, 0] = 0.0
    result = composite_exact(original, changed(original), mask, border=0, color_match=1.0)
    assert "no colour match" in result.report
    assert torch.equal(result.image[:, 1:], changed(original)[:, 1:])


def test_an_edit_cropped_by_the_autoencoder_goes_back_where_it_came_from() -> None:
    original = torch.rand(1, 70, 53, 3)
    edited = original[:, 3:67, 2:50].clone()  # as ComfyUI's VAE crops 70 x 53 to 64 x 48
    result = composite_exact(original, edited, torch.ones(1, 70, 53), border=0)
    assert torch.equal(result.image, original)
    assert "put back 2 pixels from the left and 3 from the top" in result.report


def test_an_edit_of_another_size_is_resized_and_other_proportions_are_refused() -> None:
    original, mask = torch.rand(1, 64, 96, 3), random_mask(4, 1, 64, 96)
    enlarged = torch.nn.functional.interpolate(torch.full((1, 3, 128, 192), 0.25), size=(128, 192)).movedim(1, -1)
    result = composite_exact(original, enlarged, mask, border=0)
    assert "resized from 192 x 128 to 96 x 64" in result.report
    assert torch.allclose(result.image[mask > 0], torch.tensor(0.25))
    with pytest.raises(ValueError, match="edited picture is 64 x 64.*original is 96 x 64"):
        composite_exact(original, torch.rand(1, 64, 64, 3), mask)
    with pytest.raises(ValueError, match="mask is 64 x 64.*original is 96 x 64"):
        composite_exact(original, original, torch.rand(1, 64, 64))


def test_masks_of_another_size_are_fitted_and_outside_stays_exact() -> None:
    original, mask = torch.rand(1, 64, 96, 3), random_mask(6, 1, 128, 192)
    result = composite_exact(original, changed(original), mask)
    outside = torch.nn.functional.max_pool2d(mask[None], 2)[0] == 0
    assert torch.equal(result.image[outside], original[outside])
    assert "mask was resized from 192 x 128 to 96 x 64" in result.report


def test_batches_of_one_are_repeated_and_others_refused() -> None:
    original, mask = torch.rand(1, 24, 24, 3), random_mask(8, 1, 24, 24)
    edited = torch.rand(3, 24, 24, 3)
    many = composite_exact(original, edited, mask, color_match=1.0).image
    single = [composite_exact(original, edited[i : i + 1], mask, color_match=1.0).image for i in range(3)]
    assert torch.equal(many, torch.cat(single))
    with pytest.raises(ValueError, match="original has a batch of 2.*has 3"):
        composite_exact(torch.rand(2, 24, 24, 3), edited, mask)


def test_alpha_of_the_original_survives_and_alpha_of_the_edit_lets_it_through() -> None:
    mask = random_mask(10, 1, 24, 24)
    with_alpha, plain = torch.rand(1, 24, 24, 4), torch.rand(1, 24, 24, 3)
    kept = composite_exact(with_alpha, plain, mask, border=0).image
    assert torch.equal(kept[..., 3], with_alpha[..., 3])
    assert torch.equal(kept[mask > 0][..., :3], plain[mask > 0])
    over = composite_exact(plain, with_alpha, torch.ones(1, 24, 24), border=0).image
    assert over.shape[-1] == 3
    assert torch.allclose(over, plain + with_alpha[..., 3:] * (with_alpha[..., :3] - plain), atol=1e-6)
    both = composite_exact(with_alpha, with_alpha.flip(1), torch.ones(1, 24, 24), border=0).image
    assert torch.equal(both, with_alpha.flip(1))


def test_half_precision_originals_stay_exact() -> None:
    original = torch.rand(1, 24, 24, 3).half()
    mask = random_mask(12, 1, 24, 24)
    result = composite_exact(original, changed(original.float()), mask).image
    assert result.dtype == torch.float16
    assert torch.equal(result[mask == 0], original[mask == 0])


def test_values_that_are_not_numbers_are_named() -> None:
    original = torch.rand(2, 24, 24, 3)
    broken = original.clone()
    broken[1, 3, 4, 0] = float("nan")
    broken[1, 5, 5, 1] = float("inf")
    with pytest.raises(ValueError, match="edited holds 2 values that are NaN or infinite .batch item 1."):
        composite_exact(original, broken, torch.ones(1, 24, 24))


def test_the_ring_is_just_outside_the_mask() -> None:
    """Only the ring decides: what lies farther away does not change the match."""
    original = torch.rand(1, 64, 64, 3)
    edited, mask = changed(original), torch.zeros(1, 64, 64)
    mask[:, 24:40, 24:40] = 1.0
    far = grow(mask, 6) == 0
    other = edited.clone()
    other[far] = 0.0
    a = composite_exact(original, edited, mask, color_match=1.0, ring=6).image
    b = composite_exact(original, other, mask, color_match=1.0, ring=6).image
    assert torch.equal(a, b)
