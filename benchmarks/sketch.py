"""Sketch guidance on the embedded world: `./dev bench sketch`.

Sketches are edge maps of unseen landscapes, every second one redrawn by an unsteady hand: bent, gappy, without small
marks. Each is followed from the same noise and caption as an unguided picture. Measured are the edges of the picture
against the sketch (F1 within two pixels of 256, and within four), the attributes of the caption that can be read in the
picture, and the distance to rendered landscapes. Pictures are kept in the work folder, so that an interrupted run goes
on.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import comfy.sample
import numpy as np
import torch
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from skimage.morphology import remove_small_objects, skeletonize
from torch import Tensor

from ..demo.attributes import features, read_attributes
from ..demo.model import load_demo_model
from ..demo.scenes import ATTRIBUTES, full_caption, random_scene
from ..images.distribution import Distance, kernel_distance
from ..images.edges import as_picture, edge_map, of_width
from ..images.grid import labelled_grid
from ..images.plot import Axis, Series, line_plot
from ..images.realism import RealPictures
from ..lep.checkpoint import load_predictor
from ..lep.guidance import Guidance, guide
from ..lep.sketch import Sketch
from ..nodes.lep import BUILT_IN_FILE, DEFAULT_BETA, DEFAULT_END
from ..samplers.noise import item_noise
from .common import machine, rendered, unrelated_renders

_ROOT = Path(__file__).resolve().parents[1]
WORK, DOCS = _ROOT / ".dev" / "bench" / "sketch", _ROOT / "docs" / "images"
_SKETCHES, _CURVE = 50, 10
_BATCH = 10
_REFERENCE = 8  # renders to compare with, per sketch
_NEAR, _WIDER = 2.0, 4.0  # pixels
_CFG = 4.0
_WOBBLE, _WAVE = 3.0, 32.0  # pixels
LIMITS = {"F1": 0.70, "better": 0.98, "attributes": 0.03, "distance": 1.15}


@dataclass(frozen=True)
class Setting:
    """One way to sample. beta 0 is unguided."""

    beta: float = DEFAULT_BETA
    end: float = DEFAULT_END
    start: float = 1.0
    every: int = 1
    steps: int = 20
    sampler: str = "euler_ancestral"
    scheduler: str = "normal"
    predictor: Path = BUILT_IN_FILE


@dataclass(frozen=True)
class Measured:
    """f1: of each picture; wider: within four pixels. kept: share per attribute. patch, feature: distances."""

    f1: Tensor
    wider: Tensor
    kept: dict[str, float]
    patch: Distance
    feature: Distance


class World:
    """Sketches of unseen landscapes, and other landscapes of the same kinds to compare with."""

    def __init__(self, count: int, seeds: int) -> None:
        rng = np.random.default_rng(30_000)
        self.scenes = [random_scene(rng) for _ in range(count)]
        pictures = rendered(self.scenes)
        edges = edge_map(pictures)
        self.sketches = torch.stack([unsteady(e, i) if i % 2 else e for i, e in enumerate(edges)])
        self.count, self.seeds = count, seeds
        reference = unrelated_renders(_REFERENCE * count, 31_000)
        self.real, self.real_features = RealPictures(reference), features(reference)
        self.model, self.clip, self.vae = load_demo_model()

    def made(self, setting: Setting, work: Path) -> Tensor:
        """Every sketch with every seed, [seeds * N, H, W, 3]."""
        pictures = []
        for seed in range(self.seeds):
            for begin in range(0, self.count, _BATCH):
                members = range(begin, min(begin + _BATCH, self.count))
                file = work / f"{_key(setting)}-{seed}-{members.start}-{members.stop}.npy"
                if not file.exists():
                    work.mkdir(parents=True, exist_ok=True)
                    np.save(file, (self._batch(setting, members, seed) * 255).round().byte().numpy())
                pictures.append(torch.from_numpy(np.load(file)).float() / 255)
        return torch.cat(pictures)

    def _batch(self, setting: Setting, members: range, seed: int) -> Tensor:
        model = self.model
        if setting.beta > 0:
            predictor = load_predictor(setting.predictor)
            sketch = Sketch(model, self.vae, predictor, self.sketches[members.start : members.stop])
            given = Guidance(predictor, sketch.at, setting.beta, setting.start, setting.end, setting.every)
            model = guide(model, given)
        negative = self._conditioning([""])
        positive = self._conditioning([full_caption(self.scenes[i]) for i in members])
        empty = torch.zeros(1, 4, 32, 32)
        noise = torch.stack([item_noise(empty[0], seed, index) for index in members])
        samples = comfy.sample.sample(
            model, noise, setting.steps, _CFG, setting.sampler, setting.scheduler, positive, negative,
            torch.zeros_like(noise), disable_pbar=True, seed=seed,
        )  # fmt: skip
        return self.vae.decode(samples).cpu().clamp(0, 1)

    def _conditioning(self, texts: list[str]) -> list[list[Any]]:
        """One CONDITIONING whose batch is the texts."""
        encoded = [self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))[0] for text in texts]
        return [[torch.cat([tokens for tokens, _ in encoded]), encoded[0][1]]]

    def measure(self, pictures: Tensor) -> Measured:
        read = read_attributes(pictures)
        scenes = self.scenes * self.seeds
        kept = {
            name: sum(r[name] == getattr(s, name) for r, s in zip(read, scenes, strict=True)) / len(scenes)
            for name in ATTRIBUTES
        }
        sketches = [sketch for _ in range(self.seeds) for sketch in self.sketches]
        pairs = list(zip(edge_map(pictures), sketches, strict=True))
        f1, wider = (torch.tensor([edge_f1(*pair, near) for pair in pairs]) for near in (_NEAR, _WIDER))
        # Seed by seed, because the pictures of one sketch are not independent of one another.
        rounds = pictures.split(self.count)
        patch = _mean([self.real.distance(each) for each in rounds])
        feature = _mean([kernel_distance(features(each), self.real_features) for each in rounds])
        return Measured(f1, wider, kept, patch, feature)


def _mean(distances: list[Distance]) -> Distance:
    """Mean of distances to one reference; its error is not taken to be smaller than one of theirs."""
    count = len(distances)
    return Distance(sum(d.value for d in distances) / count, sum(d.standard_error for d in distances) / count)


def unsteady(edges: Tensor, seed: int) -> Tensor:
    """An edge map [H, W] as an unsteady hand would draw it: bent by a smooth field, gappy, without small marks."""
    rng = np.random.default_rng(seed)
    height, width = edges.shape
    bend = [gaussian_filter(rng.standard_normal((height, width)), _WAVE) for _ in range(2)]
    bend = [_WOBBLE * field / field.std() / math.sqrt(2) for field in bend]
    lines = remove_small_objects(edges.numpy() > 0.5, max_size=24, connectivity=2)
    lines &= gaussian_filter(rng.standard_normal((height, width)), 6.0) * 6.0 * math.sqrt(4 * math.pi) < 1.5
    rows, columns = np.mgrid[0:height, 0:width].astype(float)
    thick = of_width(torch.from_numpy(lines)[None].float(), 3)[0].numpy()
    bent = map_coordinates(thick, [rows + bend[0], columns + bend[1]], order=1, mode="nearest")
    return torch.from_numpy(bent > 0.5).float()


def edge_f1(found: Tensor, wanted: Tensor, near: float = _NEAR) -> float:
    """F1 of the found edges [H, W] against the wanted lines, centre lines, within `near` pixels."""
    ours, theirs = (skeletonize(lines.numpy() > 0.5) for lines in (found, wanted))
    if not ours.any() or not theirs.any():
        return 0.0
    precision = float((np.asarray(distance_transform_edt(~theirs))[ours] <= near).mean())
    recall = float((np.asarray(distance_transform_edt(~ours))[theirs] <= near).mean())
    return 2 * precision * recall / max(1e-9, precision + recall)


def _key(setting: Setting) -> str:
    """A file name for a setting and the predictor's contents."""
    if setting.beta == 0:
        setting = replace(Setting(beta=0.0, steps=setting.steps), sampler=setting.sampler, scheduler=setting.scheduler)
        return hashlib.sha256(repr(astuple(setting)[:-1]).encode()).hexdigest()[:12]
    content = hashlib.sha256(setting.predictor.read_bytes()).hexdigest()
    return hashlib.sha256((repr(astuple(setting)[:-1]) + content).encode()).hexdigest()[:12]


