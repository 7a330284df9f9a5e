"""The JavaScript of web/ without a browser: its own tests, and that it computes what Python computes."""

from __future__ import annotations

import base64
import json
import math
import random
from typing import Any, get_args

import numpy as np
import pytest
import torch
from diffusion_path.images.strokes_document import EFFECTS, Tool, read_drawing
from diffusion_path.images.strokes_render import render_drawing
from diffusion_path.samplers.schedule import SHAPES, PathSchedule, parse_curve
from diffusion_path.tests.js.drawings import check_pixels, drawing, layered, scribbles
from diffusion_path.tests.js.node import HERE, answers, run_node, values

MATHS = "web/js/schedule/maths.js"


def test_modules() -> None:
    """The tests that are written in JavaScript, in one process."""
    result = run_node("--test", "--test-isolation=none", *map(str, sorted(HERE.glob("*.test.mjs"))))
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_page_computes_the_weights_of_python() -> None:
    dice = random.Random(4)
    cases: list[dict[str, Any]] = []
    expected: list[tuple[float, ...]] = []
    while len(cases) < 300:
        start, end = sorted((dice.choice([dice.random(), 1.0, 0.5]), dice.choice([dice.random(), 0.0])), reverse=True)
        points = [(round(dice.random(), 3), round(dice.uniform(-1, 1), 3)) for _ in range(dice.randint(1, 6))]
        text = ", ".join(f"{position}:{weight}" for position, weight in points + points[:1])
        steps, shape, weight = dice.randint(1, 60), dice.choice(SHAPES), dice.uniform(-1, 1)
        try:
            expected.append(PathSchedule(start, end, shape, weight, parse_curve(text)).weights(steps))
        except ValueError:
            continue
        cases.append({"start": start, "end": end, "shape": shape, "weight": weight, "text": text, "steps": steps})
    found = values(MATHS, "weights", [[case, case["steps"]] for case in cases])
    for case, weights, wanted in zip(cases, found, expected, strict=True):
        assert weights == pytest.approx(wanted, abs=1e-6), case


def test_the_page_refuses_the_curves_that_python_refuses() -> None:
    texts = ["1", "1:", ":1", "1:1:1", "1:1 2", "a:1", "0x1:1", "1:Infinity", "1:NaN", "1:.", "1 1:1"]
    for text, answer in zip(texts, answers(MATHS, "parseCurve", [[text] for text in texts]), strict=True):
        with pytest.raises(ValueError, match="cannot be read"):
            parse_curve(text)
        assert answer["error"].startswith("The curve cannot be read at"), text


@pytest.mark.parametrize("scale", [1, 2.5])
def test_drawings_look_the_same(scale: float) -> None:
    texts = [make(seed) for make in (drawing, layered) for seed in range(20)]
    width, height = round(200 * scale), round(150 * scale)
    rendered = values("tests/js/drawing.mjs", "rendered", [[text, width, height] for text in texts])
    for seed, (text, coded) in enumerate(zip(texts, rendered, strict=True)):
        check_pixels(text, coded, width, height, f"drawing {seed}")


FAR = {"near": 16_000.0, "at the edge": 32_768.0, "beyond it": 60_000.0, "without measure": 1e300}


@pytest.mark.parametrize("scale", [1, 8])
@pytest.mark.parametrize("distance", FAR.values(), ids=FAR)
def test_strokes_with_points_far_away_look_the_same(distance: float, scale: int) -> None:
    texts = [_far(random.Random(seed), tool, distance) for tool in get_args(Tool) for seed in range(2)]
    width, height = 100 * scale, 80 * scale
    rendered = values("tests/js/drawing.mjs", "rendered", [[text, width, height] for text in texts])
    for text, coded in zip(texts, rendered, strict=True):
        check_pixels(text, coded, width, height, text, complaints=distance > 32_768)


