"""Where the picture's tokens lie in what the blocks of a network give out, found by marking the picture.

A transformer's block works on a sequence of tokens, of which only some are the picture's: others are text, registers,
padding, references or sound. Attention alone carries anything from one token to another, so with attention muted the
tokens that change with the picture are the picture's own. A second mark in random patches then proves their order:
row by row, frame by frame. Where attention cannot be muted, the input of the list's first block shows the same, since
tokens keep their place from block to block.

That is three muted calls of the network, up to the last block of interest, for each shape of its arguments.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves

from ..samplers.caching import without_cache_wrappers
from ..samplers.noise import drawn_again

_PATCHES = (1, 2, 4, 8, 16, 32, 64)
_FRAMES_PER_PATCH = (1, 2)
_SUMMARY = 8  # numbers that stand for a token's channels: what is compared must not fill the memory
_CHANGED, _LEAST = 0.05, 1e-3  # of the largest relative change in a tensor, and of a token: less is rounding
_SEED = 0x6D61726B7321  # no seed of a run, whose noise would be its own mark
_FEWEST = 4  # tokens of a picture
_MISTAKEN = 0.02  # share of the tokens that may look otherwise, as outliers do in real weights

Grid = tuple[int, int, int]
"""Frames, rows and columns of tokens."""


class Enough(BaseException):
    """Ends a model call once every tap has been read. Not an Exception, so that no handler on the way catches it."""


@dataclass(frozen=True)
class Call:
    """What is known of a model call: pictures or videos in its batch, and the latent's size and frames."""

    batch: int
    height: int
    width: int
    frames: int = 1

    @classmethod
    def of(cls, arguments: tuple[Any, ...]) -> Call:
        """The call with these positional arguments of the network."""
        x = latent_of(arguments)
        return cls(int(x.shape[0]), int(x.shape[-2]), int(x.shape[-1]), int(x.shape[2]) if x.ndim == 5 else 1)


