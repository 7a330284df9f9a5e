"""Growing, shrinking and feathering masks by a number of pixels. 1 = edit everywhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def grow(mask: Tensor, pixels: int) -> Tensor:
    """Move the border of [B, H, W] outwards by `pixels` (inwards where negative); soft values move with it.

    The picture's own edge is no border: a mask that touches it does not shrink there.
    """
    if pixels < 0:
        return -grow(-mask, -pixels)
    for step in range(pixels):
        mask = _dilate(mask, step)
    return mask


def feather(mask: Tensor, pixels: int) -> Tensor:
    """Add a soft border `pixels` wide outside the mask, falling to 0 in equal steps; inside it where negative.

    At k pixels from the mask the value is 1 - k / (pixels + 1) of the value it comes from. Outside, what was masked
    stays as it was; inside, what was free (0) stays free.
    """
    if pixels < 0:
        return 1.0 - feather(1.0 - mask, -pixels)
    result, reached = mask, mask
    for step in range(pixels):
        reached = _dilate(reached, step)
        result = torch.maximum(result, reached * (1.0 - (step + 1) / (pixels + 1)))
    return result


def _dilate(mask: Tensor, step: int) -> Tensor:
    """Grow by one pixel; a cross and a square by turns make an octagon, close to a circle."""
    mask = mask.unsqueeze(1)
    if step % 2:
        grown = F.max_pool2d(mask, 3, 1, 1)
    else:
        grown = torch.maximum(F.max_pool2d(mask, (3, 1), 1, (1, 0)), F.max_pool2d(mask, (1, 3), 1, (0, 1)))
    return grown.squeeze(1)
