"""Training: it learns, repeats, continues, keeps the best when interrupted, and gives the same in several processes."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management as management
import pytest
import torch
from diffusion_path.lep import families, training
from diffusion_path.lep.predict import predict_map
from diffusion_path.lep.predictor import MapPredictor
from diffusion_path.lep.store import Row, Store
from diffusion_path.lep.training import Example, Plan, Progress, Trained, train_predictor
from diffusion_path.samplers import process
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.gradient_probes import changes, snapshot
from torch import Tensor

PLAN = Plan(
    network="mlp", steps=40, batch=4, learning_rate=3e-3, noise_range=(0.0, 0.6), feature_set="all", reuse=4
)  # fmt: skip


def examples(model: Any, count: int = 8, sizes: tuple[int, ...] = (8,)) -> list[Example]:
    """Targets that can be read off the latent: twice its smoothed first channels."""
    found = []
    for i in range(count):
        with torch.inference_mode(False):
            latent = tiny.latent(model, 1, sizes[i % len(sizes)], seed=i)["samples"].clone() * 2.0
            flat = latent if latent.ndim == 4 else latent.movedim(2, 1).flatten(0, 1)
            smooth = torch.nn.functional.avg_pool2d(flat, 3, 1, 1)
        found.append(Example(latent, smooth * 2.0 + 1.0, tiny.cond(i % 2)))
    return found


def train(model: Any, plan: Plan = PLAN, data: list[Example] | None = None, **kw: Any) -> Trained:
    with torch.inference_mode():
        return train_predictor(model, data or examples(model), plan, **kw)


def weights(trained: Trained) -> Tensor:
    return torch.cat([p.flatten() for p in trained.predictor.network.parameters()])


@pytest.mark.parametrize(("kind", "steps"), [("mlp", 60), ("unet", 30)])
def test_it_learns(kind: str, steps: int) -> None:
    model = tiny.unet()
    train(model, replace(PLAN, steps=1))  # ComfyUI marks the layers when it first loads them
    state = snapshot(model)
    heard: list[Progress] = []
    plan = replace(PLAN, network=kind, steps=steps, noise_range=(0.0, 0.1))
    trained = train(model, plan, examples(model, 24), listen=heard.append)
    assert len(trained.losses) == len(heard) == steps
    assert sum(trained.losses[-5:]) < 0.95 * sum(trained.losses[:5])
    looks = [p.validation for p in heard if not math.isnan(p.validation)]
    assert looks[-1] < looks[0]
    assert heard[-1].best == min(looks)
    assert heard[-1].seen is not None
    assert not changes(state, snapshot(model))
    record = trained.predictor.record
    assert (record["steps"], record["pictures"], record["held_back"]) == (steps, 24, 2)
    assert record["validation_loss"] == heard[-1].best
    assert not any(p.is_inference() for p in trained.predictor.network.parameters())


def test_activations_that_are_the_same_everywhere_are_refused() -> None:
    model = tiny.unet()
    with torch.inference_mode():
        for parameter in model.model.diffusion_model.parameters():
            parameter.zero_()
    with pytest.raises(ValueError, match="the same for every pixel of every picture"):
        train(model, replace(PLAN, steps=2))


@pytest.mark.parametrize("name", tiny.MODELS)
def test_every_family_trains_and_predicts(name: str) -> None:
    model = tiny.MODELS[name]()
    trained = train(model, replace(PLAN, steps=20))
    predictor = trained.predictor
    families.check_fits(model, predictor.model, predictor.taps)
    latent = tiny.latent(model, 2)["samples"]
    with torch.inference_mode():
        seen = predict_map(model, predictor, latent, tiny.cond(0), [0.2, 0.8])
    assert [s.shape for s in seen] == [latent.shape] * 2
    assert not torch.allclose(seen[0], seen[1])


def test_same_seed_same_predictor() -> None:
    model = tiny.unet()
    plan = replace(PLAN, steps=12)
    assert torch.equal(weights(train(model, plan)), weights(train(model, plan)))
    assert not torch.equal(weights(train(model, plan)), weights(train(model, replace(plan, seed=1))))


def test_global_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    train(tiny.unet(), replace(PLAN, steps=2))
    assert torch.equal(torch.rand(3), wanted)


def test_continuing() -> None:
    model = tiny.unet()
    first = train(model, replace(PLAN, steps=30))
    second = train(model, replace(PLAN, steps=10, seed=3, feature_set="decoder"), start=first.predictor)
    assert second.predictor.record["steps"] == 40
    assert second.predictor.taps == first.predictor.taps
    assert second.losses[0] < 0.7 * first.losses[0]
    again = train(model, replace(PLAN, steps=30))
    assert torch.equal(weights(first), weights(again))  # what was continued from is unchanged


def test_a_predictor_of_another_model_is_refused() -> None:
    flux = train(tiny.flux(), replace(PLAN, steps=2)).predictor
    with pytest.raises(ValueError, match="made for a model with network Flux"):
        train(tiny.unet(), start=flux)
    published = replace(train(tiny.unet(), replace(PLAN, steps=1)).predictor, kind="lgp")
    with pytest.raises(ValueError, match=r"published predictor .lgp. cannot be trained further: train a new one"):
        train(tiny.unet(), start=published)


def test_features_come_from_noised_latents_under_the_caption() -> None:
    """Each item of a call has its own noise level and its own text."""
    model = tiny.unet()
    data = examples(model)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    inner = model.model
    original = inner.apply_model

    def listen(x: Tensor, sigma: Tensor, **kw: Any) -> Tensor:
        seen.append((x.clone(), sigma.clone(), kw["c_crossattn"].clone()))
        return original(x, sigma, **kw)

    inner.apply_model = listen
    try:
        train(model, replace(PLAN, steps=2), data)
    finally:
        del inner.apply_model
    x, sigma, text = next(call for call in seen if len(call[0]) == 4)  # the first one finds the blocks
    assert len(set(sigma.tolist())) == 4
    limit = process.t0_to_sigma(process.model_sampling(model), PLAN.noise_range[1])
    assert float(sigma.max()) <= limit
    spread = (x - torch.cat([nearest(data, item) for item in x])).flatten(1).std(dim=1)
    torch.testing.assert_close(spread, sigma, rtol=0.2, atol=0.02)
    known = [tiny.cond(i)[0][0] for i in range(2)]
    for item, line in zip(x, text, strict=True):
        place = next(i for i, e in enumerate(data) if torch.equal(e.latent, nearest(data, item)))
        torch.testing.assert_close(line[None], known[place % 2])


def nearest(data: list[Example], x: Tensor) -> Tensor:
    return min((e.latent for e in data), key=lambda latent: float((latent - x).norm()))


def test_calls_end_at_the_last_tap() -> None:
    """What follows the last block that is read is computed once, in the call that finds the blocks."""
    model = tiny.unet()
    called: list[str] = []
    handle = model.model.diffusion_model.out.register_forward_hook(lambda *_: called.append("out"))
    try:
        train(model, replace(PLAN, steps=4, feature_set="levels"))
    finally:
        handle.remove()
    assert called == ["out"]


def test_pictures_of_several_sizes() -> None:
    model = tiny.unet()
    data = examples(model, 9, sizes=(8, 12, 8))
    trained = train(model, replace(PLAN, steps=12), data)
    assert all(math.isfinite(loss) for loss in trained.losses)


@pytest.mark.parametrize("early", [True, False])
def test_an_interrupt_keeps_the_best(early: bool) -> None:
    model = tiny.unet()
    train(model, replace(PLAN, steps=1))
    state = snapshot(model)

    def listen(progress: Progress) -> None:
        if progress.step == (3 if early else 45):
            management.interrupt_current_processing()

    plan = replace(PLAN, steps=80)
    if early:
        with pytest.raises(management.InterruptProcessingException):
            train(model, plan, listen=listen)
    else:
        trained = train(model, plan, listen=listen)
        assert trained.interrupted
        assert len(trained.losses) == 45
        assert trained.predictor.record["steps"] == 45
    assert not changes(state, snapshot(model))
    assert not management.in_training


@pytest.mark.parametrize("at", ["after a step", "while activations are read"])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, losses and record are those of the training without an interrupt, bit for bit; twice interrupted too."""
    model = tiny.unet()
    reads, sizes = [0], [0]
    call = training._Session._call

    def reading(*args: Any) -> Row:
        reads[0] += 1
        if reads[0] == stop:
            raise management.InterruptProcessingException
        row = call(*args)
        sizes.append(row.stored().nbytes)
        return row

    def listen(progress: Progress) -> None:
        if at == "after a step" and progress.step in (25, 26):
            raise management.InterruptProcessingException

    monkeypatch.setattr(training._Session, "_call", reading)
    stop = 0
    train(model, replace(PLAN, steps=1))
    plan = replace(PLAN, steps=44, memory=5 * max(sizes))
    whole = train(model, plan)
    assert whole.predictor.unfinished is None
    assert not whole.interrupted
    reads[0], stop = 0, 15 if at != "after a step" else 0
    trained = train(model, plan, listen=listen)
    done = [25] if at == "after a step" else [len(trained.losses)]
    assert trained.interrupted
    assert len(trained.losses) == done[0] < 44
    assert len(trained.predictor.unfinished.mark.recipes) == 5, "rows that made room are not read again"
    if at == "after a step":
        trained = train(model, plan, start=trained.predictor, listen=listen)
        assert len(trained.losses) == 26
    stop = 0
    rest = train(model, plan, start=trained.predictor)
    assert rest.losses == whole.losses
    assert torch.equal(weights(rest), weights(whole))
    assert rest.predictor.record == whole.predictor.record
    assert rest.predictor.unfinished is None
    other = train(model, replace(plan, seed=1, steps=20), start=trained.predictor)
    assert len(other.losses) == 20, "another plan starts over, from the best weights"


