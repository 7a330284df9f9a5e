"""Further versions of training pictures: parts of them at the whole's size, and mirrored ones.

The VAE's code of a map depends on where its lines are inside of the latent's cells, so a picture that is moved,
enlarged or mirrored before it is encoded is new to a predictor: neither its code nor the map's is the first one's,
moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..samplers.noise import mix_seed

VERSIONS = 8
LEAST = 0.7  # of a picture's sides


@dataclass(frozen=True)
class Version:
    """A part of a picture, `share` of its sides long, enlarged to the whole, and mirrored or not.

    top, left: where it lies, as shares of what it leaves over.
    """

    share: float
    top: float
    left: float
    mirrored: bool

    def of(self, pictures: Tensor, flat: bool = False) -> Tensor:
        """This version of pictures or maps [B, H, W, C]. flat: their colours are names, and may not be mixed."""
        height, width = pictures.shape[1:3]
        rows, columns = max(1, round(height * self.share)), max(1, round(width * self.share))
        top, left = round((height - rows) * self.top), round((width - columns) * self.left)
        part = pictures[:, top : top + rows, left : left + columns].movedim(-1, 1)
        if flat:
            whole = F.interpolate(part, size=(height, width), mode="nearest-exact")
        else:
            whole = F.interpolate(part, size=(height, width), mode="bicubic", antialias=True).clamp(0.0, 1.0)
        return (whole.flip(-1) if self.mirrored else whole).movedim(1, -1)


def version(seed: int, picture: int, number: int, mirrors: bool = True) -> Version:
    """Version `number` (from 1 on) of a picture, at random; every second one is mirrored, if any is."""
    share, top, left = torch.rand(3, generator=torch.Generator().manual_seed(mix_seed(seed, picture, number))).tolist()
    return Version(LEAST + (1.0 - LEAST) * share, top, left, mirrors and number % 2 == 1)


def turned(normals: Tensor) -> Tensor:
    """The normals [..., 3] of a mirrored surface: along x, which is their red, they point the other way."""
    return torch.cat([1.0 - normals[..., :1], normals[..., 1:]], dim=-1)
