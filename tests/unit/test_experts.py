"""Two models joined at a noise level: every evaluation is the one of the model whose level it is, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import comfy.hooks
import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.model_base import ModelType
from comfy.patcher_extension import WrappersMP
from comfy.samplers import KSAMPLER
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from diffusion_path.devtools.direct import call
from diffusion_path.lep.guidance import Guidance, guide
from diffusion_path.lep.predict import predict_map
from diffusion_path.samplers import process
from diffusion_path.samplers.experts import experts_of, join
from diffusion_path.samplers.mdp.conditions import mix_guidance
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import elsewhere, tiny
from diffusion_path.tests.unit.compatibility import CASES, REFUSED, World, outcome
from diffusion_path.tests.unit.families import WAN, Family, built
from diffusion_path.tests.unit.guided import predictor_for, sketch_for
from torch import Tensor

STEPS, CFG, SEED, BOUNDARY = 6, 3.0, 5, 0.6
Calls = list[tuple[Tensor, Tensor]]


def variant(build: Callable[[], Any], seed: int) -> Any:
    model = build()
    with torch.inference_mode():
        tiny.fill(model.model.diffusion_model, seed)
    return model


@cache
def experts(kind: str = "wan") -> tuple[Any, Any]:
    return variant(tiny.MODELS[kind], 0), variant(tiny.MODELS[kind], 1)


@pytest.fixture
def pair() -> Any:
    return join(*experts(), BOUNDARY)


def levels(model: Any) -> Tensor:
    return comfy.samplers.calculate_sigmas(process.model_sampling(model), "simple", STEPS)


def sampled(
    model: Any, solver: Any = "euler", sigmas: Tensor | None = None, callback: Any = None, **given: Any
) -> Tensor:
    """A run of core's guider; given: latent and noise in VAE space, positive."""
    with torch.inference_mode():
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(given.get("positive", tiny.cond(0)), given.get("negative", tiny.cond(1)))
        guider.set_cfg(CFG)
        latent = given.get("latent", torch.zeros(tiny.latent_shape(model)))
        noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(SEED))
        solver = comfy.samplers.sampler_object(solver) if isinstance(solver, str) else solver
        sigmas = levels(model) if sigmas is None else sigmas
        return guider.sample(given.get("noise", noise), latent, solver, sigmas, callback=callback, disable_pbar=True,
                             seed=SEED)  # fmt: skip


def evaluated(model: Any, calls: Calls, **given: Any) -> list[Tensor]:
    """D(x, sigma) for each of the calls, one after the other in a single run."""
    found: list[Tensor] = []

    def function(denoiser: Any, x: Tensor, sigmas: Tensor, extra_args: Any = None, **_: Any) -> Tensor:
        found.extend(denoiser(state, sigma * x.new_ones(len(x)), **extra_args) for state, sigma in calls)
        return x

    sampled(model, KSAMPLER(function), **given)
    return found


@cache
def calls(kind: str = "wan") -> Calls:
    """States at levels on both sides of the boundary, which is crossed in both directions."""
    model = experts(kind)[0]
    sampling = process.model_sampling(model)
    shares = (0.95, 0.4, 0.7)
    sigmas = [torch.tensor(share if kind == "wan" else share / (1 - share)) for share in shares]
    assert all(abs(float(process.noise_share(sampling, s)) - t) < 1e-6 for s, t in zip(sigmas, shares, strict=True))
    generator = torch.Generator().manual_seed(2)
    return [(torch.randn(tiny.latent_shape(model), generator=generator), sigma) for sigma in sigmas]


def check(pair: Any, high: Any, low: Any, kind: str = "wan", **given: Any) -> None:
    """The pair's evaluations are those of `high` above the boundary and of `low` below it."""
    first, *below, last = calls(kind)
    above, low_noise = evaluated(high, [first, last], **given), evaluated(low, below, **given)
    made = evaluated(pair, calls(kind), **given)
    expected = [above[0], *low_noise, above[1]]
    assert [torch.equal(a, b) for a, b in zip(made, expected, strict=True)] == [True] * len(made)


def test_every_evaluation_is_that_of_the_model_at_its_level(pair):
    check(pair, *experts())
    check(join(*experts("unet"), BOUNDARY), *experts("unet"), kind="unet")


