"""Colours that follow the greys of a picture: neighbours of almost the same grey have almost the same colour.

Colorization using Optimization (Levin, Lischinski and Weiss 2004) spreads a few colours over a grey picture by this.
Here a model has already coloured every pixel, but wrongly where it drew an object that the greys do not show, or an
edge beside the real one. With c_i the chroma of a pixel (what its colour has besides its
luma y_i), the chroma u that is returned minimises

    sum_i |u_i - c_i|^2 + pixels^2 sum_ij exp(-(y_i - y_j)^2 / (2 contrast^2)) |u_i - u_j|^2

over all pairs of neighbours, so that colours even out over about `pixels` in a flat area, and not across an edge.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from ..common.interrupts import check_interrupt

CONTRAST = 0.01
"""Two greys in 0..1 that differ by several times this much are of different things."""
COLOR_SMOOTHING = 8.0
"""Pixels by which the colours of a picture even out by default: a cell of most latents."""
_ITERATIONS = 1000  # at most: it ends where the residual is a hundred-thousandth, which takes longer for more pixels


def smoothed_chroma(chroma: Tensor, luma: Tensor, pixels: float, contrast: float = CONTRAST) -> Tensor:
    """The chroma [3, H, W] of a picture, evened out along its luma [H, W]; with 0 pixels the chroma itself.

    A weighted sum of the channels that is 0 everywhere stays 0 to about 1e-6: all channels are averaged alike.
    """
    from scipy.sparse import diags
    from scipy.sparse.linalg import cg

    if pixels <= 0.0:
        return chroma
    matrix = _matrix(luma.double().cpu(), pixels**2, contrast)
    given = chroma.double().cpu().reshape(3, -1).numpy()
    scale = diags(1.0 / matrix.diagonal())  # Jacobi's preconditioner
    found = [
        cg(matrix, each, x0=each, maxiter=_ITERATIONS, M=scale, callback=lambda _: check_interrupt())[0]
        for each in given
    ]
    return torch.stack([torch.from_numpy(each) for each in found]).reshape(chroma.shape).to(chroma)


def _matrix(luma: Tensor, weight: float, contrast: float) -> Any:
    """1 + the weighted Laplacian of a picture [H, W], as a sparse matrix."""
    from scipy.sparse import diags

    def affinity(dim: int) -> Tensor:
        """Of each pixel and the one after it, [H, W]; 0 for the last."""
        near = weight * (-(luma.diff(dim=dim).square()) / (2.0 * contrast**2)).exp()
        return torch.cat([near, torch.zeros_like(luma.narrow(dim, 0, 1))], dim=dim).flatten()

    width = luma.shape[-1]
    right, below = affinity(1), affinity(0)
    own = 1.0 + right + below + right.roll(1) + below.roll(width)  # rolled in is the last, which is 0
    matrix = diags(own.numpy())
    for near, step in ((right, 1), (below, width)):
        if step < len(near):
            band, offsets = -near[:-step].numpy(), cast(Any, [step, -step])  # the stubs know of one offset only
            matrix = matrix + diags([band, band], offsets)
    return matrix.tocsr()
