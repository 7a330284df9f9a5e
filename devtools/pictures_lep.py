"""Help-page pictures of sketch guidance: edge maps, what predictors see, guided pictures, stroke importance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import comfy.sample
import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from ..benchmarks.sketch import unsteady
from ..demo.model import load_demo_model
from ..demo.render import render
from ..demo.scenes import Scene, full_caption
from ..demo.training.edges import PLAN, rendered_data
from ..images.edges import METHODS, as_picture, clean_sketch, edge_map, of_width
from ..images.grid import labelled_grid
from ..images.tensors import from_uint8
from ..lep.checkpoint import load_predictor
from ..lep.guidance import Guidance, guide
from ..lep.predict import predict_edges
from ..lep.sketch import Sketch, read_sketch
from ..lep.targets import edge_picture
from ..lep.training import train_predictor
from ..nodes.lep import BUILT_IN_FILE, DEFAULT_BETA, DEFAULT_END
from ..samplers.noise import item_noise
from ..views.training import training_sheet

_SCENES = (
    Scene(seed=8, time="sunset", season="autumn", peak="rocky", trees="broadleaf", house="white"),
    Scene(seed=44, season="winter", lake="meadow", house="red", clouds="clear"),
    Scene(seed=31, peak="snowy", trees="pines", house="blue", clouds="cloudy"),
)
_TIMES = (0.1, 0.4, 0.7, 0.95)


def _pictures(scenes: Sequence[Scene]) -> Tensor:
    return torch.stack([from_uint8(render(scene)) for scene in scenes])


def _conditioning(clip: Any, texts: Sequence[str]) -> list[list[Any]]:
    """One CONDITIONING whose batch is the texts."""
    encoded = [clip.encode_from_tokens_scheduled(clip.tokenize(text))[0] for text in texts]
    return [[torch.cat([tokens for tokens, _ in encoded]), encoded[0][1]]]


def sample(model: Any, clip: Any, vae: Any, texts: Sequence[str], seed: int = 5) -> Tensor:
    """One picture per text, 20 steps at cfg 4; item i of the batch has the noise of item i."""
    noise = torch.stack([item_noise(torch.zeros(4, 32, 32), seed, index) for index in range(len(texts))])
    samples = comfy.sample.sample(
        model, noise, 20, 4.0, "euler_ancestral", "normal", _conditioning(clip, texts), _conditioning(clip, [""]),
        torch.zeros_like(noise), disable_pbar=True, seed=seed,
    )  # fmt: skip
    return vae.decode(samples).cpu()


def edge_maps() -> Tensor:
    """A picture by each method, and a photographed pencil drawing before and after its clean-up."""
    picture = _pictures(_SCENES[:1])
    lines = gaussian_filter(unsteady(edge_map(picture)[0], 1).numpy(), 0.8)
    rng = np.random.default_rng(0)
    paper = 0.86 - 0.2 * np.linspace(0, 1, 256)[:, None] + 0.03 * rng.standard_normal(lines.shape)
    drawing = torch.from_numpy(np.clip(paper - 0.55 * lines, 0, 1)).float()
    shown = [picture[0], *(as_picture(edge_map(picture, method))[0] for method in METHODS)]
    shown += [as_picture(drawing), as_picture(clean_sketch(as_picture(drawing)[None], specks=24))[0]]
    return labelled_grid(torch.stack(shown), ["picture", *METHODS, "drawing", "cleaned up"], columns=4)[0]


def training() -> Tensor:
    """The node's own preview after a short training."""
    model, _, vae = load_demo_model()
    data = rendered_data(100, 5)
    plan = replace(PLAN, steps=150, validation=0.04)
    return training_sheet(model, vae, data, train_predictor(model, data.examples, plan), 0)[0]


def seen() -> Tensor:
    """What the built-in predictor sees of two pictures through more and more noise."""
    model, clip, vae = load_demo_model()
    predictor, pictures = load_predictor(BUILT_IN_FILE), _pictures(_SCENES[:2])
    rows = []
    for scene, picture in zip(_SCENES, pictures, strict=False):
        code = vae.encode(picture[None])
        found = predict_edges(model, predictor, code, _conditioning(clip, [full_caption(scene)]), _TIMES)
        rows += [picture, *(edge_picture(model, vae, one, predictor.target, (256, 256))[0].cpu() for one in found)]
    return labelled_grid(torch.stack(rows), col_labels=["picture", *(f"t0 {time:g}" for time in _TIMES)])[0]


def guided() -> Tensor:
    """Three sketches, one drawn by an unsteady hand, with and without guidance from the same noise."""
    model, clip, vae = load_demo_model()
    sketches = edge_map(_pictures(_SCENES))
    sketches[2] = unsteady(sketches[2], 3)
    predictor, texts = load_predictor(BUILT_IN_FILE), [full_caption(scene) for scene in _SCENES]
    plain = sample(model, clip, vae, texts)
    rows = [as_picture(of_width(sketches, 2)), plain]
    for beta, end in ((DEFAULT_BETA, DEFAULT_END), (1.6, 0.5)):
        drawing = Sketch(model, vae, predictor, sketches)
        rows.append(sample(guide(model, Guidance(predictor, drawing.at, beta, 1.0, end)), clip, vae, texts))
    labels = ["sketch", "unguided", f"beta {DEFAULT_BETA:g}, the default", "beta 1.6, the paper's"]
    return labelled_grid(torch.stack(rows, dim=1).flatten(0, 1), col_labels=labels)[0]


def importance() -> Tensor:
    """One sketch with all strokes white, with its left half in grey, and with the left half masked out."""
    model, clip, vae = load_demo_model()
    scene, predictor = _SCENES[0], load_predictor(BUILT_IN_FILE)
    full = of_width(edge_map(_pictures([scene])), 2)
    grey = full.clone()
    grey[:, :, :128] *= 0.25
    mask = torch.ones_like(full)
    mask[:, :, :128] = 0.0
    shown = [as_picture(full)[0], as_picture(grey)[0], as_picture(full * (0.15 + 0.85 * mask))[0]]
    for drawing, weight in ((full, None), (grey, None), (full, mask)):
        given = Sketch(model, vae, predictor, read_sketch(as_picture(drawing)), weight)
        model_guided = guide(model, Guidance(predictor, given.at, DEFAULT_BETA, 1.0, DEFAULT_END))
        shown.append(sample(model_guided, clip, vae, [full_caption(scene)])[0])
    labels = ["all strokes white", "left half grey: followed less", "left half masked: not followed"]
    return labelled_grid(torch.stack(shown), col_labels=labels)[0]


PICTURES: dict[str, Callable[[], Tensor]] = {
    "edge-map": edge_maps,
    "train-edge-predictor": training,
    "predict-edges": seen,
    "sketch-guidance": guided,
    "stroke-importance": importance,
}
