"""Drawings for tests: made from a seed, with every kind of stroke."""

from __future__ import annotations

import base64
import json
import math
import random
from typing import Any

import numpy as np
from diffusion_path.images.strokes_document import EFFECTS, read_drawing
from diffusion_path.images.strokes_render import over_background, render_drawing


def drawing(seed: int, strokes: int = 14, width: int = 200, height: int = 150) -> str:
    """A drawing as text."""
    return json.dumps(_drawing(random.Random(seed), strokes, width, height))


def layered(seed: int) -> str:
    """The same with strokes spread over layers of which some are hidden or seen in part."""
    rng = random.Random(seed)
    made = _drawing(rng, 24, 200, 150)
    kinds = ["paint", "sketch", "paint", "paint", "sketch", "paint"]
    made["layers"] = [{"id": f"{kind} {i}", "kind": kind} for i, kind in enumerate(kinds)]
    for layer in made["layers"]:
        layer |= rng.choice([{}, {"opacity": round(rng.random(), 2)}, {"hidden": True}, {"locked": True, "t0": 0.5}])
    for stroke in made["strokes"]:
        fits = [each["id"] for each in made["layers"] if stroke["tool"] not in EFFECTS or each["kind"] == "paint"]
        stroke["layer"] = rng.choice(fits)
    return json.dumps(made | {"version": 2})


def _drawing(rng: random.Random, strokes: int, width: int, height: int) -> dict[str, Any]:
    made = [_stroke(rng, width, height) for _ in range(strokes)]
    return {"version": 1, "width": width, "height": height, "paper": _color(rng), "strokes": made}


def scribbles(count: int, size: int = 1024, seed: int = 0) -> list[list[tuple[float, float]]]:
    """Paths as a hand draws them: many points, turning softly."""
    rng = random.Random(seed)
    paths = []
    for _ in range(count):
        x, y, angle, turn = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(0, math.tau), 0.0
        path = []
        for _ in range(60):
            turn = 0.9 * turn + rng.gauss(0, 0.02)
            angle += turn
            x, y = x + 5 * math.cos(angle), y + 5 * math.sin(angle)
            path.append((x, y))
        paths.append(path)
    return paths


def _stroke(rng: random.Random, width: int, height: int) -> dict[str, Any]:
    tool = rng.choice(["brush", "brush", "brush", "line", "eraser", "fill", "blur", "smudge"])
    layer = "paint" if tool in EFFECTS else rng.choice(["paint", "paint", "sketch"])
    stroke: dict[str, Any] = {"tool": tool, "layer": layer, "color": _color(rng)}
    for name, low, high in (("opacity", 0.2, 1), ("hardness", 0, 1), ("t0", 0, 1), ("importance", 0.1, 1)):
        if rng.random() < 0.7:
            stroke[name] = round(rng.uniform(low, high), 2)
    stroke["size"] = round(rng.choice([0.6, 2, 6, 18, 50]) * rng.uniform(0.7, 1.4), 1)

    def points(count: int) -> list[float]:
        sides = [width, height] * count
        return [round(rng.uniform(-10, side + 10), 1) for side in sides]

    if tool == "fill":
        stroke["rings"] = [points(rng.randint(3, 7)) for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.5:
            stroke |= {"color2": _color(rng), "gradient": points(2)}
    else:
        count = 2 if tool == "line" else rng.randint(1, 8)
        stroke["points"] = points(count)
        if rng.random() < 0.3:
            stroke["grain"] = round(rng.random(), 2)
        if rng.random() < 0.3:
            stroke["pressure"] = [rng.randint(5, 100) for _ in range(count)]
    return stroke


def _color(rng: random.Random) -> str:
    return f"#{rng.randrange(1 << 24):06x}"


def check_pixels(text: str, coded: list[str], width: int, height: int, name: str, complaints: bool = False) -> None:
    """Asserts that the page's layers of a drawing, base64 of RGBA, are what Python renders, but for rounding."""
    paint, sketch = (
        np.frombuffer(base64.b64decode(layer), np.uint8).reshape(height, width, 4) / 255.0 for layer in coded
    )
    read = read_drawing(text)
    assert bool(read.complaints) == complaints, name
    rendering = render_drawing(read, width, height)
    mine = over_background(rendering.strokes, None, read.paper)[0].numpy()
    theirs = paint[..., :3] * paint[..., 3:] + np.array(read.paper) / 255 * (1 - paint[..., 3:])
    assert np.abs(mine - theirs).max() * 255 < 4, name
    assert np.abs(mine - theirs).mean() * 255 < 0.5, name
    assert np.abs(rendering.sketch[0].numpy() - sketch[..., 3]).max() * 255 < 2, f"sketch of {name}"
