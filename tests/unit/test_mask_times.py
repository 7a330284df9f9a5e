"""Networks that take their time from the mask: what they are told and shown at each level, against closed forms."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy.patcher_extension import WrappersMP
from diffusion_path.samplers import mask_times, masked, process
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers.flowedit import FlowEditSettings, flowedit
from diffusion_path.samplers.mdp.states import inject_noise
from diffusion_path.samplers.record import record
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.samplers.sdedit import SDEditSettings, sdedit
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.families import Family
from diffusion_path.views.reports import sdedit_report
from torch import Tensor

# Three latent frames: one to keep, one to mix, one to edit.
LTXV, WAN, PREDICT2, LTX2 = (
    replace(families.EVERY[name], frames=3, grid=4)
    for name in ("LTX-Video", "Wan 2.2 5B", "Cosmos-Predict2", "LTX-2 (with sound)")
)
PLAIN = [LTXV, WAN, PREDICT2]
SHARED = {WAN.name, PREDICT2.name}
every = pytest.mark.parametrize("family", PLAIN, ids=lambda family: family.name)
SETTINGS = SDEditSettings(t0=0.8, steps=4, cfg=1.0, solver="ode", scheduler="simple", keep_noise="fixed")


@cache
def built(family: Family) -> Any:
    with torch.inference_mode():
        return families.built(family)


def guided(model: Any, family: Family) -> Any:
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(families.cond(family, 0), families.cond(family, 1))
    guider.set_cfg(1.0)
    return guider


def mask_of(family: Family) -> Tensor:
    """The first frame kept, the second a ramp from 0 to 1, the third free. [1, 1, T, h, w]"""
    mask = torch.zeros(1, 1, 3, family.grid, family.grid)
    mask[:, :, 1] = torch.linspace(0, 1, family.grid)
    mask[:, :, 2] = 1.0
    return mask


def guide_of(family: Family) -> dict[str, Any]:
    return {**families.latent(family), "noise_mask": mask_of(family)}


class Heard:
    """What the network of a clone of a model sees and is told, call by call; the clone is `model`.

    sigmas: levels of the calls. seen: [B, C, T, h, w]. told: times as shares of the level's own, [B, 1, T, h, w];
    sound: those of the sound, of any shape.
    """

    def __init__(self, family: Family) -> None:
        self.model = built(family).clone()
        self.sigmas, self.seen, self.told, self.sound = [], [], [], []
        self.model.add_wrapper(WrappersMP.APPLY_MODEL, self._level)
        self.model.add_wrapper(WrappersMP.DIFFUSION_MODEL, self._network)

    def _level(self, executor: Any, x: Tensor, sigma: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.sigmas.append(sigma[0])
        return executor(x, sigma, *args, **kwargs)

    def _network(self, executor: Any, x: Any, times: Any, *args: Any, **kwargs: Any) -> Any:
        video = x[0] if isinstance(x, list) else x
        full = self.model.model.model_sampling.timestep(self.sigmas[-1]).float()
        shares = times.float() / full
        self.sound += [kwargs["a_timestep"].float() / full] if isinstance(x, list) else []
        frames, height, width = video.shape[2:]
        each = shares.numel() == len(video) * frames * height * width
        shares = shares.reshape(len(video), 1, -1, height if each else 1, width if each else 1)
        self.told.append(shares.expand(-1, -1, frames, height, width))
        self.seen.append(video.clone())
        return executor(x, times, *args, **kwargs)

    def __iter__(self):
        return zip(self.sigmas, self.seen, self.told, strict=True)


def edited(model: Any, family: Family, guide: dict[str, Any], **changes: Any) -> Any:
    settings = replace(SETTINGS, **changes)
    return sdedit(model, families.cond(family, 0), families.cond(family, 1), guide, 5, settings)


def in_force(model: Any, mode: str, mask: Tensor, sigma: Tensor, start: Tensor) -> Tensor:
    """1 where a place is free at this level, 0 where it is held."""
    if mode == "paper":
        return (mask >= 0.5).float()
    sampling = process.model_sampling(model)
    share = process.sigma_to_t0(sampling, float(sigma)) / process.sigma_to_t0(sampling, float(start))
    return ((mask > 0) & (mask >= share - 1e-5)).float()


@every
@pytest.mark.parametrize("mode", ["threshold", "paper"])
def test_held_places_are_clean_and_told_0_and_free_ones_noised_and_told_the_level(family: Family, mode: str) -> None:
    heard, guide = Heard(family), guide_of(family)
    model, mask = heard.model, guide["noise_mask"]
    result = edited(model, family, guide, mask_mode=mode)
    sampling = process.model_sampling(model)
    picture, noise = process.latent_in(model, guide["samples"]), noises.draw_noise(guide, 5)
    levels = [float(sigma) for sigma in result.sigmas]
    assert [float(sigma) for sigma in heard.sigmas] == levels[:-1]
    for step, (sigma, seen, told) in enumerate(heard):
        free = in_force(model, mode, mask, sigma, heard.sigmas[0])
        noised = free.amax((3, 4), keepdim=True).expand_as(free) if family.name in SHARED else free
        torch.testing.assert_close(told, noised, rtol=1e-5, atol=1e-5)

        before = result.sigmas[max(step - 1, 0)] if mode == "paper" else sigma
        ray = process.network_view(sampling, process.perturb(sampling, picture, noise, before, prior=False), before)
        expected = torch.where(noised > 0, ray, picture)
        held = (free == 0).expand_as(seen)
        torch.testing.assert_close(seen[held], expected[held], rtol=1e-4, atol=1e-4)
        if step == 0:
            start = process.network_view(sampling, process.perturb(sampling, picture, noise, sigma), sigma)
            torch.testing.assert_close(seen[~held], start[~held], rtol=1e-4, atol=1e-4)
    assert any(0 < float(told.mean()) < 1 for told in heard.told)
    kept = (mask == 0).expand_as(picture)
    if family.name not in SHARED or mode == "threshold":
        assert torch.equal(result.latent["samples"][kept], guide["samples"][kept])


@every
def test_blend_is_core_bit_for_bit_and_says_where_core_mixes_the_levels_of_a_frame(family: Family, caplog) -> None:
    heard, guide = Heard(family), guide_of(family)
    model, mask = heard.model, guide["noise_mask"]
    result = edited(model, family, guide, keep_noise="auto")
    noise, euler = noises.draw_noise(guide, 5), comfy.samplers.sampler_object("euler")
    core = guided(model, family).sample(noise, guide["samples"], euler, result.sigmas, mask, disable_pbar=True, seed=5)
    assert torch.equal(result.latent["samples"], torch.where(mask == 0, guide["samples"], core))
    told = mask.mean((3, 4), keepdim=True).expand_as(mask) if family.name in SHARED else mask
    for each in heard.told:
        torch.testing.assert_close(each, told, rtol=1e-5, atol=1e-5)

    def report(latent: dict[str, Any], mode: str) -> str:
        made = replace(result, latent={**result.latent, "noise_mask": latent["noise_mask"]})
        return sdedit_report(model, [], [], latent, replace(SETTINGS, mask_mode=mode, cfg=2.0), made)

    says = "that is the mean over the frame's mask"
    assert (says in report(guide, "blend")) == (says in caplog.text) == (family.name in SHARED)
    assert says not in report(guide, "threshold")
    assert says not in report({**guide, "noise_mask": (mask == 1).float()[..., -1:].expand_as(mask)}, "blend")


@every
def test_a_mask_of_the_original_is_told_as_that_of_the_latent(family: Family) -> None:
    guide = guide_of(family)
    plain = {"samples": guide["samples"]}

    def run(sampler: Any, latent: dict[str, Any], heard: Heard) -> Tensor:
        guider, noise = guided(heard.model, family), noises.draw_noise(plain, 5)
        levels, mask = torch.tensor([0.7, 0.3, 0.0]), latent.get("noise_mask")
        return guider.sample(noise, latent["samples"], sampler, levels, mask, disable_pbar=True, seed=5)

    euler = comfy.samplers.sampler_object("euler")
    for mode in masked.MODES:
        first, second = Heard(family), Heard(family)
        own = run(masked.MaskedSampler(euler, mode, "fixed"), guide, first)
        original = masked.Original(guide, 5)
        given = run(masked.MaskedSampler(euler, mode, "fixed", original=original), plain, second)
        assert all(map(torch.equal, first.told, second.told)), mode
        torch.testing.assert_close(given, own, rtol=1e-4, atol=1e-4)


def test_a_recorded_run_is_told_what_the_run_itself_is() -> None:
    """The recorder stands between the guider and the keep region."""
    heard, guide = Heard(LTXV), guide_of(LTXV)
    model = heard.model
    sampler = masked.MaskedSampler(comfy.samplers.sampler_object("euler"), "threshold")
    noise, sigmas = noises.draw_noise(guide, 5), edited(model, LTXV, guide, mask_mode="threshold").sigmas
    once, heard.told[:] = list(heard.told), []
    guider = guided(model, LTXV)
    record(guider, sampler, sigmas, noise, guide, seed=5)
    assert all(map(torch.equal, heard.told, once))


@every
def test_flowedit_sees_kept_places_clean_and_changes_nothing_for_equal_prompts(family: Family) -> None:
    heard, guide = Heard(family), guide_of(family)
    model, mask = heard.model, guide["noise_mask"]
    same = families.cond(family, 0)
    settings = FlowEditSettings(0.8, 2, 1.0, 1.0, refine=0)
    result, _, _ = flowedit(model, same, same, same, guide, 5, settings)
    assert torch.equal(result["samples"], guide["samples"])
    changed, _, _ = flowedit(model, families.cond(family, 1), same, same, guide, 5, replace(settings, refine=1))
    kept = (mask == 0).expand_as(guide["samples"])
    assert torch.equal(changed["samples"][kept], guide["samples"][kept])
    assert not torch.equal(changed["samples"], guide["samples"])
    told = (mask > 0).float()
    told = told.amax((3, 4), keepdim=True).expand_as(told) if family.name in SHARED else told
    picture = process.latent_in(model, guide["samples"])
    clean = (told == 0).expand_as(picture)
    for _, seen, each in heard:
        torch.testing.assert_close(each, told, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(seen[clean], picture[clean], rtol=1e-5, atol=1e-5)
        assert bool((seen != picture)[~clean].all())


def test_where_a_manipulation_shows_the_sources_noise_the_level_is_told() -> None:
    """Outside its mask the network sees the source's state, whatever the latent's own mask keeps."""
    family = LTXV
    heard, guide = Heard(family), guide_of(family)
    model = heard.model
    noise, sigmas = noises.draw_noise(guide, 5), torch.tensor([1.0, 0.5, 0.0])

    euler = comfy.samplers.sampler_object("euler")
    path, _ = record(guided(model, family), euler, sigmas, noise, {"samples": torch.zeros_like(noise)}, seed=5)
    region = torch.zeros(3, 4, 4)
    region[:, :2] = 1.0  # the upper half of every frame
    manipulated = inject_noise(model, path, PathSchedule(1.0, 0.0, weight=0.5), region)
    heard.told[:], states = [], path.states.clone()
    guided(manipulated, family).sample(
        noise, path.picture, euler, sigmas, guide["noise_mask"], disable_pbar=True, seed=5
    )
    expected = torch.where(region[None, None] > 0, guide["noise_mask"], 1.0)
    for told in heard.told:
        torch.testing.assert_close(told, expected, rtol=1e-5, atol=1e-5)
    assert len(heard.told) == 2
    assert torch.equal(path.states, states)


def test_the_video_of_a_nested_latent_is_told_the_mask_in_force_and_the_sound_its_own() -> None:
    heard, mask = Heard(LTX2), mask_of(LTX2)
    generator = torch.Generator().manual_seed(1)
    parts = [torch.randn(shape, generator=generator) for shape in ((1, 128, 3, 4, 4), (1, 8, 4, 16))]
    latent, noise = NestedTensor(parts), NestedTensor([torch.randn_like(part) for part in parts])
    sampler = masked.MaskedSampler(comfy.samplers.sampler_object("euler"), "threshold")
    model, sigmas = heard.model, torch.tensor([0.9, 0.6, 0.3, 0.0])
    guider = guided(model, LTX2)
    guider.sample(noise, latent, sampler, sigmas, mask, disable_pbar=True, seed=5)
    for sigma, seen, told in heard:
        free = in_force(model, "threshold", mask, sigma, heard.sigmas[0])
        torch.testing.assert_close(told, free, rtol=1e-5, atol=1e-5)
        held = (free == 0).expand_as(seen)
        torch.testing.assert_close(seen[held], parts[0][held], rtol=1e-5, atol=1e-5)
    assert len(heard.sound) == 3
    assert all(torch.allclose(times, torch.ones_like(times)) for times in heard.sound)


def test_negative_values_by_which_guides_drop_tokens_stay_in_the_mask() -> None:
    heard, guide = Heard(LTXV), guide_of(LTXV)
    mask = guide["noise_mask"].clone()
    mask[:, :, 0, 0] = -1.0
    sampler = masked.MaskedSampler(comfy.samplers.sampler_object("euler"), "threshold")
    guider = guided(heard.model, LTXV)
    noise = noises.draw_noise(guide, 5)
    guider.sample(noise, guide["samples"], sampler, torch.tensor([0.9, 0.4, 0.0]), mask, disable_pbar=True, seed=5)
    for told in heard.told:
        assert bool((told[:, :, 0, 0] < 0).all())
        assert bool((told[:, :, 0, 1:] == 0).all())


def test_an_error_in_a_call_leaves_the_conditions_as_they_were() -> None:
    model = built(LTXV)

    class Guider:
        inner_model: Any = model.model
        conds: Any = {"positive": [{"model_conds": {"denoise_mask": None}}]}

    before = Guider.conds["positive"]
    with pytest.raises(KeyboardInterrupt), mask_times.told(Guider, torch.zeros(1, 128, 3, 4, 4)):
        assert Guider.conds["positive"][0]["model_conds"]["denoise_mask"].cond.sum() == 0
        raise KeyboardInterrupt
    assert Guider.conds["positive"] is before
