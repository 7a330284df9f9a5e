"""Protects tensors that autograd has saved from later updates in place.

PyTorch's own ``allow_mutation_on_saved_tensors`` knows a tensor by its addresses and version. Once a tensor has been
copied aside its addresses are free, another one may get them, and the backward pass is then given the wrong tensor;
and an update of a part is missed where the part begins elsewhere. Here each saved tensor is an object of its own, found
by the memory it lies in. A streamed weight is not saved at all: it is fetched again (`streamed_weights`).
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet

from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

from .streamed_weights import StreamedWeights, memory_of

MODIFIED = "A tensor that the gradient needs has been modified by an inplace operation."


class _Saved:
    """A tensor that autograd holds for the backward pass; once updated in place, a copy of what it was before."""

    def __init__(self, tensor: Tensor) -> None:
        # Detached, or an operation that saves its output would keep itself and all before it alive for good.
        self.tensor = tensor.detach() if tensor.requires_grad else tensor

    def restored(self) -> Tensor:
        return self.tensor


class _Checked(_Saved):
    """A saved tensor that fails if it was updated in place since: PyTorch itself checks that only without hooks."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor)
        self.version = None if tensor.is_inference() else tensor._version

    def restored(self) -> Tensor:
        if self.version is not None and self.tensor._version != self.version:
            raise RuntimeError(MODIFIED)
        return self.tensor


class _Watch(TorchDispatchMode):
    """Copies saved tensors before an operation writes into their memory."""

    def __init__(self) -> None:
        super().__init__()
        self.by_memory: defaultdict[int, WeakSet[_Saved]] = defaultdict(WeakSet)

    def save(self, tensor: Tensor) -> _Saved:
        if is_traceable_wrapper_subclass(tensor):  # a quantised weight: it has no memory of its own
            return _Saved(tensor)
        entries = self.by_memory[memory_of(tensor)]
        for entry in entries:  # a tensor that is saved many times is copied once
            if _same(entry.tensor, tensor):
                return entry
        entry = _Saved(tensor)
        entries.add(entry)
        return entry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                given = args[place] if place < len(args) else kwargs.get(argument.name)
                for tensor in tree_leaves(given):
                    if isinstance(tensor, Tensor) and not is_traceable_wrapper_subclass(tensor):
                        # Tensors that were copied no longer lie in this memory.
                        for entry in self.by_memory.pop(memory_of(tensor), ()):
                            entry.tensor = entry.tensor.clone()
        return func(*args, **kwargs)


@contextlib.contextmanager
def saved_tensors(weights: StreamedWeights | None = None, in_place: bool = True) -> Iterator[None]:
    """Makes gradients inside a ``with`` block use the values that were saved, even where their memory is used again.

    weights: those that are streamed in. in_place: protect everything else from updates in place too, which costs some
    time; without it the backward pass raises RuntimeError (`MODIFIED`) after such an update. PyTorch itself would raise
    one too, but would then keep the graph for good: what was updated holds the operation that had saved it.
    """
    watch = _Watch()

    def save(tensor: Tensor) -> Any:
        streamed = weights.find(tensor) if weights else None
        return streamed or (watch.save(tensor) if in_place else _Checked(tensor))

    with contextlib.ExitStack() as hooks:
        hooks.enter_context(saved_tensors_hooks(save, lambda entry: entry.restored()))
        if in_place:
            hooks.enter_context(watch)
        yield


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of the same memory are the same view of it."""
    return (
        one.data_ptr() == other.data_ptr()
        and one.dtype == other.dtype
        and one.shape == other.shape
        and one.stride() == other.stride()
    )
