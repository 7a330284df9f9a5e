"""MDP-c and MDP-beta on the exact Gaussian model in float64, and prompts of other lengths and parts."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import comfy_extras.nodes_custom_sampler as core
import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.samplers import process
from diffusion_path.samplers.mdp.conditions import mix_conditioning, mix_guidance, together
from diffusion_path.samplers.mdp.states import inject_noise
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit.analytic import FAMILIES, gaussian_model
from diffusion_path.tests.unit.exact_run import F64, record, sample
from torch import Tensor

N, SPREAD, CFG = 10, 1.25, 3.0
MU_A, MU_B, MU_U = 0.75, -0.5, 0.25
DM = CFG * (MU_B - MU_A)
METHODS = [mix_conditioning, mix_guidance]

every_family = pytest.mark.parametrize("kind", FAMILIES)
every_method = pytest.mark.parametrize("method", METHODS)


def cond(mean: float, **extra: Any) -> list[list[Any]]:
    """A CONDITIONING in float64, so that mixtures are exact."""
    return [[torch.full((1, 1, 1), mean, dtype=F64), extra]]


class World:
    def __init__(self, kind: ModelType) -> None:
        self.model = gaussian_model(kind, SPREAD)
        sampling = process.model_sampling(self.model)
        levels = [process.t0_to_sigma(sampling, 1 - j / N) for j in range(N + 1)]
        self.sigmas = torch.tensor(levels, dtype=F64)
        self.starts = process.positions(sampling, self.sigmas)[:-1]
        self.a, _ = process.coefficients(sampling, self.sigmas)
        gain = self.a * SPREAD**2 / (self.a**2 * SPREAD**2 + self.sigmas**2)
        ratio = self.sigmas[1:] / self.sigmas[:-1]
        self.g = ratio + (1 - ratio) * gain[:-1]
        self.noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
        self.source = self.run(self.model, cond(MU_A))

    def run(self, model: Any, positive: Any = None, cfg: float = CFG, sampler: Any = None) -> Tensor:
        positive = cond(MU_B) if positive is None else positive
        return sample(model, positive, cond(MU_U), cfg, self.sigmas, self.noise, sampler=sampler)

    def calls(self, model: Any) -> int:
        before = self.model.model.evaluations
        self.run(model)
        return self.model.model.evaluations - before


@every_family
@every_method
@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "exponential"])
@pytest.mark.parametrize("weight", [1.0, 0.5, -0.25])
def test_deviation(kind: ModelType, method, shape: str, weight: float) -> None:
    """delta' = g (delta - a dm') + a' dm' with dm' = (1 - w) dm: for means both are the same manipulation."""
    world = World(kind)
    schedule = PathSchedule(0.9, 0.3, shape, weight)
    delta = torch.zeros((), dtype=F64)
    for i, w in enumerate(schedule.weights(world.starts)):
        dm = (1 - w) * DM
        delta = world.g[i] * (delta - world.a[i] * dm) + world.a[i + 1] * dm
    found = world.run(method(world.model, cond(MU_A), schedule)) - world.source
    torch.testing.assert_close(found, delta.expand_as(found), rtol=1e-10, atol=1e-10)


@every_family
@every_method
def test_constant_weight_is_the_plain_sample_of_the_mixed_mean(kind: ModelType, method) -> None:
    world = World(kind)
    found = world.run(method(world.model, cond(MU_A), PathSchedule(1.0, 0.0, weight=0.25)))
    torch.testing.assert_close(found, world.run(world.model, cond(0.75 * MU_B + 0.25 * MU_A)), rtol=0, atol=1e-10)


@every_family
@every_method
@pytest.mark.parametrize("cfg", [1.0, CFG])
def test_full_weight_is_the_source_and_no_weight_the_target_bit_for_bit(kind: ModelType, method, cfg) -> None:
    world = World(kind)
    full, none = PathSchedule(1.0, 0.0), PathSchedule(1.0, 0.0, weight=0.0)
    assert torch.equal(
        world.run(method(world.model, cond(MU_A), full), cfg=cfg), world.run(world.model, cond(MU_A), cfg)
    )
    assert torch.equal(world.run(method(world.model, cond(MU_A), none), cfg=cfg), world.run(world.model, cfg=cfg))


@every_family
@every_method
def test_outside_of_the_mask_the_source_prompt_rules(kind: ModelType, method) -> None:
    world = World(kind)
    mask = torch.zeros(1, 4, 4)
    mask[..., 2:], mask[..., 1] = 1, 0.5
    for weight in (0.0, 0.5):
        schedule = PathSchedule(0.8, 0.4, weight=weight)
        found = world.run(method(world.model, cond(MU_A), schedule, mask))
        whole = world.run(method(world.model, cond(MU_A), schedule))
        torch.testing.assert_close(found[..., 0], world.source[..., 0], rtol=0, atol=1e-12)
        torch.testing.assert_close(found[..., 2:], whole[..., 2:], rtol=0, atol=1e-12)
        between = (found - world.source)[..., 1] / (whole - world.source)[..., 1]
        torch.testing.assert_close(between, torch.full_like(between, 0.5), rtol=0, atol=1e-10)
    ones = method(world.model, cond(MU_A), PathSchedule(), torch.ones(1, 4, 4))
    assert torch.equal(world.run(ones), world.run(method(world.model, cond(MU_A), PathSchedule())))


