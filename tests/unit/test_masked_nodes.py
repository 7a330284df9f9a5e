"""DPathMaskedSampler and DPathStrengthMap, and one sentence for every kind of bad input."""

from __future__ import annotations

import re
from typing import Any

import comfy.latent_formats
import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from comfy.nested_tensor import NestedTensor
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.nodes.masked import MaskedReverseSDE, StrengthMap
from diffusion_path.nodes.sdedit import Perturb, ReverseSDE, SDEdit, SDEditSigmas
from diffusion_path.tests.unit.analytic import cond, gaussian_model

SETTINGS: dict[str, Any] = {"steps": 4, "cfg": 1.0, "solver": "ode", "scheduler": "normal", "repeats": 1}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def sampled(model: Any, sampler: Any, sigmas: torch.Tensor, latent: dict, noise: Any) -> dict:
    guider = core.CFGGuider.execute(model, cond(0.3), cond(0.0), 1.0).args[0]
    return core.SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).args[0]


@pytest.mark.parametrize("kind", [ModelType.EPS, ModelType.FLOW])
@pytest.mark.parametrize("mode", ["blend", "threshold", "paper"])
@pytest.mark.parametrize("solver", ["ode", "sde_small"])
def test_split_sigmas_give_the_result_of_the_whole(kind: ModelType, mode: str, solver: str) -> None:
    """Two SamplerCustomAdvanced, the second with DisableNoise, as a user would wire them."""
    model = gaussian_model(kind, 0.8)
    latent = {"samples": random(2, 4, 8, 8), "noise_mask": torch.linspace(0, 1, 8).expand(2, 1, 8, 8).clone()}
    (sigmas,) = SDEditSigmas.execute(model, 0.6, 8, "normal").args
    (inner,) = ReverseSDE.execute(solver, 1.0, 1.0).args
    noise, nothing = core.RandomNoise.execute(9).args[0], core.DisableNoise.execute().args[0]
    (one,) = MaskedReverseSDE.execute(inner, mode, "auto", 1).args
    (part,) = MaskedReverseSDE.execute(inner, mode, "auto", 1, latent, 9, sigmas).args
    whole = sampled(model, one, sigmas, latent, noise)
    half = sampled(model, part, sigmas[:4], latent, noise)
    rest = sampled(model, part, sigmas[3:], half, nothing)
    torch.testing.assert_close(rest["samples"], whole["samples"], rtol=1e-5, atol=2e-6)


def test_it_is_core_until_something_is_set() -> None:
    model = gaussian_model(ModelType.EPS, 0.8)
    latent = {"samples": random(1, 4, 8, 8), "noise_mask": torch.linspace(0, 1, 64).expand(1, 1, 64, 64).clone()}
    (sigmas,) = SDEditSigmas.execute(model, 0.6, 5, "karras").args
    noise = core.RandomNoise.execute(1).args[0]
    euler = comfy.samplers.sampler_object("euler")
    (masked,) = MaskedReverseSDE.execute(euler, "blend", "auto", 1).args
    expected = sampled(model, euler, sigmas, latent, noise)["samples"]
    assert torch.equal(sampled(model, masked, sigmas, latent, noise)["samples"], expected)


def test_a_strength_map_is_relative_to_its_largest_t0() -> None:
    left, middle = torch.zeros(1, 4, 6), torch.zeros(1, 4, 6)
    left[..., :3], middle[..., 2:4] = 1.0, 0.5
    strength, t0 = StrengthMap.execute(mask_1=left, t0_1=0.3, mask_2=middle, t0_2=0.8, t0_elsewhere=0.1).args
    assert t0 == 0.8
    torch.testing.assert_close(strength[0, 0] * t0, torch.tensor([0.3, 0.3, 0.4, 0.45, 0.1, 0.1]))
    spared, t0 = StrengthMap.execute(mask_1=left, t0_1=0.2, t0_elsewhere=0.6).args
    assert t0 == 0.6
    torch.testing.assert_close(spared[0, 0] * t0, torch.tensor([0.2, 0.2, 0.2, 0.6, 0.6, 0.6]))
    grey, t0 = StrengthMap.execute(mask_1=torch.linspace(0, 1, 6).expand(2, 4, 6), t0_1=0.5).args
    assert t0 == 0.5
    assert grey.shape == (2, 4, 6)
    torch.testing.assert_close(grey[1, 2], torch.linspace(0, 1, 6))


def test_a_strength_map_gives_each_area_its_own_sdedit() -> None:
    """Through the nodes, an area at t0 is what SDEdit gives there, wherever the levels meet its t0."""
    model = gaussian_model(ModelType.FLOW, 0.8)
    samples = random(1, 4, 8, 8)
    halves = [torch.zeros(1, 64, 64) for _ in range(2)]
    halves[0][..., :32], halves[1][..., 32:] = 1, 1
    strength, t0 = StrengthMap.execute(mask_1=halves[0], t0_1=0.4, mask_2=halves[1], t0_2=0.8).args
    guide = {"samples": samples, "noise_mask": strength.unsqueeze(1)}
    common = {**SETTINGS, "scheduler": "simple"}
    mapped = SDEdit.execute(
        model, cond(0.3), cond(0.0), guide, 5, t0, **{**common, "steps": 8}, mask_mode="threshold"
    ).args[0]["samples"]
    for t0_area, steps, columns in ((0.8, 8, slice(5, 8)), (0.4, 4, slice(0, 3))):
        alone = SDEdit.execute(
            model, cond(0.3), cond(0.0), {"samples": samples}, 5, t0_area, **{**common, "steps": steps}
        ).args[0]["samples"]
        torch.testing.assert_close(mapped[..., columns], alone[..., columns], rtol=1e-3, atol=1e-3)


