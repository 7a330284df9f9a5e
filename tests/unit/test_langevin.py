"""The mask mode langevin: against closed forms on Gaussian data, and everything that every mode promises."""

from __future__ import annotations

import math
from typing import Any

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import langevin, process, reverse_sde
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers.masked import MaskedSampler, Original
from diffusion_path.samplers.solvers import SINGLE_STEP
from diffusion_path.tests.unit.analytic import gaussian_model, run
from diffusion_path.tests.unit.test_masked import F64, half_mask, levels, random, sample, sampled_in_two, soft_mask
from diffusion_path.tests.unit.test_sdedit import edit

FAMILIES = [ModelType.EPS, ModelType.V_PREDICTION, ModelType.FLOW]
MEAN, COUPLING = 0.3, 0.9


def coupled_model(kind: ModelType) -> Any:
    """Data of unit variance in which each pixel of the left half has correlation 0.9 with its mirror image."""
    model = gaussian_model(kind, 1.0)

    def denoise(x: torch.Tensor, sigma: torch.Tensor, mean: Any) -> torch.Tensor:
        a, b = (c.reshape(-1, *[1] * (x.ndim - 1)) for c in process.coefficients(model.model.model_sampling, sigma))
        off = x - a * mean
        # In sum and difference with the mirror image the covariance is diagonal.
        both, other = (off + off.flip(-1)) / 2, (off - off.flip(-1)) / 2
        gains = [a * v / (a**2 * v + b**2) for v in (1 + COUPLING, 1 - COUPLING)]
        return mean + gains[0] * both + gains[1] * other

    model.model.denoise = denoise
    return model


def edited_half(kind: ModelType, mode: str, langevin_steps: int = 5, solver: str = "ode") -> torch.Tensor:
    """The right half of pictures whose left half is 1.7 everywhere, redrawn from noise alone in 20 steps."""
    model = coupled_model(kind)
    guide = torch.zeros(2, 4, 32, 32, dtype=F64)
    guide[..., :16] = 1.7
    sampler = MaskedSampler(reverse_sde.sampler(solver), mode, langevin_steps=langevin_steps)
    sigmas, n = levels(model, 0.98, 20), random(2, 4, 32, 32, seed=1)
    return run(model, sampler, sigmas, n, guide, mean=MEAN, mask=half_mask(2, 32))[..., 16:]


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("solver", ["ode", "ancestral"])
def test_what_is_redrawn_tends_to_its_distribution_given_the_rest(kind: ModelType, solver: str) -> None:
    """The other modes only get half of the way to the mean that the kept pixels imply."""
    mean, variance = MEAN + COUPLING * (1.7 - MEAN), 1 - COUPLING**2
    outs = [edited_half(kind, "langevin", steps, solver) for steps in (0, 1, 5, 20)]
    off = [mean - float(out.mean()) for out in outs]
    assert off[0] > 0.4
    assert off[0] > off[1] > off[2]
    assert off[2] == pytest.approx(0, abs=0.08)
    assert off[3] == pytest.approx(0, abs=0.06)
    assert float(outs[0].var()) > variance + 0.15
    assert float(outs[2].var()) == pytest.approx(variance, abs=0.08)
    torch.testing.assert_close(outs[0], edited_half(kind, "blend", solver=solver), rtol=0, atol=0)


def test_a_long_step_is_repaints_jump() -> None:
    """Kept pixels become a sample around the picture, off by what the network's opinion is off by."""
    u, denoised, picture, z = (random(1, 4, 8, 8, seed=seed) for seed in range(4))
    abar, mask = torch.tensor(0.3, dtype=F64), half_mask(1)
    moved = langevin.langevin_step(u, denoised, picture, mask, abar, z, size=1e6)
    jump = abar.sqrt() * denoised + (1 - abar).sqrt() * z
    assert torch.equal(moved[mask == 1], jump[mask == 1])
    push = langevin.PUSH
    centre = abar.sqrt() * picture + push / (1 + push) * (u - abar.sqrt() * denoised)
    held = centre + ((1 - abar) / (1 + push)).sqrt() * z
    torch.testing.assert_close(moved[mask == 0], held[mask == 0])
    still = langevin.langevin_step(u, denoised, picture, mask, abar, z, size=0.0)
    assert torch.equal(still, u)


