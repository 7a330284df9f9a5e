"""Tensors that were made in inference mode, for autograd: aliases over the same memory take their place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

Aliases = dict[tuple[int, str], tuple[Tensor, Tensor]]
"""Aliases made before, to be used again in the same run: (id of the store, name) -> (original, alias)."""

_Swap = tuple[Any, str, Tensor, Tensor]  # store, name, alias, original


@contextlib.contextmanager
def normal_tensors(modules: Iterable[nn.Module], aliases: Aliases) -> Iterator[None]:
    """For the length of a ``with`` block, autograd accepts the modules' parameters, buffers and tensors as constants.

    aliases: collects the aliases that are made, and supplies those made before.
    """
    swapped: list[_Swap] = []
    try:
        for module in modules:
            _swap(module, swapped, aliases)
        yield
    finally:
        for store, name, alias, original in swapped:
            # A hook may have put other weights there meanwhile; those are not ours to touch.
            if store.get(name) is alias:
                store[name] = original


def _swap(module: nn.Module, swapped: list[_Swap], aliases: Aliases) -> None:
    stores: list[Any] = [module._parameters, module._buffers, module.__dict__]
    for store in stores:
        for name, tensor in list(store.items()):
            if not isinstance(tensor, Tensor) or tensor.is_meta:
                continue
            # Weights loaded outside inference mode may ask for gradients of their own, which would cost memory.
            if not (tensor.is_inference() or tensor.requires_grad):
                continue
            key = (id(store), name)
            original, alias = aliases.get(key, (None, None))
            if alias is None or original is not tensor:
                alias = _alias(tensor)
                if store is module._parameters:
                    alias = nn.Parameter(alias, requires_grad=False)
                    for noted, value in vars(tensor).items():  # set by ComfyUI: the dtype to load it in
                        vars(alias).setdefault(noted, value)
                aliases[key] = (tensor, alias)
            store[name] = alias
            swapped.append((store, name, alias, tensor))


def _alias(tensor: Tensor) -> Tensor:
    """A normal tensor over the same memory, which autograd may keep."""
    if is_traceable_wrapper_subclass(tensor):  # a quantised weight
        names, context = tensor.__tensor_flatten__()
        inner = {name: _alias(getattr(tensor, name)) for name in names}
        kind: Any = type(tensor)
        return kind.__tensor_unflatten__(inner, context, 0, 0)
    if not tensor.is_inference():
        return tensor.detach()
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())
