"""Video with sound (LTX-2, MiniMax H3): latents of two parts through every node, and the sound's own noise level."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
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
from diffusion_path.samplers import masks, parts, process
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers.flowedit import SourceTargetGuider
from diffusion_path.samplers.flowedit_methods import UniEdit
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.samplers.path_fit import check_path_fits, latent_psnr
from diffusion_path.samplers.reverse_sde import sampler as reverse_sde
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.compatibility import CFG, HALF, SEED, STEPS, T0, World, packed
from diffusion_path.tests.unit.families import EVERY, Family
from diffusion_path.views.reports import mask_line
from torch import Tensor


def _small(name: str) -> Family | None:
    """One of the families with a single block and a grid of 4 x 4; None where this ComfyUI does not know it."""
    family = EVERY.get(name)
    if family is None:
        return None
    (channels, frames, *_), sound = family.parts
    grid = 4
    unet, shapes = {**family.unet, "num_layers": 1}, ((channels, frames, grid, grid), sound)
    return replace(family, unet=unet, grid=grid, parts=shapes, prefix=None)


LTX2, H3 = (_small(name) for name in ("LTX-2 (with sound)", "MiniMax H3 (with sound)"))
KNOWN = [family for family in (LTX2, H3) if family is not None]
SCALED = hasattr(comfy.model_sampling, "ModelSamplingAV")  # core carries the sound on the video's schedule
both = pytest.mark.parametrize("family", KNOWN, ids=lambda family: family.name)
with_h3 = pytest.mark.skipif(H3 not in KNOWN, reason="This ComfyUI has no MiniMax H3.")
own_levels = pytest.mark.skipif(H3 not in KNOWN or SCALED, reason="In this ComfyUI no sound has its own levels.")


def nested(family: Family, batch: int = 1) -> dict[str, Any]:
    return {"samples": NestedTensor([part.clone() for part in families.latent(family, batch)["samples"].unbind()])}


@cache
def world(family: Family) -> World:
    w = World(family)
    w.vae.channels = family.parts[0][0]
    return w


def split(latent: dict[str, Any]) -> list[Tensor]:
    return latent["samples"].unbind()


def sound_level(sigma: float) -> float:
    """Where MiniMax H3's sound is when its video is at sigma: the same time under flow shift 3 instead of 12."""
    time = sigma / (12.0 - 11.0 * sigma)
    return 3.0 * time / (1.0 + 2.0 * time)


def silent(latent: dict[str, Any], video: Tensor | None = None) -> dict[str, Any]:
    """The LATENT with a mask that keeps the sound."""
    seen, heard = split(latent)
    video = torch.ones_like(seen) if video is None else video
    return {**latent, "noise_mask": NestedTensor([video, torch.zeros(1, 1, *heard.shape[2:])])}


def sdedit(w: World, **given: Any) -> dict[str, Any]:
    usual = {"model": w.model, **w.prompts, "seed": SEED, "t0": T0, "steps": STEPS, "cfg": CFG, "scheduler": "simple"}
    with torch.inference_mode():
        return call("DPathSDEdit", **{"guide": w.latent, **usual, **given})[0]


def flowedit(w: World, **given: Any) -> dict[str, Any]:
    usual = {"model": w.model, **w.prompts, "source": w.source, "seed": SEED, "cfg": CFG, "steps": STEPS, "start": T0}
    with torch.inference_mode():
        return call("DPathFlowEdit", **{"latent": w.latent, **usual, **given})[0]


def invert(w: World, latent: dict[str, Any], method: str = "residual", **given: Any) -> DiffusionPath:
    usual = {"model": w.model, "positive": w.source, "negative": w.negative, "seed": SEED, "cfg": CFG, "t0": T0}
    with torch.inference_mode():
        return call("DPathInvert", latent=latent, **usual, steps=STEPS, method=method, **given)[0]


# ---- packing -------------------------------------------------------------------------------------------------------


def test_a_latent_is_packed_and_given_back() -> None:
    samples = nested(LTX2, 2)["samples"]
    packed, shapes = parts.pack(samples), parts.shapes_of(samples)
    assert packed.shape == (2, 1, 128 * 2 * 4 * 4 + 8 * 4 * 16)
    assert shapes == ((2, 128, 2, 4, 4), (2, 8, 4, 16))
    for given, back in zip(samples.unbind(), parts.unpack(packed, shapes).unbind(), strict=True):
        assert torch.equal(given, back)
    assert torch.equal(parts.video(packed, shapes), samples.unbind()[0])
    assert torch.equal(parts.video(samples), samples.unbind()[0])


