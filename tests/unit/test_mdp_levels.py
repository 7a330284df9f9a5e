"""MDP Edit and MDP Sweep on given levels: the notebook's, against its loop written plainly, and others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.nodes.mdp import MDP
from diffusion_path.nodes.mdp_edit import MDPEdit
from diffusion_path.samplers import process
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.samplers.sigmas import sdedit_sigmas
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from diffusion_path.tests.unit.test_mdp_nodes import MU_A, MU_B, MU_U, edit, edit_all, latent, sweep
from torch import Tensor


def notebook(model: Any, z: Tensor, abar: Tensor, guided: tuple[float, float], window: range) -> tuple[Any, Tensor]:
    """The paper's notebook on a generated picture: DDIM in VP coordinates, where the source's noise is injected.

    abar: alphas_cumprod of its timesteps, rising; like its scheduler it ends at the first level of training. guided:
    the means that classifier-free guidance leads to. Gives the source's states and the edit's last prediction of x0.
    """
    kept: list[Tensor] = []
    states, clean = [z], z
    for injected, mean in ((range(0), guided[0]), (window, guided[1])):
        x = z
        for i, a in enumerate(abar):
            below = abar[min(i + 1, len(abar) - 1)]
            sigma = ((1 - a) / a).sqrt()
            ve = x / a.sqrt()
            eps = (ve - model.model.denoise(ve, sigma.reshape(1), mean)) / sigma
            if i in injected:
                eps = kept[i]
            clean = (x - (1 - a).sqrt() * eps) / a.sqrt()
            x = below.sqrt() * clean + (1 - below).sqrt() * eps
            if injected == range(0):
                kept.append(eps)
                states.append(x)
    return states, clean


def test_on_the_notebooks_levels_the_edit_is_the_notebooks() -> None:
    """50 steps of DDIM, timesteps 980 to 0 of Stable Diffusion 1.4, cfg 7.5, its window."""
    model = gaussian_model(ModelType.EPS, 1.25)
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    abar = (1 - betas).cumprod(0)[::20].flip(0)
    sigmas = torch.cat([((1 - abar) / abar).sqrt(), torch.zeros(1)]).float()
    found, path, report, _ = MDPEdit.execute(
        model, cond(MU_B), cond(MU_U), cond(MU_A), {"samples": torch.zeros(1, 4, 8, 8)}, seed=5, steps=9, cfg=7.5,
        method="notebook", scheduler="karras", sigmas=sigmas,
    ).args  # fmt: skip
    assert torch.equal(path.sigmas, sigmas)
    assert "window 0.96 to 0.46 = steps 3 to 27 of 50" in report
    assert "in 100 evaluations, over the connected sigmas instead of steps and scheduler" in report
    means = tuple(MU_U + 7.5 * (mu - MU_U) for mu in (MU_A, MU_B))
    states, clean = notebook(model, path.states[0].double() * abar[0].sqrt(), abar, means, range(2, 27))
    for i, (state, a) in enumerate(zip(states[:-1], abar, strict=True)):
        torch.testing.assert_close(path.states[i].double(), state / a.sqrt(), rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(found["samples"].double(), clean, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("kind", FAMILIES)
def test_sigmas_make_the_path_and_a_path_that_is_connected_keeps_its_own(kind: ModelType) -> None:
    model, source = gaussian_model(kind, 1.25), latent(1)
    sigmas = sdedit_sigmas(process.model_sampling(model), 0.9, 7, "karras")
    made, path, report = edit(model, source, sigmas=sigmas)
    assert torch.equal(path.sigmas, sigmas)
    assert "(fixed point) in 7 evaluations, over the connected sigmas instead of steps and scheduler" in report
    again, same, report = edit(model, source, path=path, sigmas=sigmas[2:])
    assert torch.equal(again["samples"], made["samples"])
    assert torch.equal(same.sigmas, sigmas)
    assert "it has its own levels, so the connected sigmas are not used" in report
    _, _, path, report = sweep(model, source, sigmas=sigmas)
    assert torch.equal(path.sigmas, sigmas)
    assert "7 of them for the source's path, over the connected sigmas instead of steps and scheduler" in report
    for bad, problem in ((sigmas[:-1], "end with 0"), (torch.empty(0), "1 step or more"), (sigmas.flip(0), "fall")):
        with pytest.raises(ValueError, match=problem):
            edit(model, source, sigmas=bad)


def test_a_window_that_holds_one_of_two_uneven_steps() -> None:
    """Weights are counted along the path's own steps: of two even ones this window would hold none."""
    model, sigmas = gaussian_model(ModelType.FLOW, 1.25), torch.tensor([1.0, 0.7, 0.0])
    *_, report = edit(model, latent(1), sigmas=sigmas, schedule=PathSchedule(0.8, 0.6))
    assert "= steps 2 to 2 of 2" in report


def test_windows_on_few_steps_say_which_ones_hold_a_step() -> None:
    """On 4 steps, which start at 1, 0.67, 0.33 and the lowest level of training."""
    model, source = gaussian_model(ModelType.EPS, 1.25), latent(1)
    _, path, _ = edit_all(model, source, "noise", steps=4)[:3]
    before = model.model.evaluations
    for act in (
        lambda window: MDP.execute(model, "noise", path, window),
        lambda window: MDP.execute(model, "latent", path, window),
        lambda window: edit(model, source, "guidance", path=path, schedule=window),
    ):
        with pytest.raises(ValueError, match="the nearest window that holds one is 0.67 to 0.5"):
            act(PathSchedule(0.6, 0.5))
    assert model.model.evaluations == before, "said before any work is done"
    *_, report = sweep(model, source, path=path, starts="0.6, 1", lengths="0.1, 0.5")
    assert report.splitlines()[-1] == (
        "note: the window from 0.6 to 0.5 holds no step of the path, so it was left out: the nearest that holds one "
        "is 0.67 to 0.5."
    )
    assert len([line for line in report.splitlines() if line.endswith(" saved")]) == 3
