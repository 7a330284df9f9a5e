"""Masks on latents of every scale, in space and time: as the VAEs of core map pixels and frames."""

from __future__ import annotations

from typing import Any

import comfy.latent_formats
import comfy.ldm.wan.vae
import comfy.sd
import comfy.supported_models as supported
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.devtools.direct import call
from diffusion_path.nodes.pictures import LatentMaskNode
from diffusion_path.samplers import masks
from diffusion_path.samplers.mask_frames import find_ratio, frames_fit, latent_frames, ratio_of_vae
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from torch import Tensor


def vae_of(ratio: int, block: int) -> Any:
    """Core's VAE class with what its detection sets for a causal video VAE, and no network."""
    vae: Any = comfy.sd.VAE.__new__(comfy.sd.VAE)
    vae.upscale_ratio = (lambda a: max(0, a * ratio - (ratio - 1)), block, block)
    vae.downscale_ratio = (lambda a: max(0, (a + ratio - 1) // ratio), block, block)
    return vae


def picture_vae(block: int) -> Any:
    vae = comfy.sd.VAE.__new__(comfy.sd.VAE)
    vae.upscale_ratio = vae.downscale_ratio = block
    return vae


@pytest.mark.parametrize(("ratio", "block"), [(4, 8), (4, 16), (8, 32), (6, 8)])
def test_frames_go_to_the_latent_frame_that_the_vae_decodes_them_from(ratio: int, block: int) -> None:
    vae = vae_of(ratio, block)
    assert ratio_of_vae(vae) == ratio
    assert masks.block_of_vae(vae) == block
    for frames in range(ratio + 1, 6 * ratio):
        count = vae.downscale_ratio[0](frames)
        ends = [vae.upscale_ratio[0](place + 1) for place in range(count)]
        expected = [next((place for place, end in enumerate(ends) if frame < end), -1) for frame in range(frames)]
        assert latent_frames(frames, count, ratio).tolist() == expected
        if ratio != 6:
            assert find_ratio(frames, count) == ratio


def test_a_picture_vae_has_no_frames() -> None:
    assert ratio_of_vae(picture_vae(16)) is None
    assert masks.block_of_vae(picture_vae(16)) == 16


def test_a_frame_changes_its_own_latent_frame_first_in_cores_own_causal_vae() -> None:
    sizes = {"dim": 8, "z_dim": 4, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_scales": []}
    with tiny.with_weights():
        vae = comfy.ldm.wan.vae.WanVAE(**sizes, temperal_downsample=[False, True, True])
    tiny.fill(vae)
    frames = 10  # the last one is dropped
    video = torch.rand(1, 3, frames, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        code = vae.encode(video)
        first, places = [], latent_frames(frames, code.shape[2]).tolist()
        for frame in (0, 1, 4, 5, 8, 9):  # where one group ends and the next begins
            changed = video.clone()
            changed[:, :, frame] += 1.0
            differs = (vae.encode(changed) != code).flatten(3).any(3).any(1)[0]
            first.append(int(differs.nonzero()[0]) if differs.any() else -1)
    assert first == [places[frame] for frame in (0, 1, 4, 5, 8, 9)] == [0, 1, 1, 2, 2, -1]


@pytest.mark.parametrize("frames", [2, 3, 5, 7, 20])
def test_frames_that_no_vae_makes_are_spread_evenly_and_none_is_lost(frames: int) -> None:
    count = max(2, frames - 2)
    for ratio in (4, None):
        if not frames_fit(frames, count, ratio):
            places = latent_frames(frames, count, ratio).tolist()
            assert places == sorted(places)
            assert places[0] == 0
            assert set(places) == set(range(count))


def test_frames_are_reduced_by_max_or_mean_of_their_group() -> None:
    frames = torch.rand(9, 2, 2, generator=torch.Generator().manual_seed(1))
    groups = (frames[:1], frames[1:5], frames[5:])
    assert torch.equal(masks.over_time(frames, 3, "max"), torch.stack([group.amax(0) for group in groups]))
    assert torch.equal(masks.over_time(frames, 3, "area"), torch.stack([group.mean(0) for group in groups]))


FORMATS = [supported.WAN22_T2V, supported.LTXV, supported.HunyuanVideo15, supported.GenmoMochi, supported.CosmosT2V]


@pytest.mark.parametrize("config", FORMATS, ids=lambda config: config.__name__)
def test_nodes_that_take_a_mask_ask_the_model_for_blocks_and_frames(config: Any, caplog) -> None:
    model, fmt = gaussian_model(ModelType.FLOW, 0.8), config.latent_format()
    model.add_object_patch("latent_format", fmt)
    block, ratio = fmt.spacial_downscale_ratio, fmt.temporal_downscale_ratio
    latent = {"samples": torch.ones(1, fmt.latent_channels, 3, 3, 2)}
    mask = torch.zeros(2 * ratio + 1, 3 * block + 2, 2 * block)  # the VAE keeps rows 1 to 3 block
    mask[1, block, block] = 1.0  # the last row of the first cell
    mask[-1, -2, 0] = 1.0
    expected = torch.zeros(1, 1, 3, 3, 2)
    expected[0, 0, 1, 0, 1] = expected[0, 0, 2, 2, 0] = 1.0
    noisy = call("DPathPerturb", model=model, latent=latent, mask=mask, seed=1)[0]
    assert torch.equal(noisy["noise_mask"], expected)
    assert torch.equal(masks.edit_region(mask, model, latent["samples"], torch.device("cpu"))[:, :1], expected)
    edited = call(
        "DPathFlowEdit", model=model, positive=cond(0.5), negative=cond(0.0), source=cond(-0.5), latent=latent,
        mask=mask, steps=1,
    )[0]["samples"]  # fmt: skip
    assert torch.equal((edited != 1.0).any(1, keepdim=True).float(), expected)
    assert not caplog.records
    caplog.clear()
    masks.on_grid_of(model, mask[:-1].repeat(3, 1, 1), (1, fmt.latent_channels, 3, 3, 2))
    assert "spread evenly after the first" in caplog.text


@pytest.mark.parametrize("block", [1, 8, 16, 32, 42])
def test_mask_to_latent_asks_the_vae(block: int) -> None:
    samples = torch.zeros(1, 4, 2, 3)
    mask = torch.zeros(1, 2 * block, 3 * block)
    mask[0, block, -1] = 1.0
    result, pixels, _ = LatentMaskNode.execute(mask, {"samples": samples}, "max", 0, 0, vae=picture_vae(block)).args
    expected = torch.zeros(1, 1, 2, 3)
    expected[0, 0, 1, 2] = 1.0
    assert torch.equal(result["noise_mask"], expected)
    assert torch.equal(pixels, expected[0].repeat_interleave(block, 1).repeat_interleave(block, 2))


def video_mask(frames: int, edited: int) -> Tensor:
    mask = torch.zeros(frames, 64, 64)
    mask[edited, :32] = 1.0
    return mask


def test_mask_to_latent_shows_the_frames_as_the_model_sees_them_and_reports_them() -> None:
    latent = {"samples": torch.zeros(1, 16, 3, 8, 8)}
    result, pixels, report = LatentMaskNode.execute(video_mask(10, 2), latent, "max", 0, 0).args
    assert result["noise_mask"].shape == (1, 1, 3, 8, 8)
    assert result["noise_mask"][0, 0].amax((1, 2)).tolist() == [0.0, 1.0, 0.0]
    assert pixels.amax((1, 2)).tolist() == [0.0] + 4 * [1.0] + 5 * [0.0]
    assert "10 frames for 3 latent frames: the first alone, then 4 for each; the last one is dropped" in report
    assert "vanish" not in report

    _, pixels, report = LatentMaskNode.execute(video_mask(10, 9), latent, "max", 0, 0).args
    assert not pixels.any()
    assert "1 of 1 strokes vanish" in report
    assert "One mask for all 3 latent frames" in LatentMaskNode.execute(video_mask(1, 0), latent, "max", 0, 0).args[2]
    assert "one for each latent frame" in LatentMaskNode.execute(video_mask(3, 0), latent, "max", 0, 0).args[2]


def test_whole_frames_are_kept_and_edited_as_whole_latent_frames() -> None:
    latent = {"samples": torch.zeros(1, 16, 3, 8, 8)}
    mask = torch.ones(9, 64, 64)
    mask[0] = 0.0
    result, pixels, report = LatentMaskNode.execute(mask, latent, "max", 0, 0).args
    assert result["noise_mask"].amax((3, 4)).tolist() == result["noise_mask"].amin((3, 4)).tolist() == [[[0, 1, 1]]]
    assert torch.equal(pixels, mask)
    assert "uniform" in report


def test_the_vae_decides_where_the_numbers_leave_a_doubt() -> None:
    latent = {"samples": torch.zeros(1, 12, 2, 8, 8)}
    mask = video_mask(7, 6)
    assert "then 4 for each" in LatentMaskNode.execute(mask, latent, "max", 0, 0).args[2]
    result, _, report = LatentMaskNode.execute(mask, latent, "max", 0, 0, vae=vae_of(6, 8)).args
    assert "then 6 for each" in report
    assert result["noise_mask"][0, 0].amax((1, 2)).tolist() == [0.0, 1.0]
    report = LatentMaskNode.execute(mask, latent, "max", 0, 0, vae=vae_of(8, 8)).args[2]
    assert "a VAE makes 1 of them): they are spread evenly after the first" in report


def test_core_mixes_the_frames_of_a_noise_mask_and_the_report_says_so() -> None:
    samples = torch.zeros(1, 16, 3, 8, 8)
    assert "9 frames of the mask are mixed into 3" in masks.losses(video_mask(9, 2)[:, None], samples)
    assert masks.losses(video_mask(1, 0)[:, None], samples) == ""
    assert masks.losses(video_mask(9, 0)[:1, None].expand(9, 1, 64, 64), samples) == ""
    assert masks.losses(masks.on_grid(video_mask(9, 2), samples.shape), samples) == ""


def test_latents_of_a_resized_picture_are_not_cropped() -> None:
    """Stable Cascade's pictures are resized to 42 pixels to a cell."""
    fmt = comfy.latent_formats.SC_Prior()
    assert masks.find_crop((1024, 1024), (24, 24), fmt.spacial_downscale_ratio) is None
    assert masks.find_crop((1024, 1024), (24, 24)) is None
    mask = torch.zeros(1, 1024, 1024)
    mask[:, :, :8] = 1.0  # the rim that a crop to 24 x 42 pixels would lose
    assert masks.on_grid(mask, (1, 16, 24, 24), 42)[0, 0].amax(0).tolist() == [1.0] + 23 * [0.0]
