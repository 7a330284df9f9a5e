"""Edits by prompt: landscapes with the one attribute that an edit should change, and the figures of what became of it.

The figures are kept in a file as they come, and read back as a table.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage.morphology import isotropic_dilation
from torch import Tensor

from ..common.processes import ALONE, Process
from ..demo.attributes import read_attributes
from ..demo.model import NOISE, SAMPLING
from ..demo.scenes import ATTRIBUTES, Scene, random_scene
from ..demo.training.style import PAINTED, Style
from ..devtools.world import World
from ..images.metrics import edit_metrics
from ..samplers.mdp import edit as mdp
from .common import files_of_all, own_file

KINDS = ("time", "season", "snow", "colour", "element", "hills")
STEPS, CFG, _ = SAMPLING[NOISE]
_CHANGED = 0.02  # a pixel of a render counts as changed by the edit from this difference on
_REACH = 6  # pixels around a change that belong to it, as shadows and blurred edges do


@dataclass(frozen=True)
class Case:
    """A scene, the scene it should become, and the attribute in which they differ."""

    scene: Scene
    target: Scene
    attribute: str


def cases(kind: str, count: int, seed: int, style: Style = PAINTED) -> list[Case]:
    """Edits of one of `KINDS`, on scenes that the judge reads rightly before and after, when they are rendered."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    found: list[Case] = []
    while len(found) < count:
        case = _case(kind, random_scene(rng), rng)
        seen = read_attributes(style.rendered(case.scene, case.target), style.attributes)
        if seen == [attributes(case.scene), attributes(case.target)]:
            found.append(case)
    return found


def _case(kind: str, scene: Scene, rng: np.random.Generator) -> Case:
    def another(name: str, *without: str) -> str:
        return str(rng.choice([v for v in ATTRIBUTES[name] if v not in (getattr(scene, name), *without)]))

    if kind in ("snow", "hills"):
        if scene.peak == "hills":
            scene = scene.with_(peak=str(rng.choice(["rocky", "snowy"])))
        peak = "hills" if kind == "hills" else "snowy" if scene.peak == "rocky" else "rocky"
        return Case(scene, scene.with_(peak=peak), "peak")
    if kind == "colour":
        if scene.house == "no house":
            scene = scene.with_(house="red")
        return Case(scene, scene.with_(house=another("house", "no house")), "house")
    name = kind
    if kind == "element":  # one is added where it is missing, and removed where there is
        name = str(rng.choice(["lake", "house", "trees"]))
        absent = ATTRIBUTES[name][0]
        new = another(name) if getattr(scene, name) == absent else absent
        return Case(scene, scene.with_(**{name: new}), name)
    return Case(scene, scene.with_(**{name: another(name)}), name)


def attributes(scene: Scene) -> dict[str, str]:
    return {name: getattr(scene, name) for name in ATTRIBUTES}


class Group:
    """Cases that are edited together, and what the methods share. synthetic: the model makes the pictures itself."""

    def __init__(self, world: World, some: list[Case], seed: int, synthetic: bool = False) -> None:
        self.world, self.cases, self.seed, self.synthetic = world, some, seed, synthetic
        self.source, self.target = self._prompts()
        if synthetic:
            self._generate()
        else:
            self.pictures = world.style.rendered(*(case.scene for case in some))
            self.latent = world.latent(self.pictures)

    def _generate(self) -> None:
        """Pictures from noise, on record; of those, the ones that show what their prompt says."""
        count = len(self.cases)
        empty = {"samples": torch.zeros(count, 4, 32, 32), "batch_index": list(range(count))}
        made = mdp.find_source(self.world.model, self.source, self.world.negative, empty, self.seed, self._run)
        pictures = self.world.decoded(made.path.to_vae(made.path.picture))
        seen = self.world.read(pictures)
        fit = [i for i, case in enumerate(self.cases) if seen[i] == attributes(case.scene)]
        self.cases, self.pictures = [self.cases[i] for i in fit], pictures[fit]
        self.source, self.target = self._prompts()
        path = made.path.replaced(states=made.path.states[:, fit], batch_index=tuple(fit))
        self.latent = {"samples": path.to_vae(path.picture), "batch_index": fit}
        self.path = replace(made, path=path, conditioning=self.source)

    @property
    def _run(self) -> mdp.MDPSettings:
        return mdp.MDPSettings(steps=self.world.steps, cfg=self.world.cfg, scheduler=self.world.scheduler)

    def _prompts(self) -> tuple[Any, Any]:
        scenes, targets = zip(*((case.scene, case.target) for case in self.cases), strict=True)
        return self.world.encoded(*scenes), self.world.encoded(*targets)

    @cached_property
    def path(self) -> mdp.Source:
        """The inversion of the pictures, or the record of their generation."""
        return mdp.find_source(self.world.model, self.source, self.world.negative, self.latent, self.seed, self._run)

    @cached_property
    def changed(self) -> Tensor:
        """Where the render of the target differs from that of the source: MASK [B, H, W], 1 = changes."""
        masks = []
        for case in self.cases:
            before, after = self.world.style.rendered(case.scene, case.target)
            apart = (after - before).abs().amax(-1) > _CHANGED
            masks.append(torch.from_numpy(isotropic_dilation(apart.numpy(), _REACH)))
        return torch.stack(masks).float()


