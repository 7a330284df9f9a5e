"""Growing, shrinking and feathering masks by a number of pixels. 1 = edit everywhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.interrupts import check_interrupt, interruptible


def grow(mask: Tensor, pixels: int) -> Tensor:
    """Move the border of [B, H, W] outwards by `pixels` (inwards if negative); soft values move with it.

    The edge of the picture does not count as a border: a mask that touches it does not shrink there. A pixel grows
    into the octagon that results from alternating a cross and a square, which is the sum of a diamond and a square.
    Both are built by doubling, so the cost rises with the logarithm of `pixels`.
    """
    if pixels < 0:
        return -grow(-mask, -pixels)
    if pixels == 0:
        return mask
    square = pixels // 2
    height, width = mask.shape[-2:]
    # A large step may reach beyond the picture.
    grown = F.pad(mask, (pixels,) * 4, value=-torch.inf)
    reach = 0
    while reach < square:
        step = min(2 * reach + 1, square - reach)
        for axis in (1, 2):
            grown = _spread(grown, step, (axis,))
        reach += step
    reach, diamond = 0, pixels - square
    while reach < diamond:
        step = min(max(reach, 1), diamond - reach)
        grown = _spread(grown, step, (1, 2))
        reach += step
    return grown[:, pixels : pixels + height, pixels : pixels + width].contiguous()


def _spread(mask: Tensor, step: int, axes: tuple[int, ...]) -> Tensor:
    """The maximum of each value and of those `step` before and after it along each of the axes."""
    check_interrupt()
    size, result = mask.shape, mask.clone()
    for axis in axes:
        length = size[axis] - step
        ahead, behind = result.narrow(axis, step, length), result.narrow(axis, 0, length)
        torch.maximum(ahead, mask.narrow(axis, 0, length), out=ahead)
        torch.maximum(behind, mask.narrow(axis, step, length), out=behind)
    return result


def feather(mask: Tensor, pixels: int) -> Tensor:
    """Add a soft border `pixels` wide outside the mask, falling to 0 in equal steps; inside it if negative.

    At k pixels from the mask, the value is 1 - k / (pixels + 1) times the value at the border. A border outside leaves
    the masked area unchanged; a border inside leaves the unmasked area (0) unchanged.
    """
    if pixels < 0:
        return 1.0 - feather(1.0 - mask, -pixels)
    result, reached = mask, mask
    for step in interruptible(range(pixels)):
        reached = _dilate(reached, step)
        result = torch.maximum(result, reached * (1.0 - (step + 1) / (pixels + 1)))
    return result


def _dilate(mask: Tensor, step: int) -> Tensor:
    """Grow by one pixel; alternating a cross and a square gives an octagon, which is close to a circle."""
    mask = mask.unsqueeze(1)
    if step % 2:
        grown = F.max_pool2d(mask, 3, 1, 1)
    else:
        grown = torch.maximum(F.max_pool2d(mask, (3, 1), 1, (1, 0)), F.max_pool2d(mask, (1, 3), 1, (0, 1)))
    return grown.squeeze(1)
