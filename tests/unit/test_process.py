"""The forward process: coefficients, t0 and sigma, perturbation, and noise that belongs to a seed."""

from __future__ import annotations

from typing import Any

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType, model_sampling
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.devtools.direct import call
from diffusion_path.samplers import noise, process
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import families
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from diffusion_path.tests.unit.families import EVERY

KINDS = [
    ModelType.EPS,
    ModelType.V_PREDICTION,
    ModelType.V_PREDICTION_EDM,
    ModelType.STABLE_CASCADE,
    ModelType.EDM,
    ModelType.V_PREDICTION_CONTINUOUS,
    ModelType.FLOW,
    ModelType.FLUX,
    ModelType.FLOW_COSMOS,
]
FLOWS = (ModelType.FLOW, ModelType.FLUX)


class Config:
    """A model configuration with default sampling settings."""

    def __init__(self, **settings: float) -> None:
        self.sampling_settings = settings


def sampling(kind: ModelType, **settings: float):
    return model_sampling(Config(**settings), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_coefficients_are_the_models_own_forward_process(kind: ModelType) -> None:
    ms = sampling(kind)
    sigma = torch.linspace(0.01, float(ms.sigma_max), 5, dtype=torch.float64)
    a, b = process.coefficients(ms, sigma)
    assert torch.equal(a, 1 - sigma if kind in FLOWS else torch.ones_like(sigma))
    assert torch.equal(b, sigma)
    fraction = process.noise_fraction(ms, sigma)
    assert torch.all((fraction > 0) & (fraction <= 1))
    assert torch.all(fraction.diff() > 0)


def test_a_flow_models_noise_scale_is_part_of_b() -> None:
    if not hasattr(sampling(ModelType.FLOW), "set_noise_scale"):
        pytest.skip("this ComfyUI has no noise scale")
    a, b = process.coefficients(sampling(ModelType.FLOW, noise_scale=2.0), 0.25)
    assert (float(a), float(b)) == (0.75, 0.5)


def test_snr_coordinate_makes_families_comparable() -> None:
    assert float(process.snr_coordinate(sampling(ModelType.EPS), 1.5)) == 1.5
    assert float(process.snr_coordinate(sampling(ModelType.FLOW), 0.6)) == pytest.approx(1.5)
    assert torch.isinf(process.snr_coordinate(sampling(ModelType.FLUX), 1.0))


@pytest.mark.parametrize("kind", KINDS)
def test_t0_and_sigma_are_inverse_and_monotonic(kind: ModelType) -> None:
    ms = sampling(kind)
    t0s = [0.02, 0.1, 0.3, 0.3001, 0.5, 0.777, 0.95, 0.98]
    sigmas = [process.t0_to_sigma(ms, t) for t in t0s]
    assert sigmas == sorted(sigmas)
    assert sigmas[2] < sigmas[3], "t0 must not be quantised to a training step"
    for t0, sigma in zip(t0s, sigmas, strict=True):
        assert process.sigma_to_t0(ms, sigma) == pytest.approx(t0, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_ends_of_the_t0_range(kind: ModelType) -> None:
    ms = sampling(kind)
    assert process.t0_to_sigma(ms, 0.0) == 0.0
    assert process.t0_to_sigma(ms, 1.0) == float(ms.sigma_max)
    assert process.sigma_to_t0(ms, 0.0) == 0.0
    assert process.sigma_to_t0(ms, float(ms.sigma_max)) == 1.0
    assert process.sigma_to_t0(ms, 1e9) == 1.0


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        (ModelType.EPS, {}, {0.3: 0.830, 0.5: 1.613, 0.6: 2.276}),
        (ModelType.FLOW, {"shift": 1.0}, {0.3: 0.30, 0.5: 0.50}),
        (ModelType.FLOW, {"shift": 3.0}, {0.3: 0.56, 0.5: 0.75, 0.6: 0.82}),
        (ModelType.FLUX, {"shift": 1.15}, {0.25: 0.513, 0.5: 0.760, 0.75: 0.905}),
    ],
)
def test_t0_is_a_fraction_of_training_time(kind: ModelType, settings: dict, expected: dict) -> None:
    ms = sampling(kind, **settings)
    for t0, sigma in expected.items():
        assert process.t0_to_sigma(ms, t0) == pytest.approx(sigma, abs=6e-3)


