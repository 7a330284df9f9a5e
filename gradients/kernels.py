"""ComfyUI's fused kernels in a gradient: they have no backward pass, so plain PyTorch takes their place."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from comfy.ldm.modules import attention
from torch import Tensor
from torch.overrides import TorchFunctionMode

NO_FORMULA = "no autograd formula was registered"
"""PyTorch's message for a custom operation that a gradient cannot pass."""

_DIFFERENTIABLE = (
    attention.attention_pytorch, attention.attention_basic, attention.attention_split, attention.attention_sub_quad,
    attention.attention_xformers,
)  # fmt: skip


class DifferentiableKernels(TorchFunctionMode):
    """While active, comfy_kitchen's rotary embeddings are calculated by its own reference functions.

    They compute the same in operations of PyTorch, which autograd knows. So does a copy in the place of ``out=``, which
    autograd refuses. The mode belongs to one thread and leaves nothing behind. PyTorch suspends it inside
    `torch.autograd.grad`: what computes there enters it again.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = _plain_forms()
        call: Any = plain.get(func) or func
        given = dict(kwargs or {})
        if isinstance(given.get("out"), Tensor) and torch.is_grad_enabled():
            return given.pop("out").copy_(call(*args, **given))
        return call(*args, **given)


def without_backward(error: RuntimeError) -> bool:
    """Whether PyTorch refused an operation to which `DifferentiableKernels` may know an equal one."""
    return any(message in str(error) for message in (NO_FORMULA, "functions with out=... arguments"))


@cache
def _plain_forms() -> dict[Any, Callable[..., Any]]:
    """Operation -> function of the same signature; empty where this ComfyUI has no such kernels."""
    try:
        from comfy_kitchen.backends.eager import rope
    except ImportError:
        return {}
    operations = torch.ops.comfy_kitchen
    names = [name for name in dir(rope) if name.startswith(("apply_rope", "rms_rope")) and hasattr(operations, name)]
    return {getattr(operations, name): getattr(rope, name) for name in names}


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Attention with a backward pass for the length of a ``with`` block, in networks that take no other option for it.

    Most networks hand on `gradient_options`; some call ``optimized_attention`` without any (PixArt, Hunyuan DiT,
    ERNIE-Image, SeedVR2). Under --use-sage-attention or --use-flash-attention, or with a pack that puts such a function
    there, that is attention without a backward pass, whose part of the gradient would silently be missing. Each module
    holds it by name, so it is replaced in each of them. Core's other attention functions stay as they are.
    """
    found: list[tuple[dict[str, Any], str, Any]] = []
    try:
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", {})
            for key in ("optimized_attention", "optimized_attention_masked"):
                if callable(names.get(key)) and names[key] not in _DIFFERENTIABLE:
                    found.append((names, key, names[key]))
                    names[key] = attention.attention_pytorch
        yield
    finally:
        for names, key, before in found:
            names[key] = before
