"""The last look at an edit: fine detail that it hardly changed is the source's again.

A model that draws a picture again draws its texture again too, and most of what an edit changes in fine detail is that.
Of the difference between the edit and the source, d = l + h, the broad part l (tone, colour, large shapes) stays. The
fine part h is shrunk by the nonnegative garrote (Breiman 1995; Gao 1998 for bands of a picture):

    h max(0, 1 - t^2 / |h|^2),    t = share rms(d)

so that small changes are undone and large ones, such as the outline of what is new, stay as they are. The threshold
goes with the edit as a whole: an edit of the time of day draws all texture again, one of a house nearly none.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def keep_detail(source: Tensor, edited: Tensor, share: float) -> Tensor:
    """The edit with the source's fine detail where it hardly differs from it.

    source, edited: latents [B, C, (T,) h, w]; each picture (video) is judged by itself, frame by frame in space. share:
    of the root mean square difference of both, below which changes of fine detail are undone; 0 gives the edit.
    """
    apart = (edited - source).float()
    broad = _broad(apart)
    fine = apart - broad
    least = share**2 * apart.square().flatten(1).mean(1).reshape(-1, *[1] * (apart.ndim - 1))
    size = fine.square().mean(1, keepdim=True)
    kept = (1.0 - least / size.clamp(min=torch.finfo(size.dtype).tiny)).clamp(min=0.0)
    return (source + broad + kept * fine).to(edited)


def _broad(apart: Tensor) -> Tensor:
    """Means over 3 x 3 cells, twice, of [B, C, (T,) h, w]."""
    flat = apart.movedim(1, 2).flatten(0, 1) if apart.ndim == 5 else apart
    for _ in range(2):
        flat = F.avg_pool2d(flat, 3, 1, 1, count_include_pad=False)
    return flat.reshape(len(apart), -1, *flat.shape[1:]).movedim(1, 2) if apart.ndim == 5 else flat
