"""Recording: any sampler and guider, the result untouched, the states where they belong."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from comfy_extras import nodes_custom_sampler as core
from diffusion_path.samplers import process
from diffusion_path.samplers.masked import MaskedSampler
from diffusion_path.samplers.record import RecordingSampler, record
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from torch import Tensor

MEAN, SPREAD, CFG = 0.7, 1.3, 3.0
OWN_LEVELS = ("dpm_fast", "dpm_adaptive")
ODE = (
    "euler", "ddim", "heun", "heunpp2", "exp_heun_2_x0", "dpm_2", "lms", "dpmpp_2m", "ipndm", "ipndm_v", "deis",
    "res_multistep", "gradient_estimation", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
# cfg_pp solvers do not step along their own prediction.
OTHERS = sorted(set(comfy.samplers.SAMPLER_NAMES) - set(ODE) - set(OWN_LEVELS))


def guider(model: Any, cfg: float = CFG) -> comfy.samplers.CFGGuider:
    made = comfy.samplers.CFGGuider(model)
    made.set_conds(cond(MEAN), cond(0.0))
    made.set_cfg(cfg)
    return made


def schedule(kind: ModelType, model: Any, steps: int = 20) -> Tensor:
    name = "simple" if kind is ModelType.FLOW else "karras"
    return comfy.samplers.calculate_sigmas(process.model_sampling(model), name, steps)


def both(kind: ModelType, sampler: Any, steps: int = 20, mask: Tensor | None = None) -> tuple[Any, Tensor, Tensor]:
    """The path, and the samples with and without recording."""
    model = gaussian_model(kind, SPREAD)
    sigmas = schedule(kind, model, steps)
    latent = torch.full((2, 4, 8, 8), 0.4)
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(3))
    torch.manual_seed(0)
    plain = guider(model).sample(noise, latent, sampler(), sigmas.clone(), mask, disable_pbar=True, seed=3)
    torch.manual_seed(0)
    path, samples = record(
        guider(model), sampler(), sigmas, noise, {"samples": latent, "noise_mask": mask}, disable_pbar=True, seed=3
    )
    return path, samples, plain


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("name", ODE)
def test_ode_solvers_are_recorded_on_one_trajectory_and_left_as_they_are(kind: ModelType, name: str) -> None:
    path, samples, plain = both(kind, lambda: comfy.samplers.sampler_object(name))
    assert torch.equal(samples, plain)
    assert torch.equal(path.picture, samples)
    assert path.continuous
    assert path.denoised is None, "the states imply the predictions, so that they need no memory"
    mean = CFG * MEAN
    shape = (-1, 1, 1, 1, 1)
    a, b = path.signal.reshape(shape), path.noise.reshape(shape)
    unit = (path.states - a * mean) / torch.sqrt((a * SPREAD) ** 2 + b**2)
    drift = (unit - unit[0]).flatten(1).square().mean(1).sqrt()
    assert drift.max() < 0.1, "every state lies on the exact probability flow, up to the solver's error"


@pytest.mark.parametrize("name", OTHERS)
def test_other_solvers_keep_their_predictions(name: str) -> None:
    kind = ModelType.EPS
    path, samples, plain = both(kind, lambda: comfy.samplers.sampler_object(name))
    assert torch.equal(samples, plain)
    assert torch.equal(path.picture, samples)
    assert not path.continuous
    assert path.denoised is not None
    sigmas = path.sigmas[:-1].reshape(-1, 1).expand(-1, 2)
    exact = [
        gaussian_model(kind, SPREAD).model.denoise(x, s, CFG * MEAN) for x, s in zip(path.states, sigmas, strict=False)
    ]
    torch.testing.assert_close(path.denoised, torch.stack(exact), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", OWN_LEVELS)
def test_solvers_with_levels_of_their_own_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"The sampler {name} chooses its own noise levels"):
        RecordingSampler(comfy.samplers.sampler_object(name))


def test_a_solver_that_leaves_the_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match=r"never evaluated the model at noise level .*\(without s_churn\)"):
        both(ModelType.EPS, lambda: comfy.samplers.ksampler("euler", {"s_churn": 5.0}))


@pytest.mark.parametrize("kind", FAMILIES)
def test_masked_runs_and_samplers_of_other_kinds(kind: ModelType) -> None:
    mask = torch.zeros(2, 4, 8, 8)
    mask[..., :4] = 1.0
    for sampler in (
        lambda: comfy.samplers.sampler_object("dpmpp_2m"),
        lambda: MaskedSampler(comfy.samplers.sampler_object("euler"), "blend", "fresh"),
    ):
        path, samples, plain = both(kind, sampler, 6, mask)
        assert torch.equal(samples, plain)
        assert torch.equal(path.picture, samples)
        assert path.steps == 6


@pytest.mark.parametrize("name", ["unet", "sdxl", "flux", "wan"])
def test_real_networks_give_bit_for_bit_what_core_gives(name: str) -> None:
    model = tiny.MODELS[name]()
    with torch.inference_mode():
        latent = tiny.latent(model, 2)
        noise = core.Noise_RandomNoise(5).generate_noise(latent)
        made = core.CFGGuider.execute(model, tiny.cond(0), tiny.cond(1), 4.0).args[0]
        sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(model), "normal", 4)
        run = core.SamplerCustomAdvanced.execute(
            core.Noise_RandomNoise(5), made, comfy.samplers.sampler_object("heun"), sigmas, latent
        )
        path, samples = record(
            made, comfy.samplers.sampler_object("heun"), sigmas, noise, latent, disable_pbar=True, seed=5
        )
        assert torch.equal(samples, run.args[0]["samples"])
    assert path.shape == tuple(latent["samples"].shape)
    assert path.cfg == 4.0
    assert path.sampler == "heun"
    assert len(path.conditioning) == 16


def test_a_path_stores_its_states_and_nothing_else() -> None:
    path, _, _ = both(ModelType.EPS, lambda: comfy.samplers.sampler_object("euler"), 50)
    states = 51 * 2 * 4 * 8 * 8
    tensors = [value for value in vars(path).values() if isinstance(value, Tensor)]
    assert path.states.numel() == states
    assert sum(each.numel() for each in tensors) <= states + 5 * 51
    assert all(each.device.type == "cpu" for each in tensors)


def test_the_schedule_that_came_in_is_not_changed() -> None:
    model = gaussian_model(ModelType.FLOW, SPREAD)
    sigmas = schedule(ModelType.FLOW, model)
    before = sigmas.clone()
    latent = torch.zeros(1, 4, 8, 8)
    record(
        guider(model),
        comfy.samplers.sampler_object("uni_pc"),
        sigmas,
        latent + 0.3,
        {"samples": latent},
        disable_pbar=True,
    )
    assert torch.equal(sigmas, before)


def test_schedules_that_repeat_or_rise_are_refused_with_the_reason() -> None:
    """Restart schedules: two states at one level, and a way back up, are no path."""
    model = gaussian_model(ModelType.EPS, SPREAD)
    noise, euler = torch.randn(1, 4, 4, 4), comfy.samplers.sampler_object("euler")
    for levels in ([8.0, 4.0, 4.0, 0.0], [8.0, 2.0, 4.0, 1.0, 0.0]):
        with pytest.raises(ValueError, match="a path has one state at each level.*SamplerCustomAdvanced"):
            record(
                guider(model),
                euler,
                torch.tensor(levels),
                noise,
                {"samples": torch.zeros_like(noise)},
                disable_pbar=True,
            )
