"""Reads depth and elements back from pictures of landscapes: a network on pixels that never sees a diffusion model.

Guidance works through a predictor on the model's activations, so that what it reaches must be read by something else. A
reader is trained on renders in a few minutes, once, and kept in the work folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..demo.render import ELEMENTS, SEGMENTS, Rendered, render_with_maps
from ..demo.scenes import Scene, random_scene
from ..images.palette import nearest
from ..images.tensors import from_uint8
from ..lep.predictor import UNetNetwork
from ..lep.targets import Classes, Levels

SIZE, GRID = 128, 64
_PALETTE = tuple(SEGMENTS[name] for name in ELEMENTS)
ENCODINGS = {"depth": Levels(1), "segmentation": Classes(_PALETTE)}
_USUAL = 200  # landscapes of the mean
_SCENES, _STEPS, _BATCH, _RATE, _SEED = 800, 600, 16, 3e-3, 4711


def wanted_maps(kind: str, scenes: Sequence[Scene]) -> Tensor:
    """The exact maps of scenes as IMAGE [N, H, W, 3]."""
    return torch.stack([from_uint8(_map_of(kind, render_with_maps(scene))) for scene in scenes])


def _map_of(kind: str, made: Rendered) -> np.ndarray:
    return made.depth_map if kind == "depth" else made.segments


def _targets(kind: str, maps: Tensor) -> Tensor:
    return ENCODINGS[kind].encode(None, None, maps, (GRID, GRID))


class Reader:
    """The trained network of a kind of map."""

    def __init__(self, kind: str, work: Path) -> None:
        self.kind, file = kind, work / f"reader-{kind}.pt"
        with torch.inference_mode(False), torch.enable_grad():
            torch.manual_seed(_SEED)
            self.network = UNetNetwork((3,), 1 if kind == "depth" else len(ELEMENTS), width=16)
            if file.exists():
                self.network.load_state_dict(torch.load(file, weights_only=True))
            else:
                self._train()
                work.mkdir(parents=True, exist_ok=True)
                torch.save(self.network.state_dict(), file)
        self.network.train(False)

    def _train(self) -> None:
        rng = np.random.default_rng(_SEED)
        made = [render_with_maps(random_scene(rng)) for _ in range(_SCENES)]
        pictures = _small(torch.stack([from_uint8(each.picture) for each in made]))
        targets = _targets(self.kind, torch.stack([from_uint8(_map_of(self.kind, each)) for each in made]))
        optimiser = torch.optim.AdamW(self.network.parameters(), lr=_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=_STEPS)
        for _ in range(_STEPS):
            chosen = torch.from_numpy(rng.integers(0, _SCENES, _BATCH))
            batch, target = pictures[chosen], targets[chosen]
            batch = (batch + 0.03 * torch.randn_like(batch)) * (0.9 + 0.2 * torch.rand(_BATCH, 1, 1, 1))
            loss = ENCODINGS[self.kind].error(self._seen(batch), target).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    def _seen(self, pictures: Tensor) -> Tensor:
        return self.network([pictures], torch.zeros(len(pictures)), (GRID, GRID))

    @torch.no_grad()
    def agreement(self, pictures: Tensor, maps: Tensor) -> Tensor:
        """How well each picture [N, H, W, 3] shows its map: mean IoU of the elements, or correlation of depth. [N]

        The correlation is that of the difference from the mean landscape, which all pictures have in common.
        """
        seen = torch.cat([self._seen(batch) for batch in _small(pictures).split(50)])
        if self.kind == "depth":
            rng = np.random.default_rng(_SEED)
            usual = _targets("depth", wanted_maps("depth", [random_scene(rng) for _ in range(_USUAL)])).mean(0)
            pair = ((each - usual).flatten(1) for each in (seen, _targets("depth", maps)))
            return F.cosine_similarity(*map(_centred, pair), dim=1)
        cells = F.interpolate(maps.movedim(-1, 1), size=(GRID, GRID), mode="nearest-exact").movedim(1, -1)
        return mean_iou(seen.argmax(1), nearest(cells, _PALETTE)[0])


def mean_iou(found: Tensor, wanted: Tensor) -> Tensor:
    """Intersection over union of the classes [N, H, W] that either has, the mean over the classes. [N]"""
    pairs = [(found == index, wanted == index) for index in range(len(ELEMENTS))]
    both = torch.stack([(a & b).flatten(1).sum(1) for a, b in pairs], dim=1).double()
    either = torch.stack([(a | b).flatten(1).sum(1) for a, b in pairs], dim=1).double()
    present = either > 0
    return (both / either.clamp_min(1)).sum(1) / present.sum(1)


def _small(pictures: Tensor) -> Tensor:
    return F.interpolate(pictures.movedim(-1, 1), size=(SIZE, SIZE), mode="area")


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=1, keepdim=True)
