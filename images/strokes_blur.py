"""Blur: a brush that softens the paint of its layer. web/js/canvas/blur.js computes the same.

Colours multiplied by alpha go over to their blurred values, as far as the stroke covers them. The blur comes near to a
Gaussian whose standard deviation is an eighth of the brush's size: a box with fractional ends, applied three times
(Gwosdek, Grewenig, Bruhn and Weickert 2011, "Theoretical foundations of Gaussian convolution by extended box
filtering"). Beyond the edges of the picture, paint goes on as it ends there.

Of what may change, nothing is taken away: where paint spreads to, the mask and t0 follow, and paint that becomes
fainter keeps them, as paint of any opacity does.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..common.interrupts import interruptible
from .strokes_coverage import Cover

_DEVIATION = 1 / 8  # of the blur, for a brush of the size 1
_PASSES = 3
_BAND = 64  # rows that are blurred at a time, or three times as far as the blur reaches


class _Box(NamedTuple):
    """Weights of 1 up to `radius` pixels from the middle, and `end` for the next ones."""

    radius: int
    end: float

    @classmethod
    def of(cls, deviation: float) -> _Box:
        variance = deviation**2 / _PASSES
        radius = math.floor((math.sqrt(1 + 12 * variance) - 1) / 2)
        rest = variance - radius * (radius + 1) / 3
        return cls(radius, (2 * radius + 1) * rest / (2 * ((radius + 1) ** 2 - variance)))

    @property
    def reach(self) -> int:
        return _PASSES * (self.radius + 1)


def soften(planes: tuple[np.ndarray, ...], cover: Cover, strength: np.ndarray, size: float) -> None:
    """Blurs a layer in place, as far as a stroke covers it.

    planes: colours and alpha [H, W, 4]; the mask, the t0s multiplied by what they cover, and that [H, W]. strength
    [h, w]: 0..1, where the cover is; size: of the brush in pixels.
    """
    box = _Box.of(size * _DEVIATION)
    height, width = planes[1].shape
    left, top = max(0, cover.x - box.reach), max(0, cover.y - box.reach)
    right = min(width, cover.x + strength.shape[1] + box.reach)
    bottom = min(height, cover.y + strength.shape[0] + box.reach)
    around = slice(top, bottom), slice(left, right)
    source = np.concatenate([plane[around].reshape(bottom - top, right - left, -1) for plane in planes], axis=-1)
    if not source.any():
        return
    band = max(_BAND, 3 * box.reach)
    for first in interruptible(range(0, strength.shape[0], band)):
        shares = strength[first : first + band]
        columns = np.flatnonzero(shares.any(0))
        if not len(columns):
            continue
        begin, end = int(columns[0]), int(columns[-1]) + 1
        place = Place(cover.y + first, cover.x + begin, len(shares), end - begin)
        mixed = _mixed(source, place, (top, left), shares[:, begin:end, None], box)
        put(planes, place, mixed)


class Place(NamedTuple):
    """Some pixels of a layer."""

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


def _mixed(source: np.ndarray, place: Place, corner: tuple[int, int], share: np.ndarray, box: _Box) -> np.ndarray:
    """The pixels of a place between what they were and what is blurred, [h, w, 7]."""
    y, x = place.top - corner[0], place.left - corner[1]
    above, before = min(y, box.reach), min(x, box.reach)
    near = source[y - above : y + place.height + box.reach, x - before : x + place.width + box.reach]
    rows, columns = slice(above, above + place.height), slice(before, before + place.width)
    across = _blurred(near.swapaxes(0, 1), box)
    soft = _blurred(across[columns].swapaxes(0, 1), box)[rows]
    return near[rows, columns] + share * (soft - near[rows, columns])


def _blurred(lines: np.ndarray, box: _Box) -> np.ndarray:
    """Lines blurred along the first axis."""
    lines = np.ascontiguousarray(lines)
    for _ in range(_PASSES):
        lines = _boxed(lines, box)
    return lines


def _boxed(lines: np.ndarray, box: _Box) -> np.ndarray:
    """One box along the first axis; beyond its edges, a picture goes on as it ends."""
    count, radius = len(lines), box.radius
    result, both = np.empty_like(lines), np.empty_like(lines[0])
    share = np.float32(1 / (2 * radius + 1 + 2 * box.end))
    sums = np.zeros(lines.shape[1:], np.float64)
    for i in range(-radius, radius + 1):
        sums += lines[min(max(i, 0), count - 1)]
    for i in range(count):
        first, coming = lines[max(i - radius, 0)], lines[min(i + radius + 1, count - 1)]
        np.add(lines[max(i - radius - 1, 0)], coming, out=both)
        both *= np.float32(box.end)
        both += sums
        np.multiply(both, share, out=result[i])
        sums += coming
        sums -= first
    return result


def put(planes: tuple[np.ndarray, ...], place: Place, mixed: np.ndarray) -> None:
    """Of what may change, nothing is taken away; t0s keep their share of what they cover."""
    pixels, mask, t0s, covered = (plane[place.slices] for plane in planes)
    pixels[:] = mixed[..., :4]
    np.maximum(mask, mixed[..., 4], out=mask)
    share = mixed[..., 6]
    np.maximum(covered, share, out=covered)
    t0s[:] = mixed[..., 5] * np.divide(covered, share, out=np.zeros_like(share), where=share > 0)