@every_family
def test_one_batched_call_of_three_conditions_at_most(kind: ModelType) -> None:
    """The Gaussian model counts calls: both prompts and the negative one go through it together."""
    world = World(kind)
    plain, half = world.calls(world.model), PathSchedule(1.0, 0.0, weight=0.5)
    assert world.calls(mix_guidance(world.model, cond(MU_A), half)) == plain
    assert world.calls(mix_conditioning(world.model, cond(MU_A), half)) == plain


@every_method
@pytest.mark.parametrize("name", ["dpmpp_2m", "euler_ancestral", "heun", "euler_cfg_pp"])
def test_any_sampler_serves(method, name: str) -> None:
    """Nothing depends on the solver: full weight is the source, half the mixed mean."""
    world, solver = World(ModelType.EPS), comfy.samplers.sampler_object(name)
    found = world.run(method(world.model, cond(MU_A), PathSchedule(1.0, 0.0)), sampler=solver)
    assert torch.equal(found, world.run(world.model, cond(MU_A), sampler=solver))
    found = world.run(method(world.model, cond(MU_A), PathSchedule(1.0, 0.0, weight=0.5)), sampler=solver)
    mixed = world.run(world.model, cond((MU_A + MU_B) / 2), sampler=solver)
    torch.testing.assert_close(found, mixed, rtol=0, atol=1e-10)


def test_extrapolation_points_away_from_the_source() -> None:
    world = World(ModelType.EPS)
    away = world.run(mix_guidance(world.model, cond(MU_A), PathSchedule(1.0, 0.0, weight=-0.5)))
    plain = world.run(world.model)
    assert bool(((away - world.source) / (plain - world.source) > 1.4).all())


@every_method
def test_guiders_of_core(method) -> None:
    """BasicGuider has no negative prompt, DualCFGGuider two positive ones."""
    world, half = World(ModelType.FLOW), PathSchedule(1.0, 0.0, weight=0.5)
    noise, sigmas, euler = world.noise.float(), world.sigmas.float(), comfy.samplers.sampler_object("euler")
    latent = torch.zeros_like(noise)

    def run(make) -> Tensor:
        return make().sample(noise, latent, euler, sigmas, disable_pbar=True, seed=0)

    def basic(model, mean):
        guider = core.Guider_Basic(model)
        guider.set_conds(cond(mean))
        return guider

    def dual(model, mean):
        guider = core.Guider_DualCFG(model)
        guider.set_conds(cond(mean), cond(0.1), cond(MU_U))
        guider.set_cfg(2.0, 1.5)
        return guider

    manipulated = method(world.model, cond(MU_A), half)
    for make in (basic, dual):
        found = run(lambda make=make: make(manipulated, MU_B))
        mixed = run(lambda make=make: make(world.model, (MU_A + MU_B) / 2))
        torch.testing.assert_close(found, mixed, rtol=1e-4, atol=1e-4)


def test_prompts_of_several_parts() -> None:
    parts = [{"model_conds": {}, "strength": s} for s in (1.0, 0.5)]
    mixed = together([(parts, 0.6), (parts[:1], 0.4)])
    assert [cond["strength"] for cond in mixed] == pytest.approx([0.4, 0.2, 0.4])
    assert together([(parts, 1.0)]) is parts
    with pytest.raises(ValueError, match="has strength 0: raise it"):
        together([([{**parts[0], "strength": 0.0}], 0.5), (parts, 0.5)])


@every_family
@every_method
@pytest.mark.parametrize("weight", [0.25, 0.75, -0.5, -1.0])
@pytest.mark.parametrize("masked", [False, True])
def test_prompts_for_parts_of_the_picture_keep_their_weight(kind: ModelType, method, weight: float, masked) -> None:
    """Left and right have prompts of their own, the left one over one for everything; each mixes as it would alone."""
    world, other = World(kind), 1.5
    left, right = torch.zeros(1, 4, 4), torch.zeros(1, 4, 4)
    left[..., :2], right[..., 2:] = 1, 1
    target = [*cond(MU_B, mask=left, mask_strength=1.0), *cond(other, mask=right, mask_strength=0.5)]
    schedule = PathSchedule(1.0, 0.0, weight=weight)
    soft = torch.full((1, 4, 4), 0.5) if masked else None
    found = world.run(method(world.model, cond(MU_A), schedule, soft), target)
    for part, mean in ((left, MU_B), (right, other)):
        alone = world.run(method(world.model, cond(MU_A), schedule, soft), cond(mean))
        here = part.bool().expand_as(found)
        torch.testing.assert_close(found[here], alone[here], rtol=0, atol=1e-9)
    if method is mix_guidance:
        over = [*cond(MU_B), *cond(other, mask=right, mask_strength=1.0)]
        found = world.run(method(world.model, cond(MU_A), schedule, soft), over)
        alone = world.run(method(world.model, cond(MU_A), schedule, soft), cond((MU_B + other) / 2))
        torch.testing.assert_close(found[..., 2:], alone[..., 2:], rtol=0, atol=1e-9)


