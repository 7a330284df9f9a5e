"""The colours of flat pictures, such as segmentation maps, and which of them each pixel has."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from ..common.interrupts import interruptible
from .tensors import split_alpha, to_uint8

Palette = tuple[tuple[int, int, int], ...]

MOST_COLOURS = 32
_ALIKE = 24  # distance of two colours, in 8-bit steps, that compression can explain
_LEVEL = 12  # range of a channel, in 8-bit steps, within the pixels around one inside of an area
_SMALLEST = 0.005  # share of a picture that a colour must have in one of them
_INSIDE, _FLAT = 0.3, 0.9  # shares of pixels: those inside of areas, and those of them near a colour of the palette


def find_palette(pictures: Iterable[Tensor]) -> Palette:
    """The colours of flat pictures [H, W, 1, 3 or 4 channels] in 0..1, as 8-bit RGB, the most frequent first.

    Only pixels inside of areas count, so that the mixed colours along soft borders do not; colours that differ by less
    than compression explains are one. Raises ValueError for more than `MOST_COLOURS`, for fewer than two, and for
    pictures that are not flat.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    shares: dict[int, float] = {}
    largest: dict[int, float] = {}
    count = 0
    for picture in interruptible(pictures):
        values = to_uint8(split_alpha(picture)[0])
        inside = (maximum_filter(values, (3, 3, 1)) - minimum_filter(values, (3, 3, 1))).max(axis=2) <= _LEVEL
        found, counts = np.unique(values[inside].astype(np.int64) @ (65536, 256, 1), return_counts=True)
        count += 1
        for colour, share in zip(found.tolist(), (counts / inside.size).tolist(), strict=True):
            shares[colour] = shares.get(colour, 0.0) + share
            largest[colour] = max(largest.get(colour, 0.0), share)
    chosen: list[tuple[int, int, int]] = []
    frequent = (colour for colour, share in largest.items() if share >= _SMALLEST)
    for colour in sorted(frequent, key=lambda each: -shares[each]):
        rgb = (colour >> 16, colour >> 8 & 255, colour & 255)
        if any(math.dist(rgb, other) <= _ALIKE for other in chosen):
            continue
        chosen.append(rgb)
        if len(chosen) > MOST_COLOURS:
            break
    total = sum(shares.values())
    if total < _INSIDE * count or len(chosen) > MOST_COLOURS or _near(shares, chosen) < _FLAT * total:
        raise ValueError(
            f"The segmentation maps are not flat or have more than {MOST_COLOURS} colours: give maps in which each "
            "class has a flat colour of its own, or choose the map 'other', which takes any picture."
        )
    if len(chosen) < 2:
        raise ValueError(
            "The segmentation maps have one colour in all, or colours that are too much alike: give maps in which each "
            f"class has a flat colour of its own, more than {_ALIKE} of 255 away from the others."
        )
    return tuple(chosen)


def _near(shares: dict[int, float], chosen: list[tuple[int, int, int]]) -> float:
    """The sum of the shares of all colours that are like one of the chosen ones."""
    packed = np.array(list(shares), dtype=np.int64)
    values = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1)
    near = np.zeros(len(values), dtype=bool)
    for rgb in chosen:
        near |= np.linalg.norm(values - np.array(rgb), axis=1) <= _ALIKE
    return float(np.array(list(shares.values()))[near].sum())


def colours(palette: Palette) -> Tensor:
    """The palette as colours in 0..1, [K, 3]."""
    return torch.tensor(palette, dtype=torch.float32) / 255.0


def nearest(picture: Tensor, palette: Palette) -> tuple[Tensor, Tensor]:
    """Which colour of the palette each pixel of [..., 3] is nearest to, and how far from it in 0..1: [...] each."""
    distances = torch.stack([(picture.float() - colour).norm(dim=-1) for colour in colours(palette)])
    found = distances.min(dim=0)
    return found.indices, found.values


def hexadecimal(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