@pytest.mark.parametrize(
    ("count", "plan", "message"),
    [
        (3, PLAN, "3 pictures are too few"),
        (8, replace(PLAN, noise_range=(0.5, 0.5)), "noise range 0.5 to 0.5 is empty"),
        (8, replace(PLAN, feature_set="none"), "no feature set 'none'"),
        (8, replace(PLAN, network="rnn"), "choose mlp or unet"),
    ],
)
def test_bad_plans_are_refused(count: int, plan: Plan, message: str) -> None:
    model = tiny.unet()
    with pytest.raises(ValueError, match=message):
        train(model, plan, examples(model, count))


def test_a_loss_that_is_never_finite_is_said() -> None:
    model = tiny.unet()
    data = [replace(e, target=e.target * math.nan) for e in examples(model)]
    with pytest.raises(ValueError, match="never finite"):
        train(model, replace(PLAN, steps=3), data)


def row(value: float, lanes: int = 2, size: int = 4) -> Row:
    feature = torch.full((lanes, 3, size, size), value) + torch.arange(lanes).reshape(-1, 1, 1, 1)
    return Row((feature,), torch.full((lanes,), value), feature[:, :1].clone())


def test_store_keeps_to_its_budget_and_mixes_lanes() -> None:
    one = row(0.0).stored()
    store = Store(3 * one.nbytes)
    for i in range(5):
        store.add(row(10.0 * i).stored())
    assert [float(r.level[0]) for r in store.rows] == [20.0, 30.0, 40.0]
    generator = torch.Generator().manual_seed(0)
    drawn = [store.draw(generator) for _ in range(20)]
    assert {float(d.level[0]) for d in drawn} == {20.0, 30.0, 40.0}
    assert any(float(d.level[0]) != float(d.level[1]) for d in drawn)
    for d in drawn:  # lane 1 stays lane 1
        assert float(d.features[0][1, 0, 0, 0]) == float(d.level[1]) + 1.0
    store.add(row(7.0, size=8).stored())
    assert {tuple(store.draw(generator).target.shape) for _ in range(20)} <= {(2, 1, 4, 4), (2, 1, 8, 8)}