def test_a_plain_latent_passes_through() -> None:
    plain = torch.randn(1, 4, 8, 8)
    assert parts.pack(plain) is plain
    assert parts.unpack(plain, None) is plain
    assert parts.video(plain) is plain
    assert parts.shapes_of(plain) is None


def test_masks_are_read_as_core_reads_them() -> None:
    """A plain mask is for the video, and the sound is edited; a nested one has a mask for each part."""
    latent = nested(LTX2)
    samples, half = latent["samples"], torch.zeros(1, 1, 4, 4)
    half[..., 2:] = 1.0
    video, sound = parts.unpack(parts.edit_mask(half, samples), parts.shapes_of(samples)).unbind()
    assert torch.equal(video, half[:, :, None].expand_as(video))
    assert bool((sound == 1).all())
    video, sound = parts.unpack(
        parts.edit_mask(silent(latent, half)["noise_mask"], samples), parts.shapes_of(samples)
    ).unbind()
    assert torch.equal(video, half[:, :, None].expand_as(video))
    assert bool((sound == 0).all())


def test_batch_index_is_read_from_the_video_of_a_noise() -> None:
    latent = {**nested(LTX2, 2), "batch_index": [3, 1]}
    noise = parts.pack(noises.draw_noise(latent, 7))
    assert noises.batch_indices(noise, 7, 2, parts.shapes_of(latent["samples"])) == [3, 1]


# ---- the sound's own schedule --------------------------------------------------------------------------------------


@own_levels
@pytest.mark.parametrize("sigma", [1.0, 0.9, 0.4, 0.01, 0.0])
def test_the_schedule_of_the_sound_in_closed_form(sigma: float) -> None:
    """With x = (1 - s') x0 + s' n the network gives the velocity (n - x0) ds'/ds."""
    w = world(H3)
    shapes = parts.shapes_of(w.latent["samples"])
    own = parts.own_schedule(w.model.model, w.model.model_options, shapes)
    assert own is not None
    assert own.ratio == 4.0
    generator = torch.Generator().manual_seed(0)
    x0, n = (torch.randn(1, 1, own.begins + 5, generator=generator, dtype=torch.float64) for _ in range(2))
    level = sound_level(sigma)
    states = process.perturb(process.model_sampling(w.model), x0, own.noise(x0, n, sigma), sigma, prior=False)
    video, sound = states.split([own.begins, 5], dim=-1)
    torch.testing.assert_close(video, (1 - sigma) * x0[..., :-5] + sigma * n[..., :-5])
    torch.testing.assert_close(sound, (1 - level) * x0[..., -5:] + level * n[..., -5:])
    # On the video's schedule it is a flow to 4 x0, with that as the prediction.
    shared = own.shared(states, sigma)
    torch.testing.assert_close(shared[..., -5:], (1 - sigma) * 4 * x0[..., -5:] + sigma * n[..., -5:])
    torch.testing.assert_close(own.own(shared, sigma), states)
    denoised = states - sigma * (n - x0)
    rate = (sound_level(sigma + 1e-6) - sound_level(sigma - 1e-6)) / 2e-6
    denoised[..., -5:] = sound - sigma * rate * (n - x0)[..., -5:]
    torch.testing.assert_close(
        own.prediction(states, denoised, sigma)[..., -5:], 4 * x0[..., -5:], rtol=1e-6, atol=1e-6
    )
    if sigma == 1.0:
        assert torch.equal(own.noise(x0, n, sigma), n)


@own_levels
def test_only_h3_has_one_and_a_node_may_change_it() -> None:
    shapes = parts.shapes_of(nested(H3)["samples"])
    h3 = world(H3).model.model
    assert parts.own_schedule(world(LTX2).model.model, {}, parts.shapes_of(nested(LTX2)["samples"])) is None
    assert parts.own_schedule(h3, {}, None) is None
    equal = {"minimax_h3_sigma_shift_video": 3.0, "minimax_h3_sigma_shift_audio": 3.0}
    assert parts.own_schedule(h3, {"transformer_options": equal}, shapes) is None


