"""Kernels of blurs [k, k'], with odd sides and the sum 1."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..common import limits


def gaussian(sigma: float) -> Tensor:
    """A Gaussian of a standard deviation in pixels, cut off at three of them; sigma 0 is no blur."""
    reach = math.ceil(3.0 * sigma)
    places = torch.arange(-reach, reach + 1, dtype=torch.float64)
    line = torch.exp(-0.5 * (places / max(sigma, 1e-6)) ** 2)
    return _normalised(line[:, None] * line)


def motion(length: float, angle: float) -> Tensor:
    """A straight movement of `length` pixels at an angle in degrees, 0 = sideways and 90 = upwards.

    The coverage of each pixel by a line one pixel wide.
    """
    reach = math.ceil(length / 2)
    y, x = torch.meshgrid(*[torch.arange(-reach, reach + 1, dtype=torch.float64)] * 2, indexing="ij")
    cos, sin = math.cos(math.radians(angle)), -math.sin(math.radians(angle))
    along, across = x * cos + y * sin, y * cos - x * sin
    covered = ((length + 1.0) / 2 - along.abs()).clamp(0.0, 1.0) * (1.0 - across.abs()).clamp_min(0.0)
    return _normalised(covered)


def of_picture(image: Tensor) -> Tensor:
    """A picture [1, k, k', C] of a point as the blur shows it, light on black. Even sides get a black row more.

    Raises ValueError for a batch, a picture larger than the limit, or one that is black all over.
    """
    count, height, width = image.shape[:3]
    if count != 1 or max(height, width) > limits.KERNEL_SIDE:
        raise ValueError(
            f"The kernel is {count} pictures of {width} x {height}: connect a single one of {limits.KERNEL_SIDE} "
            "pixels or less a side, a point as the blur shows it."
        )
    plane = image[0, ..., :3].double().mean(dim=-1).clamp_min(0.0)
    if not bool(torch.isfinite(plane).all()) or float(plane.sum()) <= 0.0:
        raise ValueError("The kernel is black all over, or not finite: connect a light point, as the blur shows it.")
    plane = torch.nn.functional.pad(plane, (0, 1 - width % 2, 0, 1 - height % 2))
    return _normalised(plane)


def _normalised(kernel: Tensor) -> Tensor:
    return (kernel / kernel.sum()).float()
