"""Sketch guidance: the length and direction of the step, neutrality, batches, masks, and nothing left behind."""

from __future__ import annotations

import gc
import logging
from typing import Any

import comfy.model_management as management
import comfy.patcher_extension
import comfy.samplers
import pytest
import torch
from diffusion_path import gradients
from diffusion_path.lep import families
from diffusion_path.lep.guidance import KEY, Guidance, guide
from diffusion_path.lep.guided_step import bend
from diffusion_path.lep.predictor import MapPredictor, build_network
from diffusion_path.samplers import process
from diffusion_path.tests.unit import analytic, tiny
from diffusion_path.tests.unit.gradient_probes import Stop, changes, failing, snapshot
from diffusion_path.tests.unit.guided import STEPS, Fixed, Recorder, drawing_for, predictor_for, run, sketch_for
from diffusion_path.tests.unit.several import Double, Listener
from torch import Tensor


@pytest.mark.parametrize("checkpointed", [False, True])
@pytest.mark.parametrize("name", ["unet", "flux"])
def test_a_run_in_half_precision_leaves_no_tensors(
    name: str, checkpointed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "loss_scales", lambda _: (2.0**10, 1.0))
    model = tiny.MODELS[name]()
    sketch = Guidance(predictor_for(model), sketch_for(model), end=0.0, checkpointed=checkpointed)
    guided, alive = guide(model, sketch), []
    for _ in range(3):
        run(guided, steps=2)
        gc.collect()
        alive.append(sum(isinstance(each, Tensor) for each in gc.get_objects()))
    assert alive[1] == alive[2]


