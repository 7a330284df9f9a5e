"""Weights that ComfyUI streams in, in a gradient: the backward pass fetches them again.

A layer whose weights are not on the device for good (offloaded ones, and all of them under dynamic VRAM) computes with
a copy in memory that is taken from it as soon as it is done. Autograd would find other weights there; to keep a copy of
each would take as much memory as the whole model, which is what offloading is there to avoid.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import ReferenceType, ref

import comfy.ops
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


@dataclass(frozen=True)
class Fetched:
    """A streamed weight, or a view of it, that a backward pass will need."""

    module: Any
    name: str
    dtype: torch.dtype
    device: torch.device
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def restored(self) -> Tensor:
        """A copy of its own, made as the layer's forward pass makes it."""
        given = {"dtype": self.dtype, "bias_dtype": self.dtype, "device": self.device, "offloadable": True}
        weight, bias, stream = comfy.ops.cast_bias_weight(self.module, **given)  # pyright: ignore[reportAssignmentType]
        found: Any = weight if self.name == "weight" else bias
        copy = found.clone()
        comfy.ops.uncast_bias_weight(self.module, weight, bias, stream)
        return copy.as_strided(self.size, self.stride, self.offset)


@dataclass(frozen=True)
class _Present:
    """A streamed weight while a layer computes with it."""

    tensor: ReferenceType[Tensor]
    module: Any
    name: str


class StreamedWeights:
    """Knows the streamed weights that are on the device at the moment, by the memory they lie in."""

    def __init__(self) -> None:
        self._present: dict[int, list[_Present]] = {}
        self._watched = 0

    def __bool__(self) -> bool:
        return self._watched > 0

    def watch(self, module: nn.Module, device: torch.device, undo: contextlib.ExitStack) -> None:
        """Learn of a layer's weights whenever they come, until `undo` is closed, if they are streamed in."""
        weight = getattr(module, "weight", None)
        streamed = hasattr(module, "_v") or (isinstance(weight, Tensor) and weight.device != device)
        if not streamed or not hasattr(module, "weight_function"):
            return
        self._watched += 1
        for name in ("weight", "bias"):
            key = f"{name}_function"
            mine = module.__dict__.get(key)
            # Bound to the instance: the default list belongs to the class.
            module.__dict__[key] = [*getattr(module, key), self._noting(module, name)]
            undo.callback(restore_attribute, module.__dict__, key, mine)

    def find(self, tensor: Tensor) -> Fetched | None:
        """What fetches a tensor again that is, or is a view of, a streamed weight; None for any other."""
        if is_traceable_wrapper_subclass(tensor):  # a quantised weight: it has no memory of its own
            return None
        for present in self._present.get(memory_of(tensor), ()):
            weight = present.tensor()
            if weight is not None and weight.dtype == tensor.dtype and _place(tensor) in _extent(weight):
                offset = (_place(tensor) - _place(weight)) // weight.element_size()
                size, stride = tuple(tensor.size()), tuple(tensor.stride())
                return Fetched(present.module, present.name, weight.dtype, weight.device, size, stride, offset)
        return None

    def _noting(self, module: nn.Module, name: str) -> Callable[[Tensor], Tensor]:
        def note(weight: Tensor) -> Tensor:
            if is_traceable_wrapper_subclass(weight):
                return weight

            def beside(other: Tensor | None) -> bool:
                return (
                    other is not None and _place(other) not in _extent(weight) and _place(weight) not in _extent(other)
                )

            # Who is gone has left its memory to others, and who is overwritten too; a bias lies beside its weight.
            stay = [each for each in self._present.get(memory_of(weight), ()) if beside(each.tensor())]
            self._present[memory_of(weight)] = [*stay, _Present(ref(weight), module, name)]
            return weight

        return note


def memory_of(tensor: Tensor) -> int:
    """Where the memory begins that a tensor, a view perhaps, lies in."""
    return tensor.untyped_storage().data_ptr()


def _place(tensor: Tensor) -> int:
    return tensor.data_ptr()


def _extent(tensor: Tensor) -> range:
    return range(tensor.data_ptr(), tensor.data_ptr() + max(1, tensor.nbytes))


def restore_attribute(store: dict[str, Any], name: str, original: Any) -> None:
    """Undo the setting of an attribute of an instance, which had `original` or, for None, only its class's."""
    if original is None:
        store.pop(name, None)
    else:
        store[name] = original
