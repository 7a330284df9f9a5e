"""MDP-eps_t and MDP-x_t on the exact Gaussian model in float64, through ComfyUI's guider, samplers and wrappers."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from comfy.patcher_extension import WrappersMP
from diffusion_path.samplers import process, reverse_sde
from diffusion_path.samplers.masked import MaskedSampler
from diffusion_path.samplers.mdp.states import inject_latent, inject_noise
from diffusion_path.samplers.path import DiffusionPath
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.samplers.solvers import adds_noise
from diffusion_path.tests.unit.analytic import FAMILIES, cond, gaussian_model
from diffusion_path.tests.unit.exact_run import F64, record, sample
from torch import Tensor

N, SPREAD, CFG = 10, 1.25, 3.0
MU_A, MU_B, MU_U = 0.75, -0.5, 0.25  # exact in float32, the precision of a CONDITIONING
DM = CFG * (MU_B - MU_A)  # with equal spreads CFG shifts the mean alone
SHAPES = ["constant", "linear", "cosine", "exponential"]
METHODS = [inject_noise, inject_latent]

every_family = pytest.mark.parametrize("kind", FAMILIES)
every_method = pytest.mark.parametrize("method", METHODS)


class World:
    """A model, a schedule, noise, the recorded path A and the plain sample B."""

    def __init__(self, kind: ModelType, t0: float = 1.0, steps: int = N) -> None:
        self.model = gaussian_model(kind, SPREAD)
        sampling = process.model_sampling(self.model)
        times = [t0 * (1 - j / steps) for j in range(steps + 1)]
        self.sigmas = torch.tensor([process.t0_to_sigma(sampling, time) for time in times], dtype=F64)
        self.a, _ = process.coefficients(sampling, self.sigmas)
        gain = self.a * SPREAD**2 / (self.a**2 * SPREAD**2 + self.sigmas**2)
        ratio = self.sigmas[1:] / self.sigmas[:-1]
        self.g = ratio + (1 - ratio) * gain[:-1]
        self.noise = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=F64)
        self.path = self.recorded()
        self.plain = self.edit(self.model)

    def recorded(self, sampler: Any = None) -> DiffusionPath:
        return record(self.model, cond(MU_A), cond(MU_U), CFG, self.sigmas, self.noise, sampler)

    def edit(self, model: Any, sampler: Any = None, noise: Tensor | None = None) -> Tensor:
        noise = self.noise if noise is None else noise
        return sample(model, cond(MU_B), cond(MU_U), CFG, self.sigmas, noise, sampler=sampler)

    def injected(self, step: int, weight: float, u: Tensor) -> Tensor:
        """x - x_A - a dm after an Euler step with a share of A's noise, from what it was before."""
        before, after = self.a[step], self.a[step + 1]
        if before == 0:  # at a flow's prior both states are the same noise
            return (1 - weight) * self.g[step] * u - weight * after * DM
        return (weight * after / before + (1 - weight) * self.g[step]) * u

    def calls(self, model: Any) -> int:
        before = self.model.model.evaluations
        self.edit(model)
        return self.model.model.evaluations - before


@every_family
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", [1.0, 0.5, -0.25])
def test_deviation_of_predicted_noise(kind: ModelType, shape: str, weight: float) -> None:
    """u' = (w a' / a + (1 - w) g) u with u_0 = -a_0 dm; for eps models 1 - prod(w + (1 - w) g)."""
    world = World(kind)
    schedule = PathSchedule(0.9, 0.3, shape, weight)
    w = schedule.weights(world.path.step_positions)
    u = -world.a[0] * DM
    for i, weight in enumerate(w):
        u = world.injected(i, weight, u)
    found = world.edit(inject_noise(world.model, world.path, schedule)) - world.path.picture
    torch.testing.assert_close(found, (u + DM).expand_as(found), rtol=1e-10, atol=1e-10)
    if kind is ModelType.EPS:
        weights = torch.tensor(w, dtype=F64)
        strength = 1 - (weights + (1 - weights) * world.g).prod()
        torch.testing.assert_close(u + DM, DM * strength, rtol=1e-10, atol=1e-10)


