"""Smudge: a brush that drags the paint of its layer along. web/js/canvas/smudge.js computes the same.

Along the path, at distances of an eighth of the brush's size, the tip is set on whole pixels. It carries a patch of
what it has passed over: each time, the patch takes in a tenth of what lies below, and is laid over it as far as the tip
covers. Colours are multiplied by alpha, so that bare places are dragged like paint. In the end, what was there before
goes over to the result as far as the stroke covers it. Beyond the edges of the picture, paint goes on as it ends there.

What this means for the mask and t0 is the same as for blur.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..common.interrupts import interruptible
from .strokes_blur import Place, put
from .strokes_coverage import Cover, brush_pixels, part_within, profile

_SPACING = 1 / 8  # of two places of the tip, for a brush of the size 1; at least one pixel
_KEPT = 0.9  # of what the tip carries, after this distance
_BAND = 64  # rows that are mixed at a time
_LEAST_TIP = 8.0  # radius of a tip that takes as long as any smaller one
_BYTES, _PATCHES = 28, 5  # of a pixel, and how many patches of the tip's size are held at the highest


class Tip(NamedTuple):
    """A brush on its way, in pixels."""

    path: np.ndarray  # [n, 2], x and y
    radii: np.ndarray  # [n]
    size: float
    hardness: float

    @property
    def reach(self) -> int:
        """Pixels to each side of the middle one."""
        return math.ceil(self.size / 2)

    @property
    def spacing(self) -> float:
        return max(1.0, self.size * _SPACING)

    @property
    def kept(self) -> float:
        return _KEPT ** (self.spacing / (self.size * _SPACING))


def needed(tip: Tip, width: int, height: int) -> tuple[int, int]:
    """How many pixels of a layer of width x height a smudge passes over, and how many bytes it takes for those beyond
    the layer's edges: under a wide tip, they are more than the layer has.
    """
    reach, most = max(tip.reach, _LEAST_TIP), np.array([width, height])
    low, high = tip.path.min(0) - tip.reach - 1, tip.path.max(0) + tip.reach + 1
    if (high <= 0).any() or (low >= most).any():
        return 0, 0
    inside = high.clip(0, most) - low.clip(0, most)
    area = int((inside + 2 * (2 * tip.reach + 1)).prod())
    passed = area + brush_pixels(tip.path + reach, reach, *(int(side + 2 * reach) for side in most))
    patches = _PATCHES * (2 * tip.reach + 1) ** 2
    return passed, _BYTES * (area - int(inside.prod()) + patches)


def smear(planes: tuple[np.ndarray, ...], cover: Cover, strength: np.ndarray, tip: Tip) -> None:
    """Smudges a layer in place, as far as a stroke covers it. planes and strength are those of `soften`."""
    height, width = planes[1].shape
    margin = 2 * tip.reach + 1
    top, left = cover.y - margin, cover.x - margin
    rows = np.arange(top, cover.y + strength.shape[0] + margin).clip(0, height - 1)
    columns = np.arange(left, cover.x + strength.shape[1] + margin).clip(0, width - 1)
    layer = [plane.reshape(height, width, -1) for plane in planes]
    work = np.empty((len(rows), len(columns), sum(plane.shape[2] for plane in layer)), np.float32)
    for at, row in enumerate(rows):
        np.concatenate([plane[row, columns] for plane in layer], axis=-1, out=work[at])
    if not work.any():
        return
    _drag(work, (top, left), tip, (width, height))
    for first in interruptible(range(0, strength.shape[0], _BAND)):
        share = strength[first : first + _BAND, :, None]
        place = Place(cover.y + first, cover.x, *share.shape[:2])
        before = np.concatenate([plane[place.slices] for plane in layer], axis=-1)
        after = work[margin + first : margin + first + len(share), margin:-margin]
        put(planes, place, before + share * (after - before))


def _drag(work: np.ndarray, corner: tuple[int, int], tip: Tip, picture: tuple[int, int]) -> None:
    """Leads the tip over the pixels [h, w, c] that begin at a corner (row, column)."""
    side, kept = 2 * tip.reach + 1, np.float32(tip.kept)
    away = np.arange(-tip.reach, tip.reach + 1, dtype=np.float32)
    distance = np.hypot(away, away[:, None])
    carried, radius, weights = None, None, distance[..., None]
    for column, row, wide in interruptible(_places(tip, picture)):
        y, x = row - tip.reach - corner[0], column - tip.reach - corner[1]
        below = work[y : y + side, x : x + side]
        if carried is None:
            carried = below.copy()
            continue
        if wide != radius:
            radius, weights = wide, profile(distance, np.asarray(wide, np.float32), tip.hardness)[..., None]
        carried += (1 - kept) * (below - carried)
        below += weights * (carried - below)


def _places(tip: Tip, picture: tuple[int, int]) -> Iterator[tuple[int, int, float]]:
    """Columns and rows of the middle of the tip, where it reaches the picture, and its radius there."""
    edge, following, begin = tip.reach, 0, 0.0
    for a, b, narrow, wide in zip(tip.path[:-1], tip.path[1:], tip.radii[:-1], tip.radii[1:], strict=True):
        way = float(b[0] - a[0]), float(b[1] - a[1])
        length = math.sqrt(way[0] * way[0] + way[1] * way[1])
        part = part_within(a, b, (0, 0, *picture), edge)
        if length and part is not None:
            low, high = part
            first = max(following, math.ceil((begin + low * length) / tip.spacing))
            following = max(following, math.floor((begin + high * length) / tip.spacing) + 1)
            for number in range(first, following):
                along = (number * tip.spacing - begin) / length
                x, y = float(a[0]) + along * way[0], float(a[1]) + along * way[1]
                yield math.floor(x), math.floor(y), float(narrow) + along * float(wide - narrow)
        begin += length
