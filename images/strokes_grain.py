"""Grain: a rough paper below a brush, of which only the heights take paint. web/js/canvas/grain.js computes the same.

The paper lies still, so that strokes of one width have their gaps in the same places, and its grains are larger for
wider brushes. It is value noise of two octaves (Perlin 1985): hashes on a lattice that repeats after 128 cells, with
linear interpolation.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ..common.interrupts import interruptible
from .strokes_coverage import Cover

_SIDE = 128  # cells after which the paper repeats
_CELL = 0.4  # side of a cell for a brush of the size 1, in units of the drawing; it grows with the root of the size
_CONTRAST = 4.0  # of the edges of gaps
_FULL = 0.25  # grain from which on the edges have this contrast; with less they are fainter
_WORN = 0.7  # how much lower the paint stands with the strongest grain
_BAND = 1 << 20  # pixels between two checks for an interrupt


def grained(cover: Cover, size: float, grain: float, scale: np.ndarray) -> np.ndarray:
    """What is left of a cover, [h, w]. grain: 0..1; size: of the brush, scale: pixels for each unit of the drawing."""
    if grain == 0:
        return cover.values
    height, width = cover.values.shape
    cells = scale * _CELL * np.sqrt(size)
    x, y = (np.arange(count) + (begin + 0.5) for begin, count in ((cover.x, width), (cover.y, height)))
    left = np.empty_like(cover.values)
    band = max(1, _BAND // width)
    for top in interruptible(range(0, height, band)):
        rows = slice(top, top + band)
        values = cover.values[rows]
        over = _paper(x / cells[0], y[rows] / cells[1]) - values * np.float32(1 - _WORN * grain)
        left[rows] = values * np.clip(1 - np.float32(_CONTRAST * min(1.0, grain / _FULL)) * over, 0, 1)
    return left


def _paper(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth 0..1 of the paper below the rows y and the columns x, in cells; float32 [h, w]."""
    mixed = 0.6 * _interpolated(x, y) + 0.4 * _interpolated(2 * x, 2 * y)
    return np.clip(0.5 + np.float32(1.25) * (mixed - np.float32(0.5)), 0, 1)


def _interpolated(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    table = _hashes()
    (left, across), (top, down) = ((np.floor(at).astype(int), (at % 1).astype(np.float32)) for at in (x, y))
    rows = _mixed(table[top % _SIDE], table[(top + 1) % _SIDE], down[:, None])
    return _mixed(rows[:, left % _SIDE], rows[:, (left + 1) % _SIDE], across)


def _mixed(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + (b - a) * share


@cache
def _hashes() -> np.ndarray:
    """Values 0..1 of the lattice, float32 [128, 128]: rows of y, columns of x."""
    y, x = np.indices((_SIDE, _SIDE), np.uint32)
    value = x * np.uint32(0x9E3779B1) + y * np.uint32(0x85EBCA77)
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        value = (value ^ (value >> np.uint32(shift))) * np.uint32(factor)
    return ((value ^ (value >> np.uint32(15))) >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)
