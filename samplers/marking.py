"""Which tokens of a transformer are the picture's, found by marking the picture.

Attention alone carries anything from one token to another, so with attention muted the tokens that change with the
picture are the picture's own; a second mark in random patches proves that they are arranged row by row and frame by
frame. `lep/places.py` looks so at what blocks give out, `mdp/token_places.py` at what attention takes in.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

_PATCHES = (1, 2, 4, 8, 16, 32, 64)
_FRAMES_PER_PATCH = (1, 2)
_SUMMARY = 8  # numbers that stand for a token's channels: what is compared must not fill the memory
_CHANGED, _LEAST = 0.05, 1e-3  # of the largest relative change in a tensor, and of a token: less is rounding
_SEED = 0x6D61726B7321  # no seed of a run, whose noise would be its own mark
_FEWEST = 4  # tokens of a picture
_MISTAKEN = 0.02  # share of the tokens that may look otherwise, as outliers do in real weights

Grid = tuple[int, int, int]
"""Frames, rows and columns of tokens."""


@dataclass(frozen=True)
class Call:
    """What is known of a model call: pictures or videos in its batch, and the latent's size and frames."""

    batch: int
    height: int
    width: int
    frames: int = 1

    @classmethod
    def on(cls, x: Tensor) -> Call:
        """A call with the latent x [B, C, (T,) h, w]."""
        return cls(int(x.shape[0]), int(x.shape[-2]), int(x.shape[-1]), int(x.shape[2]) if x.ndim == 5 else 1)


@contextlib.contextmanager
def unchanged(network: nn.Module) -> Iterator[None]:
    """Puts back the network's own attributes: some keep what they computed of a prompt for the next call."""
    attributes = vars(network)
    before = dict(attributes)
    try:
        yield
    finally:
        for name in attributes.keys() - before.keys():
            del attributes[name]
        attributes.update(before)


def muted(
    _: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None, attn_precision: Any = None,
    skip_reshape: bool = False, skip_output_reshape: bool = False, **more: Any,
) -> Tensor:  # fmt: skip
    """Zeros in the place of ComfyUI's attention."""
    if skip_reshape:  # [B, heads, tokens, d]
        shape = (q.shape[0], heads, q.shape[-2], v.shape[-1])
    else:
        like = q if more.get("enable_gqa") else v
        shape = (q.shape[0], heads, q.shape[1], math.prod(like.shape[2:]) // heads)
    zeros = q.new_zeros(shape)
    return zeros if skip_output_reshape else zeros.transpose(1, 2).flatten(2)


def summary(leaf: Any) -> Tensor | None:
    """A few numbers for each token of a tensor [..., C]: random sums over its channels. None for anything else."""
    if not isinstance(leaf, Tensor) or leaf.ndim < 2 or not leaf.numel() or not leaf.is_floating_point():
        return None
    generator = torch.Generator().manual_seed(leaf.shape[-1])
    sums = torch.randn(leaf.shape[-1], _SUMMARY, generator=generator) / leaf.shape[-1] ** 0.5
    leaf = leaf.float() if leaf.element_size() < 2 else leaf
    return (leaf @ sums.to(leaf)).float()


def signature(given: Any) -> tuple[Any, ...]:
    """What the places in a call with these arguments depend on: shapes of tensors and whole numbers, in order."""
    return tuple(tuple(leaf.shape) if isinstance(leaf, Tensor) else leaf if isinstance(leaf, int) else None
                 for leaf in tree_leaves(given))  # fmt: skip


def another_like(x: Tensor) -> tuple[Tensor, torch.Generator]:
    """A random latent of the scale of x, always the same one, and the generator to go on with."""
    generator, deviation = torch.Generator().manual_seed(_SEED), float(x.float().std())
    other = torch.randn(x.shape, generator=generator).to(x)
    return other * (deviation if deviation > 0 else 1.0), generator


def tokens_of(tensor: Tensor, batch_axis: int | None, batch: int) -> Tensor:
    """[B, tokens, C]"""
    if batch_axis is None:
        return tensor.flatten(0, -2).unflatten(0, (batch, -1))
    return tensor.movedim(batch_axis, 0).flatten(1, -2)


def changed_tokens(one: Tensor, other: Tensor, batch_axis: int | None, batch: int) -> Tensor:
    """Which tokens differ [B, tokens], on the CPU."""
    one, other = tokens_of(one, batch_axis, batch), tokens_of(other, batch_axis, batch)
    change = (one - other).norm(dim=-1) / (one.norm(dim=-1) + other.norm(dim=-1)).clamp_min(1e-12)
    return (change > max(_LEAST, _CHANGED * float(change.nan_to_num(0.0).max()))).cpu()


def spans(changed: Tensor, call: Call) -> Iterator[tuple[int, tuple[int, int], Grid]]:
    """First token, patch (frames, side) and arrangement of the pictures that the changed tokens [B, tokens] may be."""
    places = changed.all(dim=0).nonzero().flatten().tolist()
    count = places[-1] - places[0] + 1 if places else 0
    if count < _FEWEST:
        return
    for frames in _FRAMES_PER_PATCH[: call.frames]:
        for side in _PATCHES:
            grid = (-(-call.frames // frames), -(-call.height // side), -(-call.width // side))
            if math.prod(grid) == count:
                yield places[0], (frames, side), grid
                break


def random_patches(call: Call, patches: Iterable[tuple[int, int]], generator: torch.Generator) -> Tensor:
    """A mark [B, T, h, w] of about half of the largest of these patches (frames, side)."""
    frames, side = (max(sizes) for sizes in zip(*patches, strict=True))
    grid = (call.batch, -(-call.frames // frames), -(-call.height // side), -(-call.width // side))
    mark = torch.rand(grid, generator=generator).flatten(1)
    mark = (mark > mark.median(dim=1, keepdim=True).values).reshape(grid)
    for axis, times in ((1, frames), (2, side), (3, side)):
        mark = mark.repeat_interleave(times, dim=axis)
    return mark[:, : call.frames, : call.height, : call.width]


def marked(x: Tensor, other: Tensor, mark: Tensor) -> Tensor:
    """The latent x [B, C, (T,) h, w] with the values of another in the patches of a mark [B, T, h, w]."""
    area = mark.to(x.device)[:, None]
    return torch.where(area if x.ndim == 5 else area[:, :, 0], other, x)


def in_order(changed: Tensor, start: int, patch: tuple[int, int], grid: Grid, call: Call, mark: Tensor) -> bool:
    """Whether the tokens [B, tokens] that have changed are those of the patches that were marked [B, T, h, w]."""
    frames, side = patch
    own = slice(start, start + math.prod(grid))
    wanted = mark[:, ::frames, ::side, ::side]
    # A patch over the edge may be filled up from anywhere in the picture.
    whole = torch.zeros(grid, dtype=torch.bool)
    whole[: call.frames // frames, : call.height // side, : call.width // side] = True
    wrong = (changed[:, own] != wanted.flatten(1)) & whole.flatten()
    others = changed.clone()
    others[:, own] = False
    return _few(wrong) and _few(others)


def _few(wrong: Tensor) -> bool:
    return float(wrong.float().mean()) <= _MISTAKEN
