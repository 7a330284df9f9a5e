"""The path as a value: levels, predictions, interpolation, and what it refuses."""

from __future__ import annotations

import math

import comfy.latent_formats
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import path_fit, process
from diffusion_path.samplers.path import DiffusionPath, make_path, model_kind
from diffusion_path.samplers.path_check import check_falling
from diffusion_path.tests.unit.analytic import FAMILIES, gaussian_model
from torch import Tensor

MU, SPREAD = 0.7, 1.3


def exact_path(kind: ModelType, steps: int = 10, shape: tuple[int, ...] = (2, 4, 4, 4), **details) -> DiffusionPath:
    """The exact probability-flow path of the Gaussian model: (x - a mu) / sqrt(a^2 S^2 + b^2) is constant."""
    model = gaussian_model(kind, SPREAD)
    sampling = process.model_sampling(model)
    sigmas = torch.tensor([process.t0_to_sigma(sampling, 0.9 * (1 - j / steps)) for j in range(steps + 1)])
    return make_path(model, sigmas, exact_states(model, sigmas, shape), method="euler", sampler="euler", **details)


def exact_states(model, sigmas: Tensor, shape: tuple[int, ...]) -> Tensor:
    unit = torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    a, b = process.coefficients(process.model_sampling(model), sigmas.double())
    levels = [a[i] * MU + unit * torch.sqrt((a[i] * SPREAD) ** 2 + b[i] ** 2) for i in range(len(sigmas))]
    return torch.stack(levels)