@pytest.mark.parametrize("kind", analytic.FAMILIES)
@pytest.mark.parametrize("following", [0.4, 0.0])
def test_length_of_the_step(kind: Any, following: float) -> None:
    """In variance-preserving units the Euler step is moved by beta times its own length, whatever the loss."""
    sampling = analytic.gaussian_model(kind).get_model_object("model_sampling")
    generator = torch.Generator().manual_seed(0)
    x, denoised, gradient = (torch.randn(3, 4, 5, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    sigma, beta = 0.7, 1.6
    step = (sigma, following)

    def arrive(d: Tensor) -> Tensor:
        return following / sigma * x + (1 - following / sigma) * d

    def vp(state: Tensor, level: float) -> Tensor:
        a, b = process.coefficients(sampling, level)
        return state / (a**2 + b**2).sqrt()

    bent = bend(sampling, x, denoised, gradient, step, beta)
    moved = (vp(arrive(bent), following) - vp(arrive(denoised), following)).flatten(1)
    own = (vp(x, sigma) - vp(arrive(denoised), following)).flatten(1)
    torch.testing.assert_close(moved.norm(dim=1), beta * own.norm(dim=1), rtol=1e-10, atol=0)
    along = torch.cosine_similarity(moved, -gradient.flatten(1), dim=1)
    torch.testing.assert_close(along, torch.ones_like(along), rtol=1e-10, atol=0)
    for factor in (1e-30, 7.0, 1e20):
        torch.testing.assert_close(
            bend(sampling, x, denoised, gradient * factor, step, beta), bent, rtol=1e-10, atol=1e-12
        )


def test_equal_in_every_coordinate_system() -> None:
    """The same model as eps (x) and as flow (x / (1 + s), sigma = s / (1 + s)) is bent to the same D."""
    kinds = analytic.FAMILIES
    eps, flow = (analytic.gaussian_model(kind).get_model_object("model_sampling") for kind in kinds)
    x, denoised, gradient = (torch.randn(2, 4, 3, 3, dtype=torch.float64) for _ in range(3))
    here, there = 3.0, 1.2
    one = bend(eps, x, denoised, gradient, (here, there), 0.8)
    # The flow's Euler step is the same map with another share of D, so the states' shifts agree, not D's.
    other = bend(flow, x / (1 + here), denoised, gradient, (here / (1 + here), there / (1 + there)), 0.8)
    own = x / (1 + here**2) ** 0.5 - (there / here * x + (1 - there / here) * denoised) / (1 + there**2) ** 0.5
    assert float((one - denoised).norm()) > 0.1 * float(own.norm())
    torch.testing.assert_close(
        (one - denoised) / (one - denoised).norm(), (other - denoised) / (other - denoised).norm()
    )
    moved = (1 - there / here) * (one - denoised) / (1 + there**2) ** 0.5
    ratio = (there / (1 + there)) / (here / (1 + here))
    spread = ((1 / (1 + there)) ** 2 + (there / (1 + there)) ** 2) ** 0.5
    torch.testing.assert_close((1 - ratio) * (other - denoised) / spread, moved)


def test_no_gradient_no_shift() -> None:
    sampling = analytic.gaussian_model().get_model_object("model_sampling")
    x, denoised = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    gradient = torch.zeros_like(x)
    gradient[1] = 1e-40
    bent = bend(sampling, x, denoised, gradient, (2.0, 1.0), 1.0)
    assert torch.equal(bent[0], denoised[0])
    assert bool(torch.isfinite(bent).all())
    assert not torch.equal(bent[1], denoised[1])


def test_mask_bounds_the_shift() -> None:
    sampling = analytic.gaussian_model().get_model_object("model_sampling")
    x, denoised, gradient = (torch.randn(1, 4, 4, 4) for _ in range(3))
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1.0
    bent = bend(sampling, x, denoised, gradient, (2.0, 1.0), 1.0, mask)
    assert torch.equal(bent[..., 2:], denoised[..., 2:])
    half = bend(sampling, x[..., :2], denoised[..., :2], gradient[..., :2], (2.0, 1.0), 1.0)
    torch.testing.assert_close(bent[..., :2], half)


@pytest.mark.parametrize("name", tiny.MODELS)
def test_neutral_is_bit_identical(name: str) -> None:
    model = tiny.MODELS[name]()
    predictor, sketch = predictor_for(model), sketch_for(model)
    plain = run(model)
    for neutral in ({"beta": 0.0}, {"end": 1.0}, {"start": 0.0, "end": 0.0}):
        assert torch.equal(run(guide(model, Guidance(predictor, sketch, **neutral))), plain)
    assert not torch.allclose(run(guide(model, Guidance(predictor, sketch))), plain)


def test_unguided_steps_are_bit_identical() -> None:
    """After the guided part the model runs as without the node: same x, same D."""
    model = tiny.unet()
    guided, plain = Recorder(), Recorder()
    run(guided.on(guide(model, Guidance(predictor_for(model), sketch_for(model), start=0.5, end=0.0))))
    run(plain.on(model))
    for (x, _, d), (y, _, e) in list(zip(guided.calls, plain.calls, strict=True))[:2]:
        assert torch.equal(x, y)
        assert torch.equal(d, e)


def test_guided_euler_is_the_papers_step() -> None:
    """Within a run: z'_hat - z' has length beta ||z - z'|| and points down the gradient of the loss."""
    model, beta = tiny.unet(), 0.7
    guided = Recorder()
    run(guided.on(guide(model, Guidance(predictor_for(model), sketch_for(model), beta=beta, end=0.75))))
    (x, sigma, bent), (arrived, following, _) = guided.calls[:2]
    plain = Recorder()
    run(plain.on(model))
    denoised = plain.calls[0][2]
    straight = following / sigma * x + (1 - following / sigma) * denoised
    here, there = (1 + sigma**2) ** 0.5, (1 + following**2) ** 0.5
    own = (x / here - straight / there).norm()
    assert float((arrived / there - straight / there).norm()) == pytest.approx(beta * float(own), rel=1e-3)
    torch.testing.assert_close(arrived, following / sigma * x + (1 - following / sigma) * bent, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", tiny.MODELS)
def test_direction_against_central_differences(name: str) -> None:
    """Going along the shift, the distance between prediction and sketch falls as the gradient says."""
    from diffusion_path.lep.features import capturing
    from diffusion_path.lep.level_input import level_input

    model = tiny.MODELS[name]()
    predictor, sketch = predictor_for(model), sketch_for(model)
    guided = Recorder()
    run(guided.on(guide(model, Guidance(predictor, sketch, end=0.75))), cfg=1.0)
    plain = Recorder()
    found: list[float] = []

    def probe(executor: Any, x: Tensor, sigma: Tensor, options: Any = None, seed: Any = None) -> Tensor:
        if not found:
            shift = guided.calls[0][2] - executor(x, sigma, options, seed)
            direction = shift / shift.norm()
            network, inner = predictor.network_on(x.device), executor.class_obj.inner_model

            def loss(state: Tensor) -> float:
                with capturing(families.network_of(model), predictor.taps, network.project) as capture:
                    executor(state, sigma, options, seed)
                frames = state.shape[2] if state.ndim == 5 else 1
                level = level_input("angle", inner, sigma, None, frames, frames)
                size = (int(state.shape[-2]), int(state.shape[-1]))
                seen = network.combine(capture.readings[-1].values, level, size)
                return float(((seen - sketch.target) ** 2).flatten(1).mean(1).sum().double())

            step = 0.02 * float(x.norm()) / x.numel() ** 0.5
            other = torch.randn(x.shape, generator=torch.Generator().manual_seed(8))
            other = other - (other * direction).sum() * direction
            for way in (direction, other / other.norm()):
                found.append((loss(x + step * way) - loss(x - step * way)) / (2 * step))
        return executor(x, sigma, options, seed)

    clone = plain.on(model)
    clone.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, "probe", probe)
    run(clone, cfg=1.0)
    along, across = found
    assert along < 0
    # The gradient has no part across the shift.
    assert abs(across) < 0.02 * abs(along)


@pytest.mark.parametrize("name", ["unet", "flux", "wan"])
def test_batch_of_two_is_two_singles(name: str) -> None:
    model = tiny.MODELS[name]()
    predictor, sketches = predictor_for(model), drawing_for(model, batch=2)
    frames = len(sketches) // 2

    def first(target: Tensor | None, indices: list[int]) -> Tensor:
        recorder = Recorder()
        guided = model if target is None else guide(model, Guidance(predictor, Fixed(target)))
        run(recorder.on(guided), indices=indices, steps=2)
        return recorder.calls[0][2]

    both, plain = first(sketches, [0, 1]), first(None, [0, 1])
    for i in range(2):
        alone = first(sketches[i * frames : (i + 1) * frames], [i])[0]
        shift = (both[i] - plain[i]).norm()
        # Rounding may turn a ReLU on or off; a norm over the batch would be off by 40 %.
        assert float((alone - both[i]).norm()) < 0.02 * float(shift)


def test_one_sketch_serves_a_batch() -> None:
    model = tiny.unet()
    predictor, drawing = predictor_for(model), drawing_for(model)
    both = run(guide(model, Guidance(predictor, Fixed(drawing))), batch=2)
    twice = run(guide(model, Guidance(predictor, Fixed(drawing.repeat(2, 1, 1, 1)))), batch=2)
    assert torch.equal(both, twice)


def test_sketches_that_do_not_match_the_pictures_are_refused() -> None:
    model = tiny.unet()
    predictor, two = predictor_for(model), drawing_for(model).repeat(2, 1, 1, 1)
    with pytest.raises(ValueError, match="There are 2 sketches for a latent of 3 pictures: give one for all"):
        run(guide(model, Guidance(predictor, Fixed(two))), batch=3)


def test_prompts_do_not_change_the_length() -> None:
    """A branch more or less in the batch (cfg on or off) leaves the step's length beta times its own."""
    model, beta = tiny.unet(), 0.5
    predictor, sketch = predictor_for(model), sketch_for(model)
    directions = []
    for cfg in (1.0, 3.0):
        guided, plain = Recorder(), Recorder()
        run(guided.on(guide(model, Guidance(predictor, sketch, beta=beta, end=0.75))), cfg=cfg)
        run(plain.on(model), cfg=cfg)
        (x, sigma, bent), (_, following, _) = guided.calls[:2]
        denoised = plain.calls[0][2]
        straight = following / sigma * x + (1 - following / sigma) * denoised
        own = (x / (1 + sigma**2) ** 0.5 - straight / (1 + following**2) ** 0.5).norm()
        shift = (1 - following / sigma) * (bent - denoised) / (1 + following**2) ** 0.5
        assert float(shift.norm()) == pytest.approx(beta * float(own), rel=1e-3)
        directions.append(shift / shift.norm())
    # The direction is that of the positive branch alone.
    torch.testing.assert_close(directions[0], directions[1], rtol=1e-3, atol=1e-4)


def test_checkpointed_is_fast() -> None:
    for name in ("unet", "flux"):
        model = tiny.MODELS[name]()
        predictor, sketch = predictor_for(model), sketch_for(model)
        fast, lean = (run(guide(model, Guidance(predictor, sketch, checkpointed=c)), steps=2) for c in (False, True))
        torch.testing.assert_close(lean, fast, rtol=1e-3, atol=1e-3)


def test_taps_inside_a_recomputed_block() -> None:
    """Readout heads read inside residual blocks: their gradient must not be lost when blocks are recomputed."""
    model = tiny.unet()
    taps = tuple(f"output_blocks.{i}.0.out_layers" for i in range(2))
    channels = (64, 64)
    predictor = MapPredictor(build_network("mlp", channels, 4), "mlp", taps, channels, families.signature(model))
    sketch = sketch_for(model)
    fast, lean = (run(guide(model, Guidance(predictor, sketch, checkpointed=c)), steps=2) for c in (False, True))
    assert not torch.allclose(fast, run(model, steps=2))
    torch.testing.assert_close(lean, fast, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "heun", "euler_ancestral", "dpm_2", "lcm", "uni_pc"])
def test_any_sampler(sampler: str) -> None:
    model = tiny.unet()
    guidance = Guidance(predictor_for(model), sketch_for(model), beta=0.3)
    out = run(guide(model, guidance), sampler)
    assert bool(torch.isfinite(out).all())
    assert not torch.allclose(out, run(model, sampler))


def test_with_lora_and_controlnet() -> None:
    model = tiny.add_lora(tiny.unet())
    positive = tiny.with_control(tiny.cond(0), tiny.controlnet())
    guidance = Guidance(predictor_for(model), sketch_for(model))
    out = run(guide(model, guidance), positive=positive)
    assert bool(torch.isfinite(out).all())
    assert not torch.allclose(out, run(model, positive=positive))
    assert not torch.allclose(out, run(guide(tiny.unet(), guidance), positive=positive))


def test_keep_region_stays() -> None:
    model = tiny.unet()
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., :4] = 1.0
    out = run(guide(model, Guidance(predictor_for(model), sketch_for(model))), mask=mask)
    plain = run(model, mask=mask)
    latent = tiny.latent(model, batch=4)["samples"][:1]
    torch.testing.assert_close(out[..., 4:], latent[..., 4:])
    assert not torch.allclose(out[..., :4], plain[..., :4])


