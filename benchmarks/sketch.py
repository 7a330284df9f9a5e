"""Sketch guidance on the embedded world: `./dev bench sketch`.

Sketches are edge maps of unseen landscapes, every second one redrawn by an unsteady hand: bent, gappy, without small
marks. Each is followed from the same noise and caption as an unguided picture. Measured are the edges of the picture
against the sketch (F1 within two pixels), the attributes of the caption that can be read in the picture, and the
distance to rendered landscapes. Pictures are kept in the work folder, so that an interrupted run goes on.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import comfy.sample
import comfy.utils
import numpy as np
import torch
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates
from skimage.morphology import remove_small_objects, skeletonize
from torch import Tensor

from ..demo.attributes import features, read_attributes
from ..demo.model import load_demo_model
from ..demo.render import render
from ..demo.scenes import ATTRIBUTES, full_caption, random_scene
from ..images.distribution import Distance, kernel_distance
from ..images.edges import edge_map, of_width
from ..images.realism import RealPictures
from ..images.tensors import from_uint8
from ..lep.checkpoint import load_predictor
from ..lep.guidance import Guidance, guide
from ..lep.sketch import Sketch
from ..nodes.lep import BUILT_IN_FILE, DEFAULT_BETA, DEFAULT_STOP
from ..samplers.noise import item_noise

WORK = Path(__file__).resolve().parents[1] / ".dev" / "bench" / "sketch"
_BATCH = 10
_NEAR = 2.0
_CFG = 4.0
_WOBBLE, _WAVE = 3.0, 32.0  # pixels
_LIMITS = {"F1": 0.70, "better": 0.98, "attributes": 0.03, "distance": 1.15}


@dataclass(frozen=True)
class Setting:
    """One way to sample. beta 0 is unguided."""

    beta: float = DEFAULT_BETA
    stop: float = DEFAULT_STOP
    start: float = 0.0
    every: int = 1
    steps: int = 30
    sampler: str = "euler"
    scheduler: str = "normal"
    predictor: Path = BUILT_IN_FILE


@dataclass(frozen=True)
class Measured:
    """f1: of each picture. kept: share per attribute. patch, feature: distances to rendered landscapes."""

    f1: Tensor
    kept: dict[str, float]
    patch: Distance
    feature: Distance


class World:
    """Sketches of unseen landscapes, and other landscapes of the same kinds to compare with."""

    def __init__(self, count: int, seeds: int) -> None:
        rng = np.random.default_rng(30_000)
        self.scenes = [random_scene(rng) for _ in range(count)]
        pictures = torch.stack([from_uint8(render(scene)) for scene in self.scenes])
        edges = edge_map(pictures)
        self.sketches = torch.stack([unsteady(e, i) if i % 2 else e for i, e in enumerate(edges)])
        self.count, self.seeds = count, seeds
        reference = [scene.with_(seed=scene.seed ^ 1 << bit) for scene in self.scenes for bit in (3, 4)]
        rendered = torch.stack([from_uint8(render(scene)) for scene in reference])
        self.real, self.real_features = RealPictures(rendered), features(rendered)
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
            given = Guidance(predictor, sketch.at, setting.beta, setting.start, setting.stop, setting.every)
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
        f1 = [edge_f1(edges, sketch) for edges, sketch in zip(edge_map(pictures), sketches, strict=True)]
        return Measured(
            torch.tensor(f1),
            kept,
            self.real.distance(pictures),
            kernel_distance(features(pictures), self.real_features),
        )


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


def edge_f1(found: Tensor, wanted: Tensor) -> float:
    """F1 of the found edges [H, W] against the wanted lines, centre lines, within `_NEAR` pixels."""
    ours, theirs = (skeletonize(lines.numpy() > 0.5) for lines in (found, wanted))
    if not ours.any() or not theirs.any():
        return 0.0
    precision = float((distance_transform_edt(~theirs)[ours] <= _NEAR).mean())
    recall = float((distance_transform_edt(~ours)[theirs] <= _NEAR).mean())
    return 2 * precision * recall / max(1e-9, precision + recall)


def _key(setting: Setting) -> str:
    """A file name for a setting and the predictor's contents."""
    if setting.beta == 0:
        setting = replace(Setting(beta=0.0, steps=setting.steps), sampler=setting.sampler, scheduler=setting.scheduler)
        return hashlib.sha256(repr(astuple(setting)[:-1]).encode()).hexdigest()[:12]
    content = hashlib.sha256(setting.predictor.read_bytes()).hexdigest()
    return hashlib.sha256((repr(astuple(setting)[:-1]) + content).encode()).hexdigest()[:12]