def test_it_is_cores_run_in_two_parts(pair):
    (high, low), sigmas = experts(), levels(pair)
    change = int((sigmas[:-1] >= BOUNDARY).sum())
    states: list[Tensor] = []
    made = sampled(pair, callback=lambda _, denoised, x, total: states.append(x.clone()))
    middle = sampled(high, sigmas=sigmas[: change + 1])
    parts = sampled(low, sigmas=sigmas[change:], latent=middle, noise=torch.zeros_like(middle))
    torch.testing.assert_close(made, parts, rtol=1e-4, atol=1e-4)  # core goes through VAE space in between
    alone: list[Tensor] = []
    sampled(high, callback=lambda _, denoised, x, total: alone.append(x.clone()))
    assert [torch.equal(a, b) for a, b in zip(states, alone, strict=True)] == [i <= change for i in range(STEPS)]
    assert 1 < change < STEPS - 1


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m_sde", "uni_pc"])
def test_twice_the_same_model_is_that_model(solver):
    high = experts()[0]
    assert torch.equal(sampled(join(high, high, BOUNDARY), solver), sampled(high, solver))


def test_boundaries_at_the_ends():
    high, low = experts()
    assert join(high, low, 0.0) is high
    inside = levels(high)[1:]
    assert torch.equal(sampled(join(high, low, 1.0), sigmas=inside), sampled(low, sigmas=inside))


@pytest.mark.parametrize("solver", ["heun", "dpm_2", "dpmpp_2s_ancestral"])
def test_a_solver_that_looks_ahead_gets_each_level_from_its_model(solver):
    pair, seen = join(*experts(), BOUNDARY), []

    def note(executor, x, t, *args, **kwargs):
        seen.append((float(t[0]), executor.class_obj))
        return executor(x, t, *args, **kwargs)

    pair.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", note)
    sampled(pair, solver)
    assert {level >= BOUNDARY for level, _ in seen} == {True, False}
    assert all(model is experts()[level < BOUNDARY].model for level, model in seen)


def lora(model: Any) -> Any:
    return tiny.add_lora(model)


def option(change: Callable[[Any], None]) -> Callable[[Any], Any]:
    def changed(model: Any) -> Any:
        clone = model.clone()
        change(clone)
        return clone

    return changed


def wrapper(kind: str) -> Callable[[Any], Any]:
    """Something that changes the result of each kind of wrapper."""

    def wrapped(executor: Any, *args: Any, **kwargs: Any) -> Any:
        result = executor(*args, **kwargs)
        return [1.25 * part for part in result] if isinstance(result, list) else 1.25 * result

    return option(lambda model: model.add_wrapper_with_key(kind, "test", wrapped))


BELONGINGS: dict[str, Callable[[Any], Any]] = {
    "lora": lora,
    "post cfg": option(lambda m: m.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * 1.5)),
    "pre cfg": option(lambda m: m.set_model_sampler_pre_cfg_function(lambda args: [2 * c for c in args["conds_out"]])),
    "cfg": option(lambda m: m.set_model_sampler_cfg_function(lambda args: args["cond"])),
    "function": option(lambda m: m.set_model_unet_function_wrapper(
        lambda apply, args: 1.5 * apply(args["input"], args["timestep"], **args["c"]))),
    "attention": option(lambda m: m.set_model_attn1_patch(lambda q, k, v, extra_options=None, **_: (q, k, 2 * v))),
    **{kind: wrapper(kind) for kind in (WrappersMP.PREDICT_NOISE, WrappersMP.CALC_COND_BATCH, WrappersMP.APPLY_MODEL,
                                        WrappersMP.DIFFUSION_MODEL, WrappersMP.OUTER_SAMPLE)},
}  # fmt: skip


@pytest.mark.parametrize("name", BELONGINGS)
def test_what_belongs_to_a_model_counts_for_it_alone_and_what_is_added_to_the_pair_for_both(name):
    add, kind = BELONGINGS[name], "unet" if name == "attention" else "wan"
    high, low = experts(kind)
    check(join(add(high), low, BOUNDARY), add(high), low, kind)
    check(join(high, add(low), BOUNDARY), high, add(low), kind)
    if name != "lora":
        check(add(join(high, add(low), BOUNDARY)), add(high), add(add(low)), kind)


def test_manipulations_of_one_model_and_of_the_pair():
    high, low = experts()

    def mixed(model: Any) -> Any:
        return mix_guidance(model, tiny.cond(7), PathSchedule(1.0, 0.0, weight=0.5))

    check(join(high, mixed(low), BOUNDARY), high, mixed(low))
    check(join(mixed(high), low, BOUNDARY), mixed(high), low)
    check(mixed(join(high, low, BOUNDARY)), mixed(high), mixed(low))


def test_the_gradient_of_a_sketch_is_that_of_the_model_at_work(pair):
    def guided(model: Any) -> Any:
        return guide(model, Guidance(predictor_for(experts()[0]), sketch_for(model), start=1.0, end=0.0))

    check(guided(pair), *(guided(model) for model in experts()))