def _print_row(label: str, found: Measured, plain: Measured | None) -> None:
    better = "" if plain is None else f"{float((found.f1 > plain.f1).float().mean()):.0%}"
    kept = " | ".join(f"{share:.2f}" for share in found.kept.values())
    cells = [f"{found.wider.mean():.3f}", f"{found.f1[0::2].mean():.3f}", f"{found.f1[1::2].mean():.3f}", better, kept]
    cells += [f"{d.value:.3f} +- {d.standard_error:.3f}" for d in (found.patch, found.feature)]
    print(f"| {label} | {found.f1.mean():.3f} | " + " | ".join(cells) + " |", flush=True)


def _print_head() -> None:
    names = [
        "",
        "edge F1",
        "within 4 px",
        "of edge maps",
        "of unsteady",
        "better",
        *ATTRIBUTES,
        "patch KID",
        "feature KID",
    ]
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names), flush=True)


def _judge(found: Measured, plain: Measured) -> None:
    """The default against what it should reach."""
    better = float((found.f1 > plain.f1).float().mean())
    lost = max(plain.kept[name] - found.kept[name] for name in ATTRIBUTES)
    ratio = found.patch.value / plain.patch.value
    rows = (
        ("edge F1", float(found.f1.mean()), LIMITS["F1"], found.f1.mean() >= LIMITS["F1"]),
        ("better than unguided", better, LIMITS["better"], better >= LIMITS["better"]),
        ("most lost of an attribute", lost, LIMITS["attributes"], lost <= LIMITS["attributes"]),
        ("patch KID of unguided's", ratio, LIMITS["distance"], ratio <= LIMITS["distance"]),
    )
    for name, value, limit, met in rows:
        print(f"{name}: {value:.3f} (limit {limit:g}: {'met' if met else 'MISSED'})")


