"""Inversions against closed forms (data N(mu, S^2)) in float64, through ComfyUI's samplers, for eps and flow models."""

from __future__ import annotations

import itertools
import math
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.k_diffusion import sampling as k_diffusion
from comfy.model_base import ModelType
from diffusion_path.nodes.inversion_methods import described_method
from diffusion_path.samplers import process
from diffusion_path.samplers.inversion.controlled import Controlled
from diffusion_path.samplers.inversion.euler import LABELS, Euler
from diffusion_path.samplers.inversion.fixed_point import FixedPoint
from diffusion_path.samplers.inversion.residual import Residual
from diffusion_path.samplers.inversion.run import Method, inverting
from diffusion_path.samplers.own_sampler import InsideSampler
from diffusion_path.samplers.path import make_path
from diffusion_path.samplers.replay import sample_residuals
from diffusion_path.tests.unit.analytic import FAMILIES, gaussian_model, run
from torch import Tensor

F64 = torch.float64
MU, SPREAD, X0 = 0.7, 1.3, 1.234
EULER = comfy.samplers.sampler_object("euler")


def levels(kind: ModelType, steps: int, start: float = 1.0) -> Tensor:
    """Karras' levels from 14.6 to 0.03 and 0, or for flows a line from `start` to 0; float64."""
    if kind is ModelType.EPS:
        karras = k_diffusion.get_sigmas_karras(steps, 0.03, 14.6 * start)
        return torch.cat([karras[:-1].double(), torch.zeros(1, dtype=F64)])
    return torch.linspace(start, 0, steps + 1, dtype=F64)


def invert(model: Any, method: Method, sigmas: Tensor, x0: Tensor, mean: float = MU, **details: Any) -> dict[str, Any]:
    sampler = InsideSampler(inverting(method))
    noise = details.pop("noise", torch.zeros_like(x0))
    assert torch.equal(run(model, sampler, sigmas, noise, x0, mean, **details), x0)
    return sampler.result


def sample(model: Any, sampler: Any, sigmas: Tensor, start: Tensor, mean: float = MU) -> Tensor:
    """Sampling through KSAMPLER from a given state at the first level."""
    zero, one = torch.zeros_like(start), torch.ones_like(start)
    unit = process.perturb(process.model_sampling(model), zero, one, sigmas[0])
    return run(model, sampler, sigmas, start / unit, zero, mean)


def picture(value: float = X0, batch: int = 1) -> Tensor:
    return torch.full((batch, 4, 4, 4), value, dtype=F64)


def varied(batch: int = 1) -> Tensor:
    return torch.randn(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1), dtype=F64) + 0.3


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("label", LABELS)
def test_the_round_trip_of_euler_inversion_is_of_first_order(kind: ModelType, label: str) -> None:
    """Error * N tends to a constant; -1.54 for eps with the level of the state."""
    model = gaussian_model(kind, SPREAD)
    scaled = []
    for steps in (50, 100, 200):
        sigmas = levels(kind, steps)
        start = invert(model, Euler(label), sigmas, picture())["states"][0]
        scaled.append(float((sample(model, EULER, sigmas, start) - picture()).mean()) * steps)
    assert scaled[0] / scaled[1] == pytest.approx(1.0, abs=0.05)
    assert scaled[1] / scaled[2] == pytest.approx(1.0, abs=0.025)
    if kind is ModelType.EPS and label == "origin":
        assert scaled[0] == pytest.approx(-1.54, abs=0.01)


@pytest.mark.parametrize("kind", FAMILIES)
def test_guidance_at_sampling_leaves_an_error_that_no_number_of_steps_removes(kind: ModelType) -> None:
    """Invert at cfg 1, sample at w: error -> (w - 1)(mu_c - mu_u)(1 - S / sqrt(S^2 + sigma_T^2)); flows: a S."""
    model = gaussian_model(kind, SPREAD)
    w, uncond = 3.0, -0.4
    errors = []
    for steps in (200, 400):
        sigmas = levels(kind, steps)
        start = invert(model, Euler(), sigmas, picture())["states"][0]
        out = sample(model, EULER, sigmas, start, uncond + w * (MU - uncond))
        errors.append(float((out - picture()).mean()))
    a, b = process.coefficients(process.model_sampling(model), levels(kind, 2)[0])
    limit = (w - 1) * (MU - uncond) * (1 - float(a) * SPREAD / math.hypot(float(a) * SPREAD, float(b)))
    extrapolated = 2 * errors[1] - errors[0]
    assert extrapolated == pytest.approx(limit, rel=5e-3)
    assert abs(errors[1] - limit) < 0.6 * abs(errors[0] - limit)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("steps", [4, 20])
