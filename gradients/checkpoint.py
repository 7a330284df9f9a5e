"""Gradient checkpointing that tolerates blocks which update their inputs in place, as ComfyUI's transformers do.

``torch.utils.checkpoint`` is silently wrong there: by the time of the backward pass the block's inputs have changed,
and so have the shared ``transformer_options`` that tell patches which block they are in.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, ResBlock, Upsample
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from .kernels import DifferentiableKernels
from .saved_tensors import saved_tensors
from .streamed_weights import StreamedWeights, override

UNET_UNITS = (ResBlock, BasicTransformerBlock, Downsample, Upsample)
LISTS = (nn.ModuleList, nn.ModuleDict)


class Recompute(torch.autograd.Function):
    """Runs ``call(*tensors)`` without keeping its activations, and again in the backward pass.

    call may change its arguments in place: it is given copies. It returns a tensor or a tuple of tensors (or None).
    weights: those that are streamed in, if any.
    """

    @staticmethod
    def forward(ctx: Any, call: Callable[..., Any], weights: StreamedWeights | None, *tensors: Tensor) -> Any:
        ctx.call, ctx.weights = call, weights
        # Copies, because what follows the block may update in place what it was given (skips and ControlNets do).
        ctx.save_for_backward(*[tensor.clone() for tensor in tensors])
        with torch.no_grad():
            return call(*[tensor.clone() for tensor in tensors])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        with torch.inference_mode(False), torch.enable_grad(), saved_tensors(ctx.weights), DifferentiableKernels():
            leaves = [tensor.detach().requires_grad_(True) for tensor in ctx.saved_tensors]
            outputs = ctx.call(*[leaf.clone() for leaf in leaves])
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            pairs = [
                (output, gradient)
                for output, gradient in zip(outputs, gradients, strict=True)
                if output is not None and gradient is not None and output.requires_grad
            ]
            found = torch.autograd.grad([o for o, _ in pairs], leaves, [g for _, g in pairs], allow_unused=True)
        return None, None, *found


@contextlib.contextmanager
def checkpointed(roots: Iterable[nn.Module], weights: StreamedWeights | None = None) -> Iterator[None]:
    """Recomputes every block under `roots` (see `units`) in the backward pass, for the length of a ``with`` block."""
    with contextlib.ExitStack() as undo:
        for unit in units(roots):
            override(unit, "forward", _recomputing(unit.forward, weights), undo)
        yield


def units(roots: Iterable[nn.Module]) -> list[nn.Module]:
    """The blocks to recompute: a U-Net's residual and transformer blocks, or else the blocks in a network's lists.

    No block contains another. Blocks that contain forward hooks are skipped: a hook inside would see no gradient.
    """
    found: dict[int, nn.Module] = {}
    for root in roots:
        blocks = [module for module in root.modules() if isinstance(module, UNET_UNITS)]
        blocks = blocks or [block for _, block in listed_blocks(root)]
        found.update((id(block), block) for block in blocks)
    inner = {id(part) for block in found.values() for part in block.modules() if part is not block}
    return [block for key, block in found.items() if key not in inner and not _listened_in(block)]


def listed_blocks(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Name and module of each block in the network's lists (ModuleList, ModuleDict), in their order there.

    A list in a list counts as a part of it; lists inside of a block do not count.
    """
    for name, child in network.named_children():
        blocks = _members(child) if isinstance(child, LISTS) else listed_blocks(child)
        yield from ((f"{name}.{rest}", block) for rest, block in blocks)


def _members(blocks: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, block in blocks.named_children():
        if isinstance(block, LISTS):
            yield from ((f"{name}.{rest}", inner) for rest, inner in _members(block))
        else:
            yield name, block


def _listened_in(block: nn.Module) -> bool:
    return any(part._forward_hooks for part in block.modules() if part is not block)


def _recomputing(forward: Callable[..., Any], weights: StreamedWeights | None) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        given = [*args, *kwargs.values()]
        moving = _gradient_carrying(given)
        if not moving or not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # A snapshot: by the time of the backward pass these dicts describe the last block.
        fixed = _with_tensors(_copy(given, clone=False), moving, [None] * len(moving))
        shape: list[Any] = []

        def again(*tensors: Tensor) -> tuple[Any, ...]:
            # Blocks may also change tensors in place that need no gradient (a text stream): they get copies of them.
            now = _with_tensors(_copy(fixed, clone=True), moving, tensors)
            outputs = forward(*now[: len(args)], **dict(zip(kwargs, now[len(args) :], strict=True)))
            flat, spec = tree_flatten(outputs)
            shape[:] = [spec]
            return tuple(flat)

        found = Recompute.apply(_drawing_alike(again), weights, *[_at(given, place) for place in moving])
        return tree_unflatten(list(found), shape[0])

    return call


def _drawing_alike(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose later calls draw the same numbers from PyTorch's global generators as its first call.

    For a block of a network that runs again in a backward pass. Later calls leave the generators' state unchanged.
    """
    states: dict[torch.device, Tensor] = {}

    def alike(*tensors: Tensor) -> Any:
        cards = sorted({tensor.device for tensor in tensors if tensor.device.type == "cuda"}, key=str)
        if not states:
            states.update({card: torch.cuda.get_rng_state(card) for card in cards})
            states[torch.device("cpu")] = torch.get_rng_state()
            return function(*tensors)
        with torch.random.fork_rng(cards):
            torch.set_rng_state(states[torch.device("cpu")])
            for card in cards:
                torch.cuda.set_rng_state(states[card], card)
            return function(*tensors)

    return alike


_Place = tuple[Any, ...]
"""Where a tensor lies in nested lists, tuples and dicts: the index or key at each level."""


def _gradient_carrying(value: Any) -> list[_Place]:
    """The places, in nested lists, tuples and dicts, of all tensors through which a gradient passes."""
    if isinstance(value, Tensor):
        return [()] if value.requires_grad else []
    return [(key, *rest) for key, each in _entries(value) for rest in _gradient_carrying(each)]


def _entries(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, (list, tuple)) else []


def _at(value: Any, place: _Place) -> Any:
    for key in place:
        value = value[key]
    return value


def _with_tensors(value: Any, places: Sequence[_Place], tensors: Sequence[Any]) -> Any:
    """A copy of nested lists, tuples and dicts with other tensors at these places; the original is unchanged."""
    if () in places:
        return tensors[places.index(())]
    if isinstance(value, dict):
        value = dict(value)
    parts = dict(_entries(value))
    for key in {place[0] for place in places}:
        inner = [(place[1:], tensor) for place, tensor in zip(places, tensors, strict=True) if place[0] == key]
        parts[key] = _with_tensors(parts[key], *zip(*inner, strict=True))
    if isinstance(value, dict):
        return parts
    if isinstance(value, tuple):
        return type(value)(*parts.values()) if hasattr(value, "_fields") else tuple(parts.values())
    return list(parts.values()) if isinstance(value, list) else value


def _copy(value: Any, clone: bool) -> Any:
    """Nested lists and tuples with shallow copies of the dicts in them; clone: of the tensors too."""
    if isinstance(value, Tensor):
        return value.clone() if clone else value
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_copy(each, clone) for each in value))
    return type(value)(_copy(each, clone) for each in value) if type(value) in (list, tuple) else value