@own_levels
def test_perturbed_sound_has_its_own_level() -> None:
    w = world(H3)
    sigma = float(w.sigmas[0])
    with torch.inference_mode():
        noisy = call("DPathPerturb", model=w.model, latent=w.latent, seed=SEED, t0=T0, sigmas=w.sigmas, vae=w.vae)[0]
    level = sound_level(sigma)
    for share, carried, x0, n in zip(
        (sigma, level), split(noisy), split(w.latent), noises.draw_noise(w.latent, SEED).unbind(), strict=True
    ):
        # A run without noise starts from (1 - sigma) times what it is given.
        torch.testing.assert_close((1 - sigma) * carried, (1 - share) * x0 + share * n, rtol=1e-4, atol=1e-4)


class _Starts(comfy.samplers.KSAMPLER):
    """A SAMPLER that keeps the states in which its runs start, and returns a constant."""

    def __init__(self) -> None:
        super().__init__(self.run_once)
        self.starts: list[Tensor] = []

    def run_once(self, model: Any, x: Tensor, sigmas: Tensor, **_: Any) -> Tensor:
        self.starts.append(x.clone())
        return torch.full_like(x, 0.5)


@own_levels
def test_each_repeat_enters_with_the_sound_at_its_own_level() -> None:
    w, starts = world(H3), _Starts()
    with torch.inference_mode():
        w.sampled(sampler=call("DPathMaskedSampler", sampler=starts, repeats=2)[0])
    shapes, sigma = parts.shapes_of(w.latent["samples"]), float(w.sigmas[0])
    assert shapes is not None
    video, sound = (part.flatten() for part in parts.unpack(starts.starts[1], shapes).unbind())
    level = sound_level(sigma)
    for found, share in ((video, sigma), (sound, level)):
        deviation = float((found - (1 - share) * 0.5).std()) / share
        assert 0.9 < deviation < 1.1


@own_levels
def test_the_reverse_sde_keeps_the_sound_on_its_schedule() -> None:
    """With a network that knows the picture, what is left at the end is the noise of the sound's own level."""
    w = world(H3)
    own = parts.own_schedule(w.model.model, w.model.model_options, parts.shapes_of(w.latent["samples"]))
    assert own is not None
    x0 = parts.pack(w.latent["samples"])

    def knowing(executor: Any, x: Tensor, sigma: Tensor, *args: Any) -> Tensor:
        share = float(sigma.reshape(-1)[0])
        rate = (sound_level(share + 1e-4) - sound_level(share - 1e-4)) / 2e-4
        velocity = (x - x0) / share
        velocity[..., own.begins :] = (x - x0)[..., own.begins :] / sound_level(share) * rate
        return x - share * velocity

    model = w.model.clone()
    model.add_wrapper_with_key("predict_noise", "test", knowing)
    sigmas = torch.tensor([0.9, 0.6, 0.3, 0.1])
    level = sound_level(0.1)
    with torch.inference_mode():
        for kind in ("sde_small", "ancestral"):
            made = w.sampled(model, reverse_sde(kind), sigmas=sigmas)
            # Core divides what a run ends at by the video's 1 - sigma.
            left = (made * 0.9 - (1 - level) * x0)[..., own.begins :] / level
            assert 0.9 < float(left.std()) < 1.1
            assert abs(float(left.mean())) < 0.15


@own_levels
@pytest.mark.parametrize("method", ["flowedit", "infedit"])
def test_flowedit_of_the_sound_ends_where_the_target_lies(method: str) -> None:
    """With a network that knows both pictures the edit is the target, whatever the level of the sound."""
    w = world(H3)
    begins, target = w.latent["samples"].unbind()[0].numel(), parts.pack(nested(H3)["samples"]).flip(-1)
    source = parts.pack(w.latent["samples"])

    def knowing(_: Any, model: Any, conds: list[Any], x: Tensor, sigma: Tensor, options: Any) -> list[Tensor]:
        share = float(sigma.reshape(-1)[0])
        rate = (sound_level(share + 1e-4) - sound_level(share - 1e-4)) / 2e-4
        found = []
        for cond in conds:
            asked = cond is not None and torch.equal(cond[0]["cross_attn"], w.source[0][0])
            apart = x - (source if asked else target)
            apart[..., begins:] *= share * rate / sound_level(share)
            found.append(torch.zeros_like(x) if cond is None else x - apart)
        return found

    model = w.model.clone()
    model.add_wrapper_with_key("calc_cond_batch", "test", knowing)
    made = flowedit(w, model=model, cfg=1.0, source_cfg=1.0, method=method)
    torch.testing.assert_close(packed(made), target, rtol=1e-3, atol=1e-3)