def test_fixed_point_inversion_is_the_exact_inverse_of_euler(kind: ModelType, steps: int) -> None:
    """The input comes back to the solver's tolerance."""
    model = gaussian_model(kind, SPREAD)
    sigmas = levels(kind, steps)
    x0 = varied(2)
    for method, bound in ((FixedPoint(60, 1e-15), 1e-13), (FixedPoint(10, 1e-6), 1e-5)):
        start = invert(model, method, sigmas, x0)["states"][0]
        assert (sample(model, EULER, sigmas, start) - x0).abs().max() < bound


def test_fixed_point_stops_early_and_item_by_item() -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    sigmas = levels(ModelType.EPS, 20)
    x0 = torch.cat([varied(1), picture(40.0), picture(MU)])
    model.model.evaluations = 0
    together = invert(model, FixedPoint(30, 1e-6), sigmas, x0)["states"]
    assert model.model.evaluations <= 20 * 8
    alone = [invert(model, FixedPoint(30, 1e-6), sigmas, each[None])["states"] for each in x0]
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize("start", [0.5, 1.0])
def test_residuals_bring_the_picture_back_exactly(kind: ModelType, eta: float, start: float) -> None:
    """For any guidance (mean), eta and start; and not without the last residual."""
    model = gaussian_model(kind, SPREAD)
    sigmas = levels(kind, 12, start)
    x0 = varied(2)
    for mean in (MU, 7.5 * MU):
        fields = invert(model, Residual(eta=eta), sigmas, x0, mean)
        path = make_path(model, sigmas, fields["states"], method="residual", sampler="euler", continuous=False)
        path = path.replaced(residuals=fields["residuals"], eta=eta)
        sampler = comfy.samplers.KSAMPLER(sample_residuals, {"path": path})
        out = sample(model, sampler, sigmas, fields["states"][0], mean)
        torch.testing.assert_close(out, x0, rtol=1e-12, atol=1e-12)
        dropped = fields["residuals"].clone()
        dropped[-1] = 0
        sampler = comfy.samplers.KSAMPLER(sample_residuals, {"path": path.replaced(residuals=dropped)})
        assert (sample(model, sampler, sigmas, fields["states"][0], mean) - x0).abs().max() > 1e-3


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("steps", [3, 20])
def test_an_edit_over_residuals_shifts_gaussians_by_a_known_amount(kind: ModelType, steps: int) -> None:
    """Shift = dm s0^2 / (S^2 + s0^2), whatever the steps, the noise and the picture."""
    model = gaussian_model(kind, SPREAD)
    sigmas = levels(kind, steps, 0.6 if kind is ModelType.FLOW else 0.1)
    x0, target = varied(2), 2.5
    shifts = []
    for seed in (0, 9):
        fields = invert(model, Residual(), sigmas, x0, seed=seed)
        path = make_path(model, sigmas, fields["states"], method="residual", sampler="euler", continuous=False)
        path = path.replaced(residuals=fields["residuals"])
        sampler = comfy.samplers.KSAMPLER(sample_residuals, {"path": path})
        shifts.append(sample(model, sampler, sigmas, fields["states"][0], target) - x0)
    s0 = float(process.snr_coordinate(process.model_sampling(model), sigmas[0]))
    wanted = (target - MU) * s0**2 / (SPREAD**2 + s0**2)
    for shift in shifts:
        torch.testing.assert_close(shift, torch.full_like(shift, wanted), rtol=1e-10, atol=1e-10)


def turbo_levels(kind: ModelType) -> Tensor:
    """TurboEdit's four: training steps 800, 600, 400 and 200 of 1000, and the picture."""
    sampling = process.model_sampling(gaussian_model(kind))
    return torch.tensor([process.t0_to_sigma(sampling, t / 1000) for t in (800, 600, 400, 200, 0)], dtype=F64)


def vp_posterior(z: Tensor, denoised: Tensor, abar: Tensor, abar_next: Tensor) -> Tensor:
    """Mean of the DDPM posterior (DDIM with eta 1) as published, in variance-preserving coordinates."""
    eps = (z - abar.sqrt() * denoised) / (1 - abar).sqrt()
    variance = (1 - abar_next) / (1 - abar) * (1 - abar / abar_next)
    return abar_next.sqrt() * denoised + (1 - abar_next - variance).clamp(min=0).sqrt() * eps


