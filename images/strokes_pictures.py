"""Pictures as layers of a drawing: found in a folder by the hash in their name, and placed by scale and rotation.

`web/js/canvas/pictures.js` shows the same in the page, by the browser's own transformation.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..common import limits
from ..common.interrupts import answering, interruptible
from ..common.memory import check_memory
from .strokes_coverage import Cover, fill_cover
from .strokes_document import Layer, Placed

_BYTES = 40  # taken at the highest for each pixel of a picture that is placed
_BAND = 1 << 20  # pixels placed between two checks for an interrupt
_FILES = re.compile(r'"file"\s*:\s*"([0-9a-f]{16,64}\.[a-z]{3,4})"')

Opener = Callable[[Layer], Image.Image | None]


class PictureFolder:
    """Opens the pictures of layers in one folder; names cannot lead out of it (`Placed.file`)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.complaints: list[str] = []

    def __call__(self, layer: Layer) -> Image.Image | None:
        """The picture of a layer as RGBA, upright; None, and a sentence in `complaints`, if it cannot be opened."""
        assert layer.picture is not None
        path = self.folder / layer.picture.file
        try:
            with Image.open(path) as opened:
                if opened.width * opened.height > limits.DRAWING_PIXELS:
                    return self._without(layer, f"has more than {limits.DRAWING_PIXELS / 1e6:.0f} million pixels")
                return answering(lambda: ImageOps.exif_transpose(opened).convert("RGBA"))
        except FileNotFoundError:
            return self._without(layer, f"is missing from {self.folder.parent.name}/{self.folder.name}")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return self._without(layer, "cannot be read")

    def _without(self, layer: Layer, why: str) -> None:
        assert layer.picture is not None
        name = f"'{layer.name}'" if layer.name else f"'{layer.id}'"
        self.complaints.append(
            f"The picture {layer.picture.file} of the layer {name} {why}: the layer is left out until it is replaced."
        )


def file_states(text: str, folder: Path) -> list[tuple[str, int, int]]:
    """Name, time and size of the pictures that the text of a drawing may name; -1 for a missing file."""
    states = []
    for name in sorted(set(_FILES.findall(text))):
        path = folder / name
        state = path.stat() if path.is_file() else None
        states.append((name, state.st_mtime_ns, state.st_size) if state else (name, -1, -1))
    return states


def placed_pixels(image: Image.Image, placed: Placed, scale: np.ndarray, width: int, height: int) -> Cover | None:
    """A picture on a drawing of width x height pixels, values [h, w, 4] premultiplied by alpha; None if outside.

    Reduced by averages over its pixels, turned by bilinear interpolation, with an edge one pixel wide as fills have.
    """
    factor = placed.scale * float(np.sqrt(scale.prod()))
    angle = np.deg2rad(placed.rotation)
    axes = factor * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre, half = np.array([placed.x, placed.y]) * scale, np.array(placed.pixels) / 2
    corners = centre + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half @ axes.T
    cover = fill_cover([corners], width, height)
    if cover is None:
        return None
    back = np.linalg.inv(axes) / half[:, None]  # to -1..1 over the picture
    reduced = _reduced(image, placed, factor)
    what = f"A layer's picture of {reduced.width} x {reduced.height} pixels"
    check_memory(_BYTES * reduced.width * reduced.height, what, "use a smaller one")
    source = _premultiplied(reduced)
    rows, columns = cover.values.shape
    values = np.empty((rows, columns, 4), np.float32)
    x = torch.arange(columns, dtype=torch.float64) + (cover.x + 0.5 - centre[0])
    band = max(1, _BAND // columns)
    for top in interruptible(range(0, rows, band)):
        y = torch.arange(top, min(top + band, rows), dtype=torch.float64)[:, None] + (cover.y + 0.5 - centre[1])
        grid = torch.stack([float(a) * x + float(b) * y for a, b in back], -1)[None].float()  # [1, h, w, 2]
        part = torch.nn.functional.grid_sample(
            source, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        values[top : top + band] = part[0].permute(1, 2, 0).numpy()
    values *= cover.values[..., None]
    return Cover(cover.x, cover.y, values)


def _reduced(image: Image.Image, placed: Placed, factor: float) -> Image.Image:
    wanted = [max(1, round(side * factor)) for side in placed.pixels]
    size = min(image.width, wanted[0]), min(image.height, wanted[1])
    return image if size == image.size else answering(lambda: image.resize(size, Image.Resampling.BOX))


def _premultiplied(image: Image.Image) -> Tensor:
    """RGBA as float32 [1, 4, H, W], colours multiplied by alpha."""
    pixels = torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)[None]
    pixels[:, :3] *= pixels[:, 3:]
    return pixels
