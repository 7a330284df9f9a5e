"""The README's three pictures: paint, ask, draw."""

from __future__ import annotations

import torch
from torch import Tensor

from ...demo.scenes import Scene
from ...images import edges
from ...images.composite import composite_exact
from ...images.edges import as_picture
from ...lep.sketch import read_sketch
from ..direct import call
from ..world import rendered
from .lep import guided
from .shared import montage, picture, world


@picture
def front_strokes() -> Tensor:
    """Two stroke paintings, each with what SDEdit makes of it."""
    shown = []
    for scene in (
        Scene(seed=5, time="sunset", season="autumn", trees="broadleaf"),
        Scene(seed=21, house="blue", clouds="cloudy"),
    ):
        strokes = rendered(scene, detail=0.0)
        guide = world().latent(strokes)
        edited = call("DPathSDEdit", **world().inputs(scene), guide=guide, seed=1, t0=0.55, steps=30)[0]
        shown += [strokes, world().decoded(edited)]
    return montage(torch.cat(shown), columns=4)


@picture
def front_edits() -> Tensor:
    """A picture and three edits by prompt, each composited over it outside the region that MDP Edit has found."""
    scene = Scene(seed=5)
    source = rendered(scene)
    given = {"source": world().encoded(scene), "latent": world().latent(source), "seed": 1, "steps": 20}
    shown = [source]
    for target in (scene.with_(season="winter"), scene.with_(time="sunset"), scene.with_(lake="meadow")):
        latent, _, _, mask = call("DPathMDPEdit", **world().inputs(target), **given)
        shown.append(composite_exact(source, world().decoded(latent), mask, border=8).image)
    return montage(torch.cat(shown), columns=4)


@picture
def front_sketches() -> Tensor:
    """Two drawings, each with a picture that follows it."""
    scenes = (
        Scene(seed=8, time="sunset", season="autumn", peak="rocky", trees="broadleaf", house="white"),
        Scene(seed=44, season="winter", lake="meadow", house="red", clouds="clear"),
    )
    drawings = 1 - as_picture(edges.of_width(edges.edge_map(rendered(*scenes)), 2))
    made = guided(read_sketch(drawings), scenes)
    return montage(torch.stack([drawings, made], dim=1).flatten(0, 1), columns=4)
