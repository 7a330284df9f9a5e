"""Sketch guidance on the embedded world: `./dev bench sketch`.

Sketches are edge maps of unseen landscapes, every second one redrawn by an unsteady hand: bent, gappy, without small
marks. Each is followed from the same noise and caption as an unguided picture. Measured are the edges of the picture
against the sketch (F1 within two pixels of 256, and within four), the attributes of the caption that can be read in the
picture, and the distance to rendered landscapes. Maps of depth and of elements are followed in the same way, and read
back by a network on pixels that was trained on renders. Twenty freehand drawings, made without a picture, are reported
apart. Pictures are kept in the work folder, so that an interrupted run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from skimage.morphology import remove_small_objects, skeletonize
from torch import Tensor

from ..demo.model import NOISE
from ..demo.scenes import ATTRIBUTES, Scene
from ..demo.training.evaluate import accuracy, unseen_scenes
from ..demo.training.style import PAINTED, STYLES, Style
from ..demo.training.transformer import SAMPLING
from ..devtools import world
from ..devtools.world import save_picture
from ..images.distribution import Distance, kernel_distance
from ..images.edges import as_picture, edge_map, of_width
from ..images.grid import labelled_grid
from ..images.plot import Axis, Series, line_plot
from ..images.realism import RealPictures
from ..images.tensors import from_uint8, to_uint8
from ..lep.checkpoint import load_predictor
from ..lep.guidance import Guidance, guide
from ..lep.predictor import MapPredictor
from ..lep.sketch import DrawnMap, Sketch, by_importance, read_drawing
from ..nodes.lep import BUILT_IN_FILES, DEFAULT_BETA, DEFAULT_END, DEFAULT_LIMIT
from .common import (
    MODELS,
    PICTURES,
    ROOT,
    add_model,
    head,
    is_usual,
    machine,
    named_by_model,
    parser,
    row,
    unrelated_renders,
)  # fmt: skip
from .drawings import Freehand, freehand
from .map_reader import ENCODINGS, Reader, wanted_maps
from .t0 import shown

_SKETCHES, _CURVE = 50, 10
_BATCH = 10
_REFERENCE = 8  # renders to compare with, per sketch
_NEAR, _WIDER = 2.0, 4.0  # pixels
_WOBBLE, _WAVE = 3.0, 32.0  # pixels
_BRUSHES = 32  # strokes across a map that is painted by hand
_CELL = 104  # pixels of a picture on the sheet of all drawings
_PARTS = ["default", "freehand", "beta", "end", "predictors", "maps"]


@dataclass(frozen=True)
class Setting:
    """One way to sample. beta 0 is unguided, and so is end 1."""

    beta: float = DEFAULT_BETA
    end: float = DEFAULT_END
    steps: int = 20
    predictor: Path = BUILT_IN_FILES["edges"]
    limit: float = DEFAULT_LIMIT
    every: int = 1

    @property
    def unguided(self) -> bool:
        return self.beta == 0 or self.end >= 1

    def key(self) -> str:
        """A file name for what counts of the setting."""
        contents = (self.beta, self.end, self.limit, hashlib.sha256(self.predictor.read_bytes()).hexdigest())
        contents += (self.every,) if self.every > 1 else ()
        return hashlib.sha256(repr((self.steps, *(() if self.unguided else contents))).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Measured:
    """f1: of each picture; wider: within four pixels. kept: share per attribute. patch, feature: distances."""

    f1: Tensor
    wider: Tensor
    kept: dict[str, float]
    patch: Distance
    feature: Distance

    def print(self, label: str, plain: Measured | None = None) -> None:
        better = "" if plain is None else f"{self.better_than(plain):.0%}"
        f1 = [self.f1, self.wider, self.f1[0::2], self.f1[1::2]]
        row(label, *(f"{each.mean():.3f}" for each in f1), better, *self.realism)

    @property
    def realism(self) -> list[str]:
        """The last cells of a row: attributes and distances."""
        return [*(f"{share:.2f}" for share in self.kept.values()), shown(self.patch), shown(self.feature)]

    def better_than(self, plain: Measured) -> float:
        """The share of pictures that are nearer to their sketch."""
        return float((self.f1 > plain.f1).float().mean())


def _head() -> None:
    lines = ["edge F1", "within 4 px", "of edge maps", "of unsteady", "better"]
    head("", *lines, *ATTRIBUTES, "patch KID", "feature KID")


class World(world.World):
    """Sketches of unseen landscapes, and other landscapes of the same kinds to compare with."""

    def __init__(self, count: int, seeds: int, work: Path, kind: str = NOISE, style: Style = PAINTED) -> None:
        super().__init__(kind, style)
        self.scenes, self.sketches = self._sketched(count)
        self.count, self.seeds, self.work = count, seeds, work
        reference = unrelated_renders(_REFERENCE * count, 31_000, style)
        self.real, self.real_features = RealPictures(reference), self.features(reference)

    def _sketched(self, count: int) -> tuple[list[Scene], Tensor]:
        """What the sketches show, and their lines [N, H, W]."""
        scenes = unseen_scenes(count, 30_000)
        edges = edge_map(self.style.rendered(*scenes))
        return scenes, torch.stack([unsteady(e, i) if i % 2 else e for i, e in enumerate(edges)])

    def made(self, setting: Setting) -> Tensor:
        """Every sketch with every seed, [seeds * N, H, W, 3]."""
        pictures = []
        for seed in range(self.seeds):
            for begin in range(0, self.count, _BATCH):
                members = range(begin, min(begin + _BATCH, self.count))
                file = self.work / f"{setting.key()}-{seed}-{members.start}-{members.stop}.npy"
                if not file.exists():
                    self.work.mkdir(parents=True, exist_ok=True)
                    np.save(file, to_uint8(self._batch(setting, members, seed)))
                pictures.append(from_uint8(np.load(file)))
        return torch.cat(pictures)

    def _batch(self, setting: Setting, members: range, seed: int) -> Tensor:
        model, some = self.model, slice(members.start, members.stop)
        if not setting.unguided:
            predictor = load_predictor(setting.predictor)
            # The kinds share their network: what a predictor reads in one is there in the others.
            predictor = replace(predictor, model={**predictor.model, "network": None, "prediction": None})
            sketch = self._drawing(model, predictor, some)
            guidance = Guidance(
                predictor, sketch.at, setting.beta, 1.0, setting.end, setting.every, limit=setting.limit
            )
            model = guide(model, guidance)
        return self.generated(self.scenes[some], seed, members.start, model, setting.steps)

    def _drawing(self, model: Any, predictor: MapPredictor, some: slice) -> Sketch | DrawnMap:
        return Sketch(model, self.vae, predictor, self.sketches[some])

    def measure(self, pictures: Tensor) -> Measured:
        pairs = list(zip(edge_map(pictures), self.sketches.repeat(self.seeds, 1, 1), strict=True))
        f1, wider = (torch.tensor([edge_f1(*pair, near) for pair in pairs]) for near in (_NEAR, _WIDER))
        kept = accuracy(pictures, self.scenes * self.seeds, self.style)
        # Seed by seed, because the pictures of one sketch are not independent of one another.
        rounds = pictures.split(self.count)
        patch = _mean([self.real.distance(each) for each in rounds])
        feature = _mean([kernel_distance(self.features(each), self.real_features) for each in rounds])
        return Measured(f1, wider, kept, patch, feature)

    def row(self, label: str, setting: Setting) -> Measured:
        found = self.measure(self.made(setting))
        found.print(label)
        return found


class MapWorld(World):
    """Exact or painted maps of the same landscapes, and a reader that says how well a picture shows them."""

    def __init__(self, kind: str, by_hand: bool, count: int, seeds: int, work: Path, model_kind: str = NOISE) -> None:
        super().__init__(count, seeds, work / (f"{kind}-painted" if by_hand else kind), model_kind)
        exact = wanted_maps(kind, self.scenes)
        self.maps = torch.stack([painted(each, i) for i, each in enumerate(exact)]) if by_hand else exact
        self.reader = Reader(kind, work)

    def _drawing(self, model: Any, predictor: MapPredictor, some: slice) -> Sketch | DrawnMap:
        return DrawnMap(model, self.vae, predictor, self.maps[some])

    def line(self, label: str, setting: Setting) -> None:
        """A row of the table: agreement with the map that was drawn, attributes, distances."""
        pictures = self.made(setting)
        found = self.measure(pictures)
        shows = self.reader.agreement(pictures, self.maps.repeat(self.seeds, 1, 1, 1))
        row(label, f"{shows.mean():.3f}", *found.realism)


class FreehandWorld(World):
    """Freehand drawings, as the Stroke Canvas gives them to Sketch Guidance."""

    def __init__(self, drawings: Sequence[Freehand], seeds: int, work: Path, kind: str, style: Style) -> None:
        self.drawings = drawings
        super().__init__(len(drawings), seeds, work / "freehand", kind, style)

    def _sketched(self, count: int) -> tuple[list[Scene], Tensor]:
        # A thin line is grey, which guidance takes for less important, but it is drawn all the same.
        lines, _ = by_importance(torch.stack([each.lines() for each in self.drawings]))
        return [each.scene for each in self.drawings], lines

    def _drawing(self, model: Any, predictor: MapPredictor, some: slice) -> Sketch | DrawnMap:
        pictures = as_picture(torch.stack([each.lines() for each in self.drawings[some]]))
        return read_drawing(model, self.vae, predictor, pictures)


def _maps(given: argparse.Namespace, work: Path, usual: Setting) -> None:
    """Depth and elements: unguided, and guided by exact and by painted maps."""
    for name in ENCODINGS:
        file = BUILT_IN_FILES[name]
        measure = "correlation of depth, less the mean" if name == "depth" else "mean IoU of elements"
        print(f"\nPredictor of {name}, {given.sketches} maps:")
        head("", measure, *ATTRIBUTES, "patch KID", "feature KID")
        for by_hand in (False, True):
            w = MapWorld(name, by_hand, given.sketches, given.seeds, work, MODELS[given.model])
            about = "painted" if by_hand else "exact"
            agreement = w.reader.agreement(w.style.rendered(*w.scenes), w.maps)
            row(f"the renders themselves, {about}", f"{agreement.mean():.3f}")
            w.line(f"unguided, {about}", replace(usual, beta=0.0))
            for beta in filter(None, given.betas):
                w.line(f"beta {beta:g}, {about}", replace(usual, beta=beta, predictor=file))


def _mean(distances: list[Distance]) -> Distance:
    """Mean of distances to one reference; its error is not taken to be smaller than one of theirs."""
    count = len(distances)
    return Distance(sum(d.value for d in distances) / count, sum(d.standard_error for d in distances) / count)


def unsteady(edges: Tensor, seed: int) -> Tensor:
    """An edge map [H, W] as an unsteady hand would draw it: bent by a smooth field, gappy, without small marks."""
    rng = np.random.default_rng(seed)
    height, width = edges.shape
    bent = _bent_places(rng, height, width)
    lines = remove_small_objects(edges.numpy() > 0.5, max_size=24, connectivity=2)
    lines &= gaussian_filter(rng.standard_normal((height, width)), 6.0) * 6.0 * math.sqrt(4 * math.pi) < 1.5
    thick = of_width(torch.from_numpy(lines)[None].float(), 3)[0].numpy()
    return torch.from_numpy(map_coordinates(thick, bent, order=1, mode="nearest") > 0.5).float()


def _bent_places(rng: np.random.Generator, height: int, width: int) -> list[np.ndarray]:
    """Where an unsteady hand puts each pixel, as rows and columns."""
    fields = [gaussian_filter(rng.standard_normal((height, width)), _WAVE) for _ in range(2)]
    places = np.mgrid[0:height, 0:width].astype(float)
    return [place + _WOBBLE * field / field.std() / math.sqrt(2) for place, field in zip(places, fields, strict=True)]


def painted(drawn: Tensor, seed: int) -> Tensor:
    """A map [H, W, 3] as a hand would paint it: with bent borders, and nothing smaller than a broad brush."""
    height, width = drawn.shape[:2]
    bent = _bent_places(np.random.default_rng(seed), height, width)
    planes = [map_coordinates(plane.numpy(), bent, order=0, mode="nearest") for plane in drawn.unbind(-1)]
    coarse = F.interpolate(torch.from_numpy(np.stack(planes))[None], size=(_BRUSHES, _BRUSHES), mode="nearest-exact")
    return F.interpolate(coarse, size=(height, width), mode="nearest-exact")[0].movedim(0, -1)


def edge_f1(found: Tensor, wanted: Tensor, near: float = _NEAR) -> float:
    """F1 of the found edges [H, W] against the wanted lines, centre lines, within `near` pixels."""
    precision, recall = edge_shares(found, wanted, near)
    return 2 * precision * recall / max(1e-9, precision + recall)


def edge_shares(found: Tensor, wanted: Tensor, near: float = _NEAR) -> tuple[float, float]:
    """Precision and recall of the same: shares of the found edges and of the wanted lines that are near the other."""
    ours, theirs = (skeletonize(lines.numpy() > 0.5) for lines in (found, wanted))
    if not ours.any() or not theirs.any():
        return 0.0, 0.0
    precision = float((np.asarray(distance_transform_edt(~theirs))[ours] <= near).mean())
    recall = float((np.asarray(distance_transform_edt(~ours))[theirs] <= near).mean())
    return precision, recall


def _default(w: World, usual: Setting, out: Path) -> None:
    """The default against no guidance, and against what it should reach."""
    others = unrelated_renders(w.count, 32_000, w.style)
    floor = w.real.distance(others), kernel_distance(w.features(others), w.real_features)
    print(f"Unrelated renders: {', '.join(map(shown, floor))}\n")
    _head()
    pictures = [w.made(setting) for setting in (replace(usual, beta=0.0), usual)]
    plain, found = map(w.measure, pictures)
    plain.print("unguided")
    found.print(f"beta {usual.beta:g}, end {usual.end:g}", plain)
    f1, better = float(found.f1.mean()), found.better_than(plain)
    lost = max(plain.kept[name] - found.kept[name] for name in ATTRIBUTES)
    ratio = found.patch.value / plain.patch.value
    for name, value, limit, met in (
        ("edge F1", f1, 0.70, f1 >= 0.70),
        ("better than unguided", better, 0.98, better >= 0.98),
        ("most lost of an attribute", lost, 0.03, lost <= 0.03),
        ("patch KID of unguided's", ratio, 1.15, ratio <= 1.15),
    ):
        print(f"{name}: {value:.3f} (limit {limit:g}: {'met' if met else 'MISSED'})")
    count = min(8, w.count)
    rows = [as_picture(of_width(w.sketches[:count], 2)), *(each[:count] for each in pictures)]
    sheet = labelled_grid(torch.cat(rows), columns=count, row_labels=["sketch", "unguided", "guided"])
    save_picture(sheet[0], out / "sketch-pictures.jpg", 85)
    print(out / "sketch-pictures.jpg")


def _freehand(w: FreehandWorld, usual: Setting, out: Path) -> None:
    """Freehand drawings with the default and without guidance; the drawing, and what became of it."""
    print(f"\n{w.count} freehand drawings:")
    head("", "edge F1", "within 4 px", "precision", "recall", "better", *ATTRIBUTES, "patch KID", "feature KID")
    pictures = [w.made(setting) for setting in (replace(usual, beta=0.0), usual)]
    plain, guided = map(w.measure, pictures)
    for label, found, made in (("unguided", plain, pictures[0]), ("guided", guided, pictures[1])):
        pairs = zip(edge_map(made), w.sketches.repeat(w.seeds, 1, 1), strict=True)
        shares = torch.tensor([edge_shares(*pair) for pair in pairs]).mean(0).tolist()
        error = float(found.f1.std()) / math.sqrt(len(found.f1))
        cells = [f"{found.f1.mean():.3f} ± {error:.3f}", *(f"{each:.3f}" for each in (found.wider.mean(), *shares))]
        row(label, *cells, "" if found is plain else f"{found.better_than(plain):.0%}", *found.realism)
    rows = [as_picture(1 - w.sketches), *(each[: w.count] for each in pictures)]
    blocks = [torch.cat([each[begin : begin + _BATCH] for each in rows]) for begin in range(0, w.count, _BATCH)]
    small = F.interpolate(torch.cat(blocks).movedim(-1, 1), size=(_CELL, _CELL), mode="area").movedim(1, -1)
    labels = ["drawing", "unguided", "guided"] * len(blocks)
    save_picture(labelled_grid(small, columns=_BATCH, row_labels=labels)[0], out / "freehand.jpg", 60)
    print(out / "freehand.jpg")


def _plot(name: str, values: Sequence[float], found: Sequence[Measured], file: Path) -> None:
    """Faithfulness and realism over one knob."""
    errors = [float(m.f1.std()) / math.sqrt(len(m.f1)) for m in found]
    f1 = Series("edge F1", values, [float(m.f1.mean()) for m in found], errors=errors)
    errors, distances = [m.patch.standard_error for m in found], [m.patch.value for m in found]
    real = Series("distance to real landscapes", values, distances, errors=errors, axis="right")
    plot = line_plot([f1, real], Axis(name), Axis("edge F1 against the sketch"), right=Axis("patch KID"))
    save_picture(plot[0], file)
    print(file)


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__, sketches=_SKETCHES, seeds=2, steps=0, curve_sketches=_CURVE)
    add_model(options)
    options.add_argument("--only", choices=_PARTS, nargs="+", default=_PARTS)
    options.add_argument("--betas", type=float, nargs="+", default=[0.0, 0.4, 0.8, 1.2, 1.6])
    options.add_argument("--ends", type=float, nargs="+", default=[1.0, 0.75, 0.5, 0.25, 0.0])
    shipped = BUILT_IN_FILES["edges"]
    options.add_argument("--predictor", type=Path, default=shipped, help="file to follow, by default the shipped one")
    options.add_argument("--limit", type=float, default=DEFAULT_LIMIT, help="of a push; 0 = none")
    options.add_argument("--every", type=int, default=1, help="take the gradient at each n-th guided step")
    options.add_argument("--predictors", type=Path, nargs="+", help="files to compare with the shipped one")
    options.add_argument("--work", type=Path, help="folder for pictures, by default one for each kind of model")
    options.add_argument("--out", type=Path, help="the documentation's pictures, if there are enough sketches")
    given = options.parse_args()
    enough = given.sketches >= _SKETCHES and given.curve_sketches >= _CURVE
    enough = enough and is_usual(given) and given.predictor == shipped
    kind, style = MODELS[given.model], STYLES[given.style]
    work = given.work or ROOT / ".dev" / "bench" / named_by_model("sketch", given)
    out = given.out or (PICTURES if enough else work)
    usual = Setting(
        steps=given.steps or SAMPLING[kind][0], predictor=given.predictor, limit=given.limit, every=given.every
    )
    print(f"{machine()}; {kind}, {usual.steps} steps of euler_ancestral, cfg {SAMPLING[kind][1]:g}\n")
    if "default" in given.only:
        _default(World(given.sketches, given.seeds, work, kind, style), usual, out)
    if "freehand" in given.only:
        _freehand(FreehandWorld(freehand(), given.seeds, work, kind, style), usual, out)
    if "maps" in given.only and style is not PAINTED:
        print("Maps of depth and of elements are known of the painted world only.")
    elif "maps" in given.only:
        _maps(given, work, usual)
    small = World(given.curve_sketches, 1, work, kind, style)
    for name, values in (("beta", given.betas), ("end", given.ends)):
        if name in given.only:
            print(f"\nOver {name}, {given.curve_sketches} sketches:")
            _head()
            found = [small.row(f"{name} {value:g}", replace(usual, **{name: value})) for value in values]
            _plot(name, values, found, out / f"sketch-{name}.jpg")
    if "predictors" in given.only and given.predictors:
        print(f"\nPredictors, {given.curve_sketches} sketches:")
        _head()
        for file in (*given.predictors, shipped):
            for steps in (20, 50):
                small.row(f"{file.stem}, {steps} steps", replace(usual, predictor=file, steps=steps))


if __name__ == "__main__":
    main()
