"""A float picture with layers: compositing with coverage, lighting by time of day, masks of elements, and depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Colour = np.ndarray  # [3] or [3, h, w], linear in display space, 0..1
Box = tuple[slice, slice]

_FOOT = 0.12  # how near the ground is at the foot of the mountains


def rgb(r: float, g: float, b: float) -> Colour:
    return np.array([r, g, b], dtype=np.float32)


def smooth(x: np.ndarray) -> np.ndarray:
    """Smoothstep of x clipped to 0..1."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


@dataclass(frozen=True)
class Light:
    """Illumination at one time of day: light in the shade, what the sun or moon adds, and the colours of the sky."""

    ambient: Colour
    sun: Colour
    zenith: Colour
    middle: Colour
    horizon: Colour
    disc: Colour
    glow: Colour

    def on(self, albedo: Colour, lit: np.ndarray | float) -> Colour:
        """Colour of a surface: [3, h, w] if `lit` is [h, w], [3] if it is a number."""
        if isinstance(lit, np.ndarray):
            shape = (3, 1, 1)
            base = albedo if albedo.ndim == 3 else albedo.reshape(shape)
            return base * (self.ambient.reshape(shape) + self.sun.reshape(shape) * lit)
        return albedo * (
            self.ambient + self.sun * lit if albedo.ndim == 1 else (self.ambient + self.sun * lit)[:, None, None]
        )


LIGHTS: dict[str, Light] = {
    "day": Light(
        ambient=rgb(0.54, 0.59, 0.68), sun=rgb(0.52, 0.47, 0.36),
        zenith=rgb(0.20, 0.44, 0.80), middle=rgb(0.44, 0.68, 0.93), horizon=rgb(0.80, 0.90, 0.97),
        disc=rgb(1.0, 0.98, 0.86), glow=rgb(1.0, 0.96, 0.80),
    ),
    "sunset": Light(
        ambient=rgb(0.47, 0.34, 0.44), sun=rgb(0.62, 0.36, 0.16),
        zenith=rgb(0.27, 0.20, 0.45), middle=rgb(0.82, 0.38, 0.40), horizon=rgb(1.0, 0.74, 0.38),
        disc=rgb(1.0, 0.93, 0.66), glow=rgb(1.0, 0.72, 0.34),
    ),
    "night": Light(
        ambient=rgb(0.22, 0.26, 0.42), sun=rgb(0.16, 0.18, 0.24),
        zenith=rgb(0.02, 0.03, 0.11), middle=rgb(0.05, 0.09, 0.23), horizon=rgb(0.14, 0.20, 0.38),
        disc=rgb(0.96, 0.96, 0.88), glow=rgb(0.55, 0.62, 0.80),
    ),
}  # fmt: skip


class Canvas:
    """The picture during rendering: planes [3, size, size] and, on request, a visibility mask per element and depth.

    horizon: height of the horizon, below which the ground comes nearer. here: how near what is painted next is, 0 at
    infinity and 1 at the lower border of the picture.
    """

    def __init__(self, size: int, horizon: float = 0.5, masks: bool = False) -> None:
        self.size = size
        self.px = 1.0 / size
        self.image = np.zeros((3, size, size), dtype=np.float32)
        centres = (np.arange(size, dtype=np.float32) + 0.5) / size
        self.x = centres[None, :]
        self.y = centres[:, None]
        self.masks: dict[str, np.ndarray] | None = {} if masks else None
        self.depth = np.zeros((size, size), dtype=np.float32)
        self.horizon = horizon
        self.here: np.ndarray | float = 0.0

    def ground(self, y: np.ndarray | float) -> np.ndarray | float:
        """How near the ground at height y is: the reciprocal of its distance, as depth preprocessors give it."""
        return _FOOT + (1.0 - _FOOT) * np.clip((y - self.horizon) / (1.0 - self.horizon), 0.0, 1.0)

    def box(self, top: float, bottom: float, left: float = 0.0, right: float = 1.0) -> Box:
        """The pixel window of a rectangle in unit coordinates, clipped to the picture."""

        def span(a: float, b: float) -> slice:
            low = min(max(int(np.floor(a * self.size)), 0), self.size)
            return slice(low, max(min(int(np.ceil(b * self.size)), self.size), low))

        return span(top, bottom), span(left, right)

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """Antialiased coverage [h, w] of the region where a signed distance (unit coordinates) is positive."""
        return np.clip(distance * self.size + 0.5, 0.0, 1.0)

    def over(self, colour: Colour, alpha: np.ndarray, box: Box | None = None, name: str | None = None) -> None:
        """Paint a colour with coverage alpha [h, w] into a window, and record what it hides."""
        rows, columns = box or (slice(None), slice(None))
        target = self.image[:, rows, columns]
        if target.size == 0:
            return
        paint = colour if colour.ndim == 3 else colour[:, None, None]
        target += alpha * (paint - target)
        if self.masks is None or name is None:
            return
        for other in self.masks.values():
            other[rows, columns] *= 1.0 - alpha
        mask = self.masks.setdefault(name, np.zeros((self.size, self.size), dtype=np.float32))
        mask[rows, columns] += alpha
        np.clip(mask, 0.0, 1.0, out=mask)
        here = np.broadcast_to(np.asarray(self.here, dtype=np.float32), self.depth.shape)[rows, columns]
        self.depth[rows, columns] += alpha * (here - self.depth[rows, columns])