def guide_with(**changes: Any) -> dict[str, Any]:
    return {"samples": random(2, 4, 8, 8), **changes}


def broken() -> torch.Tensor:
    samples = random(2, 4, 8, 8)
    samples[1, 0, 0, :3] = float("nan")
    return samples


BAD_GUIDES: dict[str, tuple[dict[str, Any], str]] = {
    "nested": (guide_with(samples=NestedTensor([random(1, 4, 8, 8), random(1, 4, 8, 8)])), "nested latent"),
    "channels": (guide_with(samples=random(1, 16, 8, 8)), r"has 16 channels but this model works on 4"),
    "empty of other channels": (guide_with(samples=torch.zeros(1, 16, 8, 8)), r"has 16 channels"),
    "not a number": (guide_with(samples=broken()), r"3 values that are not finite .* batch item 1:"),
    "mask size": (guide_with(noise_mask=torch.eye(64, 32)), r"mask of the guide is 32 x 64.*8 x 8, 64 x 64 pixels"),
    "mask batch": (guide_with(noise_mask=torch.ones(3, 1, 64, 64)), r"mask of the guide is a batch of 3.*2 pictures"),
    "mask range": (guide_with(noise_mask=torch.full((1, 1, 64, 64), 255.0)), r"goes from 255 to 255"),
    "mask not a number": (
        guide_with(noise_mask=torch.full((1, 1, 64, 64), float("nan"))),
        r"mask of the guide holds 4096 values",
    ),
}


@pytest.mark.parametrize("name", BAD_GUIDES)
def test_a_bad_guide_is_refused_in_one_sentence(name: str) -> None:
    guide, words = BAD_GUIDES[name]
    model = gaussian_model(ModelType.EPS)
    with pytest.raises(ValueError, match=words) as failure:
        SDEdit.execute(model, cond(0.0), cond(0.0), guide, 0, 0.5, **SETTINGS)
    assert_one_sentence(str(failure.value))
    with pytest.raises(ValueError, match=words.replace("guide", "latent")):
        Perturb.execute(model, guide, 0, 0.5)
    assert model.model.evaluations == 0


def assert_one_sentence(text: str) -> None:
    assert text.endswith(".")
    assert len(re.findall(r"[.!?](?:\s|$)", text)) == 1
    assert len(text) < 260


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"t0": 1.2}, "give a number from 0 to 1"),
        ({"t0": -0.1}, "give a number from 0 to 1"),
        ({"steps": 0}, "give 1 or more"),
        ({"solver": "magic"}, "choose one of"),
        ({"mask_mode": "magic"}, "choose from these"),
    ],
)
def test_a_bad_setting_is_refused_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    settings = {"t0": 0.5, **SETTINGS, **changes}
    with pytest.raises(ValueError, match=words) as failure:
        SDEdit.execute(gaussian_model(), cond(0.0), cond(0.0), guide_with(), 0, **settings)
    assert_one_sentence(str(failure.value))


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"mask_1": torch.eye(4), "mask_3": torch.eye(8, 4)}, "The mask_3 is 4 x 8, but the mask_1 is 4 x 4"),
        ({"mask_1": torch.ones(2, 4, 4), "mask_2": torch.ones(3, 4, 4)}, "The mask_1 is a batch of 2.*one of 3"),
        ({"mask_1": torch.ones(1, 4, 4), "t0_1": 0.0}, "Every t0 of the strength map is 0"),
        ({}, "connect one"),
    ],
)
def test_a_bad_strength_map_is_refused_in_one_sentence(masks: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as failure:
        StrengthMap.execute(**masks)
    assert_one_sentence(str(failure.value))


def test_masks_that_fit_in_their_own_way_are_taken() -> None:
    """Latent size, pixel size, the size before the VAE cropped, another resolution; one for all, or one each."""
    model = gaussian_model()
    for shape in ((1, 1, 8, 8), (2, 1, 64, 64), (1, 1, 70, 66), (1, 1, 512, 512), (1, 64, 64), (64, 64)):
        SDEdit.execute(model, cond(0.0), cond(0.0), guide_with(noise_mask=torch.ones(shape)), 0, 0.5, **SETTINGS)


def grey_filled(value: float) -> dict[str, Any]:
    """A latent whose masked area previews as one flat colour, value in -1..1, with the encoder's small ripple."""
    latent_format = comfy.latent_formats.SD15()
    factors = torch.tensor(latent_format.latent_rgb_factors)
    flat = torch.linalg.lstsq(factors.T, torch.full((3, 1), value)).solution.reshape(1, 4, 1, 1)
    samples = random(1, 4, 16, 16)
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., 24:104, 24:104] = 1
    samples[..., 3:13, 3:13] = flat + 0.03 * random(1, 4, 10, 10, seed=1)
    return {"samples": latent_format.process_out(samples), "noise_mask": mask}


def test_the_grey_of_vae_encode_for_inpainting_is_refused_below_t0_1() -> None:
    model = gaussian_model(latent_format=comfy.latent_formats.SD15())

    def run(guide: dict[str, Any], t0: float) -> None:
        SDEdit.execute(model, cond(0.0), cond(0.0), guide, 0, t0, **SETTINGS)

    with pytest.raises(ValueError, match="flat grey, as VAE Encode") as failure:
        run(grey_filled(0.0), 0.7)
    assert_one_sentence(str(failure.value))
    run(grey_filled(0.0), 1.0)
    run(grey_filled(0.6), 0.7)  # a flat stroke of another colour is a guide
    soft = grey_filled(0.0)
    soft["noise_mask"] = soft["noise_mask"] * 0.9
    run(soft, 0.7)
    textured = grey_filled(0.0)
    textured["samples"] = textured["samples"] + random(1, 4, 16, 16, seed=2) * 2
    run(textured, 0.7)