@dataclass(frozen=True)
class Place:
    """Where the picture's tokens lie in a block's output.

    member: number of the tensor among those of the output. batch_axis: its axis of batch items where these are not the
    outermost (None). start, length: the first of the picture's tokens, and the length of the whole sequence
    of one item. grid: how the picture's tokens are arranged.
    """

    member: int
    batch_axis: int | None
    start: int
    length: int
    grid: Grid

    def picture(self, output: Any, call: Call) -> Tensor:
        """The picture's part of a block's output, as pictures [B * frames, C, h, w].

        Raises ValueError where the output is not arranged as it was when the place was found.
        """
        tokens = _tokens(tree_leaves(output)[self.member], self.batch_axis, call.batch)
        frames, height, width = self.grid
        count = frames * height * width
        length, start = tokens.shape[1], self.start
        if length != self.length and self.start + count == self.length:  # a prompt in front may be kept elsewhere
            start = length - count
        elif length != self.length:
            start = -1
        if start < 0:
            raise ValueError(
                f"A block of this model gave {length} tokens where it had given {self.length}, so edge predictors "
                "cannot tell which are the picture's: use the model without the nodes that change its blocks."
            )
        picture = tokens[:, start : start + count].unflatten(1, self.grid)
        if frames < call.frames:  # patches of several frames
            picture = picture.repeat_interleave(-(-call.frames // frames), dim=1)[:, : call.frames]
        return picture.flatten(0, 1).movedim(-1, 1)


def latent_of(arguments: tuple[Any, ...]) -> Tensor:
    """The latent [B, C, (T,) h, w] in a network's positional arguments: the video, where there is sound too."""
    return arguments[0] if isinstance(arguments[0], Tensor) else arguments[0][0]


def signature_of(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the places in a call depend on: shapes of tensors and whole numbers, in order."""
    given = {name: value for name, value in keywords.items() if name != "transformer_options"}
    leaves, _ = tree_flatten((arguments, given))
    return tuple(tuple(leaf.shape) if isinstance(leaf, Tensor) else leaf if isinstance(leaf, int) else None
                 for leaf in leaves)  # fmt: skip


@torch.no_grad()
def find_places(
    network: nn.Module, blocks: Mapping[str, nn.Module], first: Mapping[str, nn.Module], arguments: tuple[Any, ...],
    keywords: Mapping[str, Any], stop: bool = True,
) -> dict[str, Place | None]:  # fmt: skip
    """The place of the picture in the output of each block, for a call of the network with these arguments.

    first: the first block of each block's list. stop: end the calls after the last block. None stands for a block that
    is not called, has nothing of the picture, or has it in another order. Calls the network three times without
    gradients; its own attributes and PyTorch's generators are as before afterwards.
    """
    call, x = Call.of(arguments), latent_of(arguments)

    def seen(marked: Tensor) -> _Seen:
        return _called(network, blocks, first, _with_latent(arguments, marked), keywords, stop)

    generator = torch.Generator().manual_seed(_SEED)
    other = torch.randn(x.shape, generator=generator).to(x) * _scale(x)
    base, whole = seen(x), seen(other)
    found = {name: list(_candidates(base, whole, name, call)) for name in blocks}
    patches = {each.patch for candidates in found.values() for each in candidates}
    if not patches:
        return dict.fromkeys(blocks)
    mark = _random_patches(call, max(frames for frames, _ in patches), max(side for _, side in patches), generator)
    area = mark.to(x.device)[:, None]  # [B, 1, T, h, w]
    partly = seen(torch.where(area if x.ndim == 5 else area[:, :, 0], other, x))
    proven: dict[str, Place | None] = {}
    for name, candidates in found.items():
        proven[name] = next((each.place for each in candidates if each.in_order(base, partly, call, mark)), None)
    return proven


# ---- calls ---------------------------------------------------------------------------------------------------------
_Summaries = list["Tensor | None"]


@dataclass
class _Seen:
    """Summaries of the tensors that blocks gave out, and of those given to the first blocks of their lists, by name."""

    outputs: dict[str, _Summaries]
    inputs: dict[str, _Summaries]


def _called(
    network: nn.Module, blocks: Mapping[str, nn.Module], first: Mapping[str, nn.Module], arguments: tuple[Any, ...],
    keywords: Mapping[str, Any], stop: bool,
) -> _Seen:  # fmt: skip
    """One call with muted attention."""
    outputs: dict[str, _Summaries] = {}
    inputs: dict[int, _Summaries] = {}

    def before(key: int) -> Callable[..., None]:
        def listen(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            rest = {name: value for name, value in named.items() if name != "transformer_options"}
            inputs.setdefault(key, [_summary(leaf) for leaf in tree_leaves((given, rest))])

        return listen

    def after(name: str) -> Callable[..., None]:
        def listen(_: nn.Module, __: Any, output: Any) -> None:
            outputs.setdefault(name, [_summary(leaf) for leaf in tree_leaves(output)])
            if stop and len(outputs) == len(blocks):
                raise Enough

        return listen

    options = without_cache_wrappers(keywords.get("transformer_options") or {})
    options = {**options, "optimized_attention_override": _muted}
    with contextlib.ExitStack() as undo, contextlib.suppress(Enough):
        for key, module in {id(module): module for module in first.values()}.items():
            undo.callback(module.register_forward_pre_hook(before(key), with_kwargs=True).remove)
        for name, module in blocks.items():
            undo.callback(module.register_forward_hook(after(name)).remove)
        undo.enter_context(_unchanged(network))
        undo.enter_context(drawn_again(latent_of(arguments).device))
        network(*arguments, **{**keywords, "transformer_options": options})
    return _Seen(outputs, {name: inputs.get(id(module), []) for name, module in first.items()})


@contextlib.contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """Puts back the network's own attributes: some keep what they computed of a prompt for the next call."""
    attributes = vars(network)
    before = dict(attributes)
    try:
        yield
    finally:
        for name in attributes.keys() - before.keys():
            del attributes[name]
        attributes.update(before)


def _muted(
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


def _summary(leaf: Any) -> Tensor | None:
    """A few numbers for each token of a tensor [..., C]: random sums over its channels. None for anything else."""
    if not isinstance(leaf, Tensor) or leaf.ndim < 2 or not leaf.numel() or not leaf.is_floating_point():
        return None
    generator = torch.Generator().manual_seed(leaf.shape[-1])
    sums = torch.randn(leaf.shape[-1], _SUMMARY, generator=generator) / leaf.shape[-1] ** 0.5
    leaf = leaf.float() if leaf.element_size() < 2 else leaf
    return (leaf @ sums.to(leaf)).float()


def _with_latent(arguments: tuple[Any, ...], latent: Tensor) -> tuple[Any, ...]:
    given = arguments[0]
    return (latent if isinstance(given, Tensor) else type(given)([latent, *given[1:]]), *arguments[1:])


def _scale(x: Tensor) -> float:
    deviation = float(x.float().std())
    return deviation if deviation > 0 else 1.0


# ---- what the marks show -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Candidate:
    """Where the picture may be. patch: frames and side that one token stands for. name, part, number: what shows it."""

    place: Place
    patch: tuple[int, int]
    name: str
    part: str
    number: int

    def in_order(self, base: _Seen, partly: _Seen, call: Call, mark: Tensor) -> bool:
        """Whether exactly the tokens of the patches that were marked [B, T, h, w] have changed."""
        place, (frames, side) = self.place, self.patch
        one, other = (getattr(seen, self.part)[self.name][self.number] for seen in (base, partly))
        changed = _changed(one, other, place.batch_axis, call.batch)
        own = slice(place.start, place.start + math.prod(place.grid))
        wanted = mark[:, ::frames, ::side, ::side]
        # A patch over the edge may be filled up from anywhere in the picture.
        whole = torch.zeros(place.grid, dtype=torch.bool)
        whole[: call.frames // frames, : call.height // side, : call.width // side] = True
        wrong = (changed[:, own] != wanted.flatten(1)) & whole.flatten()
        changed[:, own] = False
        return _few(wrong) and _few(changed)


def _candidates(base: _Seen, whole: _Seen, name: str, call: Call) -> Iterator[_Candidate]:
    """Where the tensors that a block gives out, or else those given to the first of its list, show one picture."""
    shapes = [None if one is None else one.shape for one in base.outputs.get(name, [])]
    for part in ("outputs", "inputs"):
        pairs = zip(getattr(base, part).get(name, []), getattr(whole, part).get(name, []), strict=False)
        for number, (one, other) in enumerate(pairs):
            if one is None or other is None or one.shape != other.shape:
                continue
            if part == "outputs":
                member = number
            elif shapes.count(one.shape) == 1:  # the output that can be this input, changed
                member = shapes.index(one.shape)
            else:
                continue
            for axis in _batch_axes(one, call.batch):
                changed = _changed(one, other, axis, call.batch)
                for start, patch, grid in _spans(changed, call):
                    yield _Candidate(Place(member, axis, start, changed.shape[1], grid), patch, name, part, number)


def _batch_axes(tensor: Tensor, batch: int) -> list[int | None]:
    """The axes on which a tensor [..., C] may hold the batch, as `Place.batch_axis`."""
    outermost: list[int | None] = [] if math.prod(tensor.shape[:-1]) % batch else [None]
    return outermost + [axis for axis in range(1, tensor.ndim - 1) if tensor.shape[axis] == batch > 1]


def _tokens(tensor: Tensor, batch_axis: int | None, batch: int) -> Tensor:
    """[B, tokens, C]"""
    if batch_axis is None:
        return tensor.flatten(0, -2).unflatten(0, (batch, -1))
    return tensor.movedim(batch_axis, 0).flatten(1, -2)


def _changed(one: Tensor, other: Tensor, batch_axis: int | None, batch: int) -> Tensor:
    """Which tokens differ [B, tokens], on the CPU."""
    one, other = _tokens(one, batch_axis, batch), _tokens(other, batch_axis, batch)
    change = (one - other).norm(dim=-1) / (one.norm(dim=-1) + other.norm(dim=-1)).clamp_min(1e-12)
    return (change > max(_LEAST, _CHANGED * float(change.nan_to_num(0.0).max()))).cpu()


def _spans(changed: Tensor, call: Call) -> Iterator[tuple[int, tuple[int, int], Grid]]:
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


def _random_patches(call: Call, frames: int, side: int, generator: torch.Generator) -> Tensor:
    """A mark [B, T, h, w] of about half of the patches of this size."""
    grid = (call.batch, -(-call.frames // frames), -(-call.height // side), -(-call.width // side))
    mark = torch.rand(grid, generator=generator).flatten(1)
    mark = (mark > mark.median(dim=1, keepdim=True).values).reshape(grid)
    for axis, times in ((1, frames), (2, side), (3, side)):
        mark = mark.repeat_interleave(times, dim=axis)
    return mark[:, : call.frames, : call.height, : call.width]


def _few(wrong: Tensor) -> bool:
    return float(wrong.float().mean()) <= _MISTAKEN
