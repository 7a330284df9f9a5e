"""FlowEdit's kin: each is the published loop to rounding, and equal prompts leave the picture as it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.devtools.direct import call
from diffusion_path.nodes.flowedit import described_method
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers import process
from diffusion_path.samplers.flowedit import FlowEditSampler, FlowEditSettings, SourceTargetGuider, flowedit
from diffusion_path.samplers.flowedit_methods import METHODS, FlowAlign, FlowEditMethod, InfEdit, UniEdit
from diffusion_path.samplers.sigmas import sdedit_sigmas
from diffusion_path.tests.unit.analytic import FAMILIES, bent_model, cond
from diffusion_path.tests.unit.exact_run import F64, Float64Guider
from torch import Tensor

SPREAD, A, B, U = 1.25, 0.75, -0.5, 0.25  # exact in float32, as a CONDITIONING carries them
PROMPTS = cond(A), cond(B), cond(U)
SEED = 6
every_family = pytest.mark.parametrize("kind", FAMILIES)
every_method = pytest.mark.parametrize("method", [made() for made in METHODS.values()], ids=METHODS)


class _Guider(Float64Guider, SourceTargetGuider):
    """Float64, with a source."""


def picture(batch: int = 1) -> Tensor:
    return torch.randn(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1), dtype=F64)


def edited(model: Any, x: Tensor, sigmas: Tensor, method: FlowEditMethod, cfgs: tuple[float, float], **options: Any):
    guider = _Guider(model)
    guider.set_conds(cond(options.pop("target", B)), cond(U))
    guider.set_source(cond(A), cfgs[0], method)
    guider.set_cfg(cfgs[1])
    sampler = FlowEditSampler(indices=range(len(x)), **options)
    return guider.sample(torch.zeros_like(x), x, sampler, sigmas, None, disable_pbar=True, seed=SEED)


def fresh(x: Tensor, level: Tensor) -> Tensor:
    """The noise that FlowEdit draws at a level."""
    return noises.step_noise(x, noises.mix_seed(SEED, "draw", 0), range(len(x)))(level, level)


def predictor(model: Any) -> Callable[[Tensor, Tensor, float], Tensor]:
    return lambda x, level, mean: model.model.denoise(x, level.reshape(1), mean)


def flowalign(velocity: Any, sigmas: Tensor, zsrc: Tensor, noise: Any, cfg_scale: float, zeta: float) -> Tensor:
    """The loop of FlowAlign's code (sd3_edit.py, SD3FlowAlign)."""
    xt = zsrc.clone()
    for sigma, sigma_next in itertools.pairwise(sigmas):
        qt = (1 - sigma) * zsrc + sigma * noise(sigma)
        pt = xt + qt - zsrc
        vpc, vpn, vq = velocity(pt, sigma, B), velocity(pt, sigma, A), velocity(qt, sigma, A)
        vp = vpn + cfg_scale * (vpc - vpn)
        xt = xt + (sigma_next - sigma) * (vp - vq) + zeta * (qt - sigma * vq - pt + sigma * vp)
    return xt


def test_flowalign_is_the_published_loop_and_without_its_pull_flowedit_with_the_source_as_negative() -> None:
    model, x = bent_model(ModelType.FLOW, SPREAD), picture(2)
    sigmas, predict = torch.linspace(1, 0, 9, dtype=F64), predictor(model)

    def velocity(x: Tensor, level: Tensor, mean: float) -> Tensor:
        return (x - predict(x, level, mean)) / level

    wanted = flowalign(velocity, sigmas, x, lambda level: fresh(x, level), 7.5, 0.03)
    found = edited(model, x, sigmas, FlowAlign(0.03), (99.0, 7.5))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
    guider = _Guider(model)
    guider.set_conds(cond(B), cond(A))
    guider.set_source(cond(A), 1.0)
    guider.set_cfg(7.5)
    settings: dict[str, Any] = {"disable_pbar": True, "seed": SEED}
    plain = guider.sample(torch.zeros_like(x), x, FlowEditSampler(indices=range(2)), sigmas, None, **settings)
    torch.testing.assert_close(edited(model, x, sigmas, FlowAlign(0.0), (1.0, 7.5)), plain, rtol=1e-10, atol=1e-10)


def test_a_step_shorter_than_flowalign_s_pull_adds_nothing() -> None:
    model, x = bent_model(ModelType.FLOW, SPREAD), picture()
    assert torch.equal(edited(model, x, torch.linspace(1, 0.9, 11, dtype=F64), FlowAlign(0.5), (1.0, 7.5)), x)


def ddcm(eps: Any, signal: Tensor, spread: Tensor, x_0: Tensor, noise: list[Tensor]) -> Tensor:
    """The loop of InfEdit's code (pipeline_ead.py, ddcm_sampler with eta 1) on states signal x_0 + spread noise;
    eps(x, step, target).
    """
    x_s = x_t = signal[0] * x_0 + spread[0] * noise[0]
    pred_x0 = x_0
    for i in range(len(noise)):
        e_s, e_t = eps(x_s, i, A), eps(x_t, i, B)
        pred_x0 = x_0 + ((x_t - x_s) - spread[i] * (e_t - e_s)) / signal[i]
        if i + 1 < len(noise):
            x_t = signal[i + 1] * pred_x0 + spread[i + 1] * noise[i + 1]
            x_s = signal[i + 1] * x_0 + spread[i + 1] * noise[i + 1]
    return pred_x0