@every_family
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("weight", [1.0, 0.5, -0.25])
def test_deviation_of_latents(kind: ModelType, shape: str, weight: float) -> None:
    """delta' = (1 - w)(g (delta - a dm) + a' dm), delta_0 = 0."""
    world = World(kind)
    schedule = PathSchedule(0.9, 0.3, shape, weight)
    delta = torch.zeros((), dtype=F64)
    for i, w in enumerate(schedule.weights(world.path.step_positions)):
        delta = (1 - w) * (world.g[i] * (delta - world.a[i] * DM) + world.a[i + 1] * DM)
    found = world.edit(inject_latent(world.model, world.path, schedule)) - world.path.picture
    torch.testing.assert_close(found, delta.expand_as(found), rtol=1e-10, atol=1e-10)


@every_family
@every_method
def test_full_weight_is_the_source_and_no_weight_the_target(kind: ModelType, method) -> None:
    world = World(kind)
    full, none = PathSchedule(1.0, 0.0), PathSchedule(1.0, 0.0, weight=0.0)
    torch.testing.assert_close(
        world.edit(method(world.model, world.path, full)), world.path.picture, rtol=0, atol=1e-12
    )
    assert torch.equal(world.edit(method(world.model, world.path, none)), world.plain)
    assert world.calls(method(world.model, world.path, full)) == 0


@pytest.mark.parametrize("weight", [0.3, 0.8])
def test_a_flow_is_edited_as_the_same_model_in_other_coordinates(weight: float) -> None:
    eps, flow = (World(kind, 0.9) for kind in (ModelType.EPS, ModelType.FLOW))
    flow.sigmas = eps.sigmas / (1 + eps.sigmas)
    flow.path = flow.recorded()
    whole = PathSchedule(1.0, 0.0, weight=weight)
    edited = [world.edit(inject_noise(world.model, world.path, whole)) for world in (eps, flow)]
    torch.testing.assert_close(edited[1], edited[0], rtol=0, atol=1e-9)


@every_family
def test_injection_translates_the_state_without_a_call(kind: ModelType) -> None:
    """MDP-eps from t_max < N: x* / a at tmin is x^B / a + x^A / a at tmax less x^A / a; from t_max = N it is MDP-x."""
    world = World(kind)
    states: list[Tensor] = []

    def listening(model, x, sigmas, **kwargs):
        def heard(x, *args, **kw):
            states.append(x)
            return model(x, *args, **kw)

        heard.inner_model = model.inner_model
        return comfy.samplers.sampler_object("euler").sampler_function(heard, x, sigmas, **kwargs)

    window = PathSchedule(0.8, 0.4)
    world.edit(inject_noise(world.model, world.path, window), comfy.samplers.KSAMPLER(listening))
    edited, states = states, []
    world.edit(world.model, comfy.samplers.KSAMPLER(listening))
    a = world.path.states
    scale = world.a[6] / world.a[2]
    torch.testing.assert_close(edited[6], a[6] + scale * (states[2] - a[2]), rtol=0, atol=1e-11)
    plain = world.calls(world.model)
    assert world.calls(inject_noise(world.model, world.path, window)) * N == plain * 6

    from_noise = PathSchedule(1.0, 0.4)
    torch.testing.assert_close(
        world.edit(inject_noise(world.model, world.path, from_noise)),
        world.edit(inject_latent(world.model, world.path, from_noise)),
        rtol=0,
        atol=1e-11,
    )


