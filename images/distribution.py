"""Kernel Inception Distance: how far a batch of pictures is from a target set in a feature space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor


@dataclass(frozen=True)
class Distance:
    """An unbiased estimate, which can be slightly below 0 for equal distributions, and its standard error."""

    value: float
    standard_error: float


def kernel_distance(features: Tensor, reference: Tensor) -> Distance:
    """KID (Binkowski et al. 2018): unbiased MMD^2 with the kernel (x.y / d + 1)^3 between [N, D] and [M, D] features.

    The standard error is that of the two-sample jackknife, with exact deletion by row sums; NaN for fewer than 3
    pictures on a side.
    Raises ValueError for fewer than 2 pictures on a side or different feature widths.
    """
    x, y = (f.detach().double().cpu().flatten(1).numpy() for f in (features, reference))
    if min(len(x), len(y)) < 2:
        raise ValueError(
            f"A distance between distributions needs at least 2 pictures on each side, got {len(x)} and {len(y)}: "
            "give batches (50 or more for a small standard error)."
        )
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"The features are {x.shape[1]} and {y.shape[1]} wide: take both from the same network.")
    xx, yy, xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    np.fill_diagonal(xx, 0.0)
    np.fill_diagonal(yy, 0.0)
    value = _mmd2(xx.sum(), yy.sum(), xy.sum(), len(x), len(y))
    error = math.nan
    if min(len(x), len(y)) > 2:
        without_x = _mmd2(xx.sum() - 2 * xx.sum(1), yy.sum(), xy.sum() - xy.sum(1), len(x) - 1, len(y))
        without_y = _mmd2(xx.sum(), yy.sum() - 2 * yy.sum(1), xy.sum() - xy.sum(0), len(x), len(y) - 1)
        error = math.sqrt(sum((len(w) - 1) * np.var(w) for w in (without_x, without_y)))
    return Distance(float(value), error)


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _mmd2(xx: np.ndarray, yy: np.ndarray, xy: np.ndarray, n: int, m: int) -> np.ndarray:
    """Unbiased MMD^2 from the sums of the kernel blocks without their diagonals."""
    return xx / (n * (n - 1)) + yy / (m * (m - 1)) - 2.0 * xy / (n * m)
