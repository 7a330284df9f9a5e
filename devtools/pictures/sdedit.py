"""Help-page pictures of the SDEdit family, all of them runs of its own nodes on the demo model."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...demo.model import FILM
from ...demo.render import render_with_maps
from ...demo.scenes import Scene
from ...images.plot import Axis, Series, line_plot
from ...images.tensors import from_uint8
from ...samplers.sdedit import SOLVERS
from ..direct import call
from ..world import World, rendered
from .shared import grid, picture, world

_SCENE = Scene(seed=3, time="sunset", trees="pines", house="red")
_SETTINGS: dict[str, Any] = {"t0": 0.5, "steps": 20, "cfg": 4.0, "solver": "sde_small", "scheduler": "simple"}
_PAINTING = rendered(_SCENE, detail=0.0)


def _edit(image: Tensor, scene: Scene = _SCENE, mask: Tensor | None = None, output: int = 0, **changes: Any) -> Tensor:
    """SDEdit of an IMAGE, as IMAGE. mask: [1, H, W]; output 1 is what the model sees first."""
    guide = world().latent(image) | ({} if mask is None else {"noise_mask": mask.unsqueeze(1)})
    found = call("DPathSDEdit", **world().inputs(scene), guide=guide, seed=1, **{**_SETTINGS, **changes})
    return world().decoded(found[output])


@picture
def sdedit() -> Tensor:
    """One painting at four t0."""
    t0s = (0.3, 0.5, 0.7, 0.9)
    return grid([_PAINTING, *(_edit(_PAINTING, t0=t0) for t0 in t0s)], ["strokes", *(f"t0 {t0}" for t0 in t0s)])


@picture
def perturb() -> Tensor:
    """What the model sees of a painting at several t0."""
    t0s, latent = (0.1, 0.3, 0.5, 0.7, 1.0), world().latent(_PAINTING)
    seen = [_edit(_PAINTING, t0=t0, steps=1, output=1) for t0 in t0s]
    reports = [call("DPathPerturb", model=world().model, latent=latent, seed=1, t0=t0)[2] for t0 in t0s]
    return grid([_PAINTING, *seen], ["strokes", *(report.replace(": ", ", ") for report in reports)])


@picture
def sigmas() -> Tensor:
    """Levels of four schedulers from the same t0."""
    series = []
    for scheduler in ("karras", "simple", "exponential", "beta"):
        levels = call("DPathSigmas", model=world().model, t0=0.5, steps=12, scheduler=scheduler)[0].tolist()
        series.append(Series(scheduler, list(range(13)), levels))
    return line_plot(series, Axis("step"), Axis("sigma"), title="t0 0.5, 12 steps")[0]


@picture
def reverse_sde() -> Tensor:
    """The solvers of SDEdit at few and at many steps."""
    solvers = [solver for solver in SOLVERS if solver != "consistency"]  # which is for distilled models
    rows = [_edit(_PAINTING, solver=solver, steps=steps) for steps in (10, 50) for solver in solvers]
    return grid(rows, col_labels=solvers, row_labels=["10 steps", "50 steps"])


def _sky_and_land() -> tuple[Tensor, Tensor, Tensor]:
    """A picture by day with the masks of its sky and its land."""
    made = render_with_maps(_SCENE.with_(time="day"))
    pixels, masks = made.picture, made.masks
    sky, land = (torch.from_numpy(masks[name].copy()).float()[None] for name in ("sky", "land"))
    return from_uint8(pixels)[None], sky, land


@picture
def drag() -> Tensor:
    """A house dragged over a meadow, and the film of it."""
    film, scene = World(FILM), _SCENE.with_(time="day", lake="meadow")
    made = render_with_maps(scene)
    pixels, masks = made.picture, made.masks
    kind = {"kind": "cut-out", "mask": torch.from_numpy(masks["house"].copy()).float()[None], "hole": "blurred"}
    kind |= {"t0_inside": 0.35, "t0_outside": 0.6}
    given = {"image": from_uint8(pixels)[None], "frames": 10, "moves": "0: 0 0\n1: -75 12", "kind": kind}
    frames, _, strength, t0 = call("DPathDrag", **given)
    guide = call("DPathLatentMask", mask=strength, latent=film.latent(frames))[0]
    settings = {"t0": t0, "steps": 12, "solver": "dpmpp_2m", "mask_mode": "threshold", "seed": 5}
    made = film.decoded(call("DPathSDEdit", **film.inputs(scene), guide=guide, **settings)[0])
    shown = [0, 3, 6, 9]
    labels = [f"frame {index + 1}" for index in shown]
    return grid([*frames[shown], *made[shown]], col_labels=labels, row_labels=["guide", "film"])


@picture
def masked_sampler() -> Tensor:
    """One soft mask in the three modes."""
    photo, modes = _sky_and_land()[0], ("blend", "threshold", "paper")
    mask = torch.linspace(0, 1, 256).expand(1, 256, 256).contiguous()
    edits = [_edit(photo, _SCENE.with_(season="autumn"), mask, t0=0.8, mask_mode=mode) for mode in modes]
    return grid([photo, mask, *edits], ["picture", "mask, 1 = edit", *modes])


@picture
def strength_map() -> Tensor:
    """A sky at t0 0.85 and a land at 0.4 in one run."""
    photo, sky, land = _sky_and_land()
    strength, t0 = call("DPathStrengthMap", mask_1=sky, t0_1=0.85, mask_2=land, t0_2=0.4)
    soft = F.avg_pool2d(strength.unsqueeze(1), 17, 1, 8, count_include_pad=False).squeeze(1)
    edited = _edit(photo, _SCENE.with_(season="autumn"), soft, t0=t0, mask_mode="threshold")
    return grid([photo, strength * t0, edited], ["picture", "t0: sky 0.85, land 0.4", "edited"])


@cache
def _sweep() -> tuple[Any, ...]:
    reference = rendered(*(_SCENE.with_(seed=100 + i) for i in range(16)))
    given = {"vae": world().vae, "image": _PAINTING, "values": "", "seed": 1, "reference": reference}
    return call("DPathSweep", **world().inputs(_SCENE), **given, **_SETTINGS)


@picture
def sweep_grid() -> Tensor:
    return _sweep()[0][0]


@picture
def sweep_plot() -> Tensor:
    return _sweep()[2][0]


@picture
def join_sweeps() -> Tensor:
    """Two parts of a sweep, and both joined."""
    given = {"vae": world().vae, "image": _PAINTING, "values": "0.2 0.4 0.6 0.8", "seed": 1}
    parts = [call("DPathSweep", **world().inputs(_SCENE), **given, **_SETTINGS, part=n, parts=2) for n in (1, 2)]
    joined = call("DPathJoinSweeps", cells={f"part{n}": part[4] for n, part in enumerate(parts)})[0][0]
    above = [_across(joined.shape[1] // 2, part[0][0]) for part in parts]
    return torch.cat([torch.cat(above, dim=1), joined[:, : above[0].shape[1] * 2]])


def _across(width: int, sheet: Tensor) -> Tensor:
    """A sheet [H, W, 3] scaled to a width."""
    height = round(sheet.shape[0] * width / sheet.shape[1])
    scaled = F.interpolate(sheet.movedim(-1, 0)[None], (height, width), mode="bilinear", antialias=True)
    return scaled[0].movedim(0, -1)
