"""Help-page pictures of sketch guidance: edge maps, what predictors see, guided pictures, stroke importance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ...benchmarks.map_reader import wanted_maps
from ...benchmarks.sketch import painted, unsteady
from ...demo.scenes import Scene
from ...demo.training.predictors import PLAN, rendered_data
from ...images import edges
from ...images.edges import METHODS, as_picture, of_width
from ...lep import predict
from ...lep.checkpoint import load_predictor
from ...lep.guidance import Guidance, guide
from ...lep.sketch import DrawnMap, Sketch, read_sketch
from ...lep.training import train_predictor
from ...nodes.lep import BUILT_IN_FILES, DEFAULT_BETA, DEFAULT_END
from ...views.training import training_sheet
from ..world import rendered
from .shared import grid, picture, world

_SCENES = (
    Scene(seed=8, time="sunset", season="autumn", peak="rocky", trees="broadleaf", house="white"),
    Scene(seed=44, season="winter", lake="meadow", house="red", clouds="clear"),
    Scene(seed=31, peak="snowy", trees="pines", house="blue", clouds="cloudy"),
)


def guided(
    sketches: Tensor, scenes: tuple[Scene, ...] = _SCENES, beta: float = DEFAULT_BETA, end: float = DEFAULT_END,
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A picture of each scene after its sketch."""
    predictor = load_predictor(BUILT_IN_FILES["edges"])
    sketch = Sketch(world().model, world().vae, predictor, sketches, weight)
    model = guide(world().model, Guidance(predictor, sketch.at, beta, 1.0, end))
    return world().generated(scenes, 5, model=model)


@picture
def edge_map() -> Tensor:
    """A picture by each method, and a photographed pencil drawing before and after its clean-up."""
    photo = rendered(_SCENES[0])
    lines = gaussian_filter(unsteady(edges.edge_map(photo)[0], 1).numpy(), 0.8)
    rng = np.random.default_rng(0)
    paper = 0.86 - 0.2 * np.linspace(0, 1, 256)[:, None] + 0.03 * rng.standard_normal(lines.shape)
    drawing = as_picture(torch.from_numpy(np.clip(paper - 0.55 * lines, 0, 1)).float()[None])
    shown = [
        photo,
        *(edges.edge_map(photo, method) for method in METHODS),
        drawing,
        edges.clean_sketch(drawing, specks=24),
    ]
    return grid(shown, ["picture", *METHODS, "drawing", "cleaned up"], columns=4)


@picture
def train_map_predictor() -> Tensor:
    """The node's own preview after a short training."""
    data = rendered_data(100, 5)
    trained = train_predictor(world().model, data.examples, data.planned(replace(PLAN, steps=150, validation=0.04)))
    return training_sheet(world().model, world().vae, data, trained, 0)[0]


@picture
def predict_map() -> Tensor:
    """What the built-in predictor sees of two pictures through more and more noise."""
    model, predictor, times = world().model, load_predictor(BUILT_IN_FILES["edges"]), (0.1, 0.4, 0.7, 0.95)
    shown = []
    for scene in _SCENES[:2]:
        code = world().latent(rendered(scene))["samples"]
        found = predict.predict_map(model, predictor, code, world().encoded(scene), times)
        shown.append(rendered(scene))
        shown += [predictor.encoding.picture(model, world().vae, one, (256, 256))[0].cpu() for one in found]
    return grid(shown, col_labels=["picture", *(f"t0 {time:g}" for time in times)])


@picture
def sketch_guidance() -> Tensor:
    """Three sketches, one drawn by an unsteady hand, with and without guidance from the same noise."""
    sketches = edges.edge_map(rendered(*_SCENES))
    sketches[2] = unsteady(sketches[2], 3)
    columns = [as_picture(of_width(sketches, 2)), world().generated(_SCENES, 5)]
    columns += [guided(sketches), guided(sketches, beta=1.6, end=0.5)]
    labels = ["sketch", "unguided", f"beta {DEFAULT_BETA:g}, the default", "beta 1.6, the paper's"]
    return grid(list(torch.stack(columns, dim=1)), col_labels=labels)


@picture
def map_guidance() -> Tensor:
    """Elements painted by hand and a map of depth, of other landscapes than the noise makes, with and without them."""
    scene, other = _SCENES[2], _SCENES[2].with_(seed=12)
    rows = []
    for kind, by_hand in (("segmentation", True), ("depth", False)):
        drawn = wanted_maps(kind, [other])
        drawn = painted(drawn[0], 0)[None] if by_hand else drawn
        predictor = load_predictor(BUILT_IN_FILES[kind])
        target = DrawnMap(world().model, world().vae, predictor, drawn)
        model = guide(world().model, Guidance(predictor, target.at, DEFAULT_BETA, 1.0, DEFAULT_END))
        rows += [drawn, world().generated([scene], 5), world().generated([scene], 5, model=model)]
    return grid(rows, col_labels=["map", "unguided", "guided"])


@picture
def stroke_importance() -> Tensor:
    """One sketch with all strokes white, with its left half in grey, and with the left half masked out."""
    scene = _SCENES[:1]
    full = of_width(edges.edge_map(rendered(*scene)), 2)
    mask = torch.ones_like(full)
    mask[:, :, :128] = 0.0
    grey = torch.where(mask > 0, full, 0.25 * full)
    given = ((full, None), (grey, None), (full, mask))
    made = [guided(read_sketch(as_picture(drawing)), scene, weight=weight) for drawing, weight in given]
    labels = ["all strokes white", "left half grey: followed less", "left half masked: not followed"]
    return grid([full, grey, full * (0.15 + 0.85 * mask), *made], col_labels=labels)
