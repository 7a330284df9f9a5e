"""A device that is not the CPU, on any machine: what would fail on a graphics card for being in the wrong place, fails.

Its tensors say that they are on ``cpu:1``, keep their values in the memory of the CPU, and refuse to be mixed with
tensors that are not there, as a card does, and to be float64, as Apple's do.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_PACK = Path(__file__).resolve().parents[2]
PLACE = torch.device("cpu", 1)
_MIXING = {"aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put_", "aten::index_put", "aten::set_"}


class Placed(Tensor):
    """A tensor on the device; `held` holds its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Placed:
        if inner.dtype == torch.float64 and _asked_by_the_pack():
            raise TypeError("Apple's devices have no float64.")
        with torch.inference_mode(inner.is_inference()):
            made = Tensor._make_wrapper_subclass(
                cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
                layout=inner.layout, device=inner.device, requires_grad=False, dispatch_device=True,
            )  # fmt: skip
        made.held = inner
        return made

    @property
    def device(self) -> torch.device:
        return PLACE

    __torch_function__: Any = torch._C._disabled_torch_function_impl  # pyright: ignore[reportIncompatibleMethodOverride]

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _run(func, args, kwargs or {})

    def tolist(self) -> Any:
        return self.held.tolist()

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["held"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], context: None, size: Any, stride: Any) -> Placed:
        return Placed(inner["held"])

    def __repr__(self, **_: Any) -> str:
        return f"Placed({self.held!r})"


class _Mode(TorchDispatchMode):
    """Sees what has no tensor of the device among its arguments yet: what is made there, and what is moved there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


@contextlib.contextmanager
def device() -> Iterator[torch.device]:
    """The device exists within it."""
    with _Mode():
        yield PLACE


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    if func is torch.ops.prim.device.default:
        return PLACE
    if _is_composite(func.name()):
        with _Mode():  # in inference mode such operations come whole
            return func.decompose(*args, **kwargs)
    here: list[Tensor] = []
    away: list[Tensor] = []
    plain_args, plain_kwargs = _held(args, here, away), _held(kwargs, here, away)
    name = func._schema.name
    if here and away and name not in _MIXING:
        raise RuntimeError(f"Expected all tensors to be on the same device, but {func} got some on {PLACE} and on cpu.")
    wanted = kwargs.get("device")
    if wanted is not None:
        plain_kwargs["device"] = torch.device("cpu")
    to_here = bool(here) if wanted is None else torch.device(wanted) == PLACE
    made = func(*plain_args, **plain_kwargs)
    if isinstance(made, (tuple, list)):
        return type(made)(_given(func, i, args, kwargs, each, to_here) for i, each in enumerate(made))
    return _given(func, 0, args, kwargs, made, to_here)


@cache
def _is_composite(operation: str) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(operation, "CompositeImplicitAutograd")


def _held(given: Any, here: list[Tensor], away: list[Tensor]) -> Any:
    """The arguments with the values of the device's tensors, which are collected (torch's own pytree is slower)."""
    if isinstance(given, Placed):
        here.append(given)
        return given.held
    if isinstance(given, Tensor):
        if given.ndim > 0:
            away.append(given)
        return given
    if isinstance(given, (tuple, list)):
        return type(given)([_held(each, here, away) for each in given])
    if isinstance(given, dict):
        return {key: _held(each, here, away) for key, each in given.items()}
    return given


def _asked_by_the_pack() -> bool:
    """ComfyUI itself asks Apple's devices for no float64, by their name."""
    frame = inspect.currentframe()
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        passing = frame.f_code.co_name == "__torch_dispatch__"
        if _PACK in file.parents and file != Path(__file__) and ".dev" not in file.parts and not passing:
            return True
        if "comfy" in file.parts:
            return False
        frame = frame.f_back
    return False


def _given(func: Any, index: int, args: Any, kwargs: dict[str, Any], made: Any, to_here: bool) -> Any:
    """A result as the caller gets it: the argument itself where that was written to."""
    if not isinstance(made, Tensor):
        return made
    returned = func._schema.returns[min(index, len(func._schema.returns) - 1)].alias_info
    if returned is not None and returned.is_write:
        for place, argument in enumerate(func._schema.arguments):
            if argument.alias_info is not None and argument.alias_info.before_set == returned.before_set:
                return args[place] if place < len(args) else kwargs[argument.name]
    return Placed(made) if to_here else made