def test_guidance_by_region_is_found_in_each_part() -> None:
    latent = nested(LTX2)["samples"]
    guider = SourceTargetGuider.__new__(SourceTargetGuider)
    guider.method, guider.cfg = UniEdit(), 2.0
    guider.conds = {"positive": [{"model_conds": {"latent_shapes": CONDConstant(parts.shapes_of(latent))}}]}
    scales = parts.unpack(guider._guidance(parts.pack(latent)), parts.shapes_of(latent))
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
@pytest.mark.parametrize("mode", ["blend", "threshold", "paper"])
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
def test_flowedit_edits_both_parts_and_keeps_masked_ones(family: Family) -> None:
    w = world(family)
    video, sound = split(w.latent)
    edited = split(flowedit(w))
    assert not torch.equal(edited[0], video)
    assert not torch.equal(edited[1], sound)
    masked = split(flowedit(w, latent=silent(w.latent), mask=w.mask[:, :, :]))
    assert torch.equal(masked[1], sound)
    top = w.mask.shape[1] and masks.on_grid(w.mask, video.shape)
    assert torch.equal(torch.where(top == 0, masked[0], 0), torch.where(top == 0, video, 0))
    assert not torch.equal(masked[0], video)


@both
def test_recorded_paths_have_parts_and_lead_back(family: Family, tmp_path: Path) -> None:
    w = world(family)
    with torch.inference_mode():
        path, latent = w.recorded
        assert torch.equal(packed(latent), w.sampled(positive=w.source))
        noise, levels, start, sampler, model, _ = call("DPathToSampling", model=w.model, path=path, t0=1.0)
        again = w.sampled(model, sampler, start, noise=noise, sigmas=levels, positive=w.source)
    assert path.latent_shapes == parts.shapes_of(w.latent["samples"])
    assert path.visible_shape == (1, *family.parts[0])
    assert isinstance(start["samples"], NestedTensor)
    assert min(latent_psnr(packed(latent), again)) > 60
    save_path(path, tmp_path / "path.safetensors")
    loaded = load_path(tmp_path / "path.safetensors")
    assert loaded.latent_shapes == path.latent_shapes
    assert torch.equal(loaded.states, path.states)


def test_a_residual_path_of_a_batch_equals_its_singles() -> None:
    w = world(LTX2)
    together = invert(w, nested(LTX2, 2))
    video, sound = split(nested(LTX2, 2))
    for item in range(2):
        one = {"samples": NestedTensor([video[item : item + 1], sound[item : item + 1]]), "batch_index": [item]}
        alone = invert(w, one)
        torch.testing.assert_close(together.states[:, item : item + 1], alone.states, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.residuals[:, item : item + 1], alone.residuals, rtol=1e-4, atol=1e-4)


def test_an_edit_of_a_batch_equals_its_last_single() -> None:
    """Core draws the sound's noise after the video of all items before: only the last item's is the same alone."""
    w, latent = world(LTX2), nested(LTX2, 2)
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
            shapes = parts.shapes_of(start["samples"])
            video, sound = parts.unpack(made, shapes).unbind()
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


@pytest.mark.parametrize("mode", ["blend", "threshold"])
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
        middle = {**latent, "samples": parts.unpack(first, parts.shapes_of(latent["samples"]))}
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
    video, sound = split(nested(H3))
    refused("guide is a plain latent.*Concat AV Latent", lambda: sdedit(h3, guide={"samples": video}))
    refused("guide is a batch of 2.*one video at a time", lambda: sdedit(h3, guide=nested(H3, 2)))
    turned = {"samples": NestedTensor([sound, video])}
    refused(r"parts \[1, 32, 2, 6\] with \[1, 24, 2, 4, 4\].*in this order", lambda: sdedit(h3, guide=turned))
    refused("24 channels but this model works on 128", lambda: sdedit(ltx2, guide=nested(H3)))
    refused("latent is a plain latent", lambda: invert(h3, {"samples": video}))
    mute = {"samples": NestedTensor([torch.zeros_like(video), sound])}
    refused("latent is empty", lambda: invert(h3, mute))
    broken = NestedTensor([video, torch.full_like(sound, torch.nan)])
    refused("384 values that are not finite", lambda: sdedit(h3, guide={"samples": broken}))
    few = {**nested(H3), "noise_mask": NestedTensor([torch.ones(1, 1, 4, 4)])}
    refused("mask of the guide has 1 parts, but the latent 2", lambda: sdedit(h3, guide=few))
    loud = silent(nested(H3))
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