def test_predicted_edges_are_those_of_the_model_at_the_level(pair):
    high, low = experts()
    given = {"latents": tiny.latent(high)["samples"], "cond": tiny.cond(0), "times": (0.8, 0.3)}
    alone = [predict_map(model, predictor_for(high), **given) for model in (high, low)]
    made = predict_map(pair, predictor_for(high), **given)
    assert torch.equal(made[0], alone[0][0])
    assert torch.equal(made[1], alone[1][1])
    assert not torch.equal(*[each[1] for each in alone])


def test_prompts_are_encoded_by_the_model_that_reads_them(pair, monkeypatch):
    for model, factor in zip(experts(), (1.0, 2.0), strict=True):
        own = model.model.extra_conds

        def encode(own: Any = own, factor: float = factor, **kwargs: Any) -> Any:
            return own(**{**kwargs, "cross_attn": factor * kwargs["cross_attn"]})

        monkeypatch.setattr(model.model, "extra_conds", encode)
    check(pair, *experts())
    below = levels(pair)[3:]
    assert torch.equal(sampled(pair, sigmas=below), sampled(experts()[1], sigmas=below))


def test_a_controlnet_follows_the_model_at_work():
    control = tiny.controlnet()
    given = {name: tiny.with_control(tiny.cond(i), control) for i, name in enumerate(("positive", "negative"))}
    check(join(*experts("unet"), BOUNDARY), *experts("unet"), kind="unet", **given)


def test_a_lora_on_a_prompt_changes_both_models():
    high, low = experts()
    name = "diffusion_model.blocks.0.self_attn.q"
    weight = high.model.state_dict()[f"{name}.weight"]
    generator = torch.Generator().manual_seed(8)
    hooks = comfy.hooks.create_hook_lora(
        {f"{name}.diff": 0.3 * torch.randn(weight.shape, generator=generator)}, 1.0, 0.0
    )
    given = {"positive": comfy.hooks.set_hooks_for_conditioning(tiny.cond(0), hooks)}
    check(join(high, low, BOUNDARY), high, low, **given)
    assert not torch.equal(evaluated(low, calls()[1:2], **given)[0], evaluated(low, calls()[1:2])[0])


def test_one_schedule_for_both_models():
    high, low = experts()
    first, second = (ModelSamplingSD3().patch(model, shift)[0] for model, shift in ((high, 5.0), (low, 2.0)))
    assert torch.equal(levels(join(first, second, BOUNDARY)), levels(first))
    check(join(first, second, BOUNDARY), high, low)
    later = ModelSamplingSD3().patch(join(high, low, BOUNDARY), 3.0)[0]
    shifts: set[float] = set()

    def note(args: dict[str, Any]) -> Tensor:
        shifts.add(args["model"].model_sampling.shift)
        return args["denoised"]

    later.set_model_sampler_post_cfg_function(note)
    evaluated(later, calls())
    assert shifts == {3.0}


METHODS = ["DPathSDEdit", "DPathRecord", "DPathReconstruct", "DPathToSampling", "DPathMDPEdit", "DPathFlowEdit",
           "DPathSketchGuidance", "DPathPredictMap", "DPathSweep",
           *(label for label in CASES if label.startswith(("DPathInvert", "DPathMDP: ")))]  # fmt: skip


@cache
def worlds() -> tuple[World, World]:
    """A tiny Wan 2.1: alone, and joined with another one at a level in the middle of the run."""
    family = Family("Wan 2.1", WAN.config, tiny.WAN, frames=2)
    with torch.inference_mode():
        high = World(family, built(family))
        low = variant(lambda: built(family), 1)
        middle = float(high.sigmas[0] + high.sigmas[1]) / 2
        return high, World(family, join(high.model, low, middle))


@pytest.mark.parametrize("label", METHODS)
def test_every_method_does_across_the_boundary_what_it_does_with_one_model(label):
    alone, joined = worlds()
    assert outcome(label, joined) == outcome(label, alone)


def held() -> set[int]:
    return {id(loaded.model) for loaded in comfy.model_management.loaded_models()}


