"""MDP Sweep beside MDP Edit: whose edits the cells are where a region is small or steps are few."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.nodes.mdp_edit import MDPEdit, MDPSweep
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from diffusion_path.tests.unit.test_mdp_nodes import MU_A, MU_B, MU_U, FoldingVAE, edit, latent, sweep


@pytest.mark.parametrize(("kind", "end"), [(ModelType.FLOW, "0.422"), (ModelType.EPS, "0.263")])
def test_weight_one_of_a_sweep_is_mdp_edit_in_a_small_region_too(kind: ModelType, end: str) -> None:
    """The window ends sooner there (see `LEAST_NOISE`); a window that the sweep sets stays as it is."""
    model, source = gaussian_model(kind, 1.25), latent(2)
    mask = torch.zeros(2, 8, 8)
    mask[0, 2:4, 2:6], mask[1, :6] = 1, 1
    given: dict[str, Any] = {"steps": 20, "mask": mask, "threshold": 0.001}
    single, path, *_ = edit(model, source, "recommended", **given)
    *_, report = made = sweep(
        model, source, path=path, method="recommended", sweep="weights", weights="0.5, 1", **given
    )
    assert torch.equal(made[1]["samples"][2:], single["samples"])
    assert not torch.equal(made[1]["samples"][:2], single["samples"])
    for line, weight in zip(report.splitlines(), ("0.5", "1"), strict=False):
        assert line.startswith(f"0.8 to 0.15, weight {weight}: ")
        assert line.endswith(f"; where the region is small, the window ends at {end}")
    windows = sweep(model, source, path=path, method="recommended", starts="0.8", lengths="0.65", **given)
    explicit, *_ = edit(model, source, "recommended", path=path, schedule=PathSchedule(0.8, 0.15), **given)
    assert torch.equal(windows[1]["samples"], explicit["samples"])
    assert torch.equal(explicit["samples"][1], single["samples"][1])
    assert not torch.equal(explicit["samples"][0], single["samples"][0])


def test_in_few_steps_weight_zero_of_a_sweep_is_mdp_edit_within_a_region() -> None:
    model, source, mask = gaussian_model(ModelType.EPS, 1.25), latent(1), torch.zeros(1, 8, 8)
    mask[:, :4] = 1
    prompts = (model, cond(MU_B), cond(MU_U), cond(MU_A), source)
    given: dict[str, Any] = {"seed": 5, "steps": 4, "cfg": 1.0, "method": "recommended", "mask": mask}
    single = MDPEdit.execute(*prompts, **given).args[0]["samples"]
    texts = {"sweep": "weights", "starts": "", "lengths": "", "weights": "0, 1"}
    swept = MDPSweep.execute(*prompts, vae=FoldingVAE(), **texts, **given).args[1]["samples"]
    assert torch.equal(swept[:1], single)
    assert not torch.equal(swept[1:], single)
