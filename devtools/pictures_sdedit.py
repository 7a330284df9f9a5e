"""Help-page pictures of the SDEdit family, all of them runs of its own nodes on the demo model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..demo.model import load_demo_model
from ..demo.render import render, render_with_masks
from ..demo.scenes import Scene, full_caption
from ..images.grid import labelled_grid
from ..images.plot import Axis, Series, line_plot
from ..images.tensors import from_uint8
from ..nodes.masked import StrengthMap
from ..nodes.sdedit import Perturb, SDEdit, SDEditSigmas
from ..nodes.sweep import Sweep
from ..samplers.sdedit import SOLVERS

_SCENE = Scene(seed=3, time="sunset", trees="pines", house="red")
_SETTINGS: dict[str, Any] = {"t0": 0.5, "steps": 20, "cfg": 4.0, "solver": "sde_small", "scheduler": "simple"}


@cache
def _models() -> tuple[Any, Any, Any]:
    return load_demo_model()


def _prompts(scene: Scene) -> tuple[Any, Any]:
    clip = _models()[1]
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (full_caption(scene), ""))
    return positive, negative


def _painting(scene: Scene = _SCENE) -> Tensor:
    """A flat stroke painting, IMAGE [1, 256, 256, 3]."""
    return from_uint8(render(scene, detail=0.0))[None]


def _edit(image: Tensor, scene: Scene = _SCENE, mask: Tensor | None = None, seed: int = 1, **changes: Any) -> Tensor:
    """SDEdit of an IMAGE, as IMAGE. mask: [1, H, W]."""
    model, _, vae = _models()
    guide = {"samples": vae.encode(image)}
    if mask is not None:
        guide["noise_mask"] = mask.unsqueeze(1)
    made = SDEdit.execute(model, *_prompts(scene), guide, seed, **{**_SETTINGS, **changes}).args[0]
    return vae.decode(made["samples"])


def sdedit() -> Tensor:
    """One painting at four t0."""
    t0s = (0.3, 0.5, 0.7, 0.9)
    painting = _painting()
    shown = torch.cat([painting, *(_edit(painting, t0=t0) for t0 in t0s)])
    return labelled_grid(shown, ["strokes", *(f"t0 {t0}" for t0 in t0s)], columns=5)[0]


def perturb() -> Tensor:
    """What the model sees of a painting at several t0."""
    model, _, vae = _models()
    t0s, painting = (0.1, 0.3, 0.5, 0.7, 1.0), _painting()
    latent = {"samples": vae.encode(painting)}
    seen = []
    for t0 in t0s:
        made = SDEdit.execute(model, *_prompts(_SCENE), latent, 1, **{**_SETTINGS, "t0": t0, "steps": 1}).args[1]
        seen.append(vae.decode(made["samples"]))
    reports = [Perturb.execute(model, latent, 1, t0).args[2] for t0 in t0s]
    labels = [report.replace(": ", ", ") for report in reports]
    return labelled_grid(torch.cat([painting, *seen]), ["strokes", *labels], columns=6)[0]


def sigmas() -> Tensor:
    """Levels of four schedulers from the same t0."""
    model = _models()[0]
    series = []
    for scheduler in ("karras", "simple", "exponential", "beta"):
        levels = SDEditSigmas.execute(model, 0.5, 12, scheduler).args[0].tolist()
        series.append(Series(scheduler, list(range(13)), levels))
    return line_plot(series, Axis("step"), Axis("sigma"), title="t0 0.5, 12 steps")[0]


def reverse_sde() -> Tensor:
    """The solvers of SDEdit at few and at many steps."""
    painting = _painting()
    rows = [torch.cat([_edit(painting, solver=solver, steps=steps) for solver in SOLVERS]) for steps in (10, 50)]
    return labelled_grid(torch.cat(rows), col_labels=list(SOLVERS), row_labels=["10 steps", "50 steps"])[0]


def _sky_and_land() -> tuple[Tensor, Tensor, Tensor]:
    """A picture by day with the masks of its sky and its land."""
    pixels, masks = render_with_masks(_SCENE.with_(time="day"))
    sky, land = (torch.from_numpy(masks[name].copy()).float()[None] for name in ("sky", "land"))
    return from_uint8(pixels)[None], sky, land


def masked_sampler() -> Tensor:
    """One soft mask in the three modes."""
    picture, _, _ = _sky_and_land()
    mask = torch.linspace(0, 1, 256).expand(1, 256, 256).contiguous()
    wanted = _SCENE.with_(season="autumn")
    made = [_edit(picture, wanted, mask, t0=0.8, mask_mode=mode) for mode in ("blend", "threshold", "paper")]
    shown = torch.cat([picture, mask[..., None].expand(-1, -1, -1, 3), *made])
    return labelled_grid(shown, ["picture", "mask, 1 = edit", "blend", "threshold", "paper"], columns=5)[0]


def strength_map() -> Tensor:
    """A sky at t0 0.85 and a land at 0.4 in one run."""
    picture, sky, land = _sky_and_land()
    strength, t0 = StrengthMap.execute(mask_1=sky, t0_1=0.85, mask_2=land, t0_2=0.4).args
    soft = F.avg_pool2d(strength.unsqueeze(1), 17, 1, 8, count_include_pad=False).squeeze(1)
    made = _edit(picture, _SCENE.with_(season="autumn"), soft, t0=t0, mask_mode="threshold")
    shown = torch.cat([picture, (strength * t0)[..., None].expand(-1, -1, -1, 3), made])
    return labelled_grid(shown, ["picture", "t0: sky 0.85, land 0.4", "edited"], columns=3)[0]


def sweep() -> tuple[Tensor, Tensor]:
    """Grid and plot of a sweep."""
    model, _, vae = _models()
    reference = torch.stack([from_uint8(render(_SCENE.with_(seed=100 + i))) for i in range(16)])
    made = Sweep.execute(
        model, *_prompts(_SCENE), vae, _painting(), "t0", "", 1, **_SETTINGS, reference=reference
    )  # fmt: skip
    return made.args[0][0], made.args[2][0]


PICTURES: dict[str, Callable[[], Tensor]] = {
    "sdedit": sdedit,
    "perturb": perturb,
    "sigmas": sigmas,
    "reverse-sde": reverse_sde,
    "masked-sampler": masked_sampler,
    "strength-map": strength_map,
    "sweep-grid": lambda: sweep()[0],
    "sweep-plot": lambda: sweep()[1],
}
