"""The exact way back down Euler inversions, and Uni-Inv, against the published loops on the analytic model."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.devtools.direct import call
from diffusion_path.samplers import process, replay
from diffusion_path.samplers.exact_replay import follows
from diffusion_path.samplers.inversion.euler import LABELS, Euler
from diffusion_path.samplers.inversion.fixed_point import FixedPoint
from diffusion_path.samplers.inversion.invert import invert
from diffusion_path.samplers.inversion.negative_prompt import NegativePrompt
from diffusion_path.samplers.inversion.run import Method, inverting
from diffusion_path.samplers.mdp.edit import MDPSettings, edit, find_source
from diffusion_path.samplers.own_sampler import InsideSampler
from diffusion_path.samplers.path import DiffusionPath, model_kind
from diffusion_path.samplers.path_file import load_path, save_path
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.samplers.sigmas import sdedit_sigmas
from diffusion_path.tests.unit.analytic import FAMILIES, bent_model, cond, gaussian_model, run
from diffusion_path.tests.unit.exact_run import F64, sample
from torch import Tensor

SOURCE, TARGET, NULL, SPREAD = 0.75, -0.5, -0.25, 1.25  # exact in float32, as a CONDITIONING carries them
EULER = comfy.samplers.sampler_object("euler")
every_family = pytest.mark.parametrize("kind", FAMILIES)
METHODS = {
    "destination": Euler(),
    "origin": Euler("origin"),
    "derivative": FixedPoint(1),
    "negative prompt": NegativePrompt(),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def picture(batch: int = 2) -> Tensor:
    return torch.randn(batch, 4, 4, 4, generator=torch.Generator().manual_seed(1), dtype=F64) + 0.3


def levels(model: Any, steps: int = 8, t0: float = 0.9) -> Tensor:
    return sdedit_sigmas(process.model_sampling(model), t0, steps, "normal").double()


def exact_path(model: Any, method: Method, sigmas: Tensor, x0: Tensor) -> DiffusionPath:
    """An inversion in float64, where `invert` keeps float32."""
    finding = InsideSampler(inverting(method))
    run(model, finding, sigmas, torch.zeros_like(x0), x0, SOURCE)
    a, b = process.coefficients(process.model_sampling(model), sigmas)
    kept: dict[str, Any] = {name: finding.result[name] for name in ("states", "asked")}
    return DiffusionPath(sigmas, signal=a, noise=b, model=model_kind(model), method="euler", sampler="euler", **kept)


def walked_down(
    model: Any, path: DiffusionPath, positive: float, cfg: float, x: Tensor | None = None, negative: float = NULL
) -> Tensor:
    """Euler with the attached model from a state at the path's first level, in float64."""
    sampling, sigma = process.model_sampling(model), path.sigmas[0]
    x = path.states[0] if x is None else x
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    base, unit = process.perturb(sampling, path.picture, zero, sigma), process.perturb(sampling, zero, one, sigma)
    noise = (x - base) / unit
    attached = replay.attach(model, path)
    return sample(attached, cond(positive), cond(negative), cfg, path.sigmas, noise, path.picture)


