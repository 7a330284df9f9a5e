"""Faithfulness against realism over t0, the paper's Figure 3, on the embedded world: `./dev bench t0`.

Simulated stroke paintings of unseen landscapes are edited at several t0. Measured are the distance to the guide, the
distance to rendered landscapes (KID over patches, and over the features of the attribute classifier), and whether the
attributes of the painted landscape can still be read in the result.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..demo.model import NOISE
from ..demo.scenes import ATTRIBUTES
from ..demo.training.evaluate import unseen_scenes
from ..demo.training.style import PAINTED, STYLES, Style
from ..devtools import world
from ..devtools.world import save_picture
from ..images.distribution import Distance, kernel_distance
from ..images.plot import Axis, Series, line_plot
from ..images.realism import RealPictures
from ..images.strokes import simulate_strokes
from ..samplers.sdedit import SOLVERS, SDEditSettings, sdedit
from .common import (
    MODELS,
    OUTPUT,
    PICTURES,
    add_model,
    head,
    is_usual,
    machine,
    named_by_model,
    parser,
    row,
    unrelated_renders,
)  # fmt: skip

_PAINTINGS = 100
_REFERENCE = 4  # renders to compare with, per painting
_LAYOUT = ("peak", "lake", "trees", "house", "clouds")
_BATCH = 10

Measured = dict[str, Distance]


class World(world.World):
    """Stroke paintings of unseen landscapes, and other landscapes of the same kinds to compare with."""

    def __init__(self, count: int, kind: str = NOISE, style: Style = PAINTED) -> None:
        super().__init__(kind, style)
        self.scenes = unseen_scenes(count, 20_000)
        self.paintings = simulate_strokes(style.rendered(*self.scenes))
        reference = unrelated_renders(_REFERENCE * count, 21_000, style)
        self.real, self.real_features = RealPictures(reference), self.features(reference)
        self.others = unrelated_renders(count, 22_000, style)
        self.latents = torch.cat([self.vae.encode(chunk) for chunk in self.paintings.split(_BATCH)])

    def edited(self, settings: SDEditSettings) -> Tensor:
        """Every painting edited with its caption, as IMAGE."""
        pictures = []
        for start in range(0, len(self.scenes), _BATCH):
            some = slice(start, start + _BATCH)
            given = {**self.inputs(*self.scenes[some]), "guide": {"samples": self.latents[some]}}
            pictures.append(self.decoded(sdedit(**given, seed=start, settings=settings).latent))
        return torch.cat(pictures)

    def measure(self, pictures: Tensor) -> Measured:
        """Means with their standard errors."""
        seen = list(zip(self.read(pictures), self.scenes, strict=True))
        kept = torch.tensor([[read[name] == getattr(scene, name) for name in ATTRIBUTES] for read, scene in seen])
        layout = kept[:, [name in _LAYOUT for name in ATTRIBUTES]].all(dim=1)
        return {
            "L2": _mean((pictures - self.paintings).flatten(1).norm(dim=1)),
            "patch KID": self.real.distance(pictures),
            "feature KID": kernel_distance(self.features(pictures), self.real_features),
            "layout kept": _mean(layout),
            "attributes kept": _mean(kept.double().mean(dim=1)),
        }


def _mean(values: Tensor) -> Distance:
    """With its standard error, which a single value leaves open."""
    spread = float(values.double().std()) if len(values) > 1 else 0.0
    return Distance(float(values.double().mean()), spread / math.sqrt(len(values)))


def _monotonic(rows: Sequence[Measured], name: str, sign: int) -> bool:
    """Whether a measure rises (or falls) from row to row, within the standard errors of its neighbours."""
    pairs = itertools.pairwise(each[name] for each in rows)
    return not any(sign * (b.value - a.value) < -math.hypot(a.standard_error, b.standard_error) for a, b in pairs)


def shown(distance: Distance) -> str:
    return f"{distance.value:.3f} +- {distance.standard_error:.3f}"


def _plot(t0s: Sequence[float], points: Sequence[Measured], file: Path) -> None:
    def series(name: str, axis: str) -> Series:
        errors = [point[name].standard_error for point in points]
        return Series(name, [0.0, *t0s], [point[name].value for point in points], errors=errors, axis=axis)  # pyright: ignore[reportArgumentType]

    real = Axis("distance to real landscapes (patch KID)")
    both = [series("L2", "left"), series("patch KID", "right")]
    save_picture(line_plot(both, Axis("t0"), Axis("distance to the guide (L2)"), right=real)[0], file)
    print(file)


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__, paintings=_PAINTINGS, steps=0)
    add_model(options)
    options.add_argument("--solver", choices=list(SOLVERS), default=SDEditSettings.solver)
    options.add_argument("--scheduler", default=SDEditSettings.scheduler)
    options.add_argument("--t0", type=float, nargs="+", default=[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    options.add_argument("--plot", type=Path, help="that of the documentation, if there are enough paintings")
    given = options.parse_args()
    w = World(given.paintings, MODELS[given.model], STYLES[given.style])
    steps = given.steps or w.steps
    print(f"{machine()}; {w.kind}, {given.paintings} paintings, {steps} steps, {given.solver}, {given.scheduler}\n")
    guide, floor = w.measure(w.paintings), w.measure(w.others)
    print(f"Unrelated renders: patch KID {shown(floor['patch KID'])}, feature KID {shown(floor['feature KID'])}\n")
    head("t0", *guide)
    row("guide", *map(shown, guide.values()))
    rows = []
    for t0 in given.t0:
        settings = SDEditSettings(t0, steps, w.cfg, given.solver, given.scheduler)
        rows.append(w.measure(w.edited(settings)))
        row(f"{t0:g}", *map(shown, rows[-1].values()))
    for name, sign, word in (("L2", 1, "rises"), ("patch KID", -1, "falls"), ("feature KID", -1, "falls")):
        print(f"{name} {word} with t0 within standard errors: {'yes' if _monotonic(rows, name, sign) else 'no'}")
    t0, best = min(zip(given.t0, rows, strict=True), key=lambda pair: pair[1]["patch KID"].value)
    patch, feature = (best[name].value / guide[name].value for name in ("patch KID", "feature KID"))
    print(
        f"Best t0 {t0:g}: layout kept {best['layout kept'].value:.0%}, patch KID {patch:.2f} of the guide's, "
        f"feature KID {feature:.2f}"
    )
    shown_in_docs = given.paintings >= _PAINTINGS and is_usual(given)
    file = (PICTURES if shown_in_docs else OUTPUT) / f"{named_by_model('sdedit-t0', given)}.jpg"
    _plot(given.t0, [guide, *rows], given.plot or file)


if __name__ == "__main__":
    main()