def test_store_of_two_processes_draws_as_one() -> None:
    whole, halves = Store(10**6), [Store(10**6, rank, 2) for rank in range(2)]
    for i in range(4):
        complete = row(10.0 * i, lanes=4)
        whole.add(complete)
        for rank, half in enumerate(halves):
            half.add(Row((complete.features[0][rank::2],), complete.level[rank::2], complete.target[rank::2]))
    generators = [torch.Generator().manual_seed(1) for _ in range(3)]
    for _ in range(5):
        together = whole.draw(generators[0])
        for rank, half in enumerate(halves):
            assert torch.equal(half.draw(generators[1 + rank]).level, together.level[rank::2])


def test_saved_predictor_predicts_the_same(tmp_path: Path) -> None:
    from diffusion_path.lep.checkpoint import load_predictor, save_predictor

    model = tiny.unet()
    trained = train(model, replace(PLAN, steps=12)).predictor
    save_predictor(trained, tmp_path / "p.safetensors")
    loaded = load_predictor(tmp_path / "p.safetensors")
    latent = tiny.latent(model)["samples"]

    def seen(predictor: MapPredictor) -> Tensor:
        with torch.inference_mode():
            return predict_map(model, predictor, latent, tiny.cond(0), [0.4])[0]

    torch.testing.assert_close(seen(loaded), seen(trained), rtol=2e-2, atol=2e-2)
