"""Gradient checkpointing that tolerates blocks which update their inputs in place, as ComfyUI's transformers do.

``torch.utils.checkpoint`` is silently wrong there: by the time of the backward pass the block's inputs, and the shared
``transformer_options`` that tell patches where they are, have changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from comfy.ldm.modules.attention import BasicTransformerBlock
from comfy.ldm.modules.diffusionmodules.openaimodel import Downsample, ResBlock, Upsample
from torch import Tensor, nn

from .noise import drawing_alike
from .saved import kept_as_saved
from .streamed import StreamedWeights, restore_attribute

UNET_UNITS = (ResBlock, BasicTransformerBlock, Downsample, Upsample)


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
    def backward(ctx: Any, *slopes: Tensor | None) -> Any:
        with torch.inference_mode(False), torch.enable_grad(), kept_as_saved(ctx.weights):
            leaves = [tensor.detach().requires_grad_(True) for tensor in ctx.saved_tensors]
            outputs = ctx.call(*[leaf.clone() for leaf in leaves])
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            pairs = [
                (output, slope)
                for output, slope in zip(outputs, slopes, strict=True)
                if output is not None and slope is not None and output.requires_grad
            ]
            found = torch.autograd.grad([o for o, _ in pairs], leaves, [s for _, s in pairs], allow_unused=True)
        return None, None, *found


@contextlib.contextmanager
def recomputed(roots: Iterable[nn.Module], weights: StreamedWeights | None = None) -> Iterator[None]:
    """Give every block under `roots` (see `units`) a forward that recomputes, for the length of the block."""
    with contextlib.ExitStack() as undo:
        for unit in units(roots):
            mine = unit.__dict__.get("forward")
            unit.__dict__["forward"] = _recomputing(unit.forward, weights)
            undo.callback(restore_attribute, unit.__dict__, "forward", mine)
        yield


def units(roots: Iterable[nn.Module]) -> list[nn.Module]:
    """The blocks to recompute: a U-Net's residual and transformer blocks, or else the blocks in a network's lists.

    None of them contains another, and none in which somebody listens (a forward hook inside would see no gradient).
    """
    found: dict[int, nn.Module] = {}
    for root in roots:
        blocks = [module for module in root.modules() if isinstance(module, UNET_UNITS)]
        if not blocks:
            networks = [root, *root.children()]  # a BaseModel holds its network one level down
            lists = [m for n in networks for m in n.children() if isinstance(m, nn.ModuleList)]
            blocks = [block for blocks_of in lists for block in blocks_of]
        found.update((id(block), block) for block in blocks)
    inner = {id(part) for block in found.values() for part in block.modules() if part is not block}
    return [block for key, block in found.items() if key not in inner and not _listened_in(block)]


def _listened_in(block: nn.Module) -> bool:
    return any(part._forward_hooks for part in block.modules() if part is not block)


def _recomputing(forward: Callable[..., Any], weights: StreamedWeights | None) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        values = [*args, *kwargs.values()]
        moving = [i for i, v in enumerate(values) if isinstance(v, Tensor) and v.requires_grad]
        if not moving or not torch.is_grad_enabled() or any(_nested_gradient(value) for value in values):
            return forward(*args, **kwargs)
        # A snapshot: by the time of the backward pass these dicts tell of the last block.
        fixed = [dict(value) if isinstance(value, dict) else value for value in values]

        def again(*tensors: Tensor) -> Any:
            # Blocks may also change in place what needs no gradient (a text stream): they get copies of it.
            now = [_copy(value) for value in fixed]
            for place, tensor in zip(moving, tensors, strict=True):
                now[place] = tensor
            return forward(*now[: len(args)], **dict(zip(kwargs, now[len(args) :], strict=True)))

        for place in moving:
            fixed[place] = None
        return Recompute.apply(drawing_alike(again), weights, *[values[place] for place in moving])

    return call


def _nested_gradient(value: Any) -> bool:
    """Whether a gradient passes through a list or tuple, where it would be lost: such a call is left as it is."""
    if not isinstance(value, (list, tuple)):
        return False
    return any(v.requires_grad if isinstance(v, Tensor) else _nested_gradient(v) for v in value)


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    return dict(value) if isinstance(value, dict) else value
