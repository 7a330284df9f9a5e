"""An evaluation is one pass of the network over one conditioning, per picture: in every report alike."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.devtools.direct import call
from diffusion_path.tests.unit.analytic import cond, gaussian_model
from diffusion_path.tests.unit.test_path_nodes import CHOICES
from diffusion_path.tests.unit.test_sweep import FoldingVAE

BATCH, STEPS = 2, 6
PROMPTS: dict[str, Any] = {"positive": cond(0.5), "negative": cond(0.0)}
LATENT = {"samples": torch.randn(BATCH, 4, 8, 8, generator=torch.Generator().manual_seed(3))}
SOURCE = {"source": cond(-0.25), "latent": LATENT, "seed": 1}
PICTURE = torch.rand(BATCH, 64, 64, 3, generator=torch.Generator().manual_seed(4))


def counted(run: Callable[..., str], **given: Any) -> tuple[str, int]:
    """A node's report, and the rows that its network was really given, per picture."""
    model, rows = gaussian_model(ModelType.EPS), 0
    apply_model = model.model._apply_model

    def counting(x: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal rows
        rows += x.shape[0]
        return apply_model(x, *args, **kwargs)

    model.model._apply_model = counting
    report = run(model=model, steps=STEPS, **PROMPTS, **given)
    assert rows % BATCH == 0
    return report, rows // BATCH


def sdedit(**given: Any) -> str:
    return call("DPathSDEdit", **given, guide=LATENT, seed=1)[2]


def sdedit_sweep(**given: Any) -> str:
    report = call("DPathSweep", **given, vae=FoldingVAE(), image=PICTURE, values="0.3, 0.6", seed=1)[3]
    return f"{sum(int(row.split()[-1]) for row in report.splitlines()[1:3])} evaluations"


def flowedit(**given: Any) -> str:
    return call("DPathFlowEdit", **given, **SOURCE, source_cfg=given["cfg"])[1]


def mdp_edit(**given: Any) -> str:
    return call("DPathMDPEdit", **given, **SOURCE)[2].partition("together: ")[2]


def mdp_sweep(**given: Any) -> str:
    report = call("DPathMDPSweep", **given, **SOURCE, vae=FoldingVAE(), sweep="weights", weights="0, 1")[3]
    return report.partition("together: ")[2]


def inversion(method: str) -> Callable[..., str]:
    return lambda **given: call("DPathInvert", **given, latent=LATENT, method={"method": method, **CHOICES[method]})[1]


RUNS: dict[str, Callable[..., str]] = {
    "SDEdit": sdedit,
    "SDEdit Sweep": sdedit_sweep,
    "FlowEdit": flowedit,
    "MDP Edit": mdp_edit,
    "MDP Sweep": mdp_sweep,
    **{f"Invert, {method}": inversion(method) for method in CHOICES},
}


@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("name", RUNS)
def test_every_report_counts_what_the_network_was_given(name: str, cfg: float) -> None:
    if (name, cfg) == ("Invert, null text", 1.0):
        pytest.skip("null text has nothing to optimise at cfg 1")
    report, evaluations = counted(RUNS[name], cfg=cfg)
    found = re.search(r"(\d+) evaluations", report)
    assert found
    assert int(found[1]) == evaluations > 0


@pytest.mark.parametrize(("cfg", "evaluations"), [(1.0, STEPS), (4.0, 2 * STEPS)])
def test_a_step_with_guidance_is_two_evaluations(cfg: float, evaluations: int) -> None:
    report, _ = counted(sdedit, cfg=cfg)
    assert f"{STEPS} steps, {evaluations} evaluations (" in report
