"""How much of each pixel a stroke covers. web/js/canvas/coverage.js does the same computation, so both agree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..common.interrupts import check_interrupt, interruptible

_BAND = 1 << 22  # pixels processed between two checks for an interrupt
_LONG = 4096.0  # pixels from which on a segment is cut to what is near the picture: float32 would move it

Box = tuple[int, int, int, int]  # left, top, right and bottom of pixels
Path = np.ndarray  # [n, 2], x and y in pixels; the centre of the first pixel is at 0.5, 0.5


class Cover(NamedTuple):
    """Coverage 0..1 of the pixels, starting at column x and row y."""

    x: int
    y: int
    values: np.ndarray  # float32 [h, w]


def brush_cover(path: Path, radii: np.ndarray, hardness: float, width: int, height: int) -> Cover | None:
    """Coverage of a round brush moved along a path with a radius [n] per point; None if outside.

    From the rim inwards, the coverage rises over the fraction 1 - hardness of the radius, at least over one pixel.
    """
    reach = float(radii.max()) + 1.0
    box = _box(path.min(0) - reach, path.max(0) + reach, width, height)
    if box is None:
        return None
    left, top, right, bottom = box
    values = np.zeros((bottom - top, right - left), np.float32)
    if len(path) == 1:
        path, radii = np.repeat(path, 2, 0), np.repeat(radii, 2, 0)
    places = np.column_stack([path, radii])
    for from_place, to_place in pairwise(places):
        reach = max(from_place[2], to_place[2]) + 1.0
        low, high = np.minimum(from_place, to_place)[:2], np.maximum(from_place, to_place)[:2]
        part = _box(low - reach, high + reach, width, height)
        ends = None if part is None else _near(from_place, to_place, part, reach)
        if part is None or ends is None:
            continue
        a, b = ends
        for x, y, rows in _bands(part, a):
            along, distance = _along(x, y, a, b)
            radius = np.float32(a[2]) + along * np.float32(b[2] - a[2])
            region = values[rows.start - top : rows.stop - top, part[0] - left : part[2] - left]
            np.maximum(region, profile(distance, radius, hardness), out=region)
    return Cover(left, top, values)


def _bands(box: tuple[int, int, int, int], a: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, range]]:
    """Pixel centres of a box relative to a point, x [w] and y [h, 1], in bands of rows; checks for interrupts."""
    left, top, right, bottom = box
    x = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - a[0])
    height = max(1, _BAND // (right - left))
    for start in interruptible(range(top, bottom, height)):
        rows = range(start, min(start + height, bottom))
        yield x, (np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5 - a[1]))[:, None], rows


def part_within(a: np.ndarray, b: np.ndarray, box: Box, reach: float) -> tuple[float, float] | None:
    """Which part of the way from a to b, as shares of it, comes within reach of a box; None if none of it does."""
    low, high = 0.0, 1.0
    for start, end, least, most in zip(a.tolist(), b.tolist(), box[:2], box[2:], strict=True):
        if step := end - start:
            ends = (least - reach - start) / step, (most + reach - start) / step
            low, high = max(low, min(ends)), min(high, max(ends))
        elif not least - reach <= start <= most + reach:
            return None
    return (low, high) if low <= high else None


def _near(a: np.ndarray, b: np.ndarray, box: Box, reach: float) -> tuple[np.ndarray, np.ndarray] | None:
    """The ends of a segment, x, y and the radius if there is one; of a long one, those of the part that comes within
    reach of a box, None if none of it does.
    """
    if np.abs(b - a)[:2].max() <= _LONG:
        return a, b
    part = part_within(a[:2], b[:2], box, reach)
    return None if part is None else (a + part[0] * (b - a), a + part[1] * (b - a))


def _along(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each pixel, the nearest position on the segment from a to b (0..1), and its distance."""
    dx, dy = np.float32(b[0] - a[0]), np.float32(b[1] - a[1])
    length = dx * dx + dy * dy
    along = np.clip((x * dx + y * dy) / length, 0, 1) if length > 0 else np.zeros((1, 1), np.float32)
    return along, np.hypot(x - along * dx, y - along * dy)


