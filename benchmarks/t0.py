"""Faithfulness against realism over t0, the paper's Figure 3, on the embedded world: `./dev bench t0`.

Simulated stroke paintings of unseen landscapes are edited at several t0. Measured are the distance to the guide, the
distance to rendered landscapes (KID over patches, and over the features of the attribute reader), and whether the
attributes of the painted landscape can still be read in the result.
"""

from __future__ import annotations

import argparse
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..demo.attributes import features, read_attributes
from ..demo.model import load_demo_model
from ..demo.scenes import ATTRIBUTES, Scene, full_caption, random_scene
from ..images.distribution import Distance, kernel_distance
from ..images.plot import Axis, Series, line_plot
from ..images.realism import RealPictures
from ..images.strokes import simulate_strokes
from ..samplers.sdedit import SOLVERS, SDEditSettings, sdedit
from .common import machine, rendered, unrelated_renders

_ROOT = Path(__file__).resolve().parents[1]
_PLOT, _OUT = _ROOT / "docs" / "images" / "sdedit-t0.jpg", _ROOT / "output" / "sdedit-t0.jpg"
_PAINTINGS = 100
_REFERENCE = 4  # renders to compare with, per painting
_LAYOUT = ("peak", "lake", "trees", "house", "clouds")
_BATCH = 10


class World:
    """Stroke paintings of unseen landscapes, and other landscapes of the same kinds to compare with."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(20_000)
        self.scenes = [random_scene(rng) for _ in range(count)]
        self.paintings = simulate_strokes(rendered(self.scenes))
        reference = unrelated_renders(_REFERENCE * count, 21_000)
        self.real, self.real_features = RealPictures(reference), features(reference)
        self.others = unrelated_renders(count, 22_000)
        self.model, self.clip, self.vae = load_demo_model()
        self.latents = torch.cat([self.vae.encode(chunk) for chunk in self.paintings.split(_BATCH)])

    def edited(self, settings: SDEditSettings) -> Tensor:
        """Every painting edited with its caption, as IMAGE."""
        negative = self._conditioning([""])
        made = []
        for start in range(0, len(self.scenes), _BATCH):
            some = slice(start, start + _BATCH)
            positive = self._conditioning([full_caption(scene) for scene in self.scenes[some]])
            edit = sdedit(self.model, positive, negative, {"samples": self.latents[some]}, start, settings)
            made.append(self.vae.decode(edit.latent["samples"]).cpu())
        return torch.cat(made)

    def _conditioning(self, texts: list[str]) -> list[list[Any]]:
        """One CONDITIONING whose batch is the texts."""
        encoded = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0] for text in texts]
        return [[torch.cat([tokens for tokens, _ in encoded]), encoded[0][1]]]

    def measure(self, pictures: Tensor) -> dict[str, Distance]:
        """Means with their standard errors."""
        distances = (pictures - self.paintings).flatten(1).norm(dim=1)
        read = read_attributes(pictures)
        kept = [_kept(scene, seen, _LAYOUT) for scene, seen in zip(self.scenes, read, strict=True)]
        share = [_kept(scene, seen, tuple(ATTRIBUTES)) for scene, seen in zip(self.scenes, read, strict=True)]
        return {
            "L2": _mean(distances.tolist()),
            "patch KID": self.real.distance(pictures),
            "feature KID": kernel_distance(features(pictures), self.real_features),
            "layout kept": _mean([float(k == 1.0) for k in kept]),
            "attributes kept": _mean(share),
        }


def _kept(scene: Scene, seen: dict[str, str], names: tuple[str, ...]) -> float:
    return sum(seen[name] == getattr(scene, name) for name in names) / len(names)


def _mean(values: list[float]) -> Distance:
    mean = sum(values) / len(values)
    spread = math.sqrt(sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1))
    return Distance(mean, spread / math.sqrt(len(values)))


def _monotonic(rows: list[dict[str, Distance]], name: str, sign: int) -> bool:
    """Whether a measure rises (or falls) from row to row, within the standard errors of its neighbours."""
    for before, after in itertools.pairwise(row[name] for row in rows):
        slack = math.hypot(before.standard_error, after.standard_error)
        if sign * (after.value - before.value) < -slack:
            return False
    return True


def _print_row(label: str, row: dict[str, Distance]) -> None:
    print(f"| {label} | " + " | ".join(map(_shown, row.values())) + " |", flush=True)


def _shown(distance: Distance) -> str:
    return f"{distance.value:.3f} +- {distance.standard_error:.3f}"


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--paintings", type=int, default=_PAINTINGS)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--solver", choices=list(SOLVERS), default=SDEditSettings.solver)
    parser.add_argument("--scheduler", default=SDEditSettings.scheduler)
    parser.add_argument("--t0", type=float, nargs="+", default=[0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    parser.add_argument("--plot", type=Path, help="that of the documentation, for as many paintings as it has")
    options = parser.parse_args()
    if options.plot is None:
        options.plot = _PLOT if options.paintings >= _PAINTINGS else _OUT
    world = World(options.paintings)
    print(f"{machine()}; {options.paintings} paintings, {options.steps} steps, {options.solver}, {options.scheduler}\n")
    guide = world.measure(world.paintings)
    floor = world.measure(world.others)
    print(f"Unrelated renders: patch KID {_shown(floor['patch KID'])}, feature KID {_shown(floor['feature KID'])}\n")
    print("| t0 | " + " | ".join(guide) + " |\n|" + "---|" * (1 + len(guide)))
    _print_row("guide", guide)
    rows = []
    for t0 in options.t0:
        pictures = world.edited(
            SDEditSettings(t0=t0, steps=options.steps, solver=options.solver, scheduler=options.scheduler)
        )
        rows.append(world.measure(pictures))
        _print_row(f"{t0:g}", rows[-1])
    for name, sign, word in (("L2", 1, "rises"), ("patch KID", -1, "falls"), ("feature KID", -1, "falls")):
        print(f"{name} {word} with t0 within standard errors: {'yes' if _monotonic(rows, name, sign) else 'no'}")
    best = min(range(len(rows)), key=lambda i: rows[i]["patch KID"].value)
    print(
        f"Best t0 {options.t0[best]:g}: layout kept {rows[best]['layout kept'].value:.0%}, patch KID "
        f"{rows[best]['patch KID'].value / guide['patch KID'].value:.2f} of the guide's, feature KID "
        f"{rows[best]['feature KID'].value / guide['feature KID'].value:.2f}"
    )
    points = [guide, *rows]
    faithful, real = (
        Series(
            name, [0.0, *options.t0], [r[name].value for r in points], errors=[r[name].standard_error for r in points]
        )
        for name in ("L2", "patch KID")
    )
    series = [faithful, replace(real, axis="right")]
    plot = line_plot(
        series,
        Axis("t0"),
        Axis("distance to the guide (L2)"),
        right=Axis("distance to real landscapes (patch KID)"),
    )
    options.plot.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((plot[0] * 255).round().byte().numpy()).save(options.plot, quality=88)
    print(options.plot)


if __name__ == "__main__":
    main()
