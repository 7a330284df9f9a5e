"""A run that is split after any step equals the whole one, for every node that counts along the path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
import pytest
import torch
from diffusion_path.lep.guidance import Guidance, guide
from diffusion_path.samplers import process
from diffusion_path.samplers.mdp.attention import control_attention
from diffusion_path.samplers.mdp.conditions import mix_conditioning, mix_guidance
from diffusion_path.samplers.mdp.states import inject_latent, inject_noise
from diffusion_path.samplers.mdp.tokens import TokenMap
from diffusion_path.samplers.record import record
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.guided import predictor_for, sketch_for
from torch import Tensor

STEPS = 6
WINDOW = PathSchedule(0.85, 0.25, "cosine", 0.7)


class World:
    """A tiny model, its levels, and runs of them in one or two parts, as Advanced KSamplers make them."""

    def __init__(self, scheduler: str = "normal") -> None:
        self.model = tiny.unet()
        self.sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(self.model), scheduler, STEPS)
        # Not every seed will do: the predictor's gradient jumps at the kinks of its ReLUs, and a state that lies on one
        # to the last bit may be guided to either side.
        self.noise = torch.randn(tiny.latent_shape(self.model, 1), generator=torch.Generator().manual_seed(5))
        self.empty = torch.zeros_like(self.noise)

    def guider(self, model: Any, prompt: int = 0) -> Any:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(tiny.cond(prompt), tiny.cond(1))
        guider.set_cfg(3.0)
        return guider

    def path(self) -> Any:
        euler = comfy.samplers.sampler_object("euler")
        return record(
            self.guider(self.model, 2), euler, self.sigmas, self.noise, {"samples": self.empty}, disable_pbar=True
        )[0]

    def run(self, model: Any, sampler: str, *cuts: int) -> Tensor:
        latent, noise = self.empty, self.noise
        for first, last in zip((0, *cuts), (*cuts, STEPS), strict=True):
            solver, sigmas = comfy.samplers.sampler_object(sampler), self.sigmas[first : last + 1]
            latent = self.guider(model).sample(noise, latent, solver, sigmas, disable_pbar=True, seed=1)
            noise = torch.zeros_like(noise)
        return latent


def sketch(**settings: Any) -> Callable[[World], Any]:
    def guided(world: World) -> Any:
        given = {name: value(world) if callable(value) else value for name, value in settings.items()}
        return guide(world.model, Guidance(predictor_for(world.model), sketch_for(world.model), **given))

    return guided


def attention(world: World) -> Any:
    tokens = int(tiny.cond(0)[0][0].shape[1])
    same = TokenMap(torch.eye(tokens), torch.ones(tokens), torch.ones(tokens))
    return control_attention(world.model, world.path(), tiny.cond(2), same, WINDOW, PathSchedule(1.0, 0.6))


METHODS: dict[str, Callable[[World], Any]] = {
    "sketch": sketch(end=0.5),
    "sketch, every second step": sketch(start=0.9, end=0.1, every=2, sigmas=lambda world: world.sigmas),
    "sketch, schedule": sketch(schedule=WINDOW),
    "MDP-c": lambda world: mix_conditioning(world.model, tiny.cond(2), WINDOW),
    "MDP-c, constant": lambda world: mix_conditioning(world.model, tiny.cond(2), PathSchedule(0.85, 0.25, weight=0.7)),
    "MDP-beta": lambda world: mix_guidance(world.model, tiny.cond(2), WINDOW),
    "MDP-eps": lambda world: inject_noise(world.model, world.path(), WINDOW),
    "MDP-x": lambda world: inject_latent(world.model, world.path(), WINDOW),
    "MDP attention": attention,
}


@pytest.mark.parametrize(
    ("name", "sampler", "scheduler"),
    [
        *((name, "euler", "normal") for name in METHODS),
        ("MDP-c, constant", "heun", "karras"),
        ("sketch", "euler", "karras"),
    ],
)
def test_a_split_run_equals_the_whole_one(name: str, sampler: str, scheduler: str) -> None:
    with torch.inference_mode():
        world = World(scheduler)
        model = METHODS[name](world)
        whole = world.run(model, sampler)
        assert not torch.allclose(whole, world.run(world.model, sampler), atol=1e-2), "the method does something"
        # A part that began between two gradients would take one of its own.
        places = [1, 3, 5] if "second step" in name else range(1, STEPS)
        for cuts in (*((place,) for place in places), tuple(places[1::2])):
            apart = (world.run(model, sampler, *cuts) - whole).abs().max()
            assert float(apart) < 1e-5 * float(whole.abs().max()), cuts  # between two parts latents are rounded


@pytest.mark.parametrize("name", ["MDP-c", "MDP-beta", "MDP-eps", "MDP-x"])
def test_at_weight_0_nothing_is_refused(name: str) -> None:
    """Neither solvers that the manipulation cannot lead, nor levels or models that are not the path's."""
    world, none = World(), PathSchedule(1.0, 0.0, weight=0.0)
    with torch.inference_mode():
        path = world.path()
        foreign = path.replaced(model=type(path.model)("another", "EPS", "another"), continuous=False)
        model = {
            "MDP-c": lambda: mix_conditioning(world.model, [[torch.zeros(1, 4, 3), {}]], none),
            "MDP-c, constant": lambda world: mix_conditioning(
                world.model, tiny.cond(2), PathSchedule(0.85, 0.25, weight=0.7)
            ),
            "MDP-beta": lambda: mix_guidance(world.model, [[torch.zeros(1, 4, 3), {}]], none),
            "MDP-eps": lambda: inject_noise(world.model, foreign, none),
            "MDP-x": lambda: inject_latent(world.model, foreign, none),
        }[name]()
        world.sigmas = comfy.samplers.calculate_sigmas(process.model_sampling(world.model), "karras", STEPS)
        for sampler in ("euler", "euler_ancestral", "euler_cfg_pp"):
            assert torch.equal(world.run(model, sampler), world.run(world.model, sampler))