_LEAST_BACKGROUND = 0.05  # of the picture, for its figures to mean anything


@dataclass(frozen=True)
class Figures:
    """One edit. made: 0 or 1; kept: share of the other attributes; psnr, ssim: of the background, NaN without one."""

    world: str
    kind: str
    row: str
    part: int
    made: float
    kept: float
    psnr: float
    ssim: float
    structure: float
    evaluations: float
    seconds: float


def measure(
    group: Group, edited: Tensor, names: tuple[str, str, str, int], evaluations: int, seconds: float
) -> list[Figures]:
    """edited: IMAGE, a picture for each case; names: world, kind, row and part."""
    seen = group.world.read(edited)
    # The background is what the render of the target has in common with the source's; a generated picture has none.
    changed = None if group.synthetic else group.changed
    found = []
    for i, case in enumerate(group.cases):
        mask = None if changed is None else changed[i : i + 1]
        values = edit_metrics(group.pictures[i : i + 1], edited[i : i + 1], mask).values
        psnr = ssim = math.nan
        if mask is not None and float(1 - mask.mean()) > _LEAST_BACKGROUND:
            psnr, ssim = values["outside"]["psnr"][0], values["outside"]["ssim"][0]
        before, wanted = attributes(case.scene), attributes(case.target)
        others = [name for name in ATTRIBUTES if name != case.attribute]
        kept = sum(seen[i][name] == before[name] for name in others) / len(others)
        made = float(seen[i][case.attribute] == wanted[case.attribute])
        structure = values["whole"]["edges"][0]
        found.append(Figures(*names, made, kept, psnr, ssim, structure, evaluations, seconds / len(group.cases)))
    return found


def _read(world: str, kind: str, row: str, part: str, *values: str) -> Figures:
    return Figures(world, kind, row, int(part), *[float(value) for value in values])


class Results:
    """A file with a line for each edit, and those of other processes. Work that is in one is not done again."""

    def __init__(self, path: Path, process: Process = ALONE) -> None:
        self.path = own_file(path, process)
        self.rows: list[Figures] = []
        for each in files_of_all(path):
            with each.open(newline="") as file:
                self.rows += [_read(*line) for line in list(csv.reader(file))[1:]]
        self._done = {(each.world, each.kind, each.row, each.part) for each in self.rows}

    def has(self, world: str, kind: str, row: str, part: int) -> bool:
        return (world, kind, row, part) in self._done

    def add(self, rows: list[Figures]) -> None:
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Figures)])
            if new:
                writer.writeheader()
            writer.writerows(asdict(each) for each in rows)
        self.rows += rows
        self._done |= {(each.world, each.kind, each.row, each.part) for each in rows}

    def of(self, world: str, row: str, kind: str | None = None) -> list[Figures]:
        return [r for r in self.rows if (r.world, r.row) == (world, row) and kind in (None, r.kind)]


def mean(figures: Iterable[Figures], name: str) -> float:
    """Over the edits that have the figure."""
    values = [value for each in figures if math.isfinite(value := getattr(each, name))]
    return sum(values) / len(values) if values else math.nan


def table(results: Results, world: str, names: Iterable[str], kinds: Iterable[str]) -> str:
    """Markdown. The mean over kinds of their means, so that a kind with fewer edits counts as much."""
    columns = {
        "edit made": ("made", 3), "others kept": ("kept", 3), "background PSNR": ("psnr", 1),
        "background SSIM": ("ssim", 3), "structure distance": ("structure", 3), "evaluations": ("evaluations", 0),
        "seconds": ("seconds", 2),
    }  # fmt: skip
    lines = [f"| row | edits | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|"]
    for name in names:
        edits = results.of(world, name)
        if not edits:
            continue
        by_kind = [[e for e in edits if e.kind == kind] for kind in kinds]
        cells = []
        for column, digits in columns.values():
            means = [value for some in by_kind if some and math.isfinite(value := mean(some, column))]
            cells.append(f"{sum(means) / len(means):.{digits}f}" if means else "")
        lines.append(f"| {name} | {len(edits)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def kinds_table(results: Results, world: str, names: Iterable[str], kinds: Iterable[str]) -> str:
    """Markdown: made and structure distance of each kind."""
    heads = ["made / structure", *kinds]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in names:
        cells = []
        for kind in kinds:
            edits = results.of(world, name, kind)
            cells.append(f"{mean(edits, 'made'):.2f} / {mean(edits, 'structure'):.3f}" if edits else "")
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