@every_family
@pytest.mark.parametrize(
    "method", [Euler(), Euler("origin"), FixedPoint(1)], ids=["destination", "origin", "derivative"]
)
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_the_way_back_is_exact_for_any_number_of_steps(kind: ModelType, method: Method, steps: int) -> None:
    """At cfg 1, and at any cfg with the source prompt on both sides; not without the shift."""
    model, x0 = bent_model(kind, SPREAD), picture()
    path = exact_path(model, method, levels(model, steps), x0)
    torch.testing.assert_close(walked_down(model, path, SOURCE, 1.0), x0, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(walked_down(model, path, SOURCE, 7.5, negative=SOURCE), x0, rtol=1e-11, atol=1e-11)
    plain = walked_down(model, path.replaced(asked=""), SOURCE, 1.0)
    assert float((plain - x0).abs().max()) > 1e-4


def direct_edit(predict: Any, path: DiffusionPath, shown: list[Tensor], cfg: float) -> Tensor:
    """DirectEdit's loop (flow_direct_correction_inv_flux.py), without attention and masks: states of the inversion,
    the difference of what it showed the network to them, and Euler steps of the target from the shifted state.
    """
    x = path.states[0]
    for i in range(path.steps):
        sigma, sigma_next = path.sigmas[i], path.sigmas[i + 1]
        latent = x + (shown[i] - path.states[i])
        guess = [(latent - predict(latent, sigma, mean)) / sigma for mean in (NULL, TARGET)]
        x = x + (sigma_next - sigma) * (guess[0] + cfg * (guess[1] - guess[0]))
    return x


@every_family
def test_an_edit_along_the_path_is_directedit_s(kind: ModelType) -> None:
    model, x0 = bent_model(kind, SPREAD), picture()
    path = exact_path(model, Euler(), levels(model), x0)
    scale = 1 if kind is ModelType.FLOW else ((1 + path.sigmas[:-1] ** 2) / (1 + path.sigmas[1:] ** 2)).sqrt()
    shown = list(path.states[1:] * (torch.ones(path.steps, dtype=F64) * scale).reshape(-1, 1, 1, 1, 1))
    wanted = direct_edit(lambda x, s, m: model.model.denoise(x, s.reshape(1), m), path, shown, 4.0)
    # Float32 buffers of the model's own sampling are what is left of the difference.
    torch.testing.assert_close(walked_down(model, path, TARGET, 4.0), wanted, rtol=1e-9, atol=1e-9)


def uni_inv(velocity: Any, t: Tensor, x: Tensor) -> list[Tensor]:
    """Uni-Inv's loop (UniEdit-Flow, denoise part of edit_uniedit with zero_init). t: rising from 0."""
    states, v = [x], torch.zeros_like(x)
    for t_curr, t_prev in itertools.pairwise(t):
        v = velocity(x + (t_prev - t_curr) * v, t_prev)
        x = x + (t_prev - t_curr) * v
        states.append(x)
    return states


def test_one_iteration_of_a_fixed_point_is_uni_inv() -> None:
    model, x0 = bent_model(ModelType.FLOW, SPREAD), picture()
    sigmas = levels(model)
    model.model.evaluations = 0
    path = exact_path(model, FixedPoint(1), sigmas, x0)
    assert model.model.evaluations == 8

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return (x - model.model.denoise(x, t.reshape(1), SOURCE)) / t

    wanted = torch.stack(uni_inv(velocity, sigmas.flip(0), x0)).flip(0)
    torch.testing.assert_close(path.states, wanted, rtol=1e-12, atol=1e-12)


@every_family
def test_the_last_derivative_is_worth_an_evaluation_per_step(kind: ModelType) -> None:
    """With k iterations, the round trip by plain Euler is better than with Euler's guess and k - 1 of them."""
    model, x0 = gaussian_model(kind, SPREAD), picture()
    sigmas = levels(model, 20)

    def error(method: Method) -> float:
        path = exact_path(model, method, sigmas, x0).replaced(asked="")
        return float((walked_down(model, path, SOURCE, 1.0) - x0).square().mean().sqrt())

    euler, *found = (error(method) for method in (Euler(), FixedPoint(1), FixedPoint(2, 0.0), FixedPoint(3, 0.0)))
    assert found[0] < 0.7 * euler
    assert found[1] < 0.4 * found[0]
    assert found[2] < 0.4 * found[1]


def given(model: Any) -> dict[str, Any]:
    return {"model": model, "positive": cond(SOURCE), "negative": cond(NULL)}


@every_family
@every_method
def test_nodes_reconstruct_to_the_last_digits(kind: ModelType, method: Method) -> None:
    model, latent = bent_model(kind, SPREAD), {"samples": picture().float()}
    cfg = 7.5 if isinstance(method, NegativePrompt) else 1.0
    path = invert(model, (cond(SOURCE), cond(NULL)), latent, levels(model).float(), method)
    assert min(call("DPathReconstruct", **given(model), path=path, cfg=cfg)[1].figures["latent_psnr"]) > 100
    for t0 in (0.9, 0.5, 0.43):  # at the path's start, at one of its levels, between two
        *inputs, attached, _ = call("DPathToSampling", model=model, path=path, t0=t0)
        noise, sigmas, start, sampler = inputs
        guider = comfy.samplers.CFGGuider(attached)
        guider.set_conds(cond(SOURCE), cond(NULL))
        guider.set_cfg(cfg)
        made = guider.sample(noise.generate_noise(start), start["samples"], sampler, sigmas, disable_pbar=True)
        torch.testing.assert_close(made.cpu(), latent["samples"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("label", LABELS)
def test_an_inversion_at_the_edit_s_cfg_is_exact_at_it(label: str) -> None:
    model, latent = bent_model(ModelType.EPS, SPREAD), {"samples": picture().float()}
    chosen = {"method": "euler", "noise_label": label, "guided": True}
    path, report = call(
        "DPathInvert", **given(model), latent=latent, seed=0, t0=0.9, steps=6, scheduler="normal", cfg=7.5,
        method=chosen,
    )  # fmt: skip
    assert "euler: 6 steps, 12 evaluations" in report
    _, walked, text = call("DPathReconstruct", **given(model), path=path, cfg=7.5)
    # A clean picture is asked about at the lowest level, by which its rounding is divided.
    assert min(walked.figures["latent_psnr"]) > (100 if label == "destination" else 70)
    assert "made for cfg" not in text
    assert "; the path was made for cfg 7.5" in call("DPathReconstruct", **given(model), path=path, cfg=4.0)[2]


@every_family
def test_an_edit_that_asks_for_the_source_returns_the_picture(kind: ModelType) -> None:
    model, latent = bent_model(kind, SPREAD), {"samples": picture().float()}
    settings = MDPSettings(schedule=PathSchedule(1.0, 0.0, weight=0.0), steps=8, cfg=1.0, region=None)
    source = find_source(model, cond(SOURCE), cond(NULL), latent, 1, settings)
    assert source.evaluations == 8
    for kind_of_edit in ("noise", "latent", "conditioning", "guidance"):
        again = edit(model, cond(SOURCE), cond(NULL), source, MDPSettings(kind_of_edit, cfg=1.0, region=None))
        torch.testing.assert_close(again.latent["samples"], latent["samples"], rtol=1e-4, atol=1e-4)


def test_other_solvers_and_schedules_sample_as_without_it() -> None:
    model, latent = bent_model(ModelType.EPS, SPREAD), {"samples": picture().float()}
    sigmas = levels(model).float()
    path = invert(model, (cond(SOURCE), cond(NULL)), latent, sigmas, Euler())
    assert follows(path, EULER, sigmas)
    assert follows(path, EULER, torch.tensor([float(sigmas[2]), 0.9 * float(sigmas[2]), float(sigmas[3])]))
    assert not follows(path, EULER, sigmas[::2])
    assert not follows(path, EULER, 1.1 * sigmas)
    assert not follows(path, comfy.samplers.sampler_object("heun"), sigmas)
    assert not follows(path, comfy.samplers.sampler_object("euler_ancestral"), sigmas)
    noise, start = replay.start(model, path)
    found = []
    for chosen in (model, replay.attach(model, path)):
        guider = comfy.samplers.CFGGuider(chosen)
        guider.set_conds(cond(SOURCE), cond(NULL))
        heun = comfy.samplers.sampler_object("heun")
        found.append(guider.sample(noise.generate_noise(start), start["samples"], heun, sigmas, disable_pbar=True))
    assert torch.equal(*found)


def test_what_was_asked_stays_with_the_path_s_own_steps_and_its_file(tmp_path: Path) -> None:
    model, latent = bent_model(ModelType.FLOW, SPREAD), {"samples": picture().float()}
    path = invert(model, (cond(SOURCE), cond(NULL)), latent, levels(model).float(), Euler("origin"))
    assert path.asked == "origin"
    assert path.from_sigma(float(path.sigmas[3])).asked == "origin"
    assert path.from_sigma(0.99 * float(path.sigmas[3])).asked == ""
    save_path(path, tmp_path / "path.safetensors")
    assert load_path(tmp_path / "path.safetensors").asked == "origin"
    assert invert(model, (cond(SOURCE), cond(NULL)), latent, path.sigmas, Euler(exact=False)).asked == ""
