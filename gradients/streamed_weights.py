"""Weights that ComfyUI streams in, in a gradient: the backward pass fetches them again.

A layer whose weights do not stay on the device (offloaded ones, and all of them under dynamic VRAM) computes with a
copy in memory that is reused as soon as the layer is done. Autograd would find other weights there; to keep a copy of
each would take the memory of the whole model, which is what offloading avoids.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
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

    layer: Any
    name: str
    dtype: torch.dtype
    device: torch.device
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    def restored(self) -> Tensor:
        """A fresh copy, made as the layer's forward pass makes it."""
        given = {"dtype": self.dtype, "bias_dtype": self.dtype, "device": self.device, "offloadable": True}
        weight, bias, stream = comfy.ops.cast_bias_weight(self.layer, **given)  # pyright: ignore[reportAssignmentType]
        found: Any = weight if self.name == "weight" else bias
        copy = found.clone()
        comfy.ops.uncast_bias_weight(self.layer, weight, bias, stream)
        return copy.as_strided(self.size, self.stride, self.offset)


@dataclass(frozen=True)
class _Present:
    """A streamed weight while a layer computes with it."""

    tensor: ReferenceType[Tensor]
    layer: Any
    name: str


class StreamedWeights:
    """The streamed weights that are on the device at the moment, found by the memory they lie in."""

    def __init__(self) -> None:
        self._present: dict[int, list[_Present]] = {}
        self._watched = False

    def __bool__(self) -> bool:
        return self._watched

    def watch(self, layer: Any, undo: contextlib.ExitStack) -> None:
        """Register a layer's weights whenever they are streamed in, until `undo` is closed."""
        self._watched = True
        for name in ("weight", "bias"):
            key = f"{name}_function"
            override(layer, key, [*getattr(layer, key), functools.partial(self._note, layer, name)], undo)

    def _note(self, layer: Any, name: str, weight: Tensor) -> Tensor:
        if not is_traceable_wrapper_subclass(weight):
            # Drop entries whose tensor was freed or overwritten; a bias may lie beside its weight.
            beside = [each for each in self._present.get(memory_of(weight), ()) if _apart(each.tensor(), weight)]
            self._present[memory_of(weight)] = [*beside, _Present(ref(weight), layer, name)]
        return weight

    def find(self, tensor: Tensor) -> Fetched | None:
        """The means to fetch a tensor again if it is a streamed weight or a view of one; None for any other."""
        if is_traceable_wrapper_subclass(tensor):  # a quantised weight: it has no memory of its own
            return None
        for present in self._present.get(memory_of(tensor), ()):
            weight = present.tensor()
            if weight is not None and weight.dtype == tensor.dtype and tensor.data_ptr() in _extent(weight):
                offset = (tensor.data_ptr() - weight.data_ptr()) // weight.element_size()
                size, stride = tuple(tensor.size()), tuple(tensor.stride())
                return Fetched(present.layer, present.name, weight.dtype, weight.device, size, stride, offset)
        return None


@contextlib.contextmanager
def streamed_weights(modules: Iterable[nn.Module], device: torch.device) -> Iterator[StreamedWeights]:
    """Yields the record of the weights that these modules stream in to compute on the device."""
    weights = StreamedWeights()
    with contextlib.ExitStack() as undo:
        for module in modules:
            if _streams(module, device):
                weights.watch(module, undo)
        yield weights


def _streams(module: nn.Module, device: torch.device) -> bool:
    weight = getattr(module, "weight", None)
    elsewhere = isinstance(weight, Tensor) and weight.device != device
    return hasattr(module, "weight_function") and (hasattr(module, "_v") or elsewhere)


def memory_of(tensor: Tensor) -> int:
    """Where the memory of a tensor begins, or that of the tensor it is a view of."""
    return tensor.untyped_storage().data_ptr()


def _extent(tensor: Tensor) -> range:
    return range(tensor.data_ptr(), tensor.data_ptr() + max(1, tensor.nbytes))


def _apart(one: Tensor | None, other: Tensor) -> bool:
    """Whether a tensor is still alive and shares no memory with the other one."""
    return one is not None and one.data_ptr() not in _extent(other) and other.data_ptr() not in _extent(one)


def override(module: nn.Module, name: str, value: Any, undo: contextlib.ExitStack) -> None:
    """Set an attribute of the instance until `undo` is closed; the class's own is unchanged."""
    attributes = module.__dict__
    if name in attributes:
        undo.callback(attributes.__setitem__, name, attributes[name])
    else:
        undo.callback(attributes.pop, name, None)
    attributes[name] = value
