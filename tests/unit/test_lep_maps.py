"""Predictors of depth, classes and other maps: their encodings, training, files, and guidance by drawn maps."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusion_path.images import palette
from diffusion_path.lep import dataset, maps
from diffusion_path.lep.checkpoint import load_predictor, save_predictor
from diffusion_path.lep.guidance import Guidance, guide
from diffusion_path.lep.maps import MAPS
from diffusion_path.lep.predict import predict_map
from diffusion_path.lep.predictor import MapPredictor, build_network
from diffusion_path.lep.sketch import read_drawing
from diffusion_path.lep.targets import Classes, Levels
from diffusion_path.lep.training import Plan, train_predictor
from diffusion_path.nodes.lep import SketchGuidance
from diffusion_path.nodes.lep_training import TrainMapPredictor
from diffusion_path.tests.unit import tiny
from diffusion_path.tests.unit.guided import predictor_for, run
from diffusion_path.tests.unit.test_lep_nodes import settings
from diffusion_path.tests.unit.test_lep_sketch import PoolVae, VideoVae, pictures
from torch import Tensor

RED, GREEN, BLUE = (220, 30, 30), (20, 160, 40), (30, 40, 200)
FLAT = (RED, GREEN, BLUE)


def flat(count: int = 6) -> Tensor:
    """Pictures of three flat areas [count, 64, 64, 3], each with other borders."""
    colours = palette.colours(FLAT)
    made = torch.empty(count, 64, 64, 3)
    for index in range(count):
        made[index] = colours[0]
        made[index, 24 + 4 * index :] = colours[1]
        made[index, :, 40 - 4 * index :] = colours[2]
    return made


def predictor_of(model: Any, kind: str, colours: palette.Palette = ()) -> MapPredictor:
    """Random weights for a map of a kind."""
    base = predictor_for(model)
    outputs = {"latent": 4, "pixels": MAPS[kind].channels, "classes": len(colours)}[MAPS[kind].target]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build_network("mlp", base.channels, outputs)
    settings = {"out_channels": outputs}
    return replace(base, network=network, map=kind, target=MAPS[kind].target, palette=colours, settings=settings)


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_is_seen_as_it_was_drawn(kind: str) -> None:
    """Encoding and showing come back to the map, up to the grid; where target and prediction agree, the error is 0."""
    model, drawn = tiny.unet(), flat(1)
    encoding = maps.encoding_of_kind(kind, FLAT if kind == "segmentation" else ())
    target = encoding.encode(model, PoolVae(), drawn, (8, 8))
    seen = target if MAPS[kind].target != "classes" else (target + 1e-9).log()
    shown = encoding.picture(model, PoolVae(), seen, (64, 64))
    expected = drawn
    if MAPS[kind].channels == 1 and MAPS[kind].target == "pixels":
        expected = (drawn @ torch.tensor([0.299, 0.587, 0.114])).unsqueeze(-1).expand(drawn.shape)
    inside = (slice(None), slice(8, 16), slice(8, 16))
    torch.testing.assert_close(shown[inside], expected[inside], atol=1e-5, rtol=0)
    assert float(encoding.error(seen, target).abs().max()) < 1e-6


def test_the_error_of_classes_is_the_divergence_of_their_shares() -> None:
    target = torch.tensor([0.5, 0.25, 0.25]).reshape(1, 3, 1, 1)
    seen = torch.tensor([1.0, 0.0, -1.0]).reshape(1, 3, 1, 1)
    shares = seen.flatten().softmax(0)
    expected = float((target.flatten() * (target.flatten() / shares).log()).sum())
    assert float(Classes(FLAT).error(seen, target)) == pytest.approx(expected, rel=1e-6)


def test_frames_become_latent_frames_as_the_vae_groups_them() -> None:
    class Timed(VideoVae):
        def temporal_compression_decode(self) -> int:
            return 4

    frames = torch.arange(9.0).reshape(9, 1, 1, 1).expand(9, 64, 64, 3) / 9.0
    target = Levels(1).encode(tiny.wan(), Timed(), frames, (8, 8))
    expected = torch.tensor([0.0, 2.5, 6.5]) / 9.0 - 0.5
    torch.testing.assert_close(target[:, 0, 0, 0], expected)


def test_the_palette_is_that_of_the_flat_areas() -> None:
    noisy = (flat() + 0.02 * torch.randn(6, 64, 64, 3, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    soft = torch.nn.functional.avg_pool2d(flat().movedim(-1, 1), 3, 1, 1, count_include_pad=False).movedim(1, -1)
    for given in (flat(), soft):
        assert sorted(palette.find_palette(given)) == sorted(FLAT)
    with pytest.raises(ValueError, match="not flat or have more than 32"):
        palette.find_palette(torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0)))
    for given in (torch.zeros(2, 64, 64, 3), flat() / 255.0):
        with pytest.raises(ValueError, match="one colour in all, or colours that are too much alike"):
            palette.find_palette(given)
    grey = (flat()[..., :1] > 0.5).float()
    opaque = torch.cat([flat(), torch.ones(6, 64, 64, 1)], dim=-1)
    assert sorted(palette.find_palette(grey)) == [(0, 0, 0), (255, 255, 255)]
    assert sorted(palette.find_palette(opaque)) == sorted(FLAT)
    chosen, distance = palette.nearest(noisy, FLAT)
    assert torch.equal(chosen, palette.nearest(flat(), FLAT)[0])
    assert float(distance.max()) < 0.2


@pytest.mark.parametrize("kind", MAPS)
def test_training_learns_every_kind(kind: str, tmp_path: Path) -> None:
    """The held-back loss falls below that of the best constant, and the file gives the same predictions."""
    model = tiny.unet()
    given = [] if kind == "edges" else [flat(8)]
    with torch.inference_mode():
        data = dataset.gather(
            model, PoolVae(), [], [flat(8)], [tiny.cond(0)], given, dataset.Wanted(kind, detail=0.5, scale=2.0)
        )
        plan = Plan(
            network="mlp", feature_set="all", steps=60, batch=4, noise_range=(0.0, 0.05),
            learning_rate=5e-3, settings={"widths": [32, 16]},
        )  # fmt: skip
        found = train_predictor(model, data.examples, data.planned(plan))
    targets = torch.cat([example.target for example in data.examples])
    mean = targets.mean((0, 2, 3), keepdim=True)
    palette_found = FLAT if kind == "segmentation" else ()
    constant = mean.log() if palette_found else mean
    best = float(data.encoding.error(constant.expand_as(targets), targets).mean())
    assert found.predictor.record["validation_loss"] < 0.8 * best
    assert (found.predictor.map, found.predictor.palette) == (kind, found.predictor.palette)
    assert sorted(found.predictor.palette) == sorted(palette_found)
    save_predictor(found.predictor, tmp_path / "map.safetensors")
    loaded = load_predictor(tmp_path / "map.safetensors")
    assert (loaded.map, loaded.target, loaded.palette) == (kind, MAPS[kind].target, found.predictor.palette)
    code = PoolVae().encode(flat(1))
    with torch.inference_mode():
        first, again = (predict_map(model, each, code, tiny.cond(0), [0.1])[0] for each in (found.predictor, loaded))
    torch.testing.assert_close(first, again, atol=0.02, rtol=0.02)


def test_a_predictor_goes_on_with_its_own_classes() -> None:
    with torch.inference_mode():
        given: dict[str, Any] = {
            "model": [tiny.unet()], "vae": [PoolVae()], "images": [pictures(6)], "conditioning": [tiny.cond(0)],
        }  # fmt: skip
        begun = TrainMapPredictor.execute(**given, **settings(map="segmentation"), maps=[flat()]).result[0]
        recoloured = flat() * 0.9  # nearest to the same classes
        further = TrainMapPredictor.execute(**given, **settings(), maps=[recoloured], predictor=[begun]).result[0]
        assert (further.map, further.palette) == ("segmentation", begun.palette)
        with pytest.raises(ValueError, match="no maps of depth to learn: connect one for each picture"):
            TrainMapPredictor.execute(**given, **settings(map="depth"))


@pytest.mark.parametrize("kind", [kind for kind in MAPS if kind != "edges"])
def test_guidance_comes_nearer_to_the_drawn_map(kind: str) -> None:
    model = tiny.unet()
    predictor = predictor_of(model, kind, FLAT if kind == "segmentation" else ())
    drawing = read_drawing(model, PoolVae(), predictor, flat(1))
    target = drawing.at(8, 8)[0]

    def distance(sampled: Tensor) -> float:
        code = model.get_model_object("process_latent_out")(sampled)
        with torch.inference_mode():
            seen = predict_map(model, predictor, code, tiny.cond(0), [0.0])[0]
        return float(predictor.encoding.error(seen, target).mean())

    plain = run(model)
    guided = run(guide(model, Guidance(predictor, drawing.at, 1.0, 1.0, 0.0)))
    assert distance(guided) < distance(plain)
    assert torch.equal(run(guide(model, Guidance(predictor, drawing.at, 0.0))), plain)


def test_what_is_not_drawn_is_left_to_the_model() -> None:
    model = tiny.unet()
    predictor = predictor_of(model, "depth")
    drawn = torch.cat([flat(1), torch.ones(1, 64, 64, 1)], dim=-1)
    drawn[:, :, 36:, 3] = 0.0  # through the middle of a cell
    target, weight = read_drawing(model, PoolVae(), predictor, drawn).at(8, 8)
    assert weight is not None
    expected = torch.cat([torch.ones(8, 4), torch.full((8, 1), 0.5), torch.zeros(8, 3)], dim=1)
    assert torch.equal(weight[0, 0], expected)
    hidden = drawn.clone()
    hidden[:, :, 36:, :3] = 0.0
    other = read_drawing(model, PoolVae(), predictor, hidden).at(8, 8)[0]
    assert torch.equal((target - other) * weight, torch.zeros_like(target)), "what is hidden is not followed"
    inverted = read_drawing(model, PoolVae(), predictor, flat(1), lines="dark on light").at(8, 8)[0]
    torch.testing.assert_close(inverted, -read_drawing(model, PoolVae(), predictor, flat(1)).at(8, 8)[0])


def test_colours_that_no_class_has_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    model = tiny.unet()
    predictor = predictor_of(model, "segmentation", FLAT)
    with caplog.at_level(logging.WARNING):
        read_drawing(model, PoolVae(), predictor, flat(1))
        assert not caplog.records
        read_drawing(model, PoolVae(), predictor, torch.ones(1, 64, 64, 3))
    assert (
        "100 % of the sketch has other colours than the predictor's classes (#dc1e1e, #14a028, #1e28c8)" in caplog.text
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("map", "sound"), ("palette", ()), ("palette", ((0, 0, 0),)), ("palette", ((0, 0), (1, 1))),
        ("palette", (RED, RED, BLUE)),
        ("palette", ((0, 0, 0), (0, 0, 256), (1, 2, 3))), ("palette", [RED, GREEN, BLUE]), ("palette", FLAT[:2]),
    ],
)  # fmt: skip
def test_predictors_of_impossible_maps_are_refused(field: str, value: Any) -> None:
    good = predictor_of(tiny.unet(), "segmentation", FLAT)
    with pytest.raises(ValueError, match="must be"):
        replace(good, **{field: value})


def test_predictors_of_maps_in_another_encoding_are_refused() -> None:
    """Drawings and further training go by the kind of map, so it must be encoded as maps of that kind are."""
    edges = predictor_of(tiny.unet(), "edges")
    with pytest.raises(ValueError, match="target for depth must be pixels, not 'latent'"):
        replace(edges, map="depth")
    with pytest.raises(ValueError, match="those of 4 outputs"):
        replace(edges, settings={"out_channels": 5})
    with pytest.raises(ValueError, match="target for other must be pixels"):
        replace(predictor_of(tiny.unet(), "segmentation", FLAT), map="other")


def test_many_colours_are_refused_quickly() -> None:
    """Maps that are no segmentation, such as photos, have more colours than can be compared with each other."""
    drawn = torch.Generator().manual_seed(0)
    given = (torch.rand(10, 10, 3, generator=drawn).repeat_interleave(4, 0).repeat_interleave(4, 1) for _ in range(40))
    begin = time.process_time()
    with pytest.raises(ValueError, match="more than 32"):
        palette.find_palette(given)
    assert time.process_time() - begin < 2, "comparing all of them takes longer"


@pytest.mark.parametrize("kind", ["depth", "segmentation"])
def test_a_drawing_with_nothing_on_it_is_not_followed(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    model = tiny.unet()
    predictor = predictor_of(model, kind, FLAT if kind == "segmentation" else ())
    empty = torch.cat([torch.ones(1, 64, 64, 3), torch.zeros(1, 64, 64, 1)], dim=-1)
    widgets: dict[str, Any] = {"beta": 1.0, "start": 1.0, "end": 0.0, "every": 1}
    guided = SketchGuidance.execute(model, predictor, PoolVae(), empty, **widgets).result[0]
    assert [each.message for each in caplog.records] == [
        "Sketch Guidance: the sketch is transparent everywhere, so the sketch is not followed."
    ]
    assert torch.equal(run(guided), run(model))
