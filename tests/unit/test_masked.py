"""The keep region on the exact Gaussian model: core parity, three modes, repeats, splits."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers import process, reverse_sde
from diffusion_path.samplers.masked import MaskedSampler, Original
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model, run

F64 = torch.float64
MODES = ["blend", "threshold", "paper"]


def levels(model: Any, t0: float = 0.6, steps: int = 8) -> torch.Tensor:
    """Levels uniform in training time, in float64."""
    ms = process.model_sampling(model)
    return torch.tensor([process.t0_to_sigma(ms, t0 * (1 - j / steps)) for j in range(steps + 1)], dtype=F64)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def half_mask(batch: int = 2, size: int = 8) -> torch.Tensor:
    """Left half kept, right half edited. [B, 4, size, size]"""
    mask = torch.zeros(batch, 4, size, size, dtype=F64)
    mask[..., size // 2 :] = 1
    return mask


def soft_mask(batch: int = 2, size: int = 8) -> torch.Tensor:
    return torch.linspace(0, 1, size, dtype=F64).expand(batch, 4, size, size).contiguous()


def sample(model: Any, sampler: Any, sigmas: torch.Tensor, latent: dict, seed: int = 7) -> torch.Tensor:
    """A float32 run through CFGGuider, as SamplerCustomAdvanced makes it."""
    n = noises.draw_noise(latent, seed)
    return comfy.samplers.sample(
        model, n, cond(0.4), cond(-0.2), 3.0, model.load_device, sampler, sigmas.float(), model.model_options,
        latent["samples"], latent.get("noise_mask"), seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", ["euler", "ddim", "dpmpp_2m", "euler_ancestral", "uni_pc"])
@pytest.mark.parametrize("mask", [None, half_mask(), soft_mask()], ids=["none", "binary", "soft"])
def test_neutral_settings_are_cores_masked_sampling(kind: ModelType, name: str, mask: torch.Tensor | None) -> None:
    model = gaussian_model(kind, 0.8)
    latent: dict[str, Any] = {"samples": random(2, 4, 8, 8, dtype=torch.float32)}
    if mask is not None:
        latent["noise_mask"] = mask[:, :1].float()
    core = comfy.samplers.sampler_object(name)
    sigmas = levels(model)
    assert torch.equal(sample(model, MaskedSampler(core), sigmas, latent), sample(model, core, sigmas, latent))


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("mask", [half_mask(), soft_mask()], ids=["binary", "soft"])
def test_own_masking_of_an_original_is_cores_when_it_is_the_latent_itself(kind: ModelType, mask: torch.Tensor) -> None:
    model = gaussian_model(kind, 0.8)
    latent = {"samples": random(2, 4, 8, 8, dtype=torch.float32), "noise_mask": mask[:, :1].float()}
    core = comfy.samplers.sampler_object("euler")
    ours = MaskedSampler(core, original=Original(latent, seed=7))
    sigmas = levels(model)
    assert torch.equal(sample(model, ours, sigmas, latent), sample(model, core, sigmas, latent))


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("mode", ["blend", "threshold"])
@pytest.mark.parametrize("keep_noise", ["fixed", "fresh"])
@pytest.mark.parametrize("solver", ["ode", "sde_small"])
def test_nothing_to_edit_returns_the_guide_bit_for_bit(kind, mode: str, keep_noise: str, solver: str) -> None:
    """Also for one picture of a batch whose other one is edited."""
    model = gaussian_model(kind, 0.8)
    guide = random(2, 4, 8, 8)
    mask = half_mask()
    mask[0] = 0
    for repeats in (1, 3):
        sampler = MaskedSampler(reverse_sde.sampler(solver), mode, keep_noise, repeats)
        out = run(model, sampler, levels(model), random(2, 4, 8, 8, seed=1), guide, mask=mask)
        assert torch.equal(out[0], guide[0])
        assert not torch.allclose(out[1], guide[1], atol=1e-3)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("mode", ["blend", "threshold"])
@pytest.mark.parametrize("solver", reverse_sde.KINDS)
def test_default_leaves_no_noise_in_kept_pixels(kind: ModelType, mode: str, solver: str) -> None:
    model = gaussian_model(kind, 0.8)
    guide, mask = random(2, 4, 8, 8), half_mask()
    sampler = MaskedSampler(reverse_sde.sampler(solver), mode, repeats=2)
    out = run(model, sampler, levels(model), random(2, 4, 8, 8, seed=1), guide, mask=mask)
    torch.testing.assert_close(out[mask == 0], guide[mask == 0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", FAMILIES)
def test_kept_pixels_stay_on_their_ray(kind: ModelType) -> None:
    """With Euler and fixed noise the kept pixels of the state are a_i keep + b_i n at every step."""
    model = gaussian_model(kind, 0.8)
    guide, n, mask, sigmas = random(1, 4, 8, 8), random(1, 4, 8, 8, seed=1), half_mask(1), levels(model)
    a, b = process.coefficients(process.model_sampling(model), sigmas)
    states: list[torch.Tensor] = []
    sampler = MaskedSampler(reverse_sde.sampler("ode"))
    run(model, sampler, sigmas, n, guide, mask=mask, callback=lambda i, d, x, total: states.append(x))
    for i, state in enumerate(states):
        ray = a[i] * guide + b[i] * n
        torch.testing.assert_close(state[mask == 0], ray[mask == 0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_edited_pixels_do_not_depend_on_the_mask_elsewhere(kind: ModelType, mode: str) -> None:
    """For a model that works per pixel, what is kept has no influence on what is edited."""
    model = gaussian_model(kind, 0.8)
    guide, n = random(2, 4, 8, 8), random(2, 4, 8, 8, seed=1)
    sampler = MaskedSampler(reverse_sde.sampler("sde_small"), mode)
    part, whole = half_mask(), torch.ones(2, 4, 8, 8, dtype=F64)
    outs = [run(model, sampler, levels(model), n, guide, mask=mask, seed=3) for mask in (part, whole)]
    assert torch.equal(outs[0][part == 1], outs[1][part == 1])


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("masked", [False, True])
def test_repeats_compose(kind: ModelType, masked: bool) -> None:
    """The mean gain of K repeats is (S^2 / (S^2 + s_0^2))^K."""
    mu, spread, g = 0.3, 0.9, 1.7
    model = gaussian_model(kind, spread)
    sigmas = levels(model, 0.4)
    s0 = float(process.snr_coordinate(process.model_sampling(model), sigmas[0]))
    guide = torch.full((4, 4, 64, 64), g, dtype=F64)
    mask = torch.ones_like(guide) if masked else None
    gain = spread**2 / (spread**2 + s0**2)
    for repeats in (1, 2, 3):
        sampler = MaskedSampler(reverse_sde.sampler("sde_small"), repeats=repeats)
        n = noises.draw_noise({"samples": guide.float()}, 5).to(F64)
        out = run(model, sampler, sigmas, n, guide, mean=mu, mask=mask, seed=5)
        error = 4 * float(out.std()) / out.numel() ** 0.5
        assert float(out.mean()) == pytest.approx(mu + (g - mu) * gain**repeats, abs=error)


def test_repeats_use_fresh_noise_and_report_one_progress() -> None:
    model = gaussian_model(ModelType.EPS, 0.9)
    guide, sigmas = random(1, 4, 8, 8), levels(model, steps=4)
    steps: list[tuple[int, int]] = []
    states: list[torch.Tensor] = []

    def callback(step: int, denoised: torch.Tensor, x: torch.Tensor, total: int) -> None:
        steps.append((step, total))
        states.append(x)

    run(
        model,
        MaskedSampler(reverse_sde.sampler("ode"), repeats=3),
        sigmas,
        random(1, 4, 8, 8, seed=1),
        guide,
        callback=callback,
    )
    assert steps == [(i, 12) for i in range(12)]
    assert not torch.allclose(states[4] - states[8], torch.zeros_like(guide), atol=0.5)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keep_noise", ["fixed", "fresh"])
@pytest.mark.parametrize("solver", ["ode", "sde_small"])
@pytest.mark.parametrize("repeats", [1, 2])
def test_a_batch_equals_its_singles(kind, mode: str, keep_noise: str, solver: str, repeats: int) -> None:
    model = gaussian_model(kind, 0.8)
    sampler = MaskedSampler(reverse_sde.sampler(solver), mode, keep_noise, repeats)
    samples, mask = random(3, 4, 8, 8, dtype=torch.float32), soft_mask(3)[:, :1].float()
    mask[2] = mask[2].flip(-1)
    batch = sample(model, sampler, levels(model), {"samples": samples, "noise_mask": mask})
    for i in range(3):
        single = {"samples": samples[i : i + 1], "noise_mask": mask[i : i + 1], "batch_index": [i]}
        assert torch.equal(sample(model, sampler, levels(model), single)[0], batch[i])


def sampled_in_two(
    model: Any, inner: Any, mode: str, keep_noise: str, sigmas: torch.Tensor, latent: dict[str, Any]
) -> torch.Tensor:
    """One run of seed 7 over split sigmas, the second part of which adds no noise and has another seed."""
    split = MaskedSampler(inner, mode, keep_noise, original=Original(latent, seed=7, sigmas=sigmas))
    half = sample(model, split, sigmas[:5], latent)
    return comfy.samplers.sample(
        model, torch.zeros_like(half), cond(0.4), cond(-0.2), 3.0, model.load_device, split, sigmas[4:], {}, half,
        latent["noise_mask"], seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keep_noise", ["fixed", "fresh"])
@pytest.mark.parametrize("solver", ["ode", "sde_small", "consistency", "euler"])
@pytest.mark.parametrize("mask", [half_mask(), soft_mask()], ids=["binary", "soft"])
def test_a_split_run_gives_the_result_of_the_whole(kind, mode: str, keep_noise: str, solver: str, mask) -> None:
    model = gaussian_model(kind, 0.8)
    inner = comfy.samplers.sampler_object("euler") if solver == "euler" else reverse_sde.sampler(solver)
    sigmas = levels(model).float()
    latent = {"samples": random(2, 4, 8, 8, dtype=torch.float32), "noise_mask": mask[:, :1].float()}
    whole = sample(model, MaskedSampler(inner, mode, keep_noise), sigmas, latent)

    rest = sampled_in_two(model, inner, mode, keep_noise, sigmas, latent)
    torch.testing.assert_close(rest, whole, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("keep_noise", ["fixed", "fresh"])
def test_an_item_out_of_its_batch_keeps_its_noise_in_a_split_run(kind: ModelType, mode: str, keep_noise: str) -> None:
    model, inner = gaussian_model(kind, 0.8), reverse_sde.sampler("sde_small")
    sigmas, samples = levels(model).float(), random(3, 4, 8, 8, dtype=torch.float32)
    mask = soft_mask(3)[:, :1].float()
    batch = sampled_in_two(model, inner, mode, keep_noise, sigmas, {"samples": samples, "noise_mask": mask})
    single = {"samples": samples[2:], "noise_mask": mask[2:], "batch_index": [2]}
    assert torch.equal(sampled_in_two(model, inner, mode, keep_noise, sigmas, single)[0], batch[2])


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("mode", ["blend", "threshold"])
def test_a_solver_that_changes_its_levels_changes_nobody_elses(kind: ModelType, mode: str) -> None:
    """uni_pc ends its schedule at 0.001."""
    model, mask = gaussian_model(kind, 0.8), half_mask()
    mask[0] = 0
    latent = {"samples": random(2, 4, 8, 8, dtype=torch.float32), "noise_mask": mask[:, :1].float()}
    sigmas = levels(model).float()
    before = sigmas.clone()
    sampler = MaskedSampler(comfy.samplers.sampler_object("uni_pc"), mode, repeats=2)
    result = sample(model, sampler, sigmas, latent)
    assert torch.equal(sigmas, before)
    torch.testing.assert_close(result[0], latent["samples"][0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", FAMILIES)
def test_churn_above_the_start_is_free_where_all_is_free(kind: ModelType) -> None:
    model, churning = gaussian_model(kind, 0.8), comfy.samplers.ksampler("euler", {"s_churn": 4.0})
    latent = {"samples": random(2, 4, 8, 8, dtype=torch.float32), "noise_mask": torch.ones(2, 1, 8, 8)}
    torch.manual_seed(0)
    blended = sample(model, MaskedSampler(churning), levels(model), latent)
    torch.manual_seed(0)
    assert torch.equal(sample(model, MaskedSampler(churning, "threshold"), levels(model), latent), blended)


@pytest.mark.parametrize("kind", FAMILIES)
def test_threshold_gives_each_pixel_its_own_t0(kind: ModelType) -> None:
    """All 1 is plain SDEdit; a constant m is SDEdit started at m t_start on the edited steps."""
    model = gaussian_model(kind, 0.8)
    guide, n, sigmas = random(1, 4, 8, 8), random(1, 4, 8, 8, seed=1), levels(model, 0.6, 10)
    plain, threshold = reverse_sde.sampler("ode"), MaskedSampler(reverse_sde.sampler("ode"), "threshold")
    ones = torch.ones_like(guide)
    assert torch.equal(run(model, threshold, sigmas, n, guide, mask=ones), run(model, plain, sigmas, n, guide))
    for strength, first in ((0.5, 5), (0.72, 3), (0.1, 9), (0.05, None)):
        out = run(model, threshold, sigmas, n, guide, mask=strength * ones)
        later = guide if first is None else run(model, plain, sigmas[first:], n, guide)
        torch.testing.assert_close(out, later, rtol=1e-10, atol=1e-10)
    gradient = run(model, threshold, sigmas, n, guide, mask=soft_mask(1))
    assert torch.equal(gradient[..., 0], guide[..., 0].to(gradient)) or torch.allclose(gradient[..., 0], guide[..., 0])
    assert torch.equal(gradient[..., -1], run(model, plain, sigmas, n, guide)[..., -1])


def differential_diffusion(denoise: Any, sigmas: torch.Tensor, coefficients: Any, guide, n, keep) -> torch.Tensor:
    """The loop of exx8/differential-diffusion (diff_pipe.py) with Euler; keep: its map, 1 = keep."""
    (a, b), steps = coefficients, len(sigmas) - 1
    latents = a[0] * guide + b[0] * n
    for i in range(steps):
        if i > 0:
            mask = (keep > i / steps).to(guide)
            latents = (a[i] * guide + b[i] * n) * mask + latents * (1 - mask)
        latents = reverse_sde.euler_step(latents, denoise(latents, sigmas[i]), sigmas[i], sigmas[i + 1])
    return latents


@pytest.mark.parametrize("kind", FAMILIES)
def test_threshold_with_a_mask_lighter_by_a_step_is_differential_diffusions_code(kind: ModelType) -> None:
    """There a pixel is edited in the step before its release already; this is what docs/methods.md says to set."""
    model, steps = gaussian_model(kind, 0.8), 10
    guide, n, sigmas = random(1, 4, 8, 8), random(1, 4, 8, 8, seed=1), levels(model, 0.6, steps)
    mask = soft_mask(1) * 0.85 + 0.02
    coefficients = process.coefficients(process.model_sampling(model), sigmas)
    expected = differential_diffusion(
        lambda x, s: model.model.denoise(x, s.reshape(1), 0.3), sigmas, coefficients, guide, n, 1 - mask
    )
    sampler = MaskedSampler(reverse_sde.sampler("ode"), "threshold")
    out = run(model, sampler, sigmas, n, guide, mean=0.3, mask=mask + 1 / steps)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_costs_extra_evaluations(mode: str) -> None:
    model = gaussian_model(ModelType.EPS, 0.8)
    sampler = MaskedSampler(reverse_sde.sampler("ode"), mode, repeats=2)
    run(model, sampler, levels(model, steps=7), random(1, 4, 8, 8), random(1, 4, 8, 8), mask=soft_mask(1))
    assert model.model.evaluations == 14


@pytest.mark.parametrize("kind", FAMILIES)
def test_soft_masks_in_the_three_modes(kind: ModelType) -> None:
    """blend pulls gradually, threshold keeps what is weak, paper is binary at 0.5."""
    model = gaussian_model(kind, 0.3)
    guide = torch.full((1, 4, 8, 8), 2.0, dtype=F64)
    n, mask = torch.zeros_like(guide), soft_mask(1)
    change = {}
    for mode in MODES:
        sampler = MaskedSampler(
            reverse_sde.sampler("ode"), mode, "fixed", original=Original({"samples": guide}, seed=0)
        )
        out = run(model, sampler, levels(model), n, guide, mask=mask)
        change[mode] = (guide - out)[0, 0, 0]
    assert (change["blend"].diff() > 0).all()
    assert (change["threshold"].diff() >= -1e-9).all()
    paper = change["paper"]
    noise_left = float(levels(model)[-2]) * 5
    assert paper[:4].abs().max() < noise_left
    assert paper[4:].min() > 0.5


def test_differential_diffusion_of_core_still_acts_in_blend() -> None:
    """The model's own mask function is honoured, in our own masking as in core's."""
    model = gaussian_model(ModelType.EPS, 0.8)
    model.set_model_denoise_mask_function(lambda sigma, mask, extra_options: (mask >= 0.5).to(mask))
    latent = {"samples": random(2, 4, 8, 8, dtype=torch.float32), "noise_mask": soft_mask()[:, :1].float()}
    core = comfy.samplers.sampler_object("euler")
    ours = MaskedSampler(core, original=Original(latent, seed=7))
    assert torch.equal(sample(model, ours, levels(model), latent), sample(model, core, levels(model), latent))


def test_inputs_are_never_changed() -> None:
    model = gaussian_model(ModelType.FLOW, 0.8)
    latent = {"samples": random(2, 4, 8, 8, dtype=torch.float32), "noise_mask": soft_mask()[:, :1].float()}
    before = {key: value.clone() for key, value in latent.items()}
    sigmas = levels(model).float()
    for mode in MODES:
        sampler = MaskedSampler(reverse_sde.sampler("sde_small"), mode, repeats=2, original=Original(latent, 7, sigmas))
        sample(model, sampler, sigmas, latent)
    assert all(torch.equal(latent[key], before[key]) for key in before)
    assert torch.equal(sigmas, levels(model).float())


def test_what_cannot_work_is_refused_with_its_fix() -> None:
    model = gaussian_model(ModelType.EPS, 0.8)
    guide, n, sigmas = random(1, 4, 8, 8), random(1, 4, 8, 8, seed=1), levels(model)
    inner = reverse_sde.sampler("ode")
    with pytest.raises(ValueError, match="ends at sigma 0"):
        run(model, MaskedSampler(inner, repeats=2), sigmas[:4], n, guide)
    with pytest.raises(ValueError, match="connect the untouched latent to `original`"):
        run(model, MaskedSampler(inner), sigmas, torch.zeros_like(n), guide, mask=half_mask(1))
    other = Original({"samples": random(1, 4, 4, 4)})
    with pytest.raises(ValueError, match="has the shape"):
        run(model, MaskedSampler(inner, original=other), sigmas, n, guide, mask=half_mask(1))
    with pytest.raises(ValueError, match="choose from these"):
        MaskedSampler(inner, "sharp")


def time_to_move(denoise: Any, sigmas: torch.Tensor, coefficients: Any, guide, n, mask, strong: int) -> torch.Tensor:
    """The loop of time-to-move/TTM (wan_pipeline.py) with Euler; mask: 1 = what was dragged, held to level `strong`."""
    a, b = coefficients
    latents = a[0] * guide + b[0] * n
    for i in range(len(sigmas) - 1):
        latents = reverse_sde.euler_step(latents, denoise(latents, sigmas[i]), sigmas[i], sigmas[i + 1])
        if i < strong:
            latents = (1 - mask) * latents + mask * (a[i + 1] * guide + b[i + 1] * n)
    return latents


@pytest.mark.parametrize("strong", [0, 1, 3, 7])
@pytest.mark.parametrize("kind", FAMILIES)
def test_two_clocks_over_a_film_are_the_published_loop(kind: ModelType, strong: int) -> None:
    """A film [B, C, T, H, W] with a mask per frame, on a model whose frames and pixels depend on each other."""
    model, sigmas = gaussian_model(kind, 0.8), levels(gaussian_model(kind, 0.8), 0.94, 10)
    straight = model.model.denoise
    model.model.denoise = lambda x, sigma, mean: straight(x, sigma, mean) + 0.3 * torch.sin(x.mean() + x.roll(1, 2))
    guide, n = random(1, 4, 3, 6, 6), random(1, 4, 3, 6, 6, seed=1)
    dragged = (random(1, 1, 3, 6, 6, seed=2) > 0.5).to(guide).expand_as(guide)
    coefficients = process.coefficients(process.model_sampling(model), sigmas)
    published = time_to_move(
        lambda x, sigma: model.model.denoise(x, sigma.reshape(1), 0.0), sigmas, coefficients, guide, n, dragged, strong
    )
    strength = 1 - dragged * strong / 10  # the levels are uniform in training time
    ours = run(model, MaskedSampler(reverse_sde.sampler("ode"), "threshold"), sigmas, n, guide, mask=strength)
    torch.testing.assert_close(ours, published, rtol=1e-10, atol=1e-10)
