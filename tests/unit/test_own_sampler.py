"""Our SAMPLERs in the hands of nodes that expect core's KSAMPLER: read, changed, copied, wrapped, split."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.k_diffusion import sampling as k_diffusion
from comfy.model_base import ModelType
from comfy.samplers import KSAMPLER
from diffusion_path.samplers import noise as noises
from diffusion_path.samplers import process, reverse_sde
from diffusion_path.samplers.flowedit import FlowEditSampler
from diffusion_path.samplers.inversion.euler import Euler
from diffusion_path.samplers.inversion.run import inverting
from diffusion_path.samplers.masked import MaskedSampler, Original
from diffusion_path.samplers.own_sampler import InsideSampler
from diffusion_path.samplers.record import RecordingSampler, record
from diffusion_path.samplers.solvers import adds_noise
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from torch import Tensor

KINDS = [ModelType.EPS, ModelType.FLOW]
LATENT = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
MASK = torch.linspace(0, 1, 8).expand(2, 1, 8, 8).clone()


def levels(model: Any, steps: int = 6) -> Tensor:
    ms = process.model_sampling(model)
    return torch.tensor([process.t0_to_sigma(ms, 0.6 * (1 - j / steps)) for j in range(steps + 1)])


def sample(model: Any, sampler: Any, mask: Tensor | None = None, seed: int = 7) -> Tensor:
    noise = noises.draw_noise({"samples": LATENT}, seed)
    return comfy.samplers.sample(
        model, noise, cond(0.4), cond(-0.2), 3.0, model.load_device, sampler, levels(model), model.model_options,
        LATENT, mask, seed=seed,
    )  # fmt: skip


def overridden(sampler: Any, **changes: Any) -> KSAMPLER:
    """A node that sets options of any sampler: it reads the function's signature and passes on what that knows."""

    def function(model: Any, x: Tensor, sigmas: Tensor, *args: Any, override: Any, **kwargs: Any) -> Tensor:
        known = inspect.signature(sampler.sampler_function).parameters
        kwargs |= {name: value for name, value in override.items() if name in known}
        return sampler.sampler_function(model, x, sigmas, *args, **kwargs)

    return KSAMPLER(function, sampler.extra_options | {"override": changes}, sampler.inpaint_options.copy())


def in_chunks(sampler: Any) -> KSAMPLER:
    """A node that calls the function step by step."""

    def function(model: Any, x: Tensor, sigmas: Tensor, **kwargs: Any) -> Tensor:
        for i in range(len(sigmas) - 1):
            x = sampler.sampler_function(model, x, sigmas[i : i + 2], **kwargs)
        return x

    return KSAMPLER(function, sampler.extra_options, sampler.inpaint_options)


def veiled(sampler: Any) -> KSAMPLER:
    """A node that changes what the model is told: its stand-in knows the guider and the levels, and nothing more."""

    def function(model: Any, x: Tensor, sigmas: Tensor, **kwargs: Any) -> Tensor:
        def stand_in(x: Tensor, sigma: Tensor, **extra: Any) -> Tensor:
            return model(x, sigma, **extra)

        for name in ("inner_model", "sigmas"):
            setattr(stand_in, name, getattr(model, name))
        return sampler.sampler_function(stand_in, x, sigmas, **kwargs)

    return KSAMPLER(function, sampler.extra_options, sampler.inpaint_options)


