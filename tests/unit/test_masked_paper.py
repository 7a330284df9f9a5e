"""Mode ``paper`` of the keep region against the paper's algorithms and the official code's loop, written plainly."""

from __future__ import annotations

from typing import Any

import comfy.conds
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers import process, reverse_sde
from diffusion_path.samplers.masked import MaskedSampler
from diffusion_path.tests.unit.analytic import GaussianModel, gaussian_model, run
from diffusion_path.tests.unit.test_masked import F64, half_mask, levels, random, sample, soft_mask

VP = [ModelType.EPS, ModelType.V_PREDICTION]


def algorithm_3(denoise: Any, sigmas, guide, omega, draws) -> torch.Tensor:
    """Algorithm 3 of the paper (VE with a mask) for one repeat, from its text. draws[0] is the noise at sigma(t0)."""
    x = guide + sigmas[0] * draws[0]
    for sigma, sigma_next, z in zip(sigmas[:-1], sigmas[1:], draws[1:], strict=True):
        score = (denoise(x, sigma) - x) / sigma**2
        e2 = sigma**2 - sigma_next**2
        x = (1 - omega) * (guide + sigma * z) + omega * (x + e2 * score + e2.sqrt() * z)
    return x


def algorithm_5(eps: Any, a, guide, omega, draws) -> torch.Tensor:
    """Algorithm 5 of the paper (VP with a mask) for one repeat, from its text. a: the alpha(t) of every level, rising
    from alpha(t0) to 1; beta(t) dt = 1 - alpha(t) / alpha(t - dt).
    """
    x = a[0].sqrt() * guide + (1 - a[0]).sqrt() * draws[0]
    for alpha, alpha_next, z in zip(a[:-1], a[1:], draws[1:], strict=True):
        beta = 1 - alpha / alpha_next
        score = -eps(x, alpha) / (1 - alpha).sqrt()
        step = (x + beta * score) / (1 - beta).sqrt() + beta.sqrt() * z
        x = (1 - omega) * (alpha.sqrt() * guide + (1 - alpha).sqrt() * z) + omega * step
    return x


def official_code(eps: Any, a, guide, omega, e, draws) -> torch.Tensor:
    """The loop of ermongroup/SDEdit, runners/image_editing.py (fixedsmall), for one repeat.

    a: the alphas_cumprod of every level, rising to the first one of training. Its mask is 1 where it keeps.
    """
    x = guide * a[0].sqrt() + e * (1.0 - a[0]).sqrt()
    for i, (level, z) in enumerate(zip(a, draws, strict=True)):
        last = i + 1 == len(a)
        before = torch.ones_like(level) if last else a[i + 1]
        alpha = level / before
        beta = 1 - alpha
        mean = 1 / alpha.sqrt() * (x - beta / (1 - level).sqrt() * eps(x, level))
        x_ = mean + (0 if last else (beta * (1 - before) / (1 - level)).sqrt()) * z
        x = guide * level.sqrt() + e * (1.0 - level).sqrt()
        x[omega == 1] = x_[omega == 1]
    return x


def official_code_of_a_flow(velocity: Any, t, guide, omega, e, draws) -> torch.Tensor:
    """The same loop with a flow's forward process (1 - t) x0 + t e, and DDPM's posterior between its levels."""
    x = (1 - t[0]) * guide + t[0] * e
    for level, below, z in zip(t[:-1], t[1:], draws, strict=True):
        clean = x - level * velocity(x, level)
        snr, snr_below = ((1 - each) ** 2 / each**2 for each in (level, below))
        kept = snr / snr_below  # (s' / s)^2 of s = t / (1 - t)
        mean = (1 - below) * (kept * x / (1 - level) + (1 - kept) * clean)
        x_ = mean + below * (1 - kept).sqrt() * z
        x = (1 - level) * guide + level * e
        x[omega == 1] = x_[omega == 1]
    return x


def mixing_model(kind: ModelType, **settings: Any) -> Any:
    """A model that looks at the pixel beside each one, so that what it is shown of kept pixels matters elsewhere."""
    model = gaussian_model(kind, 0.8, **settings)
    alone = model.model.denoise
    model.model.denoise = lambda x, sigma, mean: alone(0.6 * x + 0.4 * x.roll(1, -1), sigma, mean)
    return model


