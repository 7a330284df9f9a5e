"""Crude animations, as guides for SDEdit in time: a cut-out dragged over a picture, or a camera moved before it.

Singer et al., Time-to-Move (ICLR 2026): an animation made by hand is noised and given to a video model, less where it
is meant seriously than elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.interrupts import check_interrupt
from ..common.memory import check_memory
from .morphology import grow
from .poses import Pose

Hole = Literal["nearest", "blurred"]
HOLES: tuple[Hole, ...] = ("nearest", "blurred")
_RIM = 2
"""Pixels by which a hole is larger than its cut-out, whose soft outline still shows it."""
_BLUR = 1 / 48
"""Standard deviation of `blurred`, as a share of the longer side."""
_ROUNDS = 16
_STILL = Pose()


@dataclass(frozen=True)
class Animation:
    """Frames [N, H, W, 3], and where each shows what was moved, [N, H, W]."""

    frames: Tensor
    mask: Tensor


def drag(image: Tensor, mask: Tensor, moves: Sequence[Pose], behind: Tensor) -> Animation:
    """A cut-out moved over what is behind it.

    image [H, W, 3], mask [H, W] (1 = the cut-out), behind [1 or N, H, W, 3], one pose per frame. It turns and grows
    about the middle of the cut-out. Over a single picture, frames in which nothing has moved are the image itself.
    Raises ValueError for an empty mask.
    """
    if not bool((mask > 0).any()):
        raise ValueError("The mask is empty, so there is nothing to drag: mark what should move with 1.")
    _check_size(image, len(moves))
    inside = mask.nonzero().float()
    centre = ((inside.amin(dim=0) + inside.amax(dim=0)) / 2).flip(0)  # (x, y)
    layer = torch.cat((image * mask.unsqueeze(-1), mask.unsqueeze(-1)), dim=-1)  # premultiplied, so that no rim shows
    frames, masks = [], []
    for pose, ground in zip(moves, behind.expand(len(moves), -1, -1, -1), strict=True):
        check_interrupt()
        if pose == _STILL and len(behind) == 1:
            frames.append(image)
            masks.append(mask)
            continue
        moved = sample(layer, _sources((image.shape[0], image.shape[1]), pose, centre), "zeros")
        alpha = moved[..., 3:]
        frames.append(torch.where(alpha > 0, moved[..., :3] + (1 - alpha) * ground, ground))
        masks.append(alpha[..., 0])
    return Animation(torch.stack(frames), torch.stack(masks).clamp(0, 1))


def camera(image: Tensor, moves: Sequence[Pose], nearness: Tensor | None = None) -> Animation:
    """The picture as a camera sees it that moves before it; the mask is 0 where the picture has nothing to show.

    image [H, W, 3]; the picture moves, turns and grows about its middle by each pose. nearness [H, W], 0 = farthest
    and 1 = nearest: what is near moves and grows by the whole pose, what is far by its share, and hides behind it.
    What no pixel shows takes the nearest one that is shown.
    """
    _check_size(image, len(moves))
    height, width = image.shape[:2]
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    frames, masks = [], []
    for pose in moves:
        check_interrupt()
        if pose == _STILL:
            frames.append(image)
            masks.append(torch.ones(height, width))
            continue
        sources, seen = _seen_through(pose, centre, nearness, (height, width))
        frames.append(fill_hole(sample(image, sources, "border"), ~seen, "nearest"))
        masks.append(seen.float())
    return Animation(torch.stack(frames), torch.stack(masks))


def fill_hole(image: Tensor, hole: Tensor, how: Hole) -> Tensor:
    """The picture [H, W, 3] with its hole [H, W] (true inside) filled from around it.

    nearest: each pixel is the nearest one outside. blurred: that, with a Gaussian blur. A hole of the whole picture is
    left as it is.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    inside = hole.numpy()
    if not inside.any() or inside.all():
        return image
    nearest: Any = distance_transform_edt(inside, return_distances=False, return_indices=True)
    filled = image.numpy()[tuple(nearest)]
    if how == "blurred":
        spread = _BLUR * max(image.shape[:2])
        filled = gaussian_filter(filled, (spread, spread, 0), mode="nearest")
    return torch.where(hole.unsqueeze(-1), torch.from_numpy(np.ascontiguousarray(filled)), image)


def without(image: Tensor, mask: Tensor, how: Hole) -> Tensor:
    """The picture [H, W, 3] without its cut-out [H, W]: the hole and a narrow rim of it are filled."""
    return fill_hole(image, grow((mask > 0).float()[None], _RIM)[0] > 0, how)


def sample(picture: Tensor, sources: Tensor, outside: Literal["zeros", "border"]) -> Tensor:
    """A picture [H, W, C] at the pixel positions (x, y) of `sources` [H, W, 2], bilinear."""
    height, width = picture.shape[:2]
    grid = (2 * sources + 1) / torch.tensor([width, height]) - 1
    found = F.grid_sample(picture.permute(2, 0, 1)[None], grid[None], "bilinear", outside, align_corners=False)
    return found[0].permute(1, 2, 0)


def _pixels(size: tuple[int, int]) -> Tensor:
    """The positions (x, y) of all pixels, [H, W, 2]."""
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return torch.stack((columns, rows), dim=-1).float()


def _rotation(degrees: float) -> Tensor:
    """Turns (x, y), with y downwards, clockwise; [2, 2] for row vectors."""
    angle = torch.deg2rad(torch.tensor(degrees))
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack((torch.stack((cos, sin)), torch.stack((-sin, cos))))


def _sources(size: tuple[int, int], pose: Pose, centre: Tensor, share: Tensor | float = 1.0) -> Tensor:
    """Where each pixel of a frame comes from under `share` of a pose's movement and growth, [H, W, 2]."""
    moved = torch.tensor([pose.right, pose.down]) * share
    return (_pixels(size) - centre - moved) @ _rotation(-pose.turn) / pose.scale**share + centre


def _seen_through(pose: Pose, centre: Tensor, nearness: Tensor | None, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where each pixel of a frame comes from [H, W, 2], and whether it does [H, W].

    With a nearness the source is where the pixel that lies there is moved to this place: a fixed point, started from
    the nearest layer so that what is near hides what is far.
    """
    edge = torch.tensor([size[1] - 0.5, size[0] - 0.5])
    sources = _sources(size, pose, centre)
    missed = torch.zeros(size)
    if nearness is not None:
        for _ in range(_ROUNDS):
            previous = sources
            sources = _sources(size, pose, centre, sample(nearness[..., None], previous, "border"))
        missed = (sources - previous).norm(dim=-1)
    return sources, ((sources >= -0.5) & (sources <= edge)).all(dim=-1) & (missed < 1)


def _check_size(image: Tensor, frames: int) -> None:
    check_memory(
        4 * 8 * frames * image.shape[0] * image.shape[1],
        f"An animation of {frames} frames of {image.shape[1]} x {image.shape[0]} pixels",
        "use fewer frames or a smaller picture",
    )
