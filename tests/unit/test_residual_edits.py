"""Edits along residual paths, whose steps add what the posterior mean misses: masks and MDP's manipulations."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from diffusion_path.samplers import process, replay, reverse_sde
from diffusion_path.samplers.inversion.invert import invert
from diffusion_path.samplers.inversion.residual import Residual
from diffusion_path.samplers.masked import MaskedSampler
from diffusion_path.samplers.mdp import edit as mdp
from diffusion_path.samplers.mdp.states import inject_latent, inject_noise
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.samplers.sigmas import sdedit_sigmas
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from torch import Tensor

SOURCE, TARGET, NULL, SPREAD, CFG = 0.75, -0.5, 0.25, 1.25, 3.0

every_family = pytest.mark.parametrize("kind", FAMILIES)
every_schedule = pytest.mark.parametrize("scheduler", ["normal", "simple", "karras"])


class World:
    """A model, pictures, and their residual path at the cfg of the edit."""

    def __init__(self, kind: ModelType, scheduler: str = "normal", eta: float = 1.0) -> None:
        self.model = gaussian_model(kind, SPREAD)
        generator = torch.Generator().manual_seed(1)
        self.latent = {"samples": torch.randn(2, 4, 8, 8, generator=generator) * SPREAD + SOURCE}
        sigmas = sdedit_sigmas(process.model_sampling(self.model), 0.9, 10, scheduler)
        method = Residual(eta)
        self.path = invert(self.model, (cond(SOURCE), cond(NULL)), self.latent, sigmas, method, CFG, seed=4)

    def edit(self, model: Any, positive: Any = None, mask: Tensor | None = None, sampler: Any = None) -> Tensor:
        noise, start = replay.start(model, self.path)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(cond(TARGET) if positive is None else positive, cond(NULL))
        guider.set_cfg(CFG)
        return guider.sample(
            noise.generate_noise(start), start["samples"], sampler or replay.replay_sampler(self.path),
            self.path.sigmas.clone(), mask, disable_pbar=True, seed=self.path.seed,
        )  # fmt: skip

    def states(self, model: Any) -> list[Tensor]:
        """What a run shows the model, level by level."""
        seen: list[Tensor] = []

        def look(executor: Any, x: Tensor, *args: Any) -> Tensor:
            seen.append(x.clone())
            return executor(x, *args)

        model = model.clone()
        wrappers = model.wrappers[WrappersMP.PREDICT_NOISE]
        model.wrappers[WrappersMP.PREDICT_NOISE] = {"test": [look], **wrappers}
        self.edit(model)
        return seen


def half() -> Tensor:
    """The left half is edited. [1, 8, 8]"""
    mask = torch.zeros(1, 8, 8)
    mask[..., :4] = 1
    return mask


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=2e-4)


@every_family
@every_schedule
@pytest.mark.parametrize("eta", [1.0, 0.5])
def test_full_weight_of_latents_meets_every_state(kind: ModelType, scheduler: str, eta: float) -> None:
    """On a residual path MDP-x solves the kernel's own step, with its residual."""
    world = World(kind, scheduler, eta)
    seen = world.states(inject_latent(world.model, world.path, PathSchedule(1.0, 0.0)))
    assert len(seen) == world.path.steps
    for x, state in zip(seen, world.path.states[:-1], strict=True):
        close(x, state)


@every_family
@every_schedule
@pytest.mark.parametrize("method", [inject_noise, inject_latent])
def test_a_mask_holds_the_states_and_the_rest_is_edited_as_without_one(kind, scheduler: str, method) -> None:
    world = World(kind, scheduler)
    schedule = PathSchedule(0.8, 0.3, weight=0.5)
    masked = method(world.model, world.path, schedule, half())
    for x, state in zip(world.states(masked), world.path.states[:-1], strict=True):
        close(x[..., 4:], state[..., 4:])
    result, whole = world.edit(masked), world.edit(method(world.model, world.path, schedule))
    assert torch.equal(result[..., 4:], world.path.to_vae(world.path.picture)[..., 4:])
    close(result[..., :4], whole[..., :4])