def test_importance() -> None:
    """Weights scale with the loss: uniform ones change nothing, zeros take a part of the sketch away."""
    model = tiny.unet(torch.float64)
    predictor, sketch = predictor_for(model), drawing_for(model)
    predictor.network.double()

    def weighed(target: Tensor, weight: Tensor | None) -> Tensor:
        return run(guide(model, Guidance(predictor, Fixed(target, weight))))

    plain = weighed(sketch, None)
    uniform = [weighed(sketch, torch.full((1, 1, 8, 8), value)) for value in (1.0, 0.5)]
    assert torch.equal(uniform[0], uniform[1]), "half of a number rounds as the number does"
    torch.testing.assert_close(uniform[0], plain, rtol=1e-6, atol=1e-6)
    weight = torch.zeros(1, 1, 8, 8)
    weight[..., :4] = 1.0
    other = sketch.clone()
    other[..., 4:] = 9.0
    left = [weighed(s, weight) for s in (sketch, other)]
    assert torch.equal(left[0], left[1])
    nothing = weighed(sketch, torch.zeros(1, 1, 8, 8))
    torch.testing.assert_close(nothing, run(model), rtol=1e-6, atol=1e-6)


def test_a_second_sketch_replaces_the_first() -> None:
    model = tiny.unet()
    predictor = predictor_for(model)
    first, second = sketch_for(model, seed=1), sketch_for(model, seed=2)
    both = guide(guide(model, Guidance(predictor, first)), Guidance(predictor, second))
    assert torch.equal(run(both), run(guide(model, Guidance(predictor, second))))
    off = guide(guide(model, Guidance(predictor, first)), Guidance(predictor, first, beta=0.0))
    assert torch.equal(run(off), run(model))
    assert not any(KEY in keys for keys in model.wrappers.values())