INNER: dict[str, Callable[[], Any]] = {
    "euler": lambda: comfy.samplers.sampler_object("euler"),
    "dpmpp_2m": lambda: comfy.samplers.sampler_object("dpmpp_2m"),
    "uni_pc": lambda: comfy.samplers.sampler_object("uni_pc"),
    "sde_small": lambda: reverse_sde.sampler("sde_small"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mask", [None, MASK], ids=["whole", "soft"])
@pytest.mark.parametrize("settings", [("blend",), ("blend", "fresh"), ("threshold",), ("paper",), ("blend", "auto", 2)])
@pytest.mark.parametrize("inner", INNER)
def test_a_wrapped_function_gives_the_sampler_s_own_result(kind: Any, mask: Any, settings: Any, inner: str) -> None:
    model = gaussian_model(kind, 0.8)
    sampler = MaskedSampler(INNER[inner](), *settings)
    assert torch.equal(sample(model, overridden(sampler), mask), sample(model, sampler, mask))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["blend", "threshold", "paper"])
@pytest.mark.parametrize("inner", ["euler", "sde_small"])
def test_a_run_step_by_step_is_the_whole_run(kind: Any, mode: str, inner: str) -> None:
    model = gaussian_model(kind, 0.8)
    sampler = MaskedSampler(INNER[inner](), mode)
    torch.testing.assert_close(sample(model, in_chunks(sampler), MASK), sample(model, sampler, MASK), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["eta", "s_noise"])
def test_options_that_a_node_changes_reach_the_inner_sampler(name: str) -> None:
    model = gaussian_model(ModelType.EPS, 0.8)
    inner = comfy.samplers.sampler_object("euler_ancestral")
    wanted = sample(model, MaskedSampler(comfy.samplers.ksampler("euler_ancestral", {name: 0.3}), "threshold"), MASK)
    sampler = MaskedSampler(inner, "threshold")
    assert torch.equal(sample(model, overridden(sampler, **{name: 0.3}), MASK), wanted)
    changed = copy.copy(sampler)
    changed.extra_options = {**sampler.extra_options, name: 0.3}
    assert torch.equal(sample(model, changed, MASK), wanted)
    sampler.extra_options[name] = 0.3
    assert torch.equal(sample(model, sampler, MASK), wanted)
    assert inner.extra_options == {}


def test_a_function_that_a_node_puts_in_place_is_run() -> None:
    model = gaussian_model(ModelType.EPS, 0.8)
    sampler = MaskedSampler(INNER["dpmpp_2m"](), "threshold")
    sampler.sampler_function = k_diffusion.sample_euler
    assert torch.equal(sample(model, sampler, MASK), sample(model, INNER["euler"](), MASK))


def test_where_the_picture_is_hidden_a_sentence_says_how_to_connect() -> None:
    model = gaussian_model(ModelType.FLOW, 0.8)
    sampler = MaskedSampler(INNER["euler"](), "threshold")
    with pytest.raises(ValueError, match="connect that node's SAMPLER to Masked Reverse SDE"):
        sample(model, veiled(sampler), MASK)
    assert torch.equal(sample(model, veiled(sampler)), sample(model, sampler))
    around = MaskedSampler(veiled(INNER["euler"]()), "threshold")
    assert torch.equal(sample(model, around, MASK), sample(model, sampler, MASK))


@pytest.mark.parametrize("kind", ["ode", "ancestral", "sde_small", "sde_large_vp", "sde_large_ve"])
def test_the_reverse_sde_inside_of_other_nodes(kind: str) -> None:
    model, sampler = gaussian_model(ModelType.FLOW, 0.8), reverse_sde.sampler(kind)
    wanted = sample(model, sampler, MASK)
    for around in (overridden, in_chunks, veiled):
        assert torch.equal(sample(model, around(sampler), MASK), wanted)


@pytest.mark.parametrize(
    "sampler",
    [
        MaskedSampler(comfy.samplers.sampler_object("euler")),
        RecordingSampler(comfy.samplers.sampler_object("euler")),
        FlowEditSampler(),
        InsideSampler(inverting(Euler())),
        reverse_sde.sampler("ode"),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_every_sampler_of_ours_has_the_form_of_cores(sampler: Any) -> None:
    assert isinstance(sampler, KSAMPLER)
    assert callable(sampler.sampler_function)
    assert sampler.sampler_function is not k_diffusion.sample_euler
    assert isinstance(sampler.sampler_function.__name__, str)
    assert isinstance(sampler.extra_options, dict)
    assert isinstance(sampler.inpaint_options, dict)


def test_what_a_masked_sampler_shows_is_its_inner_sampler_s() -> None:
    inner = comfy.samplers.ksampler("dpmpp_2s_ancestral", {"eta": 0.5}, {"random": True})
    sampler = MaskedSampler(inner, "threshold", original=Original())
    assert sampler.sampler_function.__name__ == "sample_dpmpp_2s_ancestral"
    assert inspect.signature(sampler.sampler_function) == inspect.signature(inner.sampler_function)
    assert (sampler.extra_options, sampler.inpaint_options) == ({"eta": 0.5}, {"random": True})
    assert adds_noise(sampler)


@pytest.mark.parametrize("mode", ["blend", "threshold", "paper"])
def test_a_masked_run_is_recorded_under_its_inner_sampler_s_name(mode: str) -> None:
    model = gaussian_model(ModelType.FLOW, 0.8)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(cond(0.4), cond(-0.2))
    noise = noises.draw_noise({"samples": LATENT}, 7)
    sampler = MaskedSampler(comfy.samplers.ksampler("res_multistep_ancestral", {"eta": 0.0}), mode)
    path, made = record(guider, sampler, levels(model), noise, {"samples": LATENT, "noise_mask": MASK}, seed=7)
    guider.set_cfg(1.0)
    wanted = guider.sample(noise, LATENT, sampler, levels(model), MASK, None, True, 7)
    assert torch.equal(made, wanted)
    assert (path.sampler, path.sampler_options) == ("res_multistep_ancestral", {"eta": 0.0})