def euler_path(kind: ModelType, steps: int = 10) -> tuple[DiffusionPath, Tensor]:
    """A path of Euler steps with the exact denoiser, and the denoiser's predictions."""
    model = gaussian_model(kind, SPREAD)
    sampling = process.model_sampling(model)
    sigmas = torch.tensor([process.t0_to_sigma(sampling, 0.9 * (1 - j / steps)) for j in range(steps + 1)]).double()
    states, predictions = [exact_states(model, sigmas[:1], (2, 4, 4, 4))[0]], []
    for i in range(steps):
        x = states[-1]
        predictions.append(model.model.denoise(x, sigmas[i].repeat(2), MU))
        states.append(x + (x - predictions[-1]) / sigmas[i] * (sigmas[i + 1] - sigmas[i]))
    path = make_path(model, sigmas, torch.stack(states), method="recorded", sampler="euler")
    return path, torch.stack(predictions).float()


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_path_of_euler_steps_implies_its_predictions_and_noise(kind: ModelType) -> None:
    path, predictions = euler_path(kind)
    for step in range(path.steps):
        torch.testing.assert_close(path.prediction(step), predictions[step], rtol=1e-4, atol=1e-4)
        rebuilt = path.signal[step] * path.prediction(step) + path.noise[step] * path.predicted_noise(step)
        torch.testing.assert_close(rebuilt, path.states[step], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", FAMILIES)
def test_states_at_the_levels_are_exact_and_between_them_close(kind: ModelType) -> None:
    model = gaussian_model(kind, SPREAD)
    errors = []
    for steps in (10, 20, 40):
        path = exact_path(kind, steps)
        assert all(torch.equal(path.at(float(s)), path.states[i]) for i, s in enumerate(path.sigmas))
        middles = (path.sigmas[1:] + path.sigmas[:-1]) / 2
        exact = exact_states(model, middles, path.shape).float()
        found = torch.stack([path.at(float(s)) for s in middles])
        scale = torch.hypot(path.signal, path.noise)[:-1]
        rms = (found - exact).flatten(1).square().mean(1).sqrt() / scale
        estimates = torch.tensor([path.interpolation_error(float(s)) for s in middles])
        assert bool((rms[1:-1] < 2 * estimates[1:-1] + 1e-5).all()), "the estimate must not be far too small"
        errors.append(float(rms.max()))
    assert errors[1] < errors[0] / 2
    assert errors[2] < errors[1] / 2


def test_five_dimensional_latents_and_batches() -> None:
    path = exact_path(ModelType.FLOW, shape=(3, 4, 2, 4, 4))
    assert path.shape == (3, 4, 2, 4, 4)
    assert path.at(0.3).shape == path.shape
    still = exact_path(ModelType.FLOW, shape=(3, 4, 1, 4, 4))
    assert path_fit.check_path_fits(still, latent={"samples": torch.zeros(3, 4, 4, 4)}) == ""


def test_a_path_resumed_at_a_level_or_between_two() -> None:
    path = exact_path(ModelType.EPS, 10, control=torch.arange(10.0), null={"c_crossattn": torch.rand(10, 1, 3, 5)})
    rest = path.from_sigma(float(path.sigmas[3]))
    assert torch.equal(rest.states, path.states[3:])
    assert rest.control is not None
    assert torch.equal(rest.control, torch.arange(3.0, 10.0))
    assert torch.equal(rest.null["c_crossattn"], path.null["c_crossattn"][3:])
    between = float(path.sigmas[3] + path.sigmas[4]) / 2
    rest = path.from_sigma(between)
    assert rest.steps == 7
    assert torch.equal(rest.states[0], path.at(between))
    assert torch.equal(rest.states[1:], path.states[4:])
    assert rest.control is not None
    assert rest.control[0] == 3.0
    with pytest.raises(ValueError, match="so no steps are left"):
        path.from_sigma(0.0)


def test_distance_to_a_path_on_another_schedule_is_its_interpolation_error() -> None:
    coarse, fine = exact_path(ModelType.EPS, 20), exact_path(ModelType.EPS, 40)
    assert path_fit.drift(coarse, coarse).max() == 0
    apart = path_fit.drift(coarse, fine)
    assert apart.shape == (41, 2)
    assert 0 < apart.max() < 0.02
    resampled = coarse.at_levels(fine.sigmas)
    torch.testing.assert_close(path_fit.drift(resampled, fine), apart)


def test_latent_psnr_uses_the_range_of_each_item() -> None:
    reference = torch.stack([torch.linspace(0, 1, 16), torch.linspace(0, 10, 16)])
    values = path_fit.latent_psnr(reference, reference + torch.tensor([[0.1], [0.0]]))
    assert values[0] == pytest.approx(20.0, abs=1e-4)
    assert values[1] == math.inf


def test_latent_psnr_of_flat_latents_is_that_of_a_range_of_1() -> None:
    """A single colour has no range of its own, and one that is nearly flat has none to speak of."""
    flat = torch.stack([torch.full((16,), 3.0), torch.linspace(0, 1e-3, 16), torch.zeros(16)])
    assert path_fit.latent_psnr(flat, flat + 0.01) == pytest.approx((40.0, 40.0, 40.0), abs=1e-3)
    assert path_fit.latent_psnr(flat, flat) == (math.inf, math.inf, math.inf)


def test_model_kind_tells_families_predictions_and_formats_apart() -> None:
    kinds = {model_kind(gaussian_model(kind)) for kind in (ModelType.EPS, ModelType.V_PREDICTION, ModelType.FLOW)}
    kinds.add(model_kind(gaussian_model(ModelType.EPS, latent_format=comfy.latent_formats.SDXL())))
    assert len(kinds) == 4


def test_latents_are_decoded_without_the_model() -> None:
    for form in (comfy.latent_formats.SDXL(), comfy.latent_formats.Flux(), comfy.latent_formats.Wan21()):
        video = form.latent_dimensions == 3
        model = gaussian_model(ModelType.FLOW, latent_format=form)
        shape = (1, form.latent_channels, *([2] if video else []), 4, 4)
        state = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        path = make_path(model, torch.tensor([0.5, 0.0]), torch.stack([state, state]), method="euler", sampler="euler")
        torch.testing.assert_close(path.to_vae(state), process.latent_out(model, state), rtol=1e-4, atol=1e-4)


def test_wrong_models_latents_and_schedules_are_refused_with_a_sentence() -> None:
    path = exact_path(ModelType.EPS)
    model = gaussian_model(ModelType.EPS, SPREAD)
    assert path_fit.check_path_fits(path, model, {"samples": torch.zeros(path.shape)}, path.sigmas) == ""
    with pytest.raises(ValueError, match="but the model is .*CONST"):
        path_fit.check_path_fits(path, gaussian_model(ModelType.FLOW))
    with pytest.raises(ValueError, match=r"holds latents of \[2, 4, 4, 4\].*make the path at this resolution"):
        path_fit.check_path_fits(path, latent=torch.zeros(2, 4, 8, 4))
    with pytest.raises(ValueError, match="holds 2 pictures, but the latent 3"):
        path_fit.check_path_fits(path, latent=torch.zeros(3, 4, 4, 4))
    with pytest.raises(ValueError, match="but the path only from"):
        path_fit.check_path_fits(path, sigmas=torch.tensor([99.0, 1.0, 0.0]))
    with pytest.raises(ValueError, match="has no state at"):
        path.at(99.0)
    note = path_fit.check_path_fits(path, sigmas=torch.tensor([float(path.sigmas[2]), 0.5, 0.0]))
    assert "interpolated at 1 of 3 noise levels" in note
    with pytest.raises(ValueError, match="defined only at its own noise levels"):
        path_fit.check_path_fits(path.replaced(continuous=False), sigmas=torch.tensor([1.0, 0.5, 0.0]))
    with pytest.raises(ValueError, match="defined only at its own 11 noise levels"):
        path.replaced(continuous=False).at(0.5)


def test_empty_rising_and_non_finite_paths_are_refused_with_a_sentence() -> None:
    path = exact_path(ModelType.EPS)
    with pytest.raises(ValueError, match="0 noise levels"):
        check_falling(torch.empty(0))
    with pytest.raises(ValueError, match="must fall from step to step, but level 3"):
        check_falling(torch.tensor([3.0, 1.0, 2.0, 0.0]))
    with pytest.raises(ValueError, match="path is empty"):
        path.replaced(sigmas=path.sigmas[:1], states=path.states[:1], signal=path.signal[:1], noise=path.noise[:1])
    broken = path.states.clone()
    broken[4, 0, 0, 0, 0] = math.nan
    with pytest.raises(ValueError, match=r"not finite from noise level .*1 values"):
        path.replaced(states=broken)
    with pytest.raises(ValueError, match="residuals are"):
        path.replaced(residuals=path.states)