def test_preview_shows_the_edges_beside_the_picture() -> None:
    model = tiny.unet()
    widths: list[int] = []

    def callback(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
        widths.append(denoised.shape[-1])

    guidance = Guidance(predictor_for(model), sketch_for(model), end=0.0, preview=True)
    shown = run(guide(model, guidance), callback=callback)
    assert widths == [16, 16, 16, 8]  # the last is what the node gives out
    assert torch.equal(shown, run(guide(model, Guidance(guidance.predictor, guidance.sketch, end=0.0))))


def test_regional_prompts() -> None:
    """A prompt for a part of the picture is left alone; with no whole-picture prompt nothing is guided."""
    model = tiny.unet()
    guided = guide(model, Guidance(predictor_for(model), sketch_for(model)))
    part = [[tiny.cond(2)[0][0], {**tiny.cond(2)[0][1], "area": (8, 4, 0, 0)}]]
    mixed = run(guided, positive=tiny.cond(0) + part)
    assert not torch.allclose(mixed, run(model, positive=tiny.cond(0) + part))
    assert torch.equal(run(guided, positive=part + tiny.cond(0)), mixed), "their order does not matter"
    rest = [[tiny.cond(3)[0][0], {**tiny.cond(3)[0][1], "area": (8, 4, 0, 4)}]]
    halves = part + rest
    torch.testing.assert_close(run(guided, positive=halves), run(model, positive=halves), rtol=1e-4, atol=1e-3)


def test_a_guider_that_never_runs_the_branch_is_helped(caplog: pytest.LogCaptureFixture) -> None:
    """Another pack that computes all branches in its own way: one more call gives the gradient."""
    model = tiny.unet()

    def own_batch(arguments: dict[str, Any]) -> list[Tensor]:
        x, sigma = arguments["input"], arguments["sigma"]
        inner, options = arguments["model"], arguments["model_options"]
        copies = [[dict(cond) for cond in conds] for conds in arguments["conds"]]
        return comfy.samplers.calc_cond_batch(inner, copies, x, sigma, options)

    other = model.clone()
    other.model_options["sampler_calc_cond_batch_function"] = own_batch
    guidance = Guidance(predictor_for(model), sketch_for(model))
    with caplog.at_level(logging.WARNING):
        out = run(guide(other, guidance))
    torch.testing.assert_close(out, run(guide(model, guidance)), rtol=1e-3, atol=1e-3)
    assert "not guided" not in caplog.text


def test_a_guider_with_several_predictions_has_all_of_them_guided(monkeypatch: pytest.MonkeyPatch) -> None:
    model, listener = tiny.unet(), Listener()
    guidance = Guidance(predictor_for(model), sketch_for(model))
    expected = run(guide(model, guidance))
    monkeypatch.setattr(comfy.samplers, "CFGGuider", Double)
    assert torch.equal(run(guide(listener.on(model), guidance)), expected)
    assert listener.heard_alike(STEPS)


@pytest.mark.parametrize("error", [Stop(), RuntimeError("broken"), torch.cuda.OutOfMemoryError("CUDA out of memory")])
def test_nothing_is_left_after_a_failure(error: BaseException) -> None:
    model = tiny.unet()
    plain = run(model)
    guided = guide(model, Guidance(predictor_for(model), sketch_for(model)))
    state = snapshot(model)
    inner = [m for m in model.model.modules() if type(m).__name__ == "SiLU"][-2]
    with pytest.raises(type(error)), failing(inner, error):
        run(guided)
    assert not changes(state, snapshot(model))
    assert not management.in_training
    assert torch.equal(run(model), plain)
    fresh = guide(model, Guidance(predictor_for(model), sketch_for(model)))
    assert torch.equal(run(guided), run(fresh)), "the failed run has left nothing in the wrappers"


def test_a_predictor_that_does_not_see_the_picture_is_refused() -> None:
    """Its gradient is zero everywhere, so the run would be that without a sketch, without a word."""
    model = tiny.unet()
    predictor = predictor_for(model)
    with torch.no_grad():
        for parameter in predictor.network.parameters():
            parameter.zero_()
    with pytest.raises(ValueError, match="does not depend on the picture where the map predictor reads it"):
        run(guide(model, Guidance(predictor, sketch_for(model))))


def test_memory_is_asked_for() -> None:
    """ComfyUI is told of the activations that a gradient keeps, so that it makes room."""
    model = tiny.unet()
    asked: list[int] = []

    def listen(executor: Any, patcher: Any, shape: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(shape[0])
        return executor(patcher, shape, *args, **kwargs)

    for checkpointed in (False, True):
        guided = guide(model, Guidance(predictor_for(model), sketch_for(model), checkpointed=checkpointed))
        guided.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING, "listen", listen)
        run(guided, steps=2)
    assert asked[0] > asked[1] > 1