@pytest.mark.parametrize("abar", [0.05, 0.5, 0.9])
def test_kept_pixels_that_the_network_agrees_with_stay_around_the_picture(abar: float) -> None:
    """In distribution: the mean is that of the level; the noise is less, because the push is held during a step."""
    share, picture = torch.tensor(abar, dtype=F64), torch.full((1, 4, 128, 128), 0.8, dtype=F64)
    mask, noisy, push = torch.zeros_like(picture), 1 - abar, langevin.PUSH
    u = share.sqrt() * picture + noisy**0.5 * random(1, 4, 128, 128)
    for seed in range(1, 40):
        u = langevin.langevin_step(u, picture, picture, mask, share, random(1, 4, 128, 128, seed=seed))
    held = math.exp(-(1 + push) * langevin.SIZE / noisy)
    kept = held + (1 - held) * push / (1 + push)
    assert float(u.mean()) == pytest.approx(abar**0.5 * 0.8, abs=0.02)
    assert float(u.var()) == pytest.approx(noisy * (1 - held**2) / (1 + push) / (1 - kept**2), rel=0.05)
    assert noisy / 2 < float(u.var()) < noisy


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("mask", [None, half_mask(), soft_mask()], ids=["none", "binary", "soft"])
def test_no_langevin_steps_are_blend_bit_for_bit(kind: ModelType, mask: torch.Tensor | None) -> None:
    model = gaussian_model(kind, 0.8)
    latent: dict[str, Any] = {"samples": random(2, 4, 8, 8, dtype=torch.float32)}
    if mask is not None:
        latent["noise_mask"] = mask[:, :1].float()
    for name in ("euler", "euler_ancestral", "dpmpp_2m"):
        core = comfy.samplers.sampler_object(name)
        ours = MaskedSampler(core, "langevin", langevin_steps=0)
        assert torch.equal(sample(model, ours, levels(model), latent), sample(model, core, levels(model), latent))


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("solver", SINGLE_STEP)
def test_every_single_step_solver_keeps_what_it_should(kind: ModelType, solver: str) -> None:
    """Kept pixels bit for bit, the edited ones finite and different; the same again."""
    model, latent = gaussian_model(kind, 0.8), {"samples": random(2, 4, 8, 8, dtype=torch.float32)}
    mask = half_mask()
    mask[0] = 0
    latent["noise_mask"] = mask[:, :1].float()
    inner = reverse_sde.sampler("sde_small") if solver == "reverse_sde" else comfy.samplers.sampler_object(solver)
    sampler = MaskedSampler(inner, "langevin", repeats=2)
    out = sample(model, sampler, levels(model), latent)
    assert torch.equal(out[mask == 0], latent["samples"][mask == 0])
    assert torch.isfinite(out).all()
    assert (out - latent["samples"])[mask == 1].abs().min() > 0
    assert torch.equal(sample(model, sampler, levels(model), latent), out)