@every_family
def test_infedit_is_the_published_loop(kind: ModelType) -> None:
    """In the paper's variance-preserving coordinates, and on a flow's straight line in place of them."""
    model, x = bent_model(kind, SPREAD), picture(2)
    sigmas = sdedit_sigmas(process.model_sampling(model), 0.9, 5, "normal").double()
    scale = 1 / (1 + sigmas**2).sqrt() if kind is ModelType.EPS else torch.ones_like(sigmas)
    signal = scale if kind is ModelType.EPS else 1 - sigmas
    predict = predictor(model)

    def eps(state: Tensor, step: int, mean: float) -> Tensor:
        cfg = {A: 1.0, B: 2.0}[mean]
        own = state / scale[step]
        without, with_prompt = (predict(own, sigmas[step], each) for each in (U, mean))
        denoised = without + cfg * (with_prompt - without)
        return (state - signal[step] * denoised) / (scale * sigmas)[step]

    wanted = ddcm(eps, signal, scale * sigmas, x, [fresh(x, level) for level in sigmas[:-1]])
    torch.testing.assert_close(edited(model, x, sigmas, InfEdit(), (1.0, 2.0)), wanted, rtol=1e-9, atol=1e-9)


def uni_edit(velocity: Any, sigmas: Tensor, img: Tensor, omega: float) -> Tensor:
    """The loop of Uni-Edit's code for Flux (sampling.py, edit_uniedit, the way down), on the cells of a latent and
    for a batch of pictures. img: the state at the first level.
    """
    for t_curr, t_prev in itertools.pairwise(sigmas):
        pred_trg, pred_src = velocity(img, t_curr, B), velocity(img, t_curr, A)
        cfg_component = pred_trg - pred_src
        sub_map = cfg_component.abs().mean(dim=1, keepdim=True)
        low, high = sub_map.amin((1, 2, 3), keepdim=True), sub_map.amax((1, 2, 3), keepdim=True)
        sub_map = (sub_map - low) / (high - low)
        fused_v = sub_map * pred_trg + (1 - sub_map) * pred_src
        img = img + (t_prev - t_curr) * (fused_v + (sub_map + 1) * omega * cfg_component)
    return img


@every_family
def test_the_guidance_of_uni_edit_is_the_published_one(kind: ModelType) -> None:
    """With all steps refined the loop is plain sampling of the noised picture, as Uni-Edit's way down is."""
    model, x = bent_model(kind, SPREAD), picture(2)
    sampling, predict = process.model_sampling(model), predictor(model)
    sigmas = sdedit_sigmas(sampling, 0.8, 6, "normal").double()

    def velocity(x: Tensor, level: Tensor, mean: float) -> Tensor:
        return (x - predict(x, level, mean)) / level

    start = process.perturb(sampling, x, fresh(x, sigmas[0]), sigmas[0], prior=False)
    found = edited(model, x, sigmas, UniEdit(), (1.0, 5.0), refine=6)
    torch.testing.assert_close(found, uni_edit(velocity, sigmas, start, 5.0), rtol=1e-9, atol=1e-9)


@every_family
@every_method
def test_equal_prompts_return_the_picture_bit_for_bit(kind: ModelType, method: FlowEditMethod) -> None:
    model, x = bent_model(kind, SPREAD), picture(2)
    sigmas = sdedit_sigmas(process.model_sampling(model), 0.9, 4, "normal").double()
    for n_avg in (1, 2):
        assert torch.equal(edited(model, x, sigmas, method, (3.0, 3.0), target=A, n_avg=n_avg), x)


@every_family
@every_method
def test_a_batch_is_its_singles_and_the_report_says_what_ran(kind: ModelType, method: FlowEditMethod) -> None:
    model, samples = bent_model(kind, SPREAD), picture(2).float()
    settings = FlowEditSettings(0.8, 4, 1.5, 4.0, refine=1, method=method)
    both, _, evaluations = flowedit(model, *PROMPTS, {"samples": samples}, 5, settings)
    for item in range(2):
        single = {"samples": samples[item : item + 1], "batch_index": [item]}
        assert torch.equal(flowedit(model, *PROMPTS, single, 5, settings)[0]["samples"][0], both["samples"][item])
    each, refining = (3, 2) if method.guided_by_source else (4, 2)
    assert evaluations == 3 * each + refining
    given = {
        "model": model,
        "positive": cond(B),
        "negative": cond(U),
        "source": cond(A),
        "latent": {"samples": samples},
    }
    widgets = {"seed": 5, "start": 0.8, "steps": 4, "source_cfg": 1.5, "cfg": 4.0, "refine": 1}
    made, report = call("DPathFlowEdit", **given, **widgets, method={"method": method.name})
    assert torch.equal(made["samples"], both["samples"])
    assert report.startswith(f"{method.name}, start 0.8: ")
    assert f"4 steps, {evaluations} evaluations" in report
    assert "note:" not in report


def test_methods_are_named_and_flowedit_is_the_default() -> None:
    model, latent = bent_model(ModelType.FLOW, SPREAD), {"samples": picture().float()}
    given = {"model": model, "positive": cond(B), "negative": cond(U), "source": cond(A), "latent": latent, "seed": 1}
    plain = call("DPathFlowEdit", **given, steps=3)[0]["samples"]
    assert torch.equal(call("DPathFlowEdit", **given, steps=3, method={"method": "flowedit"})[0]["samples"], plain)
    with pytest.raises(ValueError, match="no method 'dvrf': choose one of flowedit, flowalign, infedit, uni-edit"):
        described_method({"method": "dvrf"})
    # A negative prompt that has no effect is no fault where the source prompt guides.
    same = {**given, "negative": cond(B), "steps": 3}
    assert "note:" in call("DPathFlowEdit", **same)[1]
    assert "note:" not in call("DPathFlowEdit", **same, method={"method": "uni-edit"})[1]
