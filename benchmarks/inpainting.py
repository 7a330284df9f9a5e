"""Mask modes where much is redrawn, on the embedded model: `./dev bench inpainting`.

Half of a landscape, or a box in its middle, is redrawn from noise, with its caption (cfg 4) or without any (cfg 1).
Measured are the change of colour across the mask's border, relative to that of the rendered picture in the same place;
the distance (RMSE) between what was redrawn and the render; the attributes of the landscape that can be read; and the
distance of the whole pictures to other renders (KID over patches).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..demo.scenes import ATTRIBUTES
from ..demo.training.evaluate import unseen_scenes
from ..devtools import world
from ..images.realism import RealPictures
from ..samplers.sdedit import SDEditSettings, sdedit
from .common import clock, head, machine, parser, row, unrelated_renders

_CELL, _GRID, _BATCH, _REFERENCE = 8, 32, 12, 8
_RUNS = {"blend, 20 steps": ("blend", 20), "blend, 80 steps": ("blend", 80), "langevin, 20 steps": ("langevin", 20)}


def masks() -> dict[str, Tensor]:
    """By name, on the latent grid; 1 = redrawn. [h, w]"""
    half, box = torch.zeros(_GRID, _GRID), torch.zeros(_GRID, _GRID)
    half[:, _GRID // 2 :] = 1
    box[8:26, 7:25] = 1
    return {"right half": half, "box": box}


def across_border(pictures: Tensor, mask: Tensor) -> float:
    """Mean difference of neighbouring pixels [B, H, W, 3] on two sides of the border of a mask [H, W]."""
    beside = (pictures[:, :, 1:] - pictures[:, :, :-1]).abs()[:, mask[:, 1:] != mask[:, :-1]]
    below = (pictures[:, 1:] - pictures[:, :-1]).abs()[:, mask[1:] != mask[:-1]]
    return float(torch.cat([beside, below], dim=1).mean())


class World(world.World):
    """Unseen landscapes with their latents, and others to compare with."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.scenes = unseen_scenes(count, 77_000)
        self.pictures = self.style.rendered(*self.scenes)
        self.latents = self.latent(self.pictures)["samples"]
        self.real = RealPictures(unrelated_renders(_REFERENCE * count, 78_000, self.style))

    def redrawn(self, mask: Tensor, mode: str, steps: int, full: bool) -> tuple[Tensor, int]:
        """Pictures [B, H, W, 3], and the evaluations per picture."""
        pictures, evaluations = [], 0
        for start in range(0, len(self.scenes), _BATCH):
            some = self.scenes[start : start + _BATCH]
            guide = {"samples": self.latents[start : start + _BATCH], "noise_mask": mask[None, None]}
            settings = SDEditSettings(1.0, steps, 4.0 if full else 1.0, scheduler="normal", mask_mode=mode)
            given = self.inputs(*(some if full else [""] * len(some)))
            edit = sdedit(**given, guide=guide, seed=start, settings=settings)
            pictures.append(self.decoded(edit.latent))
            evaluations = edit.evaluations
        return torch.cat(pictures), evaluations

    def measures(self, pictures: Tensor, mask: Tensor) -> list[str]:
        """The cells of a row. mask: in pixels."""
        border = across_border(pictures, mask) / across_border(self.pictures, mask)
        error = ((pictures - self.pictures) ** 2)[:, mask == 1].mean((1, 2)).sqrt().mean()
        seen = zip(self.read(pictures), self.scenes, strict=True)
        right = [read[name] == getattr(scene, name) for read, scene in seen for name in ATTRIBUTES]
        kid = self.real.distance(pictures)
        return [f"{border:.2f}", f"{error:.3f}", f"{sum(right) / len(right):.1%}", f"{kid.value:.2f}"]


@torch.inference_mode()
def main() -> None:
    options = parser(__doc__, scenes=12).parse_args()
    w = World(options.scenes)
    print(machine())
    head("mask", "prompt", "run", "evaluations", "seconds", "border", "RMSE", "attributes", "patch KID")
    through_vae = w.decoded(w.latents)
    for name, mask in masks().items():
        pixels = mask.repeat_interleave(_CELL, 0).repeat_interleave(_CELL, 1)
        row(name, "", "the autoencoder alone", 0, "", *w.measures(through_vae, pixels))
        for full in (True, False):
            for run, (mode, steps) in _RUNS.items():
                begin = clock()
                pictures, evaluations = w.redrawn(mask, mode, steps, full)
                seconds = (clock() - begin) / len(w.scenes)
                cells = [f"{seconds:.2f}", *w.measures(pictures, pixels)]
                row(name, "full" if full else "empty", run, evaluations, *cells)


if __name__ == "__main__":
    main()
