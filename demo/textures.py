"""Tileable random fields for the renderer, computed once per size and reused by random crops."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

VARIANTS = 12

# (lowest and highest frequency in cycles per picture, spectral slope, horizontal and vertical stretch)
_KINDS: dict[str, tuple[float, float, float, float, float]] = {
    "cloud": (1.5, 40.0, 1.9, 2.2, 1.0),
    "rock": (4.0, 60.0, 1.35, 1.0, 1.6),
    "ground": (3.0, 50.0, 1.2, 2.0, 1.0),
    "leaf": (18.0, 64.0, 0.3, 1.0, 1.0),
    "grass": (10.0, 90.0, 0.5, 1.0, 4.0),
    "ripple": (4.0, 70.0, 0.7, 7.0, 1.0),
    "ridge": (2.0, 50.0, 1.5, 1.0, 1.0),
}


@lru_cache(maxsize=2 * len(_KINDS))  # two sizes: at 1024 pixels one takes 1.4 GB
def bank(kind: str, size: int) -> np.ndarray:
    """Zero-mean unit-variance fields [VARIANTS, 2 size, 2 size] of one kind, float32, seeded by the kind's name."""
    low, high, slope, stretch_x, stretch_y = _KINDS[kind]
    n = 2 * size
    rng = np.random.default_rng([sum(map(ord, kind)), size])
    fy = np.fft.fftfreq(n, d=1 / n)[:, None] / 2 * stretch_y
    fx = np.fft.rfftfreq(n, d=1 / n)[None, :] / 2 * stretch_x
    f = np.sqrt(fx**2 + fy**2)
    gain = np.where(f > 0, np.maximum(f, 1e-6) ** -slope, 0.0)
    gain *= 1 / (1 + (low / np.maximum(f, 1e-6)) ** 4) * 1 / (1 + (f / high) ** 4)
    fields = np.empty((VARIANTS, n, n), dtype=np.float32)
    for i in range(VARIANTS):
        noise = np.fft.rfft2(rng.standard_normal((n, n)))
        field = np.fft.irfft2(noise * gain, s=(n, n))
        fields[i] = (field - field.mean()) / field.std()
    return fields


def patch(
    kind: str, size: int, rng: np.random.Generator, height: int | None = None, width: int | None = None
) -> np.ndarray:
    """A random crop [height, width] of a field (a view: do not write to it)."""
    fields = bank(kind, size)
    h, w = height or size, width or size
    i, y, x = rng.integers(VARIANTS), rng.integers(2 * size - h + 1), rng.integers(2 * size - w + 1)
    field = fields[i, y : y + h, x : x + w]
    return field[:, ::-1] if rng.random() < 0.5 else field


def profile(kind: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random 1-D cut [size] through a field: the outline of a ridge or a shore."""
    return patch(kind, size, rng, height=1)[0]
