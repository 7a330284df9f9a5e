"""The list of pictures, the world that most of them show, and how several pictures become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor

from ...images.edges import as_picture
from ...images.grid import labelled_grid
from ..world import World

PICTURES: dict[str, Callable[[], Tensor]] = {}
"""What makes each picture [H, W, 3], by the name of its file."""

world = cache(World)


def picture(make: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """Lists a picture under its function's name."""
    PICTURES[make.__name__.replace("_", "-")] = make
    return make


def grid(shown: Sequence[Tensor], labels: Sequence[str] | None = None, **layout: Sequence[str] | int) -> Tensor:
    """IMAGEs, single pictures and masks [1, H, W] on one sheet; with labels, by default in one row."""
    images = [as_picture(each) if each.shape[-1] != 3 else each for each in shown]
    if labels is not None:
        layout = {"columns": len(labels), **layout}
    return labelled_grid(torch.cat([each.reshape(-1, *each.shape[-3:]) for each in images]), labels, **layout)[0]  # pyright: ignore[reportArgumentType]


def montage(pictures: Tensor, columns: int, gap: int = 6) -> Tensor:
    """Pictures [N, H, W, 3] side by side with white gaps."""
    _, height, width, _ = pictures.shape
    rows = -(-len(pictures) // columns)
    canvas = torch.ones(rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    for index, each in enumerate(pictures):
        y, x = index // columns * (height + gap), index % columns * (width + gap)
        canvas[y : y + height, x : x + width] = each
    return canvas
