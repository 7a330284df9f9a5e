"""Reverse-time steps against closed forms (data N(mu, S^2)), through ComfyUI's samplers, for eps and flow models."""

from __future__ import annotations

import math

import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import noise, process, reverse_sde
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model, run

F64 = torch.float64
SDE = ("sde_small", "sde_large_vp", "sde_large_ve")
NOISY = ("ancestral", *SDE, "consistency")


def levels(model, t0: float, steps: int) -> torch.Tensor:
    """Levels uniform in training time, in float64."""
    ms = process.model_sampling(model)
    return torch.tensor([process.t0_to_sigma(ms, t0 * (1 - j / steps)) for j in range(steps + 1)], dtype=F64)


def snr(model, sigma: torch.Tensor) -> torch.Tensor:
    return process.snr_coordinate(process.model_sampling(model), sigma)


def start_of(guide: torch.Tensor) -> torch.Tensor:
    return torch.randn(guide.shape, generator=torch.Generator().manual_seed(3), dtype=F64)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("steps", [1, 3, 20])
def test_euler_is_the_product_of_its_gains(kind: ModelType, steps: int) -> None:
    """Output = mu + prod(g_i) (x_start - a_0 mu)."""
    mu, spread = 0.7, 1.3
    model = gaussian_model(kind, spread)
    sigmas = levels(model, 0.6, steps)
    guide = torch.full((1, 4, 4, 4), 1.9, dtype=F64)
    n = start_of(guide)
    out = run(model, reverse_sde.sampler("ode"), sigmas, n, guide, mean=mu)
    a, b = process.coefficients(process.model_sampling(model), sigmas)
    ratio = sigmas[1:] / sigmas[:-1]
    gains = ratio + (1 - ratio) * (a * spread**2 / (a**2 * spread**2 + b**2))[:-1]
    start = a[0] * guide + b[0] * n
    torch.testing.assert_close(out, mu + gains.prod() * (start - a[0] * mu), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", FAMILIES)
def test_euler_converges_to_the_probability_flow(kind: ModelType) -> None:
    """Error O(1/N), so it halves when N doubles."""
    mu, spread = 0.7, 1.3
    model = gaussian_model(kind, spread)
    guide = torch.full((1, 4, 4, 4), 1.9, dtype=F64)
    n = start_of(guide)
    errors = []
    for steps in (100, 200, 400):
        start = process.t0_to_sigma(process.model_sampling(model), 0.6)
        sigmas = torch.linspace(start, 0, steps + 1, dtype=F64)
        a, b = process.coefficients(process.model_sampling(model), sigmas[0])
        exact = mu + spread * (a * (guide - mu) + b * n) / (a**2 * spread**2 + b**2).sqrt()
        errors.append(float((run(model, reverse_sde.sampler("ode"), sigmas, n, guide, mean=mu) - exact).abs().max()))
    assert errors[1] / errors[2] == pytest.approx(2.0, abs=0.1)
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("variance", SDE)
@pytest.mark.parametrize("steps", [1, 4, 25])
@pytest.mark.parametrize("t0", [0.3, 0.9])
def test_mean_of_sdedit_for_every_step_count_and_variance(kind, variance: str, steps: int, t0: float) -> None:
    """Mean = mu + (g - mu) S^2 / (S^2 + s_0^2); exact with the noise set to zero."""
    mu, spread, g = -0.4, 0.8, 1.5
    model = gaussian_model(kind, spread)
    sigmas = levels(model, t0, steps)
    guide = torch.full((1, 4, 4, 4), g, dtype=F64)
    sampler = reverse_sde.sampler(variance, s_noise=0.0)
    out = run(model, sampler, sigmas, torch.zeros_like(guide), guide, mean=mu)
    s0 = float(snr(model, sigmas[0]))
    expected = mu + (g - mu) * spread**2 / (spread**2 + s0**2)
    torch.testing.assert_close(out, torch.full_like(out, expected), rtol=1e-10, atol=1e-10)


def added_variance(model, variance: str, sigmas: torch.Tensor, i: int) -> float:
    step = reverse_sde.Step(process.model_sampling(model), sigmas[i], sigmas[i + 1])
    return float(reverse_sde._VARIANCES[variance](step))


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("variance", SDE)
def test_variance_of_sdedit_obeys_its_recursion(kind: ModelType, variance: str) -> None:
    """v' = rho^2 v + tau^2 in the coordinates of the ratio s; Monte Carlo, 4 standard errors."""
    spread, steps = 0.9, 6
    model = gaussian_model(kind, spread)
    sigmas = levels(model, 0.5, steps)
    s = snr(model, sigmas)
    v = float(s[0] ** 2)
    for i in range(steps):
        rho = float((spread**2 + s[i + 1] ** 2) / (spread**2 + s[i] ** 2))
        a_next = float(process.coefficients(process.model_sampling(model), sigmas[i + 1])[0])
        v = rho**2 * v + (0.0 if i == steps - 1 else added_variance(model, variance, sigmas, i) / a_next**2)
    guide = torch.zeros(8, 4, 64, 64, dtype=F64)
    out = run(model, reverse_sde.sampler(variance), sigmas, start_of(guide), guide, seed=1)
    count = out.numel()
    assert float(out.var()) == pytest.approx(v, abs=4 * v * math.sqrt(2 / count))
    assert float(out.mean()) == pytest.approx(0.0, abs=4 * math.sqrt(v / count))


@pytest.mark.parametrize("kind", FAMILIES)
def test_variance_converges_and_is_enclosed_by_small_and_large(kind: ModelType) -> None:
    """The variance tends to S^2 s0^2 (2 S^2 + s0^2) / (S^2 + s0^2)^2; small under-, large VE over-estimates it."""
    spread = 0.9
    model = gaussian_model(kind, spread)
    s0 = float(snr(model, levels(model, 0.5, 1)[0]))
    limit = spread**2 * s0**2 * (2 * spread**2 + s0**2) / (spread**2 + s0**2) ** 2
    gaps = {}
    for variance in ("sde_small", "sde_large_ve"):
        for steps in (50, 100):
            sigmas = levels(model, 0.5, steps)
            s = snr(model, sigmas)
            v = s0**2
            for i in range(steps):
                rho = float((spread**2 + s[i + 1] ** 2) / (spread**2 + s[i] ** 2))
                a_next = float(process.coefficients(process.model_sampling(model), sigmas[i + 1])[0])
                v = rho**2 * v + (0.0 if i == steps - 1 else added_variance(model, variance, sigmas, i) / a_next**2)
            gaps[variance, steps] = v - limit
    assert gaps["sde_small", 50] < gaps["sde_small", 100] < 0
    assert abs(gaps["sde_large_ve", 100]) < abs(gaps["sde_large_ve", 50]) < 0.2 * limit


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("steps", [1, 3, 12])
def test_large_vp_is_exact_for_unit_variance_at_any_step_count(kind: ModelType, steps: int) -> None:
    """With the paper's noise on the last step too: the recursion lands on that limit for S = 1."""
    model = gaussian_model(kind, 1.0)
    sigmas = levels(model, 0.6, steps)
    s = snr(model, sigmas)
    a = process.coefficients(process.model_sampling(model), sigmas)[0]
    v = float(s[0] ** 2)
    for i in range(steps):
        rho = float((1 + s[i + 1] ** 2) / (1 + s[i] ** 2))
        v = rho**2 * v + added_variance(model, "sde_large_vp", sigmas, i) / float(a[i + 1]) ** 2
    s0 = float(s[0])
    assert v == pytest.approx(s0**2 * (2 + s0**2) / (1 + s0**2) ** 2, rel=1e-10)


@pytest.mark.parametrize("kind", FAMILIES)
def test_ends_of_t0(kind: ModelType) -> None:
    """At the prior the guide's share is S^2 / (S^2 + s^2), about 1/200 for SD; near t0 = 0 it is all of it."""
    model = gaussian_model(kind, 1.0)
    guide = torch.full((1, 4, 4, 4), 2.0, dtype=F64)
    sampler = reverse_sde.sampler("sde_small", s_noise=0.0)
    at_prior = run(model, sampler, levels(model, 1.0, 10), torch.zeros_like(guide), guide)
    share = float(at_prior.mean()) / 2.0
    assert share == pytest.approx({ModelType.EPS: 1 / (1 + 14.6146**2), ModelType.FLOW: 0.0}[kind], rel=1e-3)
    near_zero = run(model, sampler, levels(model, 1e-3, 2), torch.zeros_like(guide), guide)
    assert float(near_zero.mean()) == pytest.approx(2.0, abs=5e-3)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ancestral_is_k_diffusions_for_eps_models(eta: float) -> None:
    """The same z gives the same path."""
    model = gaussian_model(ModelType.EPS, 0.8)
    sigmas = levels(model, 0.7, 9)
    guide = torch.full((2, 4, 4, 4), 0.5, dtype=F64)
    draws = noise.step_noise(guide, 4, [0, 1])
    ours = comfy.samplers.KSAMPLER(
        reverse_sde.sample_reverse_sde, {"kind": "ancestral", "eta": eta, "noise_sampler": draws}
    )
    core = comfy.samplers.ksampler("euler_ancestral", {"eta": eta, "noise_sampler": draws})
    n = start_of(guide)
    expected = run(model, core, sigmas, n, guide, mean=0.3)
    torch.testing.assert_close(run(model, ours, sigmas, n, guide, mean=0.3), expected, rtol=1e-12, atol=1e-12)


def test_ddpm_step_equals_the_small_variance_step() -> None:
    """DDPM's mean and beta-tilde, in z = x / sqrt(1 + sigma^2), are the small-variance step."""
    model = gaussian_model(ModelType.EPS, 0.8)
    sigma, sigma_next = torch.tensor(1.7, dtype=F64), torch.tensor(1.2, dtype=F64)
    abar, abar_next = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
    alpha = abar / abar_next
    x, denoised, z = (torch.randn(5, generator=torch.Generator().manual_seed(i), dtype=F64) for i in range(3))
    eps = (x - denoised) / sigma
    mean = (x * abar.sqrt() - (1 - alpha) / (1 - abar).sqrt() * eps) / alpha.sqrt()
    beta_tilde = (1 - abar_next) / (1 - abar) * (1 - alpha)
    expected = (mean + beta_tilde.sqrt() * z) / abar_next.sqrt()
    step = reverse_sde.Step(process.model_sampling(model), sigma, sigma_next)
    ours = reverse_sde.reverse_sde_mean(x, denoised, step) + reverse_sde.small_variance(step).sqrt() * z
    torch.testing.assert_close(ours, expected, rtol=1e-10, atol=1e-10)
    ancestral = reverse_sde.ancestral_step(x, denoised, step, 1.0, z)
    torch.testing.assert_close(ancestral, expected, rtol=1e-10, atol=1e-10)
    beta_vp = reverse_sde.large_vp_variance(step) * abar_next
    torch.testing.assert_close(beta_vp, 1 - alpha, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["ode", "ancestral", *SDE])
def test_one_model_in_three_parameterisations_draws_one_path(kind: str) -> None:
    """VE, VP (z, abar) and flow coordinates of the same model give the same denoised path."""
    eps, flow = gaussian_model(ModelType.EPS, 0.8), gaussian_model(ModelType.FLOW, 0.8)
    ve = levels(eps, 0.7, 8)
    rf = ve / (1 + ve)
    guide = torch.full((1, 4, 4, 4), 0.9, dtype=F64)
    n = start_of(guide)
    draws = [torch.randn(guide.shape, generator=torch.Generator().manual_seed(i), dtype=F64) for i in range(8)]
    paths = {}
    for name, model, sigmas in (("ve", eps, ve), ("flow", flow, rf)):
        fresh = iter(draws)
        options = {"kind": kind, "noise_sampler": lambda s, t, fresh=fresh: next(fresh)}
        sampler = comfy.samplers.KSAMPLER(reverse_sde.sample_reverse_sde, options)
        seen: list[torch.Tensor] = []
        run(model, sampler, sigmas, n, guide, mean=0.3, callback=lambda i, d, x, total, seen=seen: seen.append(d))
        paths[name] = torch.stack(seen)
    torch.testing.assert_close(paths["flow"], paths["ve"], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(vp_path(kind, eps, ve, guide, n, draws), paths["ve"], rtol=1e-9, atol=1e-9)


def vp_path(kind: str, model, sigmas, guide, n, draws) -> torch.Tensor:
    """The same run in the papers' coordinates z = sqrt(abar) x0 + sqrt(1 - abar) n, written from their formulas."""
    abar = 1 / (1 + sigmas**2)
    z, seen = abar[0].sqrt() * guide + (1 - abar[0]).sqrt() * n, []
    for i in range(len(sigmas) - 1):
        denoised = model.model.denoise(z / abar[i].sqrt(), sigmas[i : i + 1], 0.3)
        seen.append(denoised)
        eps = (z - abar[i].sqrt() * denoised) / (1 - abar[i]).sqrt()
        if kind == "ode":
            z = abar[i + 1].sqrt() * denoised + (1 - abar[i + 1]).sqrt() * eps
            continue
        alpha = abar[i] / abar[i + 1]
        beta = 1 - alpha
        variance = {
            "ancestral": (1 - abar[i + 1]) / (1 - abar[i]) * beta,
            "sde_small": (1 - abar[i + 1]) / (1 - abar[i]) * beta,
            "sde_large_vp": beta,
            "sde_large_ve": (sigmas[i] ** 2 - sigmas[i + 1] ** 2) * abar[i + 1],
        }[kind]
        z = (z - beta / (1 - abar[i]).sqrt() * eps) / alpha.sqrt() + variance.sqrt() * draws[i]
    return torch.stack(seen)


@pytest.mark.parametrize("kind", ["ode", "ancestral", *SDE])
def test_flow_prior_is_finite_and_the_last_step_is_the_prediction(kind: str) -> None:
    model = gaussian_model(ModelType.FLOW, 1.0)
    guide = torch.full((1, 4, 8, 8), 3.0, dtype=F64)
    seen: list[torch.Tensor] = []
    out = run(
        model,
        reverse_sde.sampler(kind),
        levels(model, 1.0, 6),
        start_of(guide),
        guide,
        callback=lambda i, d, x, t: seen.append(d),
    )
    assert torch.isfinite(out).all()
    torch.testing.assert_close(out, seen[-1], rtol=0, atol=0 if kind != "ode" else 1e-12)
    assert float(out.abs().max()) < 8, "the guide at 3.0 must be forgotten at t0 = 1 of a flow model"


@pytest.mark.parametrize("kind", FAMILIES)
def test_ode_is_cores_euler_bit_for_bit(kind: ModelType) -> None:
    model = gaussian_model(kind, 0.8)
    sigmas = levels(model, 0.7, 9).float()
    latent, n = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)

    def sample(sampler) -> torch.Tensor:
        return comfy.samplers.sample(
            model, n, cond(0.4), cond(-0.2), 3.0, model.load_device, sampler, sigmas, model.model_options, latent
        )

    core = sample(comfy.samplers.sampler_object("euler"))
    assert torch.equal(sample(reverse_sde.sampler("ode")), core)
    assert not torch.equal(sample(reverse_sde.sampler("sde_small")), core)


@pytest.mark.parametrize("kind", [*FAMILIES, ModelType.V_PREDICTION])
def test_consistency_is_cores_lcm(kind: ModelType) -> None:
    """On its own schedule from the prior, to rounding; and the mean is mu + (g - mu) prod S^2 / (S^2 + s_i^2)."""
    mu, spread, g = -0.4, 0.8, 1.5
    model = gaussian_model(kind, spread)
    sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(model), "simple", 4).to(F64)
    guide = torch.full((2, 4, 4, 4), g, dtype=F64)
    drawn = noise.step_noise(guide, 5, [0, 1])
    lcm = comfy.samplers.ksampler("lcm", {"noise_sampler": drawn})
    ours = run(model, reverse_sde.sampler("consistency"), sigmas, start_of(guide), guide, mu, seed=5)
    theirs = run(model, lcm, sigmas, start_of(guide), guide, mu, seed=5)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    few = sigmas[1:]
    out = run(model, reverse_sde.sampler("consistency", s_noise=0.0), few, torch.zeros_like(guide), guide, mu)
    share = (spread**2 / (spread**2 + snr(model, few[:-1]) ** 2)).prod()
    torch.testing.assert_close(out, mu + share * (guide - mu), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", NOISY)
def test_a_batch_equals_its_singles(family: ModelType, kind: str) -> None:
    model = gaussian_model(family, 0.8)
    sigmas = levels(model, 0.7, 6).float()
    latents = torch.randn(3, 4, 8, 8)

    def sample(latent: dict) -> torch.Tensor:
        n = noise.draw_noise(latent, 77)
        sampler = reverse_sde.sampler(kind)
        return comfy.samplers.sample(
            model, n, cond(0.4), cond(0.0), 1.0, model.load_device, sampler, sigmas, {}, latent["samples"], seed=77
        )

    batch = sample({"samples": latents})
    for i in range(3):
        assert torch.equal(sample({"samples": latents[i : i + 1], "batch_index": [i]})[0], batch[i])


@pytest.mark.parametrize("kind", ["ode", *NOISY])
def test_a_split_schedule_gives_the_same_result_with_the_same_seed(kind: str) -> None:
    model = gaussian_model(ModelType.EPS, 0.8)
    sigmas = levels(model, 0.7, 8)
    guide = torch.full((2, 4, 8, 8), 0.9, dtype=F64)
    n = start_of(guide)
    sampler = reverse_sde.sampler(kind)
    whole = run(model, sampler, sigmas, n, guide, seed=5)
    half = run(model, sampler, sigmas[:5], n, guide, seed=5)
    assert torch.equal(run(model, sampler, sigmas[4:], torch.zeros_like(n), half, seed=5), whole)