@every_family
def test_latents_forget_what_was_before_the_window(kind: ModelType) -> None:
    world = World(kind)
    results = [world.edit(inject_latent(world.model, world.path, PathSchedule(s, 0.4))) for s in (1.0, 0.8, 0.5)]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=0, atol=1e-12)
    calls = [world.calls(inject_latent(world.model, world.path, PathSchedule(s, 0.4))) for s in (1.0, 0.5)]
    assert calls == [world.calls(world.model) * 4 // N] * 2, "steps before the window cannot matter, so none is run"


@every_family
@every_method
@pytest.mark.parametrize("weight", [0.0, 0.6, 1.0])
def test_outside_of_the_mask_the_source_is_kept_bit_for_bit(kind: ModelType, method, weight: float) -> None:
    world = World(kind)
    mask = torch.zeros(1, 4, 4)
    mask[..., 2:], mask[..., 1] = 1, 0.5
    schedule = PathSchedule(0.8, 0.4, weight=weight)
    result = world.edit(method(world.model, world.path, schedule, mask))
    whole = world.edit(method(world.model, world.path, schedule))
    assert torch.equal(result[..., 0], world.path.picture[..., 0])
    # The model works per pixel, so edited pixels do not change.
    torch.testing.assert_close(result[..., 2:], whole[..., 2:], rtol=0, atol=1e-12)
    between = (result - world.path.picture)[..., 1] / (whole - world.path.picture)[..., 1]
    assert bool(((between > 0) & (between < 1)).all())
    other_start = world.edit(method(world.model, world.path, schedule, mask), noise=world.noise.flip(0))
    assert torch.equal(other_start[..., 0], world.path.picture[..., 0])


@every_family
@every_method
def test_masks_of_ones_and_zeros_are_no_mask_and_no_edit(kind: ModelType, method) -> None:
    world = World(kind)
    schedule = PathSchedule(0.8, 0.4, "linear")
    assert torch.equal(
        world.edit(method(world.model, world.path, schedule, torch.ones(1, 4, 4))),
        world.edit(method(world.model, world.path, schedule)),
    )
    kept = method(world.model, world.path, schedule, torch.zeros(1, 4, 4))
    assert torch.equal(world.edit(kept), world.path.picture)
    assert world.calls(kept) == 0


@every_family
def test_manipulations_chain(kind: ModelType) -> None:
    """Noise in one window and latents in another, in both orders, equal the recursion of both."""
    world = World(kind)
    noise, latent = PathSchedule(1.0, 0.7, "linear"), PathSchedule(0.5, 0.2, weight=0.5)
    first = inject_latent(inject_noise(world.model, world.path, noise), world.path, latent)
    second = inject_noise(inject_latent(world.model, world.path, latent), world.path, noise)
    u = -world.a[0] * DM
    weights = (each.weights(world.path.step_positions) for each in (noise, latent))
    for i, (w, v) in enumerate(zip(*weights, strict=True)):
        u = world.injected(i, w, u)
        u = (1 - v) * u - v * world.a[i + 1] * DM
    for model in (first, second):
        found = world.edit(model) - world.path.picture
        torch.testing.assert_close(found, (u + DM).expand_as(found), rtol=1e-10, atol=1e-10)
    twice = inject_noise(inject_noise(world.model, world.path, noise), world.path, PathSchedule(0.5, 0.2, "cosine"))
    assert torch.equal(world.edit(world.model), world.plain), "the model that was given is as it was"
    assert not torch.allclose(world.edit(twice), world.edit(first))


@every_family
@every_method
@pytest.mark.parametrize("name", ["ddim", "ode", "euler_ancestral"])
def test_every_first_order_solver_is_exact(kind: ModelType, method, name: str, caplog) -> None:
    world = World(kind, t0=0.9)
    solver = reverse_sde.sampler("ode") if name == "ode" else comfy.samplers.sampler_object(name)
    if name == "euler_ancestral":
        solver = comfy.samplers.ksampler(name, {"eta": 0.0})
    for schedule in (PathSchedule(1.0, 0.0), PathSchedule(0.8, 0.3, "cosine")):
        manipulated = method(world.model, world.path, schedule)
        torch.testing.assert_close(world.edit(manipulated, solver), world.edit(manipulated), rtol=0, atol=1e-10)
    assert "approximately" not in caplog.text


def distance(world: World, result: Tensor) -> float:
    """From the source's end, as a share of the way to the target's."""
    return float((result - world.path.picture).abs().max() / (world.plain - world.path.picture).abs().max())


@every_family
@pytest.mark.parametrize("name", ["dpmpp_2m", "res_multistep", "ipndm", "heun"])
def test_higher_order_solvers_follow_the_path_approximately_and_say_so(kind, name: str, caplog) -> None:
    """Full weight: with eps_t the distance from the source's end shrinks with the steps, with x_t it is 0."""
    solver, full, apart = comfy.samplers.sampler_object(name), PathSchedule(1.0, 0.0), []
    for steps in (10, 40):
        world = World(kind, 0.9, steps)
        apart.append(distance(world, world.edit(inject_noise(world.model, world.path, full), solver)))
        assert distance(world, world.edit(inject_latent(world.model, world.path, full), solver)) < 1e-10
    assert apart[0] < 0.3
    assert apart[1] < 0.4 * apart[0]
    assert f"approximately with {name}" in caplog.text


@every_family
@every_method
@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2s_ancestral", "lcm", "sde_small"])
def test_solvers_that_add_noise_are_refused_where_the_path_counts(kind: ModelType, method, name: str) -> None:
    world = World(kind, 0.9)
    solver = reverse_sde.sampler(name, eta=0.0) if name == "sde_small" else comfy.samplers.sampler_object(name)
    for sampler in (solver, MaskedSampler(solver)):
        with pytest.raises(
            ValueError, match=r"adds noise at every step, which the path of MDP-. does not contain: use"
        ):
            world.edit(method(world.model, world.path, PathSchedule(0.8, 0.3, weight=0.5)), sampler)


@every_family
@pytest.mark.parametrize("weight", [1.0, 0.3])
def test_latents_do_not_make_any_solver_overshoot(kind: ModelType, weight: float) -> None:
    world = World(kind, steps=20)
    whole = float((world.plain - world.path.picture).abs().mean())
    manipulated = inject_latent(world.model, world.path, PathSchedule(0.8, 0.2, weight=weight))
    for name in comfy.samplers.SAMPLER_NAMES:
        solver = comfy.samplers.sampler_object(name)
        if adds_noise(solver) or name.endswith("_cfg_pp"):
            continue
        levels, noise = world.sigmas.float(), world.noise.float()
        edited = sample(manipulated, cond(MU_B), cond(MU_U), CFG, levels, noise, sampler=solver)
        assert float((edited - world.path.picture).abs().mean()) < 1.2 * whole, name


NO_LEVELS_OF_THEIR_OWN = [name for name in comfy.samplers.SAMPLER_NAMES if name not in ("dpm_fast", "dpm_adaptive")]


@every_family
@pytest.mark.parametrize("name", NO_LEVELS_OF_THEIR_OWN)
def test_a_mask_holds_the_path_under_every_solver(kind: ModelType, name: str) -> None:
    """The network sees the source's states outside of the mask, and inside all is as without one."""
    if name.endswith("_cfg_pp"):
        return
    world, seen = World(kind, 0.9), []
    mask = torch.zeros(1, 4, 4)
    mask[..., 2:] = 1

    def listening(executor, x, timestep, *args, **kwargs):
        seen.append((x, float(timestep.reshape(-1)[0])))
        return executor(x, timestep, *args, **kwargs)

    model = world.model.clone()
    held = inject_latent(model, world.path, PathSchedule(weight=0.0), mask)
    held.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "test", listening)
    solver, noise = comfy.samplers.sampler_object(name), world.noise.float()
    edited = sample(held, cond(MU_B), cond(MU_U), CFG, world.sigmas.float(), noise, sampler=solver)
    plain = sample(world.model, cond(MU_B), cond(MU_U), CFG, world.sigmas.float(), noise, sampler=solver)
    assert torch.equal(edited[..., :2], world.path.picture[..., :2].float())
    torch.testing.assert_close(edited[..., 2:], plain[..., 2:])
    assert seen
    for x, sigma in seen:
        if world.path.level(sigma) is not None:
            torch.testing.assert_close(x[..., :2], world.path.at(sigma)[..., :2].float(), rtol=1e-5, atol=1e-5)


