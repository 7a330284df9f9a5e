"""Where the picture's tokens lie in what the blocks of a network give out, found by marking the picture.

A transformer's block works on a sequence of tokens, of which only some are the picture's: others are text, registers,
padding, references or sound. With attention muted, those that change with the picture are its own
(`samplers/marking.py`). Where attention cannot be muted, the input of the list's first block shows the same, since
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
from torch.utils._pytree import tree_leaves

from ..samplers.caching import without_cache_wrappers
from ..samplers.marking import (
    Call,
    Grid,
    another_like,
    changed_tokens,
    in_order,
    marked,
    muted,
    random_patches,
    signature,
    spans,
    summary,
    tokens_of,
    unchanged,
)
from ..samplers.noise import drawn_again


class Enough(BaseException):
    """Ends a model call once every tap has been read. Not an Exception, so that no handler on the way catches it."""


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
        tokens = tokens_of(tree_leaves(output)[self.member], self.batch_axis, call.batch)
        frames, height, width = self.grid
        count = frames * height * width
        length, start = tokens.shape[1], self.start
        if length != self.length and self.start + count == self.length:  # a prompt in front may be kept elsewhere
            start = length - count
        elif length != self.length:
            start = -1
        if start < 0:
            raise ValueError(
                f"A block of this model gave {length} tokens where it had given {self.length}, so map predictors "
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
    """What the places in a call depend on, see `marking.signature`."""
    given = {name: value for name, value in keywords.items() if name != "transformer_options"}
    return signature((arguments, given))


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
    x = latent_of(arguments)
    call = Call.on(x)

    def seen(latent: Tensor) -> _Seen:
        return _called(network, blocks, first, _with_latent(arguments, latent), keywords, stop)

    other, generator = another_like(x)
    base, whole = seen(x), seen(other)
    found = {name: list(_candidates(base, whole, name, call)) for name in blocks}
    patches = {each.patch for candidates in found.values() for each in candidates}
    if not patches:
        return dict.fromkeys(blocks)
    mark = random_patches(call, patches, generator)
    partly = seen(marked(x, other, mark))
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
            inputs.setdefault(key, [summary(leaf) for leaf in tree_leaves((given, rest))])

        return listen

    def after(name: str) -> Callable[..., None]:
        def listen(_: nn.Module, __: Any, output: Any) -> None:
            outputs.setdefault(name, [summary(leaf) for leaf in tree_leaves(output)])
            if stop and len(outputs) == len(blocks):
                raise Enough

        return listen

    options = without_cache_wrappers(keywords.get("transformer_options") or {})
    options = {**options, "optimized_attention_override": muted}
    with contextlib.ExitStack() as undo, contextlib.suppress(Enough):
        for key, module in {id(module): module for module in first.values()}.items():
            undo.callback(module.register_forward_pre_hook(before(key), with_kwargs=True).remove)
        for name, module in blocks.items():
            undo.callback(module.register_forward_hook(after(name)).remove)
        undo.enter_context(unchanged(network))
        undo.enter_context(drawn_again(latent_of(arguments).device))
        network(*arguments, **{**keywords, "transformer_options": options})
    return _Seen(outputs, {name: inputs.get(id(module), []) for name, module in first.items()})


def _with_latent(arguments: tuple[Any, ...], latent: Tensor) -> tuple[Any, ...]:
    given = arguments[0]
    return (latent if isinstance(given, Tensor) else type(given)([latent, *given[1:]]), *arguments[1:])


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
        place = self.place
        one, other = (getattr(seen, self.part)[self.name][self.number] for seen in (base, partly))
        changed = changed_tokens(one, other, place.batch_axis, call.batch)
        return in_order(changed, place.start, self.patch, place.grid, call, mark)


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
                changed = changed_tokens(one, other, axis, call.batch)
                for start, patch, grid in spans(changed, call):
                    yield _Candidate(Place(member, axis, start, changed.shape[1], grid), patch, name, part, number)


def _batch_axes(tensor: Tensor, batch: int) -> list[int | None]:
    """The axes on which a tensor [..., C] may hold the batch, as `Place.batch_axis`."""
    outermost: list[int | None] = [] if math.prod(tensor.shape[:-1]) % batch else [None]
    return outermost + [axis for axis in range(1, tensor.ndim - 1) if tensor.shape[axis] == batch > 1]
