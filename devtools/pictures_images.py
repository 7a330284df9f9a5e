"""Help-page pictures of the nodes that work on pictures: strokes, masks, composites, metrics."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..demo.attributes import features
from ..demo.model import load_demo_model
from ..demo.render import render, render_with_masks
from ..demo.scenes import Scene, random_scene
from ..images.composite import composite_exact
from ..images.distribution import kernel_distance
from ..images.grid import labelled_grid
from ..images.masks import latent_mask
from ..images.metrics import edit_metrics
from ..images.morphology import grow
from ..images.plot import Axis, Series, line_plot
from ..images.strokes import simulate_strokes
from ..images.strokes_document import read_drawing
from ..images.strokes_render import edit_masks, over_background, render_drawing
from ..images.tensors import from_uint8
from .settings import WORKFLOWS

_SCENE = Scene(seed=5, time="sunset", season="autumn", trees="broadleaf", house="white", clouds="cloudy")


def strokes() -> Tensor:
    """Two landscapes and their stroke paintings with more and more colours."""
    pictures = torch.stack([from_uint8(render(s)) for s in (Scene(seed=1, clouds="cloudy"), _SCENE)])
    columns = [pictures, *(simulate_strokes(pictures, colors) for colors in (3, 6, 16))]
    sheet = torch.stack(columns, dim=1).flatten(0, 1)
    return labelled_grid(sheet, col_labels=["picture", "3 colours", "6 colours", "16 colours"])[0]


def canvas_outputs() -> Tensor:
    """The drawing of an example workflow, and one line of a sketch, as all that Stroke Canvas makes of it."""
    drawing = read_drawing(_drawing_of("paint-over-a-photo"))
    sketch = read_drawing(_drawing_of("sketch-with-importance"))
    background = from_uint8(render(Scene(seed=3, lake="meadow", trees="no trees", house="no house", peak="snowy")))[
        None
    ]
    size = 2 * background.shape[2], 2 * background.shape[1]
    below = F.interpolate(background.movedim(-1, 1), size[::-1], mode="bilinear").movedim(1, -1)
    rendering = render_drawing(drawing, *size)
    mask, strength, _ = edit_masks(rendering, 6)
    lines = render_drawing(sketch, *size).sketch
    grey = [plane[0, ..., None].expand(-1, -1, 3) for plane in (mask, strength, lines)]
    colours = [over_background(rendering.strokes, ground, (255, 255, 255))[0] for ground in (below, None)]
    return labelled_grid(torch.stack([*colours, *grey]), ["image", "strokes", "mask", "strength", "sketch"], columns=5)[
        0
    ]


def _drawing_of(name: str) -> str:
    nodes = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))["nodes"]
    return next(node["widgets_values"][3] for node in nodes if node["type"] == "DPathStrokeCanvas")


def latent_masks() -> Tensor:
    """Strokes of a pen on the latent grid, by each reduction."""
    picture, mask = from_uint8(render(_SCENE)), _pen_strokes(256)
    kept = [("the mask", mask[0])]
    kept += [(name, latent_mask(mask, (32, 32), name).pixels[0]) for name in ("bilinear", "area", "max")]
    tint = torch.tensor([0.95, 0.15, 0.35])
    shown = torch.stack([torch.lerp(picture, tint, 0.8 * m[..., None]) for _, m in kept])
    return labelled_grid(shown, [name for name, _ in kept], columns=4)[0]


def composite() -> Tensor:
    """A new house through the autoencoder, laid back into the original; differences enlarged eight times."""
    scene = _SCENE.with_(lake="meadow")
    pixels, masks = render_with_masks(scene)
    original, mask = from_uint8(pixels)[None], grow(torch.from_numpy(masks["house"].copy())[None], 4)
    _, _, vae = load_demo_model()
    painted = from_uint8(render(scene.with_(house="red")))[None]
    edited = vae.decode(vae.encode(painted)).cpu().float().reshape(original.shape)
    result = composite_exact(original, edited, mask, border=4, color_match=1.0).image
    shown = [original, edited, 8 * (edited - original).abs(), result, 8 * (result - original).abs()]
    labels = ["original", "edited", "difference x 8", "composite", "difference x 8"]
    return labelled_grid(torch.cat(shown).clamp(0, 1), labels, columns=5)[0]


def metrics() -> Tensor:
    """What the metrics say about some changes of one picture."""
    picture = from_uint8(render(_SCENE))[None]
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    blurred = F.avg_pool2d(F.pad(picture.movedim(-1, 1), (4,) * 4, mode="replicate"), 9, 1).movedim(1, -1)
    changes = {
        "brighter": (picture + 0.08).clamp(0, 1),
        "noise": (picture + 0.08 * noise).clamp(0, 1),
        "blurred": blurred,
        "strokes": simulate_strokes(picture),
        "other layout": from_uint8(render(_SCENE.with_(seed=6)))[None],
    }
    labels = []
    for name, changed in changes.items():
        m = edit_metrics(picture, changed)
        l2, ssim, edges = (m.mean("whole", key) for key in ("l2", "ssim", "edges"))
        labels.append(f"{name}\nL2 {l2:.1f}, SSIM {ssim:.2f}\nedge distance {edges:.2f}")
    return labelled_grid(torch.cat((picture, *changes.values())), ["reference", *labels], columns=6)[0]


def distribution() -> Tensor:
    """Distance of stroke paintings to landscapes, by the number of colours: it falls as in the paper's Table 4."""
    rng = np.random.default_rng(0)
    scenes = torch.stack([from_uint8(render(random_scene(rng))) for _ in range(200)])
    reference, photos = features(scenes[100:]), scenes[:100]
    colors = [3, 6, 16, 30, 50]
    rows = [kernel_distance(features(simulate_strokes(photos, n)), reference) for n in colors]
    floor = kernel_distance(features(photos), reference)
    series = [
        Series("stroke paintings", colors, [r.value for r in rows], errors=[r.standard_error for r in rows]),
        Series("the landscapes themselves", [colors[0], colors[-1]], [floor.value] * 2, style="line", dashed=True),
    ]
    return line_plot(series, Axis("colours of the stroke paintings"), Axis("KID to 100 other landscapes"))[0]


def _pen_strokes(size: int) -> Tensor:
    """A mask [1, size, size] of pen strokes of 2 to 10 pixels."""
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    mask = torch.zeros(size, size)
    for k, width in enumerate((2, 4, 6, 10)):
        path = size * (0.18 + 0.21 * k) + 0.045 * size * torch.sin(x / size * 7 + k)
        mask[((y - path).abs() < width / 2) & (x > 0.1 * size) & (x < 0.9 * size)] = 1.0
    return mask[None]


PICTURES: dict[str, Callable[[], Tensor]] = {
    "stroke-canvas-outputs": canvas_outputs,
    "strokes": strokes,
    "latent-mask": latent_masks,
    "composite": composite,
    "edit-metrics": metrics,
    "distribution-distance": distribution,
}