@every_family
@every_method
@pytest.mark.parametrize("name", ["dpmpp_2m", "euler_ancestral", "euler_cfg_pp", "heun"])
def test_no_weight_is_the_plain_sample_with_any_solver(kind: ModelType, method, name: str) -> None:
    world, solver = World(kind, 0.9), comfy.samplers.sampler_object(name)
    neutral = method(world.model, world.path, PathSchedule(weight=0.0), torch.ones(1, 4, 4))
    assert torch.equal(world.edit(neutral, solver), world.edit(world.model, solver))


@every_family
@pytest.mark.parametrize("name", ["dpmpp_2m", "res_multistep"])
def test_a_path_replayed_by_the_solver_that_recorded_it_is_exact(kind: ModelType, name: str) -> None:
    world, solver = World(kind, t0=0.9), comfy.samplers.sampler_object(name)
    path = world.recorded(solver)
    found = world.edit(inject_noise(world.model, path, PathSchedule(1.0, 0.0)), solver)
    torch.testing.assert_close(found, path.picture, rtol=0, atol=1e-10)
    assert distance(world, path.picture) > 0.01, "the solver's path is not Euler's"


@every_method
def test_cfg_pp_solvers_are_refused(method) -> None:
    world = World(ModelType.EPS)
    manipulated = method(world.model, world.path, PathSchedule())
    with pytest.raises(ValueError, match="euler_cfg_pp steps along that part: use euler"):
        world.edit(manipulated, comfy.samplers.sampler_object("euler_cfg_pp"))


