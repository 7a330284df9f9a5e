"""Where the picture's tokens lie in the queries, keys and values of a transformer's attention.

Read off calls of the network with muted attention and a marked picture (`samplers/marking.py`): three of them for the
first call of a run, and two for each other length of prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .. import nested
from ..caching import without_cache_wrappers
from ..marking import (
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
    unchanged,
)
from ..noise import drawn_again

OVERRIDE = "optimized_attention_override"
Apply = Callable[[Tensor, dict[str, Any]], Any]
"""(x, transformer_options) -> a call of the model as a run makes it, with everything else given."""


@dataclass(frozen=True)
class Layer:
    """One attention whose queries, keys and values all hold the picture.

    queries, keys: first of its tokens, and all tokens, in the queries and in the keys and values. patch: frames and
    side that a token stands for. bytes: that the picture's q, k and v of one item take.
    """

    queries: tuple[int, int]
    keys: tuple[int, int]
    grid: Grid
    patch: tuple[int, int]
    bytes: tuple[int, int, int]

    @property
    def count(self) -> int:
        return math.prod(self.grid)

    def start(self, part: int, length: int) -> int:
        """The first of the picture's tokens in q (0), k (1) or v (2) of this length; -1 where they cannot be told."""
        start, known = self.keys if part else self.queries
        if length == known:
            return start
        # A prompt in front may be kept elsewhere.
        return max(length - self.count, -1) if start + self.count == known else -1


Layers = tuple["Layer | None", ...]
"""The attention of a network in the order of its calls; None for what is not of the picture alone or with text."""


def token_axis(skip_reshape: bool) -> int:
    """Of [B, heads, tokens, d], or of [B, tokens, heads d] and [B, tokens, heads, d]."""
    return 2 if skip_reshape else 1


@dataclass
class Places:
    """The layers by the shapes of a call, found once in a run. proven: an arrangement whose order has been proven."""

    known: dict[tuple[Any, ...], Layers] = field(default_factory=dict)
    proven: set[Grid] = field(default_factory=set)

    def of(self, network: Any, apply: Apply, x: Tensor, given: dict[str, Any], options: dict[str, Any]) -> Layers:
        """The layers of a call. x: its state [B, C, ...], packed if it has parts; given: the rest of the arguments."""
        replaced = {kind: tuple(blocks) for kind, blocks in options.get("patches_replace", {}).items()}
        key = (tuple(x.shape), signature(given), *replaced.items())
        if key not in self.known:
            self.known[key] = self._find(network, apply, x, given.get("latent_shapes"), options)
        return self.known[key]

    @torch.no_grad()
    def _find(self, network: Any, apply: Apply, x: Tensor, shapes: Any, options: dict[str, Any]) -> Layers:
        several = shapes if shapes is not None and len(shapes) > 1 else None
        samples = nested.unpack(x, tuple((len(x), *shape[1:]) for shape in several) if several else None)
        latent = nested.video(samples)
        call = Call.on(latent)

        def seen(other: Tensor) -> list[_Attention]:
            state = nested.pack(nested.with_video(samples, other))
            with unchanged(network), drawn_again(x.device):
                return _looked_at(apply, state, options)

        other, generator = another_like(latent)
        base, whole = seen(latent), seen(other)
        found = [list(_candidates(*pair, call)) for pair in zip(base, whole, strict=True)]
        patches = {layer.patch for layers in found for layer in layers if layer.grid not in self.proven}
        if patches:
            mark = random_patches(call, patches, generator)
            partly = seen(marked(latent, other, mark))
            found = [
                [layer for layer in layers if _proven(layer, one, two, call, mark)]
                for layers, one, two in zip(found, base, partly, strict=True)
            ]
            self.proven |= {layer.grid for layers in found for layer in layers}
        return tuple(layers[0] if layers else None for layers in found)


@dataclass(frozen=True)
class _Attention:
    """Summaries of q, k and v [B, tokens, C'] of one call, and the bytes of one token of each."""

    tensors: list[Tensor]
    bytes: list[int]


def _looked_at(apply: Apply, x: Tensor, options: dict[str, Any]) -> list[_Attention]:
    """What attention takes in during one call with muted attention."""
    seen: list[_Attention] = []

    def look(function: Any, q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Any = None, attn_precision: Any = None,
             skip_reshape: bool = False, **more: Any) -> Tensor:  # fmt: skip
        tensors = (q, k, v)
        seen.append(_Attention([_per_token(each, skip_reshape) for each in tensors],
                               [_bytes(each, skip_reshape) for each in tensors]))  # fmt: skip
        return muted(function, *tensors, heads, mask, attn_precision, skip_reshape, **more)

    apply(x, {**without_cache_wrappers(options), OVERRIDE: look})
    return seen


def _per_token(tensor: Tensor, skip_reshape: bool) -> Tensor:
    sums = summary(tensor)
    if sums is None:
        return torch.zeros(0)
    return (sums.movedim(1, 2) if skip_reshape else sums).flatten(2)


def _bytes(tensor: Tensor, skip_reshape: bool) -> int:
    """Of one token of one item."""
    return tensor.numel() * tensor.element_size() // max(1, len(tensor) * tensor.shape[token_axis(skip_reshape)])


def _proven(layer: Layer, base: _Attention, partly: _Attention, call: Call, mark: Tensor) -> bool:
    """Whether exactly the tokens of the patches that were marked have changed."""
    return all(
        in_order(changed_tokens(one, other, None, call.batch), start, layer.patch, layer.grid, call, mark)
        for one, other, (start, _) in zip(
            base.tensors, partly.tensors, (layer.queries, layer.keys, layer.keys), strict=True
        )
    )


def _candidates(base: _Attention, whole: _Attention, call: Call) -> Iterator[Layer]:
    """Where q, k and v may show the same picture."""
    if any(len(each) != call.batch for each in (*base.tensors, *whole.tensors)):
        return
    if any(one.shape != other.shape for one, other in zip(base.tensors, whole.tensors, strict=True)):
        return
    changed = [
        changed_tokens(one, other, None, call.batch) for one, other in zip(base.tensors, whole.tensors, strict=True)
    ]
    queries, keys, values = ({(patch, grid): start for start, patch, grid in spans(each, call)} for each in changed)
    for patch, grid in queries.keys() & keys.keys():
        start, count = keys[patch, grid], math.prod(grid)
        if start == values.get((patch, grid)):
            q, k = (each.shape[1] for each in base.tensors[:2])
            sizes = [count * size for size in base.bytes]
            yield Layer((queries[patch, grid], q), (start, k), grid, patch, (sizes[0], sizes[1], sizes[2]))
