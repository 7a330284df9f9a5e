"""The limit of a guided step: what of the distance to the sketch one push may take away."""

from __future__ import annotations

from typing import Any

import comfy.patcher_extension
import pytest
import torch
from diffusion_path.lep import families
from diffusion_path.lep.features import capturing
from diffusion_path.lep.guidance import Guidance, _per_sample, guide
from diffusion_path.lep.guided_step import bend
from diffusion_path.lep.level_input import level_input
from diffusion_path.samplers import process
from diffusion_path.tests.unit import analytic, tiny
from diffusion_path.tests.unit.guided import Fixed, Recorder, drawing_for, predictor_for, run, sketch_for
from torch import Tensor


@pytest.mark.parametrize("kind", analytic.FAMILIES)
@pytest.mark.parametrize("masked", [False, True])
def test_length_of_a_limited_step(kind: Any, masked: bool) -> None:
    """min(beta ||own step||, drop / ||gradient||), each sample by itself, in variance-preserving units."""
    sampling = analytic.gaussian_model(kind).get_model_object("model_sampling")
    generator = torch.Generator().manual_seed(0)
    x, denoised, gradient = (torch.randn(3, 4, 5, 5, generator=generator, dtype=torch.float64) for _ in range(3))
    mask = torch.ones(1, 1, 5, 5, dtype=torch.float64)
    mask[..., 2:] = 0.0 if masked else 1.0
    step = sigma, following = 0.7, 0.4
    drop = torch.tensor([0.0, 0.5, 1e6], dtype=torch.float64)

    def moved(**limit: Any) -> Tensor:
        shift = bend(sampling, x, denoised, gradient, step, 1.6, mask, **limit) - denoised
        a, b = process.coefficients(sampling, following)
        return ((1 - following / sigma) * shift / (a**2 + b**2).sqrt()).flatten(1).norm(dim=1)

    free, limited = moved(), moved(drop=drop)
    a, b = process.coefficients(sampling, sigma)
    bound = drop / (gradient * mask).flatten(1).norm(dim=1) / float((a**2 + b**2).sqrt())
    torch.testing.assert_close(limited, torch.minimum(free, bound), rtol=1e-10, atol=1e-12)
    assert float(limited[0]) == 0.0
    assert 0.0 < float(limited[1]) < float(free[1])
    assert float(limited[2]) == float(free[2])


def test_a_sample_without_a_gradient_stays() -> None:
    sampling = analytic.gaussian_model().get_model_object("model_sampling")
    x, denoised, gradient = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3), torch.zeros(2, 4, 3, 3)
    gradient[1] = 1e-40
    for drop in (torch.zeros(2), torch.ones(2)):
        bent = bend(sampling, x, denoised, gradient, (2.0, 1.0), 1.0, drop=drop)
        assert torch.equal(bent[0], denoised[0])
        assert bool(torch.isfinite(bent).all())


@pytest.mark.parametrize("name", ["unet", "flux", "wan"])
def test_a_push_takes_its_share_of_the_distance(name: str) -> None:
    """Moved in the model's own coordinates as far as the limit says, the state's distance to the sketch is 1 % less."""
    model, limit = tiny.MODELS[name](), 0.01
    predictor, sketch = predictor_for(model), sketch_for(model)
    guided = Recorder()
    run(guided.on(guide(model, Guidance(predictor, sketch, beta=50.0, end=0.75, limit=limit))), cfg=1.0)
    found: list[float] = []

    def probe(executor: Any, x: Tensor, sigma: Tensor, options: Any = None, seed: Any = None) -> Tensor:
        if not found:
            network, inner = predictor.network_on(x.device), executor.class_obj.inner_model
            frames = x.shape[2] if x.ndim == 5 else 1

            def loss(state: Tensor) -> float:
                with capturing(families.network_of(model), predictor.taps, network.project) as capture:
                    executor(state, sigma, options, seed)
                level = level_input("angle", inner, sigma, None, frames, frames)
                size = (int(state.shape[-2]), int(state.shape[-1]))
                seen = network.combine(capture.readings[-1].values, level, size)
                return float(((seen - sketch.target) ** 2).flatten(1).mean(1).sum().double())

            here, there = guided.calls[0][1], guided.calls[1][1]
            spreads = []
            for each in (here, there):
                a, b = process.coefficients(inner.model_sampling, each)
                spreads.append(float((a**2 + b**2).sqrt()))
            push = (guided.calls[0][2] - executor(x, sigma, options, seed)) * (1 - there / here) / spreads[1]
            found.extend([loss(x), loss(x + push * spreads[0])])
        return executor(x, sigma, options, seed)

    clone = model.clone()
    clone.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, "probe", probe)
    run(clone, cfg=1.0)
    before, after = found
    assert (before - after) / before == pytest.approx(limit, rel=0.1)


def test_a_limit_that_is_not_reached_changes_nothing() -> None:
    model = tiny.unet()
    predictor, sketch = predictor_for(model), sketch_for(model)
    free, limited, held = (run(guide(model, Guidance(predictor, sketch, limit=limit))) for limit in (0.0, 1e9, 1e-3))
    assert torch.equal(free, limited)
    assert not torch.allclose(free, held)
    assert float((held - run(model)).norm()) < float((free - run(model)).norm())


@pytest.mark.parametrize("name", ["unet", "wan"])
def test_a_limited_batch_of_two_is_two_singles(name: str) -> None:
    model = tiny.MODELS[name]()
    predictor, sketches = predictor_for(model), drawing_for(model, batch=2)
    sketches[: len(sketches) // 2] *= 3.0  # one is farther from its sketch than the other
    frames = len(sketches) // 2

    def first(target: Tensor | None, indices: list[int]) -> Tensor:
        recorder = Recorder()
        guided = model if target is None else guide(model, Guidance(predictor, Fixed(target), beta=50.0, limit=0.05))
        run(recorder.on(guided), indices=indices, steps=2)
        return recorder.calls[0][2]

    both, plain = first(sketches, [0, 1]), first(None, [0, 1])
    for i in range(2):
        alone = first(sketches[i * frames : (i + 1) * frames], [i])[0]
        assert float((alone - both[i]).norm()) < 0.02 * float((both[i] - plain[i]).norm())


def test_distances_are_summed_for_each_sample() -> None:
    """Of two prompts on two videos of three frames, and one prompt more in a second call."""
    first, second = torch.arange(12.0), 100.0 * torch.ones(6)
    assert _per_sample([first, second], 2, 3).tolist() == [0 + 1 + 2 + 6 + 7 + 8 + 300, 3 + 4 + 5 + 9 + 10 + 11 + 300]  # type: ignore[union-attr]
    assert _per_sample([first[:3]], 2, 3) is None, "a call that held a part of the batch"
    assert _per_sample([], 2, 3) is None