def _curve(world: World, settings: Sequence[tuple[str, Setting]], work: Path) -> list[Measured]:
    found = []
    for label, setting in settings:
        found.append(world.measure(world.made(setting, work)))
        _print_row(label, found[-1], None)
    return found


def _plot(name: str, values: Sequence[float], found: Sequence[Measured], file: Path) -> None:
    """Faithfulness and realism over one knob."""
    count = math.sqrt(len(found[0].f1))
    f1 = Series(
        "edge F1", values, [float(m.f1.mean()) for m in found], errors=[float(m.f1.std()) / count for m in found]
    )
    real = Series(
        "distance to real landscapes", values, [m.patch.value for m in found],
        errors=[m.patch.standard_error for m in found], axis="right",
    )  # fmt: skip
    plot = line_plot([f1, real], Axis(name), Axis("edge F1 against the sketch"), right=Axis("patch KID"))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((plot[0] * 255).round().byte().numpy()).save(file, quality=88)
    print(file)


def _sheet(world: World, plain: Tensor, guided: Tensor, file: Path, count: int = 8) -> None:
    """Sketches, unguided and guided pictures, to look at."""
    sketches = as_picture(of_width(world.sketches[:count], 2))
    rows = torch.cat([sketches, plain[:count], guided[:count]])
    grid = labelled_grid(rows, columns=count, row_labels=["sketch", "unguided", "guided"])
    Image.fromarray((grid[0] * 255).round().byte().numpy()).save(file, quality=85)
    print(file)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sketches", type=int, default=_SKETCHES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=Setting.steps)
    parser.add_argument(
        "--curve-sketches", type=int, default=_CURVE, help="sketches of each point of a curve, one seed"
    )
    parser.add_argument("--only", choices=["default", "beta", "end", "predictors"], nargs="+")
    parser.add_argument("--betas", type=float, nargs="+", default=[0.0, 0.4, 0.8, 1.2, 1.6])
    parser.add_argument("--ends", type=float, nargs="+", default=[1.0, 0.75, 0.5, 0.25, 0.0])
    parser.add_argument("--predictors", type=Path, nargs="+", default=[], help="files to compare with the shipped one")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, help="the documentation's pictures, for as many sketches as they have")
    options = parser.parse_args()
    if options.out is None:
        options.out = DOCS if options.sketches >= _SKETCHES and options.curve_sketches >= _CURVE else options.work
    parts = options.only or ["default", "beta", "end", "predictors"]
    usual = Setting(steps=options.steps)
    print(f"{machine()}; {options.steps} steps of {usual.sampler}, cfg {_CFG:g}\n")
    if "default" in parts:
        world = World(options.sketches, options.seeds)
        others = unrelated_renders(options.sketches, 32_000)
        floor = world.real.distance(others), kernel_distance(features(others), world.real_features)
        print("Unrelated renders: " + ", ".join(f"{d.value:.3f} +- {d.standard_error:.3f}" for d in floor) + "\n")
        _print_head()
        plain_pictures = world.made(replace(usual, beta=0.0), options.work)
        plain = world.measure(plain_pictures)
        _print_row("unguided", plain, None)
        pictures = world.made(usual, options.work)
        found = world.measure(pictures)
        _print_row(f"beta {usual.beta:g}, end {usual.end:g}", found, plain)
        _judge(found, plain)
        _sheet(world, plain_pictures, pictures, options.out / "sketch-pictures.jpg")
    small = World(options.curve_sketches, 1)
    for name, values in (("beta", options.betas), ("end", options.ends)):
        if name in parts:
            print(f"\nOver {name}, {options.curve_sketches} sketches:")
            _print_head()
            settings = [_with(usual, name, value) for value in values]
            found = _curve(small, [(f"{name} {v:g}", s) for v, s in zip(values, settings, strict=True)], options.work)
            _plot(name, values, found, options.out / f"sketch-{name}.jpg")
    if "predictors" in parts and options.predictors:
        print(f"\nPredictors, {options.curve_sketches} sketches:")
        _print_head()
        pairs = [(file, steps) for file in (*options.predictors, BUILT_IN_FILE) for steps in (20, 50)]
        settings = [(f"{f.stem}, {n} steps", replace(usual, predictor=f, steps=n)) for f, n in pairs]
        _curve(small, settings, options.work)


def _with(setting: Setting, name: str, value: float) -> Setting:
    """The setting with another beta or end; an end of 1 guides nothing."""
    if name == "beta":
        return replace(setting, beta=value)
    return replace(setting, end=value) if value < 1 else replace(setting, beta=0.0)


if __name__ == "__main__":
    main()
