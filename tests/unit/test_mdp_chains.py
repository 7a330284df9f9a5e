"""All manipulations in one chain, beside what else core puts on a model: it runs, and neutral it is core's result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy_extras import nodes_context_windows as windows
from comfy_extras import nodes_differential_diffusion as differential
from comfy_extras import nodes_pag as pag
from diffusion_path.samplers import process
from diffusion_path.samplers.mdp.conditions import mix_conditioning, mix_guidance
from diffusion_path.samplers.mdp.states import inject_latent, inject_noise
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.samplers.record import record
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.several import Double, Listener
from torch import Tensor

STEPS, SEED = 4, 7


def film(model: Any) -> Any:
    """A model whose latents of six frames are sampled in windows of four."""
    node = windows.WanContextWindowsManualNode
    made = node.execute(model, 13, 4, "standard_static", 1, False, "pyramid", False)
    return made.args[0]  # pyright: ignore[reportAttributeAccessIssue]


NEIGHBOURS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda model: model,
    "LoRA": tiny.add_lora,
    "PAG": lambda model: pag.PerturbedAttentionGuidance.execute(model, 2.0).args[0],
    "Differential Diffusion": lambda model: differential.DifferentialDiffusion.execute(model).args[0],
    "ControlNet": lambda model: model,
    "context windows": film,
}


class World:
    """A tiny network with a neighbour, and the path of its source."""

    def __init__(self, name: str) -> None:
        plain = tiny.wan() if name == "context windows" else tiny.unet()
        self.model = NEIGHBOURS[name](plain)
        shape = (1, 16, 6, 8, 8) if name == "context windows" else (2, 4, 8, 8)
        self.noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self.latent = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        self.mask = None
        if name == "Differential Diffusion":
            self.mask = torch.linspace(0, 1, 8).expand(2, 1, 8, 8).contiguous()
        self.source, self.target, self.negative = (tiny.cond(seed) for seed in (1, 2, 3))
        if name == "ControlNet":
            control = tiny.controlnet()
            self.source, self.target = (tiny.with_control(each, control) for each in (self.source, self.target))
        sampling = process.model_sampling(self.model)
        self.sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", STEPS)
        euler = comfy.samplers.sampler_object("euler")
        self.path: DiffusionPath = record(
            self.guider(self.model, self.source), euler, self.sigmas, self.noise,
            {"samples": self.latent, "noise_mask": self.mask},
            disable_pbar=True, seed=SEED,
        )[0]  # fmt: skip

    def guider(self, model: Any, positive: Any) -> Any:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, self.negative)
        guider.set_cfg(3.0)
        return guider

    def run(self, model: Any) -> Tensor:
        euler = comfy.samplers.sampler_object("euler")
        return self.guider(model, self.target).sample(
            self.noise, self.latent, euler, self.sigmas, self.mask, None, True, SEED
        )

    def chained(self, weight: float) -> Any:
        """Predicted noise in one window, latents in another, both kinds of prompt mixing over all of it."""
        model = inject_noise(self.model, self.path, PathSchedule(1.0, 0.75, weight=weight))
        model = inject_latent(model, self.path, PathSchedule(0.75, 0.5, weight=0.5 * weight))
        model = mix_guidance(model, self.source, PathSchedule(1.0, 0.0, weight=0.3 * weight))
        return mix_conditioning(model, self.source, PathSchedule(0.5, 0.0, weight=0.2 * weight))


@pytest.mark.parametrize("name", list(NEIGHBOURS))
def test_chains_run_and_are_exact_where_they_are_neutral(name: str) -> None:
    with torch.inference_mode():
        world = World(name)
        plain = world.run(world.model)
        assert torch.equal(world.run(world.chained(0.0)), plain)
        edited = world.run(world.chained(1.0))
        assert bool(torch.isfinite(edited).all())
        assert not torch.allclose(edited, plain, atol=1e-3)
        assert torch.equal(world.run(world.model), plain), "nothing is left behind"


def test_a_guider_with_several_predictions_has_all_of_them_manipulated(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    with torch.inference_mode():
        world = World("nothing")
        expected = world.run(world.chained(1.0))
        world.model = listener.on(world.model)
        monkeypatch.setattr(comfy.samplers, "CFGGuider", Double)
        assert torch.equal(world.run(world.chained(1.0)), expected)
    assert listener.heard_alike(STEPS)