def predicted_noise(model: Any) -> Any:
    """The network as eps of VP states y with alphas_cumprod a: x = y sqrt(1 + sigma^2), sigma^2 = (1 - a) / a."""

    def eps(y: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        sigma = ((1 - a) / a).sqrt()
        x = y * (1 + sigma**2).sqrt()
        return (x - model.model.denoise(x, sigma.reshape(1), 0.3)) / sigma

    return eps


@pytest.mark.parametrize("kind", VP)
def test_paper_mode_is_algorithm_5_to_the_letter(kind: ModelType) -> None:
    model = mixing_model(kind)
    sigmas, guide, omega = levels(model, 0.5, 12), random(1, 4, 8, 8), half_mask(1)
    n = random(1, 4, 8, 8, seed=1)
    step = noises.step_noise(guide, 9, [0])
    draws = [n, *(step(s, s) for s in sigmas[:-1])]
    expected = algorithm_5(predicted_noise(model), 1 / (1 + sigmas**2), guide, omega, draws)
    sampler = MaskedSampler(reverse_sde.sampler("sde_large_vp", last_noise=True), "paper")
    out = run(model, sampler, sigmas, n, guide, mean=0.3, mask=omega, seed=9)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


def test_paper_mode_is_algorithm_3_to_the_letter_for_a_network_of_ve_states() -> None:
    model = mixing_model(ModelType.EPS)
    model.model.model_sampling.calculate_input = lambda sigma, x: x
    sigmas, guide, omega = levels(model, 0.5, 12), random(1, 4, 8, 8), half_mask(1)
    n = random(1, 4, 8, 8, seed=1)
    step = noises.step_noise(guide, 9, [0])
    draws = [n, *(step(s, s) for s in sigmas[:-1])]
    expected = algorithm_3(lambda x, s: model.model.denoise(x, s.reshape(1), 0.3), sigmas, guide, omega, draws)
    sampler = MaskedSampler(reverse_sde.sampler("sde_large_ve", last_noise=True), "paper")
    out = run(model, sampler, sigmas, n, guide, mean=0.3, mask=omega, seed=9)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", VP)
@pytest.mark.parametrize("stride", [1, 20], ids=["every level", "one of 20"])
def test_paper_mode_with_fixed_noise_is_the_official_code(kind: ModelType, stride: int) -> None:
    """Edited pixels and kept ones, which end too noisy and scaled by sqrt(alpha) of the last level, as there."""
    model = mixing_model(kind, beta_schedule="linear", linear_start=1e-4**0.5, linear_end=0.02**0.5)
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=F64)).cumprod(0)[: 200 if stride == 1 else 800 : stride].flip(0)
    sigmas = torch.cat([((1 - abar) / abar).sqrt(), torch.zeros(1, dtype=F64)])
    guide, omega, n = random(1, 4, 8, 8), half_mask(1), random(1, 4, 8, 8, seed=1)
    step = noises.step_noise(guide, 9, [0])
    draws = [step(s, s) for s in sigmas[:-1]]
    expected = official_code(predicted_noise(model), abar, guide, omega, n, draws)
    sampler = MaskedSampler(reverse_sde.sampler("sde_small"), "paper", "fixed")
    out = run(model, sampler, sigmas, n, guide, mean=0.3, mask=omega, seed=9)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)
    kept = abar[-1].sqrt() * guide + (1 - abar[-1]).sqrt() * n
    torch.testing.assert_close(out[omega == 0], kept[omega == 0], rtol=1e-12, atol=1e-12)
    assert float((out - abar[-1].sqrt() * guide)[omega == 0].std()) == pytest.approx(0.0100, rel=0.15)
    clean = run(model, MaskedSampler(reverse_sde.sampler("sde_small")), sigmas, n, guide, mask=omega, seed=9)
    assert float((clean - guide)[omega == 0].abs().max()) < 1e-12