@every_method
def test_foreign_paths_are_refused_with_a_sentence(method) -> None:
    world, other = World(ModelType.EPS), World(ModelType.FLOW)
    with pytest.raises(ValueError, match="but the model is"):
        method(other.model, world.path, PathSchedule())
    manipulated = method(world.model, world.path, PathSchedule())
    for noise, problem in (
        (torch.zeros(2, 4, 8, 4, dtype=F64), "make the path at this resolution"),
        (torch.zeros(3, 4, 4, 4, dtype=F64), "holds 2 pictures, but the latent 3"),
    ):
        with pytest.raises(ValueError, match=problem):
            world.edit(manipulated, noise=noise)
    short = method(world.model, world.path.from_sigma(float(world.sigmas[3])), PathSchedule())
    with pytest.raises(ValueError, match="but the path only from"):
        world.edit(short)
    assert torch.equal(world.edit(world.model), world.plain)


@every_family
def test_batch_of_two_equals_two_singles(kind: ModelType) -> None:
    world = World(kind)
    schedule = PathSchedule(0.8, 0.3, "linear")
    both = world.edit(inject_noise(world.model, world.path, schedule))
    for item in range(2):
        alone = world.path.replaced(states=world.path.states[:, item : item + 1], denoised=None)
        found = world.edit(inject_noise(world.model, alone, schedule), noise=world.noise[item : item + 1])
        assert torch.equal(found[0], both[item])


@every_family
def test_a_split_run_keeps_to_the_window_of_the_path(kind: ModelType) -> None:
    world = World(kind, t0=0.9)
    manipulated = inject_noise(world.model, world.path, PathSchedule(0.8, 0.3, "linear"))
    whole = world.edit(manipulated)
    sampling = process.model_sampling(world.model)
    first = sample(manipulated, cond(MU_B), cond(MU_U), CFG, world.sigmas[:6], world.noise)
    second = sample(manipulated, cond(MU_B), cond(MU_U), CFG, world.sigmas[5:], torch.zeros_like(first), first)
    torch.testing.assert_close(second, whole, rtol=0, atol=1e-11)
    assert float(process.coefficients(sampling, world.sigmas[5])[0]) > 0