def flow_posterior(x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """The same kernel for flows: all coefficients of x = (1 - sigma) x0 + sigma n."""
    noise = (x - (1 - sigma) * denoised) / sigma
    ratio = (sigma_next / (1 - sigma_next)) * ((1 - sigma) / sigma)
    return (1 - sigma_next) * denoised + sigma_next * ratio * noise


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_with_shift_and_clip_it_is_turboedit(kind: ModelType, clip: float) -> None:
    """Every equation written plainly: states told a level above their own, residuals, the last one shrunk, the edit."""
    model, sigmas, x0, target, w = gaussian_model(kind, SPREAD), turbo_levels(kind), varied(2), 2.5, 1.5
    fields = invert(model, Residual(shift=0.2, clip=clip), sigmas, x0)
    plain = invert(model, Residual(), sigmas, x0)["states"]
    eps = kind is ModelType.EPS
    noises = [((plain[i] - (1 if eps else 1 - sigmas[i]) * x0) / sigmas[i]) for i in range(4)]
    # scale: from the paper's coordinates, in which the network is shown its states, to ComfyUI's.
    scale = (1 + sigmas**2).sqrt() if eps else torch.ones_like(sigmas)
    signal, noise = (1 / scale, sigmas / scale) if eps else (1 - sigmas, sigmas)
    z = [signal[i + 1] * x0 + noise[i + 1] * n for i, n in enumerate(noises)] + [x0]

    def mean(state: Tensor, i: int, mu: float) -> Tensor:
        denoised = model.model.denoise(state * scale[i], sigmas[i].expand(2), mu)
        if eps:
            return vp_posterior(state, denoised, signal[i] ** 2, signal[i + 1] ** 2)
        return flow_posterior(state, denoised, sigmas[i], sigmas[i + 1])

    residuals = [z[i + 1] - mean(z[i], i, MU) for i in range(4)]
    if clip:
        rms = residuals[-1].square().mean((1, 2, 3), keepdim=True).sqrt()
        assert bool((rms > clip).all()), "nothing to clip"
        residuals[-1] = residuals[-1] * (clip / rms)
        assert fields["figures"]["last_residual"] == pytest.approx((clip / rms).flatten().tolist(), rel=1e-5)
    for i in range(5):  # training time is found to 4e-8
        torch.testing.assert_close(fields["states"][i], z[i] * scale[i], rtol=1e-6, atol=1e-6)
    for i in range(4):
        torch.testing.assert_close(fields["residuals"][i], residuals[i] * scale[i + 1], rtol=1e-6, atol=1e-6)

    path = make_path(model, sigmas, fields["states"], method="residual", sampler="euler", continuous=False)
    path = path.replaced(residuals=fields["residuals"], eta=1.0)
    sampler = comfy.samplers.KSAMPLER(sample_residuals, {"path": path})
    guided = MU + w * (target - MU)  # of two Gaussians of equal width, D_A + w (D_B - D_A) is a Gaussian's too
    state = z[0]
    for i in range(4):
        state = residuals[i] + mean(state, i, guided)
    edited = sample(model, sampler, sigmas, fields["states"][0], guided)
    torch.testing.assert_close(edited, state, rtol=1e-6, atol=1e-6)
    back = sample(model, sampler, sigmas, fields["states"][0])
    if clip:
        missing = (back - x0).square().mean((1, 2, 3)).sqrt()
        torch.testing.assert_close(missing, rms.flatten() - clip, rtol=1e-5, atol=1e-5)
    else:
        torch.testing.assert_close(back, x0, rtol=1e-12, atol=1e-12)


def test_a_shift_or_clip_out_of_range_is_refused() -> None:
    for wrong in ({"shift": 1.1}, {"shift": -0.1}, {"clip": -1.0}, {"clip": math.inf}):
        with pytest.raises(ValueError, match="give a shift from 0 to 1 and a clip of 0 or more"):
            Residual(**wrong)


def test_residual_states_are_independent_noisings_and_do_not_depend_on_how_they_are_batched() -> None:
    model = gaussian_model(ModelType.EPS, SPREAD)
    sigmas = levels(ModelType.EPS, 12)
    x0 = varied(3)
    model.model.evaluations = 0
    at_once = invert(model, Residual(), sigmas, x0)
    assert model.model.evaluations == 3, "5 levels of 3 items fit into one call"
    singly = invert(model, Residual(at_once=1), sigmas, x0)
    torch.testing.assert_close(at_once["residuals"], singly["residuals"], rtol=1e-12, atol=1e-12)
    noise = (at_once["states"][:-1] - x0) / sigmas[:-1].reshape(-1, 1, 1, 1, 1)
    products = noise.flatten(1) @ noise.flatten(1).T / noise[0].numel()
    torch.testing.assert_close(products, torch.eye(12, dtype=F64), atol=0.35, rtol=0)


@pytest.mark.parametrize("kind", FAMILIES)
def test_full_control_upwards_is_plain_noising_and_none_is_euler(kind: ModelType) -> None:
    """Gamma 1 ends at y1 (flow) or x0 + sigma y1, without a call of the model; gamma 0 is Euler inversion."""
    model = gaussian_model(kind, SPREAD)
    sigmas = levels(kind, 9)
    x0, y1 = varied(2), torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2), dtype=F64)
    model.model.evaluations = 0
    states = invert(model, Controlled(gamma=1.0), sigmas, x0, noise=y1)["states"]
    assert model.model.evaluations == 0
    for sigma, state in zip(sigmas, states, strict=True):
        noised = process.perturb(process.model_sampling(model), x0, y1, sigma, prior=False)
        torch.testing.assert_close(state, noised, rtol=1e-10, atol=1e-10)
    free = invert(model, Controlled(gamma=0.0), sigmas, x0, noise=y1)["states"]
    assert torch.equal(free, invert(model, Euler("origin"), sigmas, x0)["states"])