@pytest.mark.parametrize("t0", [-0.1, 1.0001, float("nan")])
def test_t0_outside_its_range_is_named(t0: float) -> None:
    with pytest.raises(ValueError, match="fraction of the training time"):
        process.t0_to_sigma(sampling(ModelType.EPS), t0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t0", [0.0, 0.4, 1.0])
def test_perturb_is_cores_start_and_leaves_its_inputs_alone(kind: ModelType, t0: float) -> None:
    ms = sampling(kind)
    x0, n = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    before = x0.clone(), n.clone()
    sigma = process.t0_to_sigma(ms, t0)
    x = process.perturb(ms, x0, n, sigma)
    expected = ms.noise_scaling(torch.tensor(sigma), n, x0, t0 == 1.0)
    assert torch.equal(x, expected)
    assert torch.equal(x0, before[0])
    assert torch.equal(n, before[1])
    if t0 == 0.0:
        assert torch.equal(x, x0)


@pytest.mark.parametrize("kind", [ModelType.EPS, ModelType.FLOW])
def test_noise_from_the_cpu_goes_to_where_the_latent_is(kind: ModelType) -> None:
    latent = torch.ones(1, 4, 4, 4, device="meta")
    assert process.perturb(sampling(kind), latent, torch.ones(1, 4, 4, 4), 0.5, prior=False).device == latent.device


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumable_latent_starts_a_sampler_without_noise_at_x(kind: ModelType) -> None:
    ms = sampling(kind)
    x0, n = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    sigma = process.t0_to_sigma(ms, 0.6)
    x = process.perturb(ms, x0, n, sigma)
    again = ms.noise_scaling(torch.tensor(sigma), torch.zeros_like(n), process.resumable(ms, x, sigma))
    torch.testing.assert_close(again, x, rtol=1e-6, atol=1e-6)


def test_a_flow_prior_cannot_be_carried_by_a_latent() -> None:
    with pytest.raises(ValueError, match=r"lower t0 to 0\.999"):
        process.resumable(sampling(ModelType.FLOW), torch.randn(1, 4, 8, 8), 1.0)


@pytest.mark.parametrize("kind", [ModelType.EPS, ModelType.FLOW])
def test_the_network_is_shown_about_unit_variance(kind: ModelType) -> None:
    ms = sampling(kind)
    generator = torch.Generator().manual_seed(0)
    x0, n = (torch.randn(1, 4, 64, 64, generator=generator) for _ in range(2))
    for t0 in (0.2, 0.6, 0.999):
        sigma = process.t0_to_sigma(ms, t0)
        shown = process.network_view(ms, process.perturb(ms, x0, n, sigma), sigma)
        assert 0.6 < float(shown.std()) < 1.05


def test_initial_noise_is_cores_and_leaves_the_global_generator_alone() -> None:
    latent = {"samples": torch.zeros(3, 4, 8, 8)}
    torch.manual_seed(7)
    before = torch.get_rng_state()
    drawn = noise.draw_noise(latent, 42)
    assert torch.equal(torch.get_rng_state(), before)
    core: Any = comfy.sample.prepare_noise(latent["samples"], 42, None)
    assert torch.equal(drawn, core)


def test_initial_noise_of_a_single_is_its_noise_in_the_batch() -> None:
    batch = noise.draw_noise({"samples": torch.zeros(3, 4, 8, 6)}, 5)
    for i in range(3):
        single = noise.draw_noise({"samples": torch.zeros(1, 4, 8, 6), "batch_index": [i]}, 5)
        assert torch.equal(single[0], batch[i])


def test_batch_index_is_read_back_from_the_noise() -> None:
    latent = {"samples": torch.zeros(3, 4, 8, 8), "batch_index": [5, 0, 2]}
    drawn = noise.draw_noise(latent, 11)
    assert noise.batch_indices(drawn, 11, 3) == [5, 0, 2]
    assert noise.batch_indices(drawn.half().float(), 11, 3) == [5, 0, 2]
    assert noise.batch_indices(drawn, 12, 3) == [0, 1, 2]
    assert noise.batch_indices(torch.zeros_like(drawn), 11, 3) == [0, 1, 2]
    assert noise.batch_indices(None, 11, 2) == [0, 1]


def test_step_noise_depends_on_seed_item_and_sigma_alone() -> None:
    x, levels = torch.zeros(3, 4, 8, 8), torch.tensor([3.0, 2.0, 1.0])
    draw = noise.step_noise(x, 9, [0, 4, 1])
    first, second = draw(levels[0], levels[1]), draw(levels[1], levels[2])
    assert torch.equal(noise.step_noise(x[1:2], 9, [4])(levels[1], levels[2]), second[1:2])
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(noise.step_noise(x, 10, [0, 4, 1])(levels[0], levels[1]), first)
    assert abs(float(first.mean())) < 0.2
    assert abs(float(first.std()) - 1) < 0.1


@pytest.mark.parametrize("kind", [ModelType.IMG_TO_IMG, ModelType.IMG_TO_IMG_FLOW])
def test_models_without_noise_are_refused_at_every_door(kind: ModelType) -> None:
    """Picture to picture (Lotus, FlowRVS): there is no path from noise that a method could work on."""
    model, given = gaussian_model(kind), {"samples": torch.randn(1, 4, 8, 8)}
    prompts = {"positive": cond(1.0), "negative": cond(0.0)}
    sigmas = torch.tensor([4.0, 2.0, 0.0])
    guider = core.CFGGuider.execute(model, cond(1.0), cond(0.0), 2.0).args[0]
    run = {"noise": core.Noise_RandomNoise(0), "guider": guider, "sigmas": sigmas, "latent_image": given}

    def sampled(node_id: str, **widgets: object) -> None:
        core.SamplerCustomAdvanced.execute(**{**run, "sampler": call(node_id, **widgets)[0]})

    euler = comfy.samplers.sampler_object("euler")
    masked = {**run, "latent_image": {**given, "noise_mask": torch.eye(8)[None]}}
    threshold = call("DPathMaskedSampler", sampler=euler, mask_mode="threshold")[0]
    doors = [
        lambda: call("DPathSigmas", model=model, t0=0.5, steps=4, scheduler="simple"),
        lambda: call("DPathSDEdit", model=model, **prompts, guide=given, seed=0, t0=0.5),
        lambda: call("DPathPerturb", model=model, latent=given, seed=0, t0=0.5),
        lambda: call("DPathFlowEdit", model=model, **prompts, source=cond(0.5), latent=given, seed=0),
        lambda: call("DPathInvert", model=model, **prompts, latent=given, seed=0, method={"method": "negative prompt"}),
        lambda: call("DPathInvert", model=model, **prompts, latent=given, seed=0, sigmas=sigmas,
                     method={"method": "negative prompt"}),
        lambda: call("DPathRecord", **run, sampler=euler),
        lambda: call("DPathMDPEdit", model=model, **prompts, source=cond(0.5), latent=given, seed=0),
        lambda: call("DPathMDP", model=model, kind="conditioning", source=cond(0.5), schedule=PathSchedule()),
        lambda: call("DPathMDP", model=model, kind="guidance", source=cond(0.5), schedule=PathSchedule()),
        lambda: sampled("DPathReverseSDE", kind="sde_small"),
        lambda: core.SamplerCustomAdvanced.execute(**{**masked, "sampler": threshold}),
    ]  # fmt: skip
    before = model.model.evaluations
    for door in doors:
        with pytest.raises(ValueError, match="turns pictures into pictures without any noise"):
            door()
    assert model.model.evaluations == before, "nothing was run"
    sampled("DPathReverseSDE", kind="ode")  # which is core's Euler


@pytest.mark.skipif("CogVideoX" not in EVERY, reason="an older ComfyUI does not know CogVideoX")
def test_a_network_that_would_be_shown_unscaled_states_is_refused_until_they_are_scaled() -> None:
    """CogVideoX, as ComfyUI loads it: a common sampler starts at noise thousands of times as large as in training."""
    family = EVERY["CogVideoX"]
    with pytest.raises(ValueError, match="connect ModelSamplingDiscrete with v_prediction and zsnr"):
        process.model_sampling(families.built(family))
    sampling = process.model_sampling(families.made(family))
    level, one = sampling.sigma_max, torch.ones(1)
    shown = sampling.calculate_input(level, process.perturb(sampling, torch.zeros(1), one, level))
    assert float(shown) == pytest.approx(1.0, abs=1e-3)