def brush_pixels(path: Path, reach: float, width: int, height: int) -> int:
    """How many pixels `brush_cover` and `fill_cover` visit: the boxes around all segments, widened by `reach`."""
    ends = path[1:] if len(path) > 1 else path
    begins = path[: len(ends)]
    most = np.array([width, height])
    low = np.clip(np.floor(np.minimum(begins, ends) - reach), 0, most)
    high = np.clip(np.ceil(np.maximum(begins, ends) + reach), 0, most)
    return int((high - low).prod(1).sum())


def profile(distance: np.ndarray, radius: np.ndarray, hardness: float) -> np.ndarray:
    """Coverage at a distance from the centre; a line thinner than a pixel is drawn fainter instead."""
    drawn = np.maximum(radius, np.float32(0.5))
    edge = np.maximum(drawn * np.float32(1.0 - hardness), np.float32(1.0))
    rise = np.clip((drawn + np.float32(0.5) - distance) / edge, 0, 1)
    return rise * rise * (3 - 2 * rise) * (radius / drawn)


def fill_cover(rings: list[Path], width: int, height: int) -> Cover | None:
    """Coverage of the inside of closed rings by the even-odd rule, with a border one pixel wide; None if outside."""
    corners = np.concatenate(rings)
    box = _box(corners.min(0) - 1.0, corners.max(0) + 1.0, width, height)
    if box is None:
        return None
    left, top, right, bottom = box
    check_interrupt()
    inside = np.zeros((bottom - top, right - left + 1), np.uint8)
    nearest = np.full((bottom - top, right - left), 0.5, np.float32)
    for ring in rings:
        for a, b in zip(ring, np.roll(ring, -1, 0), strict=True):
            _cross(inside, a, b, box)
            _approach(nearest, a, b, box)
    within = np.logical_xor.accumulate(inside.astype(bool), axis=1)[:, :-1]
    return Cover(left, top, np.where(within, 0.5 + nearest, 0.5 - nearest))


def _cross(inside: np.ndarray, a: np.ndarray, b: np.ndarray, box: Box) -> None:
    """In each row whose centre an edge crosses, toggles the first pixel whose centre lies to the right of it."""
    left, top, right, bottom = box
    (xa, ya), (xb, yb) = (a, b) if a[1] <= b[1] else (b, a)
    rows = np.arange(max(top, int(np.ceil(ya - 0.5))), min(bottom, int(np.ceil(yb - 0.5))))
    if not len(rows):
        return
    crossing = xa + (rows + 0.5 - ya) * (xb - xa) / (yb - ya)
    columns = np.clip(np.ceil(crossing - 0.5), left, right).astype(int) - left
    inside[rows - top, columns] ^= 1


def _approach(nearest: np.ndarray, a: np.ndarray, b: np.ndarray, box: Box) -> None:
    """Lowers the distance of the pixels around an edge; only distances up to half a pixel matter."""
    left, top, right, bottom = box
    x0, y0 = max(left, int(np.floor(min(a[0], b[0]) - 1))), max(top, int(np.floor(min(a[1], b[1]) - 1)))
    x1, y1 = min(right, int(np.ceil(max(a[0], b[0]) + 1))), min(bottom, int(np.ceil(max(a[1], b[1]) + 1)))
    part = x0, y0, x1, y1
    ends = _near(a, b, part, 1.0) if x0 < x1 and y0 < y1 else None
    if ends is None:
        return
    for x, y, rows in _bands(part, ends[0]):
        region = nearest[rows.start - top : rows.stop - top, x0 - left : x1 - left]
        np.minimum(region, _along(x, y, *ends)[1], out=region)


def _box(low: np.ndarray, high: np.ndarray, width: int, height: int) -> Box | None:
    """Left, top, right and bottom of the pixels between two corners."""
    left, top = max(0, int(np.floor(low[0]))), max(0, int(np.floor(low[1])))
    right, bottom = min(width, int(np.ceil(high[0]))), min(height, int(np.ceil(high[1])))
    return None if left >= right or top >= bottom else (left, top, right, bottom)