def test_each_model_is_loaded_when_its_turn_comes_and_the_other_need_not_stay(pair):
    (high, low), plain, seen = experts(), sampled(pair), []
    change = int((levels(pair)[:-1] >= BOUNDARY).sum())
    comfy.model_management.unload_all_models()

    def short_of_memory(step: int, *_: Any) -> None:
        seen.append([id(model.model) in held() for model in (high, low)])
        comfy.model_management.unload_all_models() if step in (change - 1, change) else None

    sampled(pair, callback=short_of_memory)
    assert seen == [[True, False]] * change + [[False, True]] + [[False, False]] * (STEPS - change - 1)
    assert torch.equal(sampled(pair), plain)
    comfy.model_management.unload_all_models()
    sampled(pair, sigmas=levels(pair)[change:])
    assert [id(model.model) in held() for model in (high, low)] == [False, True]


def test_where_memory_is_short_one_model_is_on_the_device(monkeypatch):
    monkeypatch.setattr(comfy.model_management, "get_torch_device", lambda: elsewhere.PLACE)

    def none_free(device: Any = None, torch_free_too: bool = False) -> Any:
        return (0, 0) if torch_free_too else 0

    monkeypatch.setattr(comfy.model_management, "get_free_memory", none_free)
    seen: list[list[bool]] = []
    with elsewhere.device() as place:
        high, low = (variant(tiny.wan, seed) for seed in range(2))

        def look(*_: Any) -> None:
            seen.append([model.model.device == place for model in (high, low)])

        sampled(join(high, low, BOUNDARY), callback=look, sigmas=levels(high)[2:])
        comfy.model_management.unload_all_models()
    assert seen == [[True, False], *[[False, True]] * 3]


@pytest.mark.parametrize("error", [ValueError, comfy.model_management.InterruptProcessingException])
@pytest.mark.parametrize("step", [1, 4])
def test_an_error_leaves_nothing_behind(pair, error, step):
    plain, options = sampled(pair), repr(pair.model_options)

    def stop(at: int, *_: Any) -> None:
        if at == step:
            raise error

    with pytest.raises(error):
        sampled(pair, callback=stop)
    found = experts_of(pair)
    assert found is not None
    assert found.run is None
    assert all(model.model.current_patcher is None for model in experts())
    assert repr(pair.model_options) == options
    assert torch.equal(sampled(pair), plain)


def test_a_low_noise_model_keeps_no_step_cache_where_every_evaluation_counts():
    from comfy_extras.nodes_easycache import EasyCacheNode
    from diffusion_path.samplers.caching import without_step_caches

    high, low = experts()
    cached = EasyCacheNode.execute(low, 0.2, 0.15, 0.95, False).args[0]
    cleaned = without_step_caches(join(high, cached, BOUNDARY), "This test")
    found = experts_of(cleaned)
    assert found is not None
    assert "easycache" not in found.models[1].model_options["transformer_options"]
    check(cleaned, high, low)


def _v_model() -> Any:
    return tiny.unet(kind=ModelType.V_PREDICTION)


UNFIT: dict[str, tuple[Callable[[], tuple[Any, Any]], str]] = {
    "pair": (lambda: (join(*experts(), BOUNDARY), experts()[1]), "pair of joined models already"),
    "class": (lambda: (experts()[0], experts("unet")[1]), "same architecture"),
    "size": (lambda: (experts()[0], built(WAN)), "differ in size or inputs"),
    "prediction": (lambda: (experts("unet")[0], _v_model()), "cannot share a path"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_models_that_share_no_path_are_refused(name):
    models, sentence = UNFIT[name]
    with torch.inference_mode(), pytest.raises(ValueError, match=sentence):
        join(*models(), BOUNDARY)


def test_a_lora_after_joining_is_refused(pair):
    with pytest.raises(ValueError, match="would reach high_noise alone"):
        sampled(tiny.add_lora(pair))


def test_calls_across_the_boundary_are_refused(pair):
    assert outcome("DPathTrainMapPredictor", worlds()[1])[0] == REFUSED
    mixed = torch.tensor([0.9, 0.3])
    found = experts_of(pair)
    assert found is not None
    with pytest.raises(ValueError, match="noise levels of both joined models"):
        found.side(process.model_sampling(pair), mixed)


def test_the_node_reports_the_steps_of_each_model():
    high, low = experts()
    given = {"high_noise": high, "low_noise": low}
    model, text = call("DPathJoinModels", **given, boundary=BOUNDARY, sigmas=levels(high))
    first = "high_noise takes steps 1 to 3 of 6 (sigma 1 to 0.5)"
    second = "low_noise takes steps 4 to 6 of 6 (sigma 0.5 to 0)"
    assert text == f"{first}, {second}"
    assert torch.equal(sampled(model), sampled(join(high, low, BOUNDARY)))
    assert call("DPathJoinModels", **given, boundary=0.0)[0] is high
    assert "connect sigmas" in call("DPathJoinModels", **given, boundary=0.9)[1]