@every_family
@every_method
@pytest.mark.parametrize("masked", [False, True])
def test_a_split_run_of_a_solver_that_asks_at_its_last_level_is_the_whole_run(kind, method, masked: bool) -> None:
    world, heun = World(kind, t0=0.9), comfy.samplers.sampler_object("heun")
    mask = torch.eye(4)[None] if masked else None
    manipulated = method(world.model, world.path, PathSchedule(0.8, 0.3, weight=0.5), mask)
    whole = world.edit(manipulated, heun)
    first = sample(manipulated, cond(MU_B), cond(MU_U), CFG, world.sigmas[:6], world.noise, sampler=heun)
    rest = world.sigmas[5:], torch.zeros_like(first), first
    second = sample(manipulated, cond(MU_B), cond(MU_U), CFG, *rest, sampler=heun)
    torch.testing.assert_close(second, whole, rtol=0, atol=1e-11)


@every_family
@every_method
def test_a_solver_that_asks_where_a_path_ends_in_noise_gets_its_last_prediction(kind: ModelType, method) -> None:
    world, heun = World(kind, t0=0.9), comfy.samplers.sampler_object("heun")
    path = world.path.replaced(
        **{name: getattr(world.path, name)[:6] for name in ("sigmas", "states", "signal", "noise")},
        denoised=world.path.denoised[:5],  # pyright: ignore[reportOptionalSubscript]
    )
    manipulated = method(world.model, path, PathSchedule(1.0, 0.0), torch.eye(4)[None])
    found = sample(manipulated, cond(MU_B), cond(MU_U), CFG, path.sigmas, world.noise, sampler=heun)
    assert bool(torch.isfinite(found).all())


@every_family
def test_a_soft_mask_gives_the_same_beside_other_packs(kind: ModelType) -> None:
    """Steps before a full weight are left out only where nothing of them can remain."""
    world = World(kind)
    for mask in (None, torch.eye(4)[None], torch.full((1, 4, 4), 0.5)):
        alone = inject_latent(world.model, world.path, PathSchedule(0.7, 0.4), mask)
        beside = alone.clone()
        beside.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "other", lambda executor, *args: executor(*args))
        torch.testing.assert_close(world.edit(beside), world.edit(alone), rtol=0, atol=1e-12)


@every_family
def test_a_solver_that_goes_above_the_paths_start_keeps_to_its_line(kind: ModelType) -> None:
    world, churning = World(kind, 0.9), comfy.samplers.ksampler("euler", {"s_churn": 4.0})
    held = inject_latent(world.model, world.path, PathSchedule(weight=0.0), torch.eye(4)[None])
    found = world.edit(held, churning)
    assert bool(torch.isfinite(found).all())
    kept = torch.eye(4).expand_as(found) == 0
    assert torch.equal(found[kept], world.path.picture[kept])


def test_nothing_is_changed_and_nothing_is_left_behind() -> None:
    world = World(ModelType.EPS)
    before = (
        copy.deepcopy(world.path.states),
        copy.deepcopy(world.model.wrappers),
        copy.deepcopy(world.model.model_options),
    )
    mask = torch.rand(1, 4, 4)
    kept = mask.clone()
    for method, weight in itertools.product(METHODS, (0.3, 1.0)):
        manipulated = method(world.model, world.path, PathSchedule(weight=weight), mask)
        world.edit(manipulated)
        broken = comfy.samplers.KSAMPLER(lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            world.edit(manipulated, broken)
        fresh = method(world.model, world.path, PathSchedule(weight=weight), mask)
        assert torch.equal(world.edit(manipulated), world.edit(fresh)), (
            "the failed run has left nothing in the wrappers"
        )
    assert torch.equal(world.path.states, before[0])
    assert (world.model.wrappers, world.model.model_options) == before[1:]
    assert torch.equal(mask, kept)
