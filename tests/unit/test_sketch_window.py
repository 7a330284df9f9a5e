"""Which steps of a run a sketch guides: windows, every n-th step, schedules."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from comfy.model_base import ModelType
from diffusion_path.lep import guidance as guidance_module
from diffusion_path.lep.guidance import Guidance, guide
from diffusion_path.lep.guided_step import bend, deviation
from diffusion_path.samplers.schedule import PathSchedule
from diffusion_path.tests.unit import analytic, tiny
from diffusion_path.tests.unit.guided import STEPS, predictor_for, run, sketch_for


def test_which_steps_are_guided() -> None:
    """In training time, of a flow whose sigmas are just that; the schedule is a part of a run, or all of it."""
    sampling = analytic.gaussian_model(ModelType.FLOW).get_model_object("model_sampling")
    whole = torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.0])

    def guided(start: float, end: float, every: int = 1, part: slice = slice(None), **given: Any) -> list[int]:
        """The guided steps that take a gradient of their own."""
        guidance, sigmas = Guidance(None, None, start=start, end=end, every=every, **given), whole[part]  # type: ignore[arg-type]
        weights = guidance.weights(sampling, sigmas)
        levels = [float(s) for s in sigmas[:-1] if guidance.step(weights, sigmas, float(s))]
        return [round(5 - 5 * s) for s in levels if weights and guidance.renewed(weights, s)]

    assert guided(1.0, 0.0) == [0, 1, 2, 3, 4]
    assert guided(1.0, 0.5) == [0, 1, 2]
    assert guided(1.0, 0.6) == [0, 1]
    assert guided(0.6, 0.0) == [2, 3, 4]
    assert guided(0.8, 0.0, 2) == [1, 3]
    assert guided(1.0, 0.0, 3) == [0, 3]
    assert guided(0.5, 0.5) == []
    for first, second in ((slice(0, i + 1), slice(i, None)) for i in range(1, 5)):
        assert guided(1.0, 0.5, part=first) + guided(1.0, 0.5, part=second) == [0, 1, 2]
        assert guided(0.8, 0.0, 2, first, sigmas=whole) + guided(0.8, 0.0, 2, second, sigmas=whole) == [1, 3]


@pytest.mark.parametrize("kind", [ModelType.EPS, ModelType.FLOW])
def test_steps_between_follow_the_last_gradient(kind: ModelType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `every`, the gradient with respect to the state in variance-preserving units is kept from step to step."""
    model = tiny.unet(kind=kind)
    predictor, sketch = predictor_for(model), sketch_for(model)
    seen: list[torch.Tensor] = []

    def watched(sampling: Any, x: torch.Tensor, denoised: torch.Tensor, gradient: torch.Tensor, step: Any, *args: Any):
        seen.append(gradient * deviation(sampling, step[0]))
        return bend(sampling, x, denoised, gradient, step, *args)

    monkeypatch.setattr(guidance_module, "bend", watched)
    always = run(guide(model, Guidance(predictor, sketch, end=0.0)))
    own, seen[:] = list(seen), []
    twice = run(guide(model, Guidance(predictor, sketch, end=0.0, every=2)))
    assert len(own) == len(seen) == STEPS
    assert not torch.equal(always, twice)
    assert torch.equal(seen[0], own[0])
    for i in range(0, STEPS, 2):
        torch.testing.assert_close(seen[i + 1], seen[i], rtol=1e-5, atol=0.0)
    assert not torch.allclose(seen[2], seen[1], rtol=1e-2)


def test_schedule_multiplies_beta_and_takes_the_place_of_start_and_end() -> None:
    model = tiny.unet()
    predictor, sketch = predictor_for(model), sketch_for(model)
    given = Guidance(predictor, sketch, beta=0.8, end=1.0, schedule=PathSchedule(1.0, 0.5, weight=0.5))
    halved = Guidance(predictor, sketch, beta=0.4, end=0.5)
    assert torch.equal(run(guide(model, given)), run(guide(model, halved)))
    sampling = analytic.gaussian_model(ModelType.FLOW).get_model_object("model_sampling")
    sigmas = torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    falling = Guidance(predictor, sketch, beta=1.0, schedule=PathSchedule(1.0, 0.25, "linear"))
    weights = falling.weights(sampling, sigmas)
    steps = [falling.step(weights, sigmas, float(s)) for s in sigmas[:4]]
    assert steps == [((1.0, 0.75), 1.0), ((0.75, 0.5), pytest.approx(0.5)), None, None]


@pytest.mark.parametrize("every", [1, 3])
def test_nothing_of_a_run_stays_in_a_circle(every: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient that is followed, and with it the model, are let go with the run, without the garbage collector."""
    kept: list[weakref.ref[Any]] = []

    class Watched(guidance_module._Call):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            kept.append(weakref.ref(self))

    monkeypatch.setattr(guidance_module, "_Call", Watched)
    model = tiny.unet()
    guidance = Guidance(predictor_for(model), sketch_for(model), end=0.0, every=every)
    gc.disable()
    try:
        run(guide(model, guidance))
        assert len(kept) == -(-STEPS // every)
        assert [call() for call in kept] == [None] * len(kept)
    finally:
        gc.enable()
