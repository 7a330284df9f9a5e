"""Schedules that start exactly at sigma(t0): steps mean steps for every scheduler."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from diffusion_path.nodes.sdedit import SDEditSigmas
from diffusion_path.samplers import process
from diffusion_path.samplers.sigmas import nearest, sdedit_sigmas
from diffusion_path.tests.unit.analytic import gaussian_model

SCHEDULERS = list(comfy.samplers.SCHEDULER_NAMES)
MODELS = {
    "eps": gaussian_model(ModelType.EPS),
    "flow": gaussian_model(ModelType.FLOW, shift=3.0),
    "flux": gaussian_model(ModelType.FLUX),
    "edm": gaussian_model(ModelType.EDM),
}


def sampling(name: str) -> Any:
    return process.model_sampling(MODELS[name])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_exactly_the_steps_from_exactly_the_start(name: str, scheduler: str) -> None:
    for t0, steps in ((1.0, 7), (0.97, 20), (0.5, 1), (0.5, 20), (0.123, 7), (0.01, 7)):
        (sigmas,) = SDEditSigmas.execute(MODELS[name], t0, steps, scheduler).args
        assert sigmas.shape == (steps + 1,)
        assert float(sigmas[0]) == pytest.approx(process.t0_to_sigma(sampling(name), t0), rel=1e-6)
        assert sigmas[-1] == 0
        assert (sigmas.diff() < 0).all()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_at_t0_1_it_is_cores_schedule(name: str, scheduler: str) -> None:
    core = comfy.samplers.calculate_sigmas(sampling(name), scheduler, 12)
    if len(core) != 13 or float(core[0]) < 0.999 * float(sampling(name).sigma_max):
        pytest.skip("core's own schedule has another length or start")
    ours = sdedit_sigmas(sampling(name), 1.0, 12, scheduler)
    if float(core[0]) == pytest.approx(process.t0_to_sigma(sampling(name), 1.0), rel=1e-6):
        assert torch.equal(ours, core)
    else:
        torch.testing.assert_close(ours, core, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["eps", "flow"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_at_a_start_of_cores_denoise_it_is_cores_schedule(name: str, scheduler: str) -> None:
    """KSampler's denoise 0.5 keeps the last 20 steps of 40: the same start gives the same levels."""
    core = comfy.samplers.KSampler(MODELS[name], 20, "cpu", "euler", scheduler, denoise=0.5).sigmas
    if len(core) != 21:
        pytest.skip("core's own schedule has another length")
    t0 = process.sigma_to_t0(sampling(name), float(core[0]))
    if t0 == 1.0:
        pytest.skip("core's own schedule starts at the prior")
    # linear_quadratic is nearly flat there, so that its length answers to the last digits of t0.
    tolerance = 2e-3 if scheduler == "linear_quadratic" else 1e-4
    torch.testing.assert_close(sdedit_sigmas(sampling(name), t0, 20, scheduler), core, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("name", ["eps", "flow"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_levels_move_continuously_with_t0(name: str, scheduler: str) -> None:
    t0s = torch.linspace(0.3, 0.6, 61).tolist()
    schedules = torch.stack([sdedit_sigmas(sampling(name), t0, 10, scheduler) for t0 in t0s])
    start = schedules[:, 0]
    moved = schedules.diff(dim=0).abs().amax(dim=1) / start.diff()
    assert (start.diff() > 0).all()
    assert float(moved.max()) < 12, "a level jumped although the start hardly moved"


def test_t0_0_is_no_step_at_all() -> None:
    assert len(sdedit_sigmas(sampling("eps"), 0.0, 20, "karras")) == 0


def test_schedulers_of_other_packs_need_nothing_but_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    handler = comfy.samplers.SchedulerHandler(
        lambda n, sigma_min, sigma_max: torch.linspace(sigma_max, 0, n + 1), False
    )
    monkeypatch.setitem(comfy.samplers.SCHEDULER_HANDLERS, "straight", handler)
    sigmas = sdedit_sigmas(sampling("eps"), 0.5, 10, "straight")
    torch.testing.assert_close(sigmas, torch.linspace(float(sigmas[0]), 0, 11), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("steps", [0, -3])
def test_less_than_one_step_is_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="give 1 or more"):
        sdedit_sigmas(sampling("eps"), 0.5, steps, "karras")


def test_an_unknown_scheduler_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid scheduler"):
        sdedit_sigmas(sampling("eps"), 0.5, 5, "none such")


@pytest.mark.parametrize("name", MODELS)
def test_trained_levels_are_the_end_of_cores_own_run(name: str) -> None:
    """From the level nearest to t0 in training time, and of two that are equally near the lower one."""
    core = comfy.samplers.calculate_sigmas(sampling(name), "simple", 4)
    for t0, left in ((1.0, 4), (0.9, 4), (0.85, 3), (0.6, 2), (0.3, 1), (0.01, 1)):
        found = SDEditSigmas.execute(MODELS[name], t0, 4, "simple", "trained").args[0]
        if name != "edm":  # whose levels are not even in training time
            assert torch.equal(found, core[-left - 1 :]), t0
        assert torch.equal(SDEditSigmas.execute(MODELS[name], t0, 9, "beta", "trained", core).args[0], found)
    assert len(SDEditSigmas.execute(MODELS[name], 0.0, 4, "simple", "trained").args[0]) == 0
    positions = [1.0, 0.7, 0.5, 0.3]
    assert [nearest(positions, t0) for t0 in (0.61, 0.6, 0.59, 0.0)] == [1, 2, 2, 3]


def test_trained_levels_of_lcm_are_those_it_was_distilled_at() -> None:
    """Training steps 20 k - 1: with core's own sampling of such models, 759 and 499 of its four."""
    model = gaussian_model(ModelType.EPS)
    distilled = ModelSamplingDiscrete().patch(model, "lcm", False)[0]
    table = process.model_sampling(model).sigmas
    found = SDEditSigmas.execute(distilled, 0.7, 4, "simple", "trained")
    torch.testing.assert_close(found.args[0], torch.tensor([*table[[759, 499, 259]].tolist(), 0.0]), rtol=1e-6, atol=0)
    (text,) = found.ui.as_dict()["text"]  # pyright: ignore[reportAttributeAccessIssue, reportOptionalMemberAccess]
    assert text.splitlines()[1] == (
        "note: t0 lies off the levels of the full run (1, 0.76, 0.5, 0.26) and is moved to the nearest: 0.7 to 0.76."
    )
    assert ", 3 steps of 4" in text


def test_levels_of_a_full_run_need_their_mode() -> None:
    with pytest.raises(ValueError, match="set it to trained"):
        SDEditSigmas.execute(MODELS["eps"], 0.5, 4, "simple", sigmas=torch.tensor([2.0, 1.0, 0.0]))
    with pytest.raises(ValueError, match="no levels 'own': choose one of continuous, trained"):
        SDEditSigmas.execute(MODELS["eps"], 0.5, 4, "simple", "own")