def rf_inversion(velocity: Any, t: Tensor, x0: Tensor, y1: Tensor, gamma: float, first: float) -> list[Tensor]:
    """The loop of RF-Inversion's code upwards (pipeline_flux_rf_inversion, `invert`), with the time of each sigma.

    Every step asks the network at the time that it starts from, the first one at `first`. t: rising from 0.
    """
    states = [x0]
    for i in range(len(t) - 1):
        y = states[-1]
        u = velocity(y, max(float(t[i]), first))
        u_cond = (y1 - y) / (1 - t[i])
        u_hat = u + gamma * (u_cond - u)
        states.append(y + u_hat * (t[i + 1] - t[i]))
    return states


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.8])
def test_controlled_inversion_of_a_flow_is_the_published_loop(gamma: float) -> None:
    x0, y1 = varied(1), torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(2), dtype=F64)
    sigmas = levels(ModelType.FLOW, 9)
    for shift, clean_is_exact in ((0.0, False), (-5.0, True)):
        model = gaussian_model(ModelType.FLUX, SPREAD, shift=shift)
        lowest = float(process.model_sampling(model).sigma_min)

        def velocity(x: Tensor, t: float, model: Any = model) -> Tensor:
            # At t = 0 a flow of Gaussians moves by y1 - x0 with y1 = 0 on average: the limit of (x - D) / t.
            return -x if t == 0 else (x - model.model.denoise(x, torch.tensor([t], dtype=F64), MU)) / t

        states = invert(model, Controlled(gamma=gamma), sigmas, x0, noise=y1)["states"]
        wanted = rf_inversion(velocity, sigmas.flip(0), x0, y1, gamma, 0.0 if clean_is_exact else lowest)
        torch.testing.assert_close(states.flip(0), torch.stack(wanted), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", [ModelType.EPS, ModelType.V_PREDICTION])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.8])
def test_controlled_inversion_of_eps_and_v_models_is_the_same_loop_on_the_noise(kind: ModelType, gamma: float) -> None:
    """DDIM upwards in the coordinates of diffusers, with eps at the time that a step starts from, pulled to y1."""
    model = gaussian_model(kind, SPREAD)
    sampling = process.model_sampling(model)
    sigmas = levels(ModelType.EPS, 9)
    x0, y1 = varied(1), torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(2), dtype=F64)
    abar = (1 / (1 + sigmas**2)).flip(0)

    def eps(z: Tensor, sigma: Tensor) -> Tensor:
        x = z * (1 + sigma**2).sqrt()
        return (x - model.model.denoise(x, sigma.reshape(1), MU)) / sigma

    z, wanted = x0, [x0]
    for a, above in itertools.pairwise(abar):
        told = ((1 - a) / a).sqrt().clamp(min=float(sampling.sigma_min))
        noise = eps(z, told) + gamma * (y1 - eps(z, told))
        z = above.sqrt() * (z - (1 - a).sqrt() * noise) / a.sqrt() + (1 - above).sqrt() * noise
        wanted.append(z / above.sqrt())
    states = invert(model, Controlled(gamma=gamma), sigmas, x0, noise=y1)["states"]
    torch.testing.assert_close(states.flip(0), torch.stack(wanted), rtol=1e-6, atol=1e-6)


def test_pull_towards_the_picture_ends_where_it_should() -> None:
    method = Controlled(eta=0.8, stop=0.5)
    assert method.control(4).tolist() == pytest.approx([0.8, 0.8, 0.0, 0.0])
    assert Controlled(eta=0.8, stop=0.5, trend="falling").control(4).tolist() == pytest.approx([0.8, 0.4, 0.0, 0.0])
    assert Controlled(eta=0.8, stop=0.0).control(4).sum() == 0


def test_a_prompt_may_leave_out_what_a_method_does_not_need() -> None:
    assert described_method({"method": "residual", "eta": 0.5, "shift": None, "clip": None}) == Residual(eta=0.5)