def test_paper_mode_repeats_as_the_official_code_does() -> None:
    """Each repeat starts from the result so far where it may be edited, from the original elsewhere, with new noise."""
    model = mixing_model(ModelType.EPS)
    sigmas, guide, omega, n = levels(model, 0.5, 6), random(1, 4, 8, 8), half_mask(1), random(1, 4, 8, 8, seed=1)
    sampler = MaskedSampler(reverse_sde.sampler("sde_small"), "paper", "fixed", repeats=3)
    out = run(model, sampler, sigmas, n, guide, mean=0.3, mask=omega, seed=9)
    x0, seed = guide.clone(), 9
    for repeat in range(3):
        if repeat:
            seed = noises.mix_seed(9, "repeat", repeat)
            n = noises.draw_noise({"samples": guide.float(), "batch_index": [0]}, seed).to(F64)
        step = noises.step_noise(guide, seed, [0])
        draws = [step(s, s) for s in sigmas[:-1]]
        x = official_code(predicted_noise(model), 1 / (1 + sigmas[:-1] ** 2), x0, omega, n, draws)
        x0[omega == 1] = x[omega == 1]
    torch.testing.assert_close(out, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_paper_mode_with_fixed_noise_is_the_official_codes_equation_for_flows(shift: float) -> None:
    model = mixing_model(ModelType.FLOW, shift=shift)
    sigmas, guide, omega = levels(model, 0.7, 12), random(1, 4, 8, 8), half_mask(1)
    n, step = random(1, 4, 8, 8, seed=1), noises.step_noise(guide, 9, [0])
    draws = [step(s, s) for s in sigmas[:-1]]
    velocity = lambda x, t: (x - model.model.denoise(x, t.reshape(1), 0.3)) / t  # noqa: E731
    expected = official_code_of_a_flow(velocity, sigmas, guide, omega, n, draws)
    sampler = MaskedSampler(reverse_sde.sampler("sde_small"), "paper", "fixed")
    out = run(model, sampler, sigmas, n, guide, mean=0.3, mask=omega, seed=9)
    torch.testing.assert_close(out, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [(kind, {}) for kind in (ModelType.EPS, ModelType.V_PREDICTION, ModelType.FLOW, ModelType.FLUX)]
    + [(ModelType.EDM, {"sigma_data": 0.5, "sigma_max": 80.0, "sigma_min": 0.002})],
    ids=["eps", "v", "flow", "flux", "edm"],
)
def test_in_paper_mode_a_network_is_shown_kept_pixels_as_at_the_level_before(kind: ModelType, settings: dict) -> None:
    model = gaussian_model(kind, 0.8, **settings)
    sampling = process.model_sampling(model)
    sigmas, guide, n = levels(model, 0.6, 8), random(1, 4, 8, 8), random(1, 4, 8, 8, seed=1)
    shown, alone = [], model.model.denoise

    def looked_at(x: torch.Tensor, sigma: torch.Tensor, mean: float) -> torch.Tensor:
        shown.append(sampling.calculate_input(sigma, x))
        return alone(x, sigma, mean)

    model.model.denoise = looked_at
    sampler = MaskedSampler(reverse_sde.sampler("ode"), "paper", "fixed")
    run(model, sampler, sigmas, n, guide, mask=torch.zeros_like(guide))
    for level, seen in zip([sigmas[0], *sigmas[:-2]], shown, strict=True):
        state = sampling.calculate_input(level.reshape(1), process.perturb(sampling, guide, n, level, prior=False))
        torch.testing.assert_close(seen, state, rtol=1e-10, atol=1e-10)


def test_paper_mode_on_a_flow_model_leaves_the_last_levels_noise() -> None:
    model = gaussian_model(ModelType.FLOW, 0.8)
    sigmas, guide, mask = levels(model, 0.5, 10), random(1, 4, 16, 16), half_mask(1, 16)
    out = run(
        model,
        MaskedSampler(reverse_sde.sampler("sde_small"), "paper"),
        sigmas,
        random(1, 4, 16, 16, seed=1),
        guide,
        mask=mask,
    )
    residue = (out - (1 - sigmas[-2]) * guide)[mask == 0]
    assert float(residue.std()) == pytest.approx(float(sigmas[-2]), rel=0.15)


class CleanPlaces(GaussianModel):
    """As the video models that core shows clean kept places, with a time for each place made of the run's mask."""

    seen: list[Any]

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        found = super().extra_conds(**kwargs)
        return {**found, "denoise_mask": comfy.conds.CONDRegular(kwargs["denoise_mask"])}

    def scale_latent_inpaint(self, sigma, noise, latent_image, **kwargs):
        return latent_image

    def _apply_model(self, x, t, c_concat=None, c_crossattn=None, control=None, options=None, denoise_mask=None):
        self.seen.append((float(t[0]), x, denoise_mask))
        return super()._apply_model(x, t, c_crossattn=c_crossattn)


@pytest.mark.parametrize("mode", ["paper", "threshold", "blend"])
def test_models_of_clean_kept_places_are_shown_them_clean_and_told_the_mask_in_force(mode: str) -> None:
    model = gaussian_model(ModelType.FLOW, 0.8)
    model.model.__class__, model.model.seen = CleanPlaces, []
    samples, mask = random(1, 4, 8, 8, dtype=torch.float32), soft_mask(1).float()
    sigmas = levels(model, 0.6, 6).float()
    sampler = MaskedSampler(reverse_sde.sampler("sde_small"), mode, "fixed")
    out = sample(model, sampler, sigmas, {"samples": samples, "noise_mask": mask[:, :1]})
    sampling = process.model_sampling(model)
    start = process.sigma_to_t0(sampling, float(sigmas[0]))
    for sigma, x, told in model.model.seen:
        share = process.sigma_to_t0(sampling, sigma) / start
        in_force = {"paper": mask >= 0.5, "threshold": (mask > 0) & (mask >= share - 1e-5), "blend": mask}[mode]
        assert torch.equal(told[:1], in_force.to(told))
        clean = in_force == 0
        assert torch.equal(x[:1][clean], samples[clean])
    kept = mask < (0.5 if mode == "paper" else 1e-9)
    torch.testing.assert_close(out[kept], samples[kept], rtol=0, atol=1e-6)