@every_family
@every_method
def test_prompts_that_change_with_time(kind: ModelType, method) -> None:
    """A source scheduled by ConditioningSetTimestepRange counts with the part that is in force."""
    world = World(kind)
    timed = [*cond(MU_A, start_percent=0.0, end_percent=0.45), *cond(MU_U, start_percent=0.45, end_percent=1.0)]
    full = PathSchedule(1.0, 0.0)
    torch.testing.assert_close(
        world.run(method(world.model, timed, full)), world.run(world.model, timed), rtol=0, atol=1e-10
    )


@every_family
def test_a_part_that_is_not_in_force_leaves_its_share_to_the_other(kind: ModelType) -> None:
    """The same with and without a mask that covers everything."""
    world = World(kind)
    timed, everywhere = cond(MU_A, start_percent=0.0, end_percent=0.3), torch.ones(1, 4, 4)
    manipulated = mix_guidance(world.model, timed, PathSchedule(1.0, 0.0, weight=0.5))
    whole = world.run(manipulated)
    covered = world.run(manipulated, cond(MU_B, mask=everywhere, mask_strength=1.0))
    torch.testing.assert_close(covered, whole, rtol=0, atol=1e-10)


@every_method
def test_step_caches_are_refused_where_prompts_are_evaluated_one_by_one(method) -> None:
    world = World(ModelType.EPS)
    manipulated = method(world.model, cond(MU_A), PathSchedule(weight=0.5))
    manipulated.model_options["transformer_options"]["easycache"] = object()
    world.run(manipulated)
    with pytest.raises(ValueError, match="leave EasyCache out"):
        world.run(manipulated, cond(MU_B, mask=torch.ones(1, 4, 4)))


@every_method
def test_prompts_of_another_kind_are_refused_with_a_sentence(method) -> None:
    world = World(ModelType.EPS)
    wide = [[torch.zeros(1, 1, 4, dtype=F64), {}]]
    for source, problem in (
        (wide, "token embeddings of width 1 but the source token embeddings of width 4"),
        (cond(MU_A, pooled_output=torch.zeros(1, 8)), "no pooled vector but the source pooled vector of width 8"),
        ([], "source prompt is empty"),
    ):
        with pytest.raises(ValueError, match=problem):
            world.run(method(world.model, source, PathSchedule()))


@every_method
def test_nothing_is_left_behind_after_an_error(method) -> None:
    world, source = World(ModelType.EPS), cond(MU_A)
    manipulated = method(world.model, source, PathSchedule(weight=0.5))
    positive = cond(MU_B)
    with pytest.raises(ZeroDivisionError):
        world.run(manipulated, positive, sampler=comfy.samplers.KSAMPLER(lambda *args, **kwargs: 1 / 0))
    assert source[0][1] == {}
    assert positive[0][1] == {}
    assert world.model.wrappers == {}
    fresh = method(world.model, source, PathSchedule(weight=0.5))
    assert torch.equal(world.run(manipulated, positive), world.run(fresh, positive))


@every_family
@pytest.mark.parametrize("manipulation", ["none", "noise", "conditioning", "guidance"])
def test_guidance_is_linear_and_its_ends_forget_one_prompt(kind: ModelType, manipulation: str) -> None:
    """One step: linear in cfg; at cfg 1 the negative prompt does not count, at cfg 0 the positive one does not."""
    world = World(kind)
    schedule = PathSchedule(1.0, 0.0, weight=0.4)
    model: Any = world.model
    if manipulation == "noise":
        model = inject_noise(model, record(model, cond(MU_A), cond(MU_U), CFG, world.sigmas, world.noise), schedule)
    elif manipulation != "none":
        model = (mix_conditioning if manipulation == "conditioning" else mix_guidance)(model, cond(MU_A), schedule)

    def step(cfg: float, positive: float = MU_B, negative: float = MU_U) -> Tensor:
        return sample(model, cond(positive), cond(negative), cfg, world.sigmas[:2], world.noise)

    torch.testing.assert_close(step(1.0, negative=9.0), step(1.0), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(step(0.0, positive=9.0), step(0.0), rtol=1e-10, atol=1e-10)
    line = step(0.0) + 2.5 * (step(1.0) - step(0.0))
    torch.testing.assert_close(step(2.5), line, rtol=1e-10, atol=1e-10)