def _far(rng: random.Random, tool: str, distance: float) -> str:
    """Paint below a stroke that leaves the picture and comes back."""

    def near() -> list[float]:
        return [round(rng.uniform(0, 100), 1), round(rng.uniform(0, 80), 1)]

    def far() -> list[float]:
        angle = rng.uniform(0, math.tau)
        return [distance * max(way, -0.5) for way in (math.cos(angle), math.sin(angle))]

    way = near() + far() + near() + far()
    path = {"rings": [near() + way]} if tool == "fill" else {"points": way}
    look = {"size": 14, "hardness": rng.choice([0, 0.8, 1]), "color": "#1d5238"}
    below = [
        {"points": [0, 20, 100, 60], "size": 60, "color": "#cc3300"},
        {"points": near() + near(), "color": "#ffcc00"},
    ]
    return json.dumps({"version": 3, "width": 100, "height": 80, "strokes": [*below, {"tool": tool, **path, **look}]})


WIDE = {"tool": "smudge", "points": [20, 20, 70, 50, 30, 60], "hardness": 0.7}


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("tool", sorted(EFFECTS))
def test_blur_and_smudge_are_at_most_as_wide_as_the_picture_here_and_there(tool: str, scale: int) -> None:
    """Sizes below the longer side of the drawing, which is 100, at it, and above."""
    below = [{"points": [0, 20, 100, 60], "size": 30, "color": "#cc3300"}, {"points": [50, 10, 50, 70], "size": 9}]
    head = {"version": 3, "width": 100, "height": 80}
    sizes = (60, 100, 130, 4096)
    texts = [json.dumps({**head, "strokes": [*below, {**WIDE, "tool": tool, "size": size}]}) for size in sizes]
    width, height = 100 * scale, 80 * scale
    rendered = values("tests/js/drawing.mjs", "rendered", [[text, width, height] for text in texts])
    for size, text, coded in zip(sizes, texts, rendered, strict=True):
        check_pixels(text, coded, width, height, f"{tool} of {size}")
    assert rendered[0] != rendered[1] == rendered[2] == rendered[3]
    own = [render_drawing(read_drawing(text), width, height).strokes for text in texts]
    assert not torch.equal(own[0], own[1])
    assert torch.equal(own[1], own[2])
    assert torch.equal(own[1], own[3])


def test_the_map_of_t0s_is_the_one_of_python() -> None:
    texts = [make(seed) for make in (drawing, layered) for seed in range(6)]
    maps = values("tests/js/drawing.mjs", "heated", [[text, 200, 150] for text in texts])
    for text, coded in zip(texts, maps, strict=True):
        pixels = np.frombuffer(base64.b64decode(coded), np.uint8).reshape(150, 200, 4) / 255.0
        mine = render_drawing(read_drawing(text), 200, 150).t0s[0].numpy()
        assert np.abs(mine - pixels[..., 0] * pixels[..., 3]).max() < 0.02


def test_python_reads_what_the_page_writes() -> None:
    texts = [make(seed) for make in (drawing, layered) for seed in range(20)]
    rewritten = values("tests/js/drawing.mjs", "rewritten", [[text] for text in texts])
    for given, written in zip(texts, rewritten, strict=True):
        before, after = (render_drawing(read_drawing(text), 50, 38) for text in (given, written))
        for name, pixels in vars(before).items():
            assert torch.equal(pixels, vars(after)[name]), name


def test_a_thousand_strokes_are_small_and_lie_where_the_hand_was() -> None:
    paths = scribbles(1000)
    (text,) = values("tests/js/drawing.mjs", "simplified", [[paths]])
    assert len(text) < 300_000
    strokes = json.loads(text)["strokes"]
    assert len(strokes) == 1000
    for path, stroke in zip(paths[:50], strokes, strict=False):
        points = np.array(stroke["points"]).reshape(-1, 2)
        assert max(_distance(point, points) for point in path) < 0.45


def _distance(point: tuple[float, float], path: np.ndarray) -> float:
    a, b = path[:-1], path[1:]
    along = ((np.array(point) - a) * (b - a)).sum(1) / np.maximum(((b - a) ** 2).sum(1), 1e-9)
    return float(np.hypot(*(np.array(point) - a - along.clip(0, 1)[:, None] * (b - a)).T).min())
