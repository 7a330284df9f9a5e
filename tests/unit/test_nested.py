"""Video with sound (LTX-2, MiniMax H3): latents of two parts through every node."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_sampling
import comfy.samplers
import pytest
import torch
from comfy.conds import CONDConstant
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.devtools.direct import call
from diffusion_path.samplers import masks, nested
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers.flowedit import SourceTargetGuider
from diffusion_path.samplers.flowedit_methods import UniEdit
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.samplers.path_fit import check_path_fits, latent_psnr
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit.compatibility import CFG, HALF, SEED, STEPS, packed
from diffusion_path.tests.unit.families import Family
from diffusion_path.tests.unit.with_sound import (
    H3,
    LTX2,
    SCALED,
    both,
    flowedit,
    invert,
    sdedit,
    silent,
    split,
    video_with_sound,
    with_h3,
    world,
)
from diffusion_path.views.reports import mask_line
from torch import Tensor

# ---- packing -------------------------------------------------------------------------------------------------------


def test_a_latent_is_packed_and_given_back() -> None:
    samples = video_with_sound(LTX2, 2)["samples"]
    packed, shapes = nested.pack(samples), nested.shapes_of(samples)
    assert packed.shape == (2, 1, 128 * 2 * 4 * 4 + 8 * 4 * 16)
    assert shapes == ((2, 128, 2, 4, 4), (2, 8, 4, 16))
    for given, back in zip(samples.unbind(), nested.unpack(packed, shapes).unbind(), strict=True):
        assert torch.equal(given, back)
    assert torch.equal(nested.video(packed, shapes), samples.unbind()[0])
    assert torch.equal(nested.video(samples), samples.unbind()[0])


def test_a_plain_latent_passes_through() -> None:
    plain = torch.randn(1, 4, 8, 8)
    assert nested.pack(plain) is plain
    assert nested.unpack(plain, None) is plain
    assert nested.video(plain) is plain
    assert nested.shapes_of(plain) is None


def test_masks_are_read_as_core_reads_them() -> None:
    """A plain mask is for the video, and the sound is edited; a nested one has a mask for each part."""
    latent = video_with_sound(LTX2)
    samples, half = latent["samples"], torch.zeros(1, 1, 4, 4)
    half[..., 2:] = 1.0
    video, sound = nested.unpack(nested.edit_mask(half, samples), nested.shapes_of(samples)).unbind()
    assert torch.equal(video, half[:, :, None].expand_as(video))
    assert bool((sound == 1).all())
    video, sound = nested.unpack(
        nested.edit_mask(silent(latent, half)["noise_mask"], samples), nested.shapes_of(samples)
    ).unbind()
    assert torch.equal(video, half[:, :, None].expand_as(video))
    assert bool((sound == 0).all())


def test_batch_index_is_read_from_the_video_of_a_noise() -> None:
    latent = {**video_with_sound(LTX2, 2), "batch_index": [3, 1]}
    noise = nested.pack(noises.draw_noise(latent, 7))
    assert noises.batch_indices(noise, 7, 2, nested.shapes_of(latent["samples"])) == [3, 1]


def test_guidance_by_region_is_found_in_each_part() -> None:
    latent = video_with_sound(LTX2)["samples"]
    guider = SourceTargetGuider.__new__(SourceTargetGuider)
    guider.method, guider.cfg = UniEdit(), 2.0
    guider.conds = {"positive": [{"model_conds": {"latent_shapes": CONDConstant(nested.shapes_of(latent))}}]}
    scales = nested.unpack(guider._guidance(nested.pack(latent)), nested.shapes_of(latent))
    for scale, part in zip(scales.unbind(), latent.unbind(), strict=True):
        assert torch.equal(scale, UniEdit().guidance(part, 2.0) * torch.ones_like(part))


# ---- nodes ---------------------------------------------------------------------------------------------------------


@both
def test_sdedit_is_core_and_carries_both_parts(family: Family) -> None:
    w = world(family)
    edited = sdedit(w, solver="ode")
    assert [tuple(part.shape[1:]) for part in split(edited)] == list(family.parts)
    with torch.inference_mode():
        assert torch.equal(packed(edited), w.entered)
    assert torch.equal(w.entered, w.plain) == (family is LTX2 or SCALED)
    assert torch.equal(packed(sdedit(w, t0=0.0)), packed(w.latent))


def test_the_report_says_how_much_of_the_sound_is_edited() -> None:
    w = world(LTX2)
    half = torch.zeros(1, 1, 2, 4, 4)
    half[..., 2:] = 1.0
    assert "mask: 16 of 32 latent cells (50.0%) edited, and 0.0% of the sound" in mask_line(silent(w.latent, half))
    plain = {**w.latent, "noise_mask": half}
    assert "mask: 16 of 32 latent cells (50.0%) edited, and 100.0% of the sound" in mask_line(plain)


@with_h3
def test_at_t0_1_h3_is_core_to_the_bit() -> None:
    w = world(H3)
    with torch.inference_mode():
        sigmas = call("DPathSigmas", model=w.model, t0=1.0, steps=STEPS, scheduler="simple")[0]
        assert torch.equal(packed(sdedit(w, t0=1.0, solver="ode")), w.sampled(sigmas=sigmas))


@both
@pytest.mark.parametrize("mode", ["blend", "threshold", "paper", "langevin"])
def test_masked_sound_is_carried_bit_for_bit(family: Family, mode: str) -> None:
    w = world(family)
    half = torch.zeros(1, 1, 2, 4, 4)
    half[..., 2:] = 1.0
    guide = silent(w.latent, half)
    edited = split(sdedit(w, guide=guide, solver="ode", mask_mode=mode))
    video, sound = split(w.latent)
    assert torch.equal(edited[1], sound)
    # `paper` leaves in kept places what core shows there, and for H3 that is a trace of noise where SCALED.
    trace = 0.01 if SCALED and family is H3 and mode == "paper" else 0.0
    assert float((edited[0] - video)[..., :2].abs().max()) <= trace
    assert float((edited[0] - video)[..., 2:].abs().max()) > 0.1


@both
def test_two_clocks_over_a_film_with_sound(family: Family) -> None:
    """Drag Animation's strength: the thing enters the path at its own t0, and kept sound is carried."""
    w, side, seen = world(family), 4 * family.scale, []
    left = torch.zeros(1, side, side)
    left[..., : side // 2] = 1.0
    kind = {"kind": "cut-out", "mask": left, "hole": "nearest", "t0_inside": 0.7, "t0_outside": 0.9}
    moves = f"0: 0 0; 1: {side // 2} 0"
    _, _, strength, t0 = call("DPathDrag", image=torch.zeros(1, side, side, 3), frames=2, moves=moves, kind=kind)
    guide = call("DPathLatentMask", mask=strength, latent=silent(w.latent))[0]

    def note(executor: Any, x: Tensor, sigma: Tensor, *args: Any) -> Tensor:
        seen.append((sigma.flatten()[:1], nested.video(x, nested.shapes_of(w.latent["samples"]))))
        return executor(x, sigma, *args)

    model = w.model.clone()
    model.add_wrapper_with_key("predict_noise", "test", note)
    edited = split(sdedit(w, model=model, guide=guide, t0=t0, steps=9, solver="ode", mask_mode="threshold"))
    assert torch.equal(edited[1], split(w.latent)[1])
    video, noise = split(w.latent)[0], noises.draw_noise(w.latent, SEED).unbind()[0]
    inside = torch.zeros(2, 4, 4, dtype=torch.bool)
    inside[0, :, :2] = inside[1, :, 2:] = True
    for _, x in seen[:2]:  # at t0 0.9 and 0.8; these networks are shown what is held without noise
        assert torch.equal(x[..., inside], video[..., inside])
        assert not torch.allclose(x[..., ~inside], video[..., ~inside], atol=0.1)
    for (sigma, x), entered in ((seen[0], ~inside), (seen[2], inside)):
        torch.testing.assert_close(x[..., entered], ((1 - sigma) * video + sigma * noise)[..., entered])
    assert not torch.allclose(edited[0][..., inside], video[..., inside], atol=0.1)


@both
def test_flowedit_edits_both_parts_and_keeps_masked_ones(family: Family) -> None:
    w = world(family)
    video, sound = split(w.latent)
    edited = split(flowedit(w))
    assert not torch.equal(edited[0], video)
    assert not torch.equal(edited[1], sound)
    masked = split(flowedit(w, latent=silent(w.latent), mask=w.mask))
    assert torch.equal(masked[1], sound)
    kept = masks.on_grid(w.mask, video.shape) == 0
    assert torch.equal(torch.where(kept, masked[0], 0), torch.where(kept, video, 0))
    assert not torch.equal(masked[0], video)


@both
def test_recorded_paths_have_parts_and_lead_back(family: Family, tmp_path: Path) -> None:
    w = world(family)
    with torch.inference_mode():
        path, latent = w.recorded
        assert torch.equal(packed(latent), w.sampled(positive=w.source))
        noise, levels, start, sampler, model, _ = call("DPathToSampling", model=w.model, path=path, t0=1.0)
        again = w.sampled(model, sampler, start, noise=noise, sigmas=levels, positive=w.source)
    assert path.latent_shapes == nested.shapes_of(w.latent["samples"])
    assert path.visible_shape == (1, *family.parts[0])
    assert isinstance(start["samples"], NestedTensor)
    assert min(latent_psnr(packed(latent), again)) > 60
    save_path(path, tmp_path / "path.safetensors")
    loaded = load_path(tmp_path / "path.safetensors")
    assert loaded.latent_shapes == path.latent_shapes
    assert torch.equal(loaded.states, path.states)


def test_a_residual_path_of_a_batch_equals_its_singles() -> None:
    w = world(LTX2)
    together = invert(w, video_with_sound(LTX2, 2))
    video, sound = split(video_with_sound(LTX2, 2))
    for item in range(2):
        one = {"samples": NestedTensor([video[item : item + 1], sound[item : item + 1]]), "batch_index": [item]}
        alone = invert(w, one)
        torch.testing.assert_close(together.states[:, item : item + 1], alone.states, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.residuals[:, item : item + 1], alone.residuals, rtol=1e-4, atol=1e-4)


def test_an_edit_of_a_batch_equals_its_last_single() -> None:
    """Core draws the sound's noise after the video of all items before: only the last item's is the same alone."""
    w, latent = world(LTX2), video_with_sound(LTX2, 2)
    together = split(sdedit(w, guide=latent))
    last = {"samples": NestedTensor([part[1:] for part in split(latent)]), "batch_index": [1]}
    for batch, alone in zip(together, split(sdedit(w, guide=last)), strict=True):
        torch.testing.assert_close(batch[1:], alone, rtol=1e-4, atol=1e-4)


@both
def test_mdp_holds_the_video_outside_a_mask_and_edits_the_sound(family: Family) -> None:
    w = world(family)
    with torch.inference_mode():
        noise, levels, start, sampler, model, _ = call("DPathToSampling", model=w.model, path=w.path, t0=1.0)
        held = {"model": model, "source": w.path, "mask": w.mask}
        for kind in ("noise", "latent"):
            patched = call("DPathMDP", **held, kind=kind, schedule=replace(HALF, weight=0.5))[0]
            made = w.sampled(patched, sampler, start, noise=noise, sigmas=levels)
            shapes = nested.shapes_of(start["samples"])
            video, sound = nested.unpack(made, shapes).unbind()
            kept = masks.on_grid(w.mask, video.shape) == 0
            before, heard = split(start)
            assert torch.equal(torch.where(kept, video, 0), torch.where(kept, before, 0))
            assert not torch.equal(video, before)
            assert not torch.equal(sound, heard)


@both
def test_mdp_edit_finds_its_region_in_the_video(family: Family) -> None:
    w = world(family)
    with torch.inference_mode():
        given = {"model": w.model, **w.prompts, "source": w.source, "latent": w.latent, "seed": SEED, "cfg": CFG}
        made, path, report, mask = call("DPathMDPEdit", **given, steps=2, schedule=PathSchedule(1.0, 0.5))
        assert mask.shape[-2:] == (4, 4)
        strip = call("DPathFilmstrip", path=path, vae=w.vae, count=2)[0]
    assert [tuple(part.shape[1:]) for part in split(made)] == list(family.parts)
    assert bool(torch.isfinite(strip).all())
    assert "latent cells" in report or "whole picture" in report


@pytest.mark.parametrize("mode", ["blend", "threshold", "langevin"])
def test_a_split_masked_run_equals_the_whole(mode: str) -> None:
    w = world(LTX2)
    half = torch.zeros(1, 1, 2, 4, 4)
    half[..., 2:] = 1.0
    latent, sigmas = silent(w.latent, half), torch.tensor([0.9, 0.6, 0.3, 0.0])
    euler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        masked = {"sampler": euler, "mask_mode": mode}
        one = w.sampled(sampler=call("DPathMaskedSampler", **masked)[0], latent=latent, sigmas=sigmas)
        given = {**masked, "original": latent, "seed": SEED, "sigmas": sigmas}
        first = w.sampled(sampler=call("DPathMaskedSampler", **given)[0], latent=latent, sigmas=sigmas[:3])
        middle = {**latent, "samples": nested.unpack(first, nested.shapes_of(latent["samples"]))}
        second = w.sampled(
            sampler=call("DPathMaskedSampler", **given)[0], latent=middle, sigmas=sigmas[2:],
            noise=core.Noise_EmptyNoise(),
        )  # fmt: skip
    torch.testing.assert_close(second, one, rtol=1e-4, atol=1e-4)


def test_mask_to_latent_is_for_the_video_and_leaves_the_sound_its_own() -> None:
    w = world(LTX2)
    video, _ = split(w.latent)
    plain = call("DPathLatentMask", mask=w.mask, latent=w.latent)[0]["noise_mask"]
    assert torch.equal(plain, masks.on_grid(w.mask, video.shape))
    seen, heard = call("DPathLatentMask", mask=w.mask, latent=silent(w.latent))[0]["noise_mask"].unbind()
    assert torch.equal(seen, plain)
    assert not heard.any()


# ---- what is refused -----------------------------------------------------------------------------------------------


def refused(words: str, run: Any) -> None:
    with pytest.raises(ValueError, match=words) as refusal:
        run()
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(".")


@with_h3
def test_latents_without_the_right_parts_are_refused() -> None:
    h3, ltx2 = world(H3), world(LTX2)
    video, sound = split(video_with_sound(H3))
    refused("guide is a plain latent.*Concat AV Latent", lambda: sdedit(h3, guide={"samples": video}))
    refused("guide is a batch of 2.*one video at a time", lambda: sdedit(h3, guide=video_with_sound(H3, 2)))
    turned = {"samples": NestedTensor([sound, video])}
    refused(r"parts \[1, 32, 2, 6\] with \[1, 24, 2, 4, 4\].*in this order", lambda: sdedit(h3, guide=turned))
    refused("24 channels but this model works on 128", lambda: sdedit(ltx2, guide=video_with_sound(H3)))
    refused("latent is a plain latent", lambda: invert(h3, {"samples": video}))
    mute = {"samples": NestedTensor([torch.zeros_like(video), sound])}
    refused("latent is empty", lambda: invert(h3, mute))
    broken = NestedTensor([video, torch.full_like(sound, torch.nan)])
    refused("384 values that are not finite", lambda: sdedit(h3, guide={"samples": broken}))
    few = {**video_with_sound(H3), "noise_mask": NestedTensor([torch.ones(1, 1, 4, 4)])}
    refused("mask of the guide has 1 parts, but the latent 2", lambda: sdedit(h3, guide=few))
    loud = silent(video_with_sound(H3))
    loud["noise_mask"].tensors[1] = torch.full((1, 1, 2, 6), 7.0)
    refused("sound's part of the mask of the guide goes from 7", lambda: sdedit(h3, guide=loud))


@with_h3
def test_a_sweep_cannot_give_h3_a_sound() -> None:
    w = world(H3)
    given = {"model": w.model, **w.prompts, "vae": w.vae, "image": w.image, "seed": 0, "sweep": "t0", "values": "0.5"}
    refused("a sweep starts from pictures.*use SDEdit", lambda: call("DPathSweep", **given))


def test_a_path_knows_whether_its_latents_have_sound() -> None:
    w = world(LTX2)
    with torch.inference_mode():
        path = w.path
    video, sound = split(w.latent)
    check_path_fits(path, latent=w.latent)
    refused("holds video with sound, but the latent is a plain one", lambda: check_path_fits(path, latent=video))
    longer = {"samples": NestedTensor([video, torch.cat([sound, sound], dim=2)])}
    refused(r"\[1, 8, 4, 16\], but the latent is \[1, 8, 8, 16\]", lambda: check_path_fits(path, latent=longer))
    plain = path.replaced(latent_shapes=None, states=torch.zeros(3, *video.shape))
    refused("holds plain latents, but the latent is video with sound", lambda: check_path_fits(plain, latent=w.latent))


@pytest.mark.parametrize(
    "shapes", ["[[1, 128, 2, 4, 4]]", "[[1, 128, 2, 4, 4], [1, 8, 4, 17]]", "[[2, 128, 2, 4, 4], [2, 8, 4, 16]]",
               "[[1, 128, 2, 4, 4], 3]", "true", "[[1, 128, 2, 4, -4], [1, 8, 4, 16]]", '"ab"'],
)  # fmt: skip
def test_wrong_parts_in_a_file_are_named(shapes: str, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    w, file = world(LTX2), tmp_path / "path.safetensors"
    with torch.inference_mode():
        save_path(w.path, file)
    with safe_open(file, "pt") as opened:
        notes = dict(opened.metadata())
    assert json.loads(notes["latent_shapes"]) == [[1, 128, 2, 4, 4], [1, 8, 4, 16]]
    save_file(load_file(file), file, {**notes, "latent_shapes": shapes})
    refused("path.safetensors does not hold a whole path.*latent_shapes must be", lambda: load_path(file))