@every_family
@pytest.mark.parametrize("kind_of_edit", mdp.KINDS)
def test_an_edit_in_one_call_stays_among_pictures(kind: ModelType, kind_of_edit: str) -> None:
    """Between the source's and the plain target's pictures, however the path was made."""
    world = World(kind)
    source = mdp.Source(world.path, cond(SOURCE))
    plain = world.edit(world.model)
    far = float((plain - world.path.picture).abs().max())
    for mask in (None, half()):
        settings = mdp.MDPSettings(kind_of_edit, PathSchedule(0.8, 0.3, weight=0.6), cfg=CFG, region=None)
        made = mdp.edit(world.model, cond(TARGET), cond(NULL), source, settings, mask).latent["samples"]
        assert float((made - world.path.picture).abs().max()) < 1.1 * far
        assert float((made - world.path.picture)[..., :4].abs().mean()) > 0.05 * far


@every_family
@every_schedule
def test_a_noise_mask_keeps_the_picture(kind: ModelType, scheduler: str) -> None:
    """Nothing is left of the residuals where core's mask keeps the picture; elsewhere all is as without a mask."""
    world = World(kind, scheduler)
    mask = half().expand(2, 1, 8, 8)
    sampler = replay.replay_sampler(world.path)
    plain = world.edit(world.model)
    for solver in (sampler, MaskedSampler(sampler)):
        found = world.edit(world.model, mask=mask, sampler=solver)
        close(found[..., 4:], world.latent["samples"][..., 4:])
        close(found[..., :4], plain[..., :4])
    for other in (MaskedSampler(sampler, "threshold"), MaskedSampler(sampler, repeats=2)):
        with pytest.raises(ValueError, match="applies the mask by itself: connect it without"):
            world.edit(world.model, mask=mask, sampler=other)


@every_family
@pytest.mark.parametrize("strength", [0.3, 0.5, 0.75])
@pytest.mark.parametrize("differential", [False, True])
def test_the_source_prompt_leads_to_the_picture_under_any_mask(kind: ModelType, strength: float, differential) -> None:
    """Differential Diffusion sets pixels free at a level of their own, where they meet the path's state."""
    world = World(kind)
    model = DifferentialDiffusion.execute(world.model).args[0] if differential else world.model
    mask = half().clamp(min=strength).expand(2, 1, 8, 8)
    found = world.edit(model, cond(SOURCE), mask)
    close(found[..., :4], world.latent["samples"][..., :4])
    if differential:
        close(found, world.latent["samples"])
        edited = world.edit(model, mask=mask)
        assert not torch.allclose(edited[..., 4:], world.latent["samples"][..., 4:], atol=0.01), "free in part"


@every_family
def test_a_run_of_the_reverse_sde_is_walked_again_with_its_noise(kind: ModelType) -> None:
    """Its noise is keyed by the level, so that it is met from the start and from the middle."""
    world = World(kind)
    for solver in (reverse_sde.sampler("sde_small"), reverse_sde.sampler("ancestral", 0.5)):
        path = _recorded(world, solver)
        for part in (path, path.from_sigma(float(path.sigmas[4]))):
            walked, _ = replay.replay(world.model, cond(SOURCE), cond(NULL), part, CFG)
            assert min(walked.figures["latent_psnr"]) > 100
    sampler = replay.replay_sampler(path.replaced(sampler_options={"kind": "ode", "path": "evil"}))
    assert set(sampler.extra_options) == {"kind", "eta", "s_noise", "last_noise", "indices"}
    bare = replay.replay_sampler(path.replaced(sampler_options={}))
    assert bare.sampler_function is comfy.samplers.sampler_object("euler").sampler_function


def _recorded(world: World, solver: Any) -> DiffusionPath:
    guider = comfy.samplers.CFGGuider(world.model)
    guider.set_conds(cond(SOURCE), cond(NULL))
    guider.set_cfg(CFG)
    noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(4))
    path, _ = replay.record(
        guider, solver, world.path.sigmas, noise, {"samples": torch.zeros_like(noise)}, seed=4, disable_pbar=True
    )
    return path
