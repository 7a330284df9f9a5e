"""The last look at an edit: fine detail that it hardly changed is the source's again.

A model that draws a picture again draws its texture again too, and most of what an edit changes in fine detail is that.
Of the difference between the edit and the source, d = l + h, the broad part l (tone, colour, large shapes) stays. The
fine part h is shrunk by the nonnegative garrote (Breiman 1995; Gao 1998 for bands of a picture):

    h max(0, 1 - t^2 / |h|^2),    t = share rms(d) r,    r = min(E_source, E_edit) / max(E_source, E_edit)

so that small changes are undone and large ones, such as the outline of what is new, stay as they are; |h| is the root
mean square over the channels of a cell, rms(d) that over the whole picture. So the threshold goes with the edit as a
whole: an edit of the time of day draws all texture again, one of a house little of the picture's. And it goes down
where the two pictures do not have as much fine detail (E, its mean square nearby) as one another: there something came
or went, as a sun in a sky, and no shadow of it should come back.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_FINE, _NEARBY = 3, 5  # cells across, of the filter that leaves the broad part, and of what counts as nearby


def keep_detail(source: Tensor, edited: Tensor, share: float) -> Tensor:
    """The edit with the source's fine detail where it hardly differs from it.

    source, edited: latents [B, C, (T,) h, w]; each picture (video) is judged by itself, frame by frame in space. share:
    of the root mean square difference of both, below which changes of fine detail are undone; 0 gives the edit.
    """
    apart = edited.float() - source.float()
    fine = _fine(apart)
    detail = [_mean(_fine(each.float()).square().mean(1, keepdim=True), _NEARBY) for each in (source, edited)]
    alike = torch.minimum(*detail) / torch.maximum(*detail).clamp(min=torch.finfo(torch.float32).tiny)
    change = apart.square().flatten(1).mean(1).reshape(-1, *[1] * (apart.ndim - 1))
    size = fine.square().mean(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    undone = ((share * alike) ** 2 * change / size).clamp(max=1.0)
    return (edited - undone * fine).to(edited)


def _fine(latent: Tensor) -> Tensor:
    """What the mean over a cell and those beside it leaves out."""
    return latent - _mean(latent, _FINE)


def _mean(latent: Tensor, cells: int) -> Tensor:
    """Means over `cells` x `cells` of [B, C, (T,) h, w]."""
    flat = latent.movedim(1, 2).flatten(0, 1) if latent.ndim == 5 else latent
    flat = F.avg_pool2d(flat, cells, 1, cells // 2, count_include_pad=False)
    return flat.reshape(len(latent), -1, *flat.shape[1:]).movedim(1, 2) if latent.ndim == 5 else flat
