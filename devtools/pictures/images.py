"""Help-page pictures of the nodes that work on pictures: strokes, masks, composites, metrics."""

from __future__ import annotations

import json

import torch
import torch.nn.functional as F
from torch import Tensor

from ...demo.attributes import features
from ...demo.render import render_with_maps
from ...demo.scenes import Scene
from ...demo.training.evaluate import unseen_scenes
from ...images.composite import composite_exact
from ...images.distribution import kernel_distance
from ...images.masks import LatentGrid
from ...images.masks import latent_mask as on_latent
from ...images.metrics import edit_metrics as measured
from ...images.morphology import grow
from ...images.plot import Axis, Series, line_plot
from ...images.strokes import simulate_strokes
from ...images.strokes_document import read_drawing
from ...images.strokes_render import Rendering, edit_masks, over_background, render_drawing
from ...images.tensors import from_uint8
from ..settings import WORKFLOWS
from ..world import rendered
from .shared import grid, picture, world

_SCENE = Scene(seed=5, time="sunset", season="autumn", trees="broadleaf", house="white", clouds="cloudy")


def _drawing(workflow: str, width: int, height: int) -> Rendering:
    """What an example workflow has on its Stroke Canvas."""
    nodes = json.loads((WORKFLOWS / f"{workflow}.json").read_text(encoding="utf-8"))["nodes"]
    saved = next(node["widgets_values"][3] for node in nodes if node["type"] == "DPathStrokeCanvas")
    return render_drawing(read_drawing(saved), width, height)


@picture
def stroke_canvas_outputs() -> Tensor:
    """The drawing of an example workflow, and one line of a sketch, as all that Stroke Canvas makes of it."""
    scene = Scene(seed=3, lake="meadow", trees="no trees", house="no house", peak="snowy")
    below = F.interpolate(rendered(scene).movedim(-1, 1), (512, 512), mode="bilinear").movedim(1, -1)
    drawing = _drawing("paint-over-a-photo", 512, 512)
    mask, strength, _ = edit_masks(drawing, 6)
    lines = _drawing("sketch-with-importance", 512, 512).sketch
    colours = [over_background(drawing.strokes, ground, (255, 255, 255))[0] for ground in (below, None)]
    return grid([*colours, mask, strength, lines], ["image", "paint", "mask", "strength", "sketch"])


@picture
def stroke_tips() -> Tensor:
    """A few strokes, soft or with grain."""
    tips = [{"hardness": 1}, {"hardness": 0.4}, {"hardness": 0}, *({"grain": grain} for grain in (0.25, 0.5, 0.85))]
    way = [30, 60, 70, 35, 120, 70, 165, 45]
    lines = [("#3f6b3a", 64, [-10, 150, 60, 125, 120, 150, 210, 130]), ("#c8673a", 34, way), ("#1b2a3a", 9, way[::-1])]
    shown = []
    for tip in tips:
        drawn = [{"color": color, "size": size, "points": points, **tip} for color, size, points in lines]
        text = json.dumps({"width": 200, "height": 180, "strokes": drawn})
        shown.append(over_background(render_drawing(read_drawing(text), 300, 270).strokes, None, (255, 255, 255)))
    return grid(shown, [" ".join(f"{name} {value}" for name, value in tip.items()) for tip in tips], columns=3)


@picture
def strokes() -> Tensor:
    """Two landscapes and their stroke paintings with more and more colours."""
    photos = rendered(Scene(seed=1, clouds="cloudy"), _SCENE)
    columns = [photos, *(simulate_strokes(photos, colors) for colors in (3, 6, 16))]
    return grid(list(torch.stack(columns, dim=1)), col_labels=["picture", "3 colours", "6 colours", "16 colours"])


@picture
def latent_mask() -> Tensor:
    """Strokes of a pen on the latent grid, by each reduction."""
    mask = _pen_strokes(256)
    kept = {"the mask": mask[0]}
    kept |= {name: on_latent(mask, LatentGrid((32, 32)), name).pixels[0] for name in ("bilinear", "area", "max")}
    tint = torch.tensor([0.95, 0.15, 0.35])
    return grid([torch.lerp(rendered(_SCENE), tint, 0.8 * m[..., None]) for m in kept.values()], list(kept))


def _pen_strokes(size: int) -> Tensor:
    """A mask [1, size, size] of pen strokes of 2 to 10 pixels."""
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    mask = torch.zeros(size, size)
    for k, width in enumerate((2, 4, 6, 10)):
        path = size * (0.18 + 0.21 * k) + 0.045 * size * torch.sin(x / size * 7 + k)
        mask[((y - path).abs() < width / 2) & (x > 0.1 * size) & (x < 0.9 * size)] = 1.0
    return mask[None]


@picture
def composite() -> Tensor:
    """A new house through the autoencoder, laid back into the original; differences enlarged eight times."""
    scene = _SCENE.with_(lake="meadow")
    made = render_with_maps(scene)
    pixels, masks = made.picture, made.masks
    original, mask = from_uint8(pixels)[None], grow(torch.from_numpy(masks["house"].copy())[None], 4)
    edited = world().decoded(world().latent(rendered(scene.with_(house="red"))))
    result = composite_exact(original, edited, mask, border=4, color_match=1.0).image
    shown = [original, edited, 8 * (edited - original).abs(), result, 8 * (result - original).abs()]
    labels = ["original", "edited", "difference x 8", "composite", "difference x 8"]
    return grid([each.clamp(0, 1) for each in shown], labels)


@picture
def edit_metrics() -> Tensor:
    """What the metrics say about some changes of one picture."""
    photo = rendered(_SCENE)
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    changes = {
        "brighter": (photo + 0.08).clamp(0, 1),
        "noise": (photo + 0.08 * noise).clamp(0, 1),
        "blurred": F.avg_pool2d(F.pad(photo.movedim(-1, 1), (4,) * 4, mode="replicate"), 9, 1).movedim(1, -1),
        "strokes": simulate_strokes(photo),
        "other layout": rendered(_SCENE.with_(seed=6)),
    }
    labels = []
    for name, changed in changes.items():
        m = measured(photo, changed)
        l2, ssim, edges = (m.mean("whole", key) for key in ("l2", "ssim", "edges"))
        labels.append(f"{name}\nL2 {l2:.1f}, SSIM {ssim:.2f}\nedge distance {edges:.2f}")
    return grid([photo, *changes.values()], ["reference", *labels])


@picture
def distribution_distance() -> Tensor:
    """Distance of stroke paintings to landscapes, by the number of colours: it falls as in the paper's Table 4."""
    photos, others = rendered(*unseen_scenes(200, 0)).split(100)
    reference, colors = features(others), [3, 6, 16, 30, 50]
    rows = [kernel_distance(features(simulate_strokes(photos, n)), reference) for n in colors]
    floor = kernel_distance(features(photos), reference)
    series = [
        Series("stroke paintings", colors, [r.value for r in rows], errors=[r.standard_error for r in rows]),
        Series("the landscapes themselves", [colors[0], colors[-1]], [floor.value] * 2, style="line", dashed=True),
    ]
    return line_plot(series, Axis("colours of the stroke paintings"), Axis("KID to 100 other landscapes"))[0]
