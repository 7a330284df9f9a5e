"""ComfyUI's fused kernels in a gradient: they have no backward pass, so their plain PyTorch forms take their place."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

NO_BACKWARD = "no autograd formula was registered"
"""PyTorch's message for a custom operation that a gradient cannot pass."""


class DifferentiableKernels(TorchFunctionMode):
    """While active, comfy_kitchen's rotary embeddings are calculated by its own reference functions.

    They compute the same in operations of PyTorch, which autograd knows. The mode belongs to one thread and leaves
    nothing behind. PyTorch suspends it inside `torch.autograd.grad`: what computes there enters it again.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        plain = _plain_forms()
        call: Any = plain.get(func) or func
        return call(*args, **(kwargs or {}))


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