@pytest.mark.parametrize("kind", FAMILIES)
def test_single_steps_are_the_whole_run(kind: ModelType) -> None:
    """A run step by step, without a Langevin step, is the solver's own, also with churn."""
    model, guide, n = gaussian_model(kind, 0.8), random(1, 4, 8, 8), random(1, 4, 8, 8, seed=1)
    sampling, sigmas = process.model_sampling(model), levels(model)
    cores = [comfy.samplers.sampler_object(name) for name in ("euler", "heun", "dpm_2")]
    churned, ours = comfy.samplers.ksampler("heun", {"s_churn": 1.0}), map(reverse_sde.sampler, reverse_sde.KINDS)
    for inner in (*cores, churned, *ours):
        split = langevin.stepwise(inner, lambda x, *_: x, 0, sampling, noises.step_noise(guide, 0, [0]))
        outs = []
        for sampler in (inner, split):
            torch.manual_seed(0)
            outs.append(run(model, sampler, sigmas, n, guide))
        torch.testing.assert_close(outs[1], outs[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("inner", ["sde_small", "euler_ancestral"])
@pytest.mark.parametrize("mask", [half_mask(3), soft_mask(3)], ids=["binary", "soft"])
def test_a_batch_equals_its_singles(kind: ModelType, inner: str, mask: torch.Tensor) -> None:
    model, samples = gaussian_model(kind, 0.8), random(3, 4, 8, 8, dtype=torch.float32)
    solver = reverse_sde.sampler(inner) if inner == "sde_small" else comfy.samplers.sampler_object(inner)
    sampler, mask = MaskedSampler(solver, "langevin", repeats=2), mask[:, :1].float()
    batch = sample(model, sampler, levels(model), {"samples": samples, "noise_mask": mask})
    for i in range(3):
        single = {"samples": samples[i : i + 1], "noise_mask": mask[i : i + 1], "batch_index": [i]}
        assert torch.equal(sample(model, sampler, levels(model), single)[0], batch[i])


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("solver", ["ode", "sde_small"])
def test_a_split_run_gives_the_result_of_the_whole(kind: ModelType, solver: str) -> None:
    model, inner = gaussian_model(kind, 0.8), reverse_sde.sampler(solver)
    sigmas = levels(model).float()
    latent = {"samples": random(2, 4, 8, 8, dtype=torch.float32), "noise_mask": half_mask()[:, :1].float()}
    whole = sample(model, MaskedSampler(inner, "langevin"), sigmas, latent)
    rest = sampled_in_two(model, inner, "langevin", "auto", sigmas, latent)
    torch.testing.assert_close(rest, whole, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_more_of_a_soft_mask_changes_more(kind: ModelType) -> None:
    model, guide = gaussian_model(kind, 0.3), torch.full((8, 4, 32, 8), 2.0, dtype=F64)
    mask = torch.linspace(0, 1, 8, dtype=F64).expand_as(guide)
    sampler = MaskedSampler(reverse_sde.sampler("ode"), "langevin")
    out = run(model, sampler, levels(model), random(*guide.shape), guide, mask=mask)
    change = (guide - out).mean((0, 1, 2))
    assert change[0] == 0
    assert (change.diff() > -0.05).all()  # faint places are pushed off a network that disagrees by far
    assert (change[2:].diff() > 0.05).all()


def test_the_cost_is_known_before_and_the_steps_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    model, sigmas = gaussian_model(ModelType.EPS, 0.8), levels(gaussian_model(ModelType.EPS, 0.8), 0.98, 7)
    counts = langevin.rounds(process.model_sampling(model), sigmas, 5)
    assert counts[0] == 5
    assert counts[-1] == 0
    assert counts == sorted(counts, reverse=True)
    seen = []
    sampler = MaskedSampler(reverse_sde.sampler("ode"), "langevin", repeats=2)
    with caplog.at_level("INFO"):
        run(model, sampler, sigmas, random(1, 4, 8, 8), random(1, 4, 8, 8), mask=soft_mask(1),
            callback=lambda i, d, x, total: seen.append((i, total)))  # fmt: skip
    assert seen == [(i, 14) for i in range(14)]
    assert model.model.evaluations == 2 * (7 + sum(counts))
    assert f"7 steps and {sum(counts)} Langevin steps" in caplog.text


def test_a_cancelled_run_stops_at_the_next_langevin_step() -> None:
    model, calls = gaussian_model(ModelType.EPS, 0.8), []
    denoise = model.model.denoise

    def cancelled(*args: Any) -> torch.Tensor:
        calls.append(1)
        comfy.model_management.interrupt_current_processing(len(calls) == 2)
        return denoise(*args)

    model.model.denoise = cancelled
    sampler = MaskedSampler(reverse_sde.sampler("ode"), "langevin")
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(model, sampler, levels(model, 0.98), random(1, 4, 8, 8), random(1, 4, 8, 8), mask=half_mask(1))
    assert len(calls) == 2


@pytest.mark.parametrize("name", ["dpmpp_2m", "uni_pc", "lms", "heunpp2", "dpm_adaptive"])
def test_solvers_that_remember_are_refused_with_those_that_work(name: str) -> None:
    with pytest.raises(ValueError, match=rf"'{name}' builds on earlier .*Reverse SDE Sampler .*euler_ancestral"):
        MaskedSampler(comfy.samplers.sampler_object(name), "langevin")
    with pytest.raises(ValueError, match="langevin"):
        MaskedSampler(MaskedSampler(comfy.samplers.sampler_object("euler")), "langevin")


def test_an_original_replaces_what_is_kept_of_another_latent() -> None:
    model, sigmas = gaussian_model(ModelType.FLOW, 0.8), levels(gaussian_model(ModelType.FLOW, 0.8)).float()
    original = {"samples": random(2, 4, 8, 8, dtype=torch.float32), "noise_mask": half_mask()[:, :1].float()}
    other = {**original, "samples": random(2, 4, 8, 8, seed=3, dtype=torch.float32)}
    sampler = MaskedSampler(comfy.samplers.sampler_object("euler"), "langevin", original=Original(original, 7, sigmas))
    out = sample(model, sampler, sigmas, other)
    assert torch.equal(out[..., :4], original["samples"][..., :4])


def test_sdedit_reports_what_was_added() -> None:
    model = gaussian_model(ModelType.EPS, 0.8)
    guide = {"samples": random(2, 4, 8, 8, dtype=torch.float32), "noise_mask": half_mask()[:, :1].float()}
    settings = {"solver": "sde_small", "mask_mode": "langevin", "t0": 1.0, "steps": 10, "cfg": 1.0}
    latent, _, text = edit(model, guide, **settings)
    added = int(text.split(" Langevin steps")[0].rsplit(" ", 1)[1])
    assert added > 20
    assert f"10 steps and {added} Langevin steps, {10 + added} evaluations" in text
    assert torch.equal(latent["samples"][..., :4], guide["samples"][..., :4])
    assert "Langevin" not in edit(model, {"samples": guide["samples"]}, **settings)[2]
    assert torch.equal(
        edit(model, guide, **settings, langevin_steps=0)[0]["samples"],
        edit(model, guide, **{**settings, "mask_mode": "blend"})[0]["samples"],
    )
