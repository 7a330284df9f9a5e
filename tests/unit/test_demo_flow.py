"""The embedded model as a flow: what it predicts and samples is what the noise model does, in other coordinates."""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
import comfy.sample
import comfy.samplers
import pytest
import torch
from diffusion_path.demo.flow import noise_model_inputs, velocity
from diffusion_path.demo.model import FLOW, KINDS, load_demo_model
from diffusion_path.lep.checkpoint import load_predictor
from diffusion_path.lep.families import check_fits
from diffusion_path.lep.predict import predict_map
from diffusion_path.nodes.lep import BUILT_IN_FILES
from diffusion_path.samplers import process
from torch import Tensor


@pytest.fixture(scope="module")
def twins() -> tuple[Any, Any, Any]:
    """The noise model, the flow, and a prompt."""
    with torch.inference_mode():
        noise, clip, _ = load_demo_model()
        prompt = clip.encode_from_tokens_scheduled(clip.tokenize("a landscape, winter, a lake, a red house"))
        return noise, load_demo_model(kind=FLOW)[0], prompt


def _predicted(model: Any, x: Tensor, sigma: Tensor, prompt: Any) -> Tensor:
    return model.model.apply_model(x, sigma, c_crossattn=prompt[0][0].expand(len(x), -1, -1))


def _sampled(model: Any, prompt: Any, noise: Tensor, sigmas: Tensor) -> Tensor:
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(prompt, prompt)
    guider.set_cfg(1.0)
    euler = comfy.samplers.sampler_object("euler")
    return guider.sample(noise, torch.zeros_like(noise), euler, sigmas, disable_pbar=True, seed=0)


def test_every_node_sees_a_flow(twins: Any) -> None:
    noise, flow, _ = twins
    sampling = process.model_sampling(flow)
    assert isinstance(sampling, comfy.model_sampling.CONST)
    assert isinstance(sampling, comfy.model_sampling.ModelSamplingDiscreteFlow)
    assert float(sampling.sigma_max) == 1.0
    assert process.t0_to_sigma(sampling, 0.5) == pytest.approx(sampling.shift / (1 + sampling.shift))
    assert sampling.shift > 1
    kept, found = noise.model.state_dict(), flow.model.diffusion_model.state_dict()
    assert all(torch.equal(value, kept[f"diffusion_model.{key}"]) for key, value in found.items())


def test_the_change_of_variables_is_exact() -> None:
    """In float64, on a state whose picture and noise are known, within the noise model's levels and beyond them."""
    generator, largest = torch.Generator().manual_seed(0), 14.6
    picture, n = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.0, 0.1, 0.5, 0.9, 0.93], dtype=torch.float64).view(5, 1)
    x = (1 - t) * picture + t * n
    shown, sigma = noise_model_inputs(x, t, largest)
    assert (shown - (picture + sigma * n) / (1 + sigma**2).sqrt()).abs().max() < 1e-14
    assert (velocity(x, t, n, largest) - (n - picture)).abs().max() < 1e-13
    pure = torch.ones(5, 1, dtype=torch.float64, requires_grad=True)
    shown, sigma = noise_model_inputs(pure, torch.ones_like(pure), largest)
    assert torch.equal(shown, pure)
    assert sigma.eq(largest).all()
    found = velocity(pure, torch.ones_like(pure), torch.ones_like(pure), largest)
    assert (found - (1 + largest - (1 + largest**2) ** 0.5)).abs().max() < 1e-14
    assert torch.autograd.grad(found.sum(), pure)[0].isfinite().all()


@torch.inference_mode()
def test_it_predicts_what_the_noise_model_does(twins: Any) -> None:
    noise, flow, prompt = twins
    levels = noise.model.model_sampling.sigmas[[3, 200, 600, 999]]
    states = torch.randn(4, 4, 16, 16, generator=torch.Generator().manual_seed(1)) * (1 + levels**2).sqrt().view(
        -1, 1, 1, 1
    )
    t = levels / (1 + levels)
    wanted = _predicted(noise, states, levels, prompt)
    found = _predicted(flow, states * (1 - t).view(-1, 1, 1, 1), t, prompt)
    error = (found - wanted).abs().amax(dim=(1, 2, 3)) / (1 + levels)
    assert error.max() < 2e-5, error
    beyond = _predicted(flow, states / (1 + levels**2).sqrt().view(-1, 1, 1, 1), torch.ones(4), prompt)
    last = levels[-1].expand(4)
    wanted = _predicted(noise, states * ((1 + last**2) / (1 + levels**2)).sqrt().view(-1, 1, 1, 1), last, prompt)
    assert (beyond - wanted).abs().max() < 2e-4


@torch.inference_mode()
def test_an_euler_run_along_the_same_path_gives_the_same_picture(twins: Any) -> None:
    noise, flow, prompt = twins
    sigmas = torch.cat([noise.model.model_sampling.sigmas[[900, 700, 400, 150]], torch.zeros(1)])
    drawn = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    pictures = _sampled(noise, prompt, drawn, sigmas), _sampled(flow, prompt, drawn, sigmas / (1 + sigmas))
    assert (pictures[0] - pictures[1]).abs().max() < 1e-4, (pictures[0] - pictures[1]).abs().max()


@pytest.mark.parametrize("name", sorted(BUILT_IN_FILES))
@torch.inference_mode()
def test_the_shipped_predictors_see_in_a_flow_what_they_see_in_the_noise_model(twins: Any, name: str) -> None:
    predictor, picture = (
        load_predictor(BUILT_IN_FILES[name]),
        torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)),
    )
    seen = []
    for model, sigma in zip(twins[:2], (2.0, 2.0 / 3.0), strict=True):
        check_fits(model, predictor.model, predictor.taps)
        time = process.sigma_to_t0(process.model_sampling(model), sigma)
        seen += predict_map(model, predictor, picture, twins[2], [time], seed=4)
    assert torch.allclose(seen[0], seen[1], atol=1e-3 * float(seen[0].abs().max())), (seen[0] - seen[1]).abs().max()


def test_the_shipped_predictors_fit_every_kind_of_the_demo_model() -> None:
    predictors = [load_predictor(file) for file in BUILT_IN_FILES.values()]
    for kind in KINDS:
        model = load_demo_model(kind=kind)[0]
        for predictor in predictors:
            check_fits(model, predictor.model, predictor.taps)
