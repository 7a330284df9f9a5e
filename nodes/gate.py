"""Checks everything that reaches a node before its `execute` runs, so that invalid input ends in a clear error.

Core checks the values of widgets but trusts those that come through links: a number out of a widget's range, NaN, a
text of any length, or an object of another type from a pack that declares it wrongly.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from comfy.nested_tensor import NestedTensor
from comfy_api.latest import io
from torch import Tensor

from ..common import limits
from ..common.texts import check_length, quoted
from ..inverse.measurement import Measurement
from ..lep.predictor import MapPredictor
from ..samplers.conditioning import check_conditioning
from ..samplers.path import DiffusionPath
from ..samplers.schedule import PathSchedule
from ..samplers.sigmas import check_levels
from ..views.swept import Swept

# The methods that objects of these types must have, or their class.
_METHODS = {
    "MODEL": ("clone", "get_model_object"),
    "CLIP": ("tokenize", "encode_from_tokens_scheduled"),
    "VAE": ("decode",),
    "NOISE": ("generate_noise",),
    "SAMPLER": ("sample",),
    "GUIDER": ("sample", "model_patcher"),
    "CLIP_VISION": ("encode_image",),
}
_CLASSES: dict[str, type | tuple[type, ...]] = {
    "IMAGE": Tensor,
    "MASK": Tensor,
    "BOOLEAN": (bool, int),
    "COMBO": str,
    "DIFFUSION_PATH": DiffusionPath,
    "PATH_SCHEDULE": PathSchedule,
    "MAP_PREDICTOR": MapPredictor,
    "MEASUREMENT": Measurement,
    "SWEEP_CELLS": Swept,
}


def guarded(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The node as a class of the same name that checks its inputs first.

    Links to inputs that the node does not have are left out, as core leaves out values: core passes on those that
    belong to another choice than the present one. So is None where an input is optional: it has its default then.
    """
    execute = node.execute
    parameters = inspect.signature(execute).parameters
    names = list(parameters)
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())

    @functools.wraps(execute.__func__)  # type: ignore[attr-defined]
    def checked(cls: type[io.ComfyNode], *args: Any, **kwargs: Any) -> Any:
        optional = {each.id for each in _inputs(node) if each.optional}
        kwargs = {
            name: value
            for name, value in kwargs.items()
            if (takes_all or name in names) and not (value is None and name in optional)
        }
        given = {**dict(zip(names, args, strict=False)), **kwargs}
        for each in _singles(given) if node.GET_SCHEMA().is_input_list else [given]:
            check_inputs(_inputs(node), each)
        return execute.__func__(cls, *args, **kwargs)  # type: ignore[attr-defined]

    return type(node.__name__, (node,), {"execute": classmethod(checked), "__module__": node.__module__})


def _singles(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The inputs of a node that takes lists, place by place; a shorter list has no value at the last places."""
    lists = {name: value if isinstance(value, list) else [value] for name, value in given.items()}
    most = max(map(len, lists.values()), default=0)
    return [{name: items[place] for name, items in lists.items() if place < len(items)} for place in range(most)]


@functools.cache
def _inputs(node: type[io.ComfyNode]) -> tuple[Any, ...]:
    return tuple(node.GET_SCHEMA().inputs)


def check_inputs(inputs: tuple[Any, ...], given: Mapping[str, Any]) -> None:
    """Raises ValueError that names the first input whose value is not of its type. inputs: of a schema."""
    for entry in inputs:
        value = given.get(entry.id)
        if isinstance(entry, io.DynamicCombo.Input) and not (value is None and entry.optional):
            _check_choice(entry, value)  # core leaves out one that it does not know
        elif isinstance(entry, io.Autogrow.Input):
            _check_grown(entry, value)
        elif entry.id in given and not (value is None and entry.optional):
            _check(entry, value)


def _check_choice(entry: Any, value: Any) -> None:
    """A choice with inputs of its own comes as {id: key, input: value, ...}."""
    key = value.get(entry.id) if isinstance(value, Mapping) else None
    chosen = next((option for option in entry.options if option.key == key), None)
    if chosen is None:
        keys = ", ".join(option.key for option in entry.options)
        raise ValueError(f"{entry.id} is {quoted(key)}: choose one of {keys}.")
    check_inputs(tuple(chosen.inputs), value)


def _check_grown(entry: Any, value: Any) -> None:
    """Inputs that grow in number come as {name: value, ...}; all are of one class."""
    kind = str(entry.template.input.get_io_type())
    if not isinstance(value, Mapping) or not value:
        raise _wrong(entry.id, value, kind)
    for name, each in value.items():
        if not isinstance(each, _CLASSES[kind]):
            raise _wrong(f"{entry.id}.{name}", each, kind)


def _check(entry: Any, value: Any) -> None:
    kinds = str(entry.get_io_type()).split(",")
    special: dict[str, Callable[[], None]] = {
        "INT": lambda: _check_number(entry, value),
        "FLOAT": lambda: _check_number(entry, value),
        "STRING": lambda: _check_text(entry, value),
        "LATENT": lambda: _check_latent(entry.id, value),
        "SIGMAS": lambda: check_levels(value, entry.id),
        "CONDITIONING": lambda: check_conditioning(value, entry.id),
    }
    if len(kinds) > 1:
        if isinstance(value, str):
            check_length(value, entry.id, limits.DRAWING_TEXT)
    elif kinds[0] in special:
        special[kinds[0]]()
    elif (kinds[0] in _METHODS and not all(hasattr(value, name) for name in _METHODS[kinds[0]])) or (
        kinds[0] in _CLASSES and not isinstance(value, _CLASSES[kinds[0]])
    ):
        raise _wrong(entry.id, value, kinds[0])


def _wrong(name: str, value: Any, kind: str) -> ValueError:
    article = "an" if kind[0] in "AEIOU" else "a"
    return ValueError(
        f"{name} is {quoted(value)}, but {article} {kind} is expected: connect an output of "
        "that type, or disconnect it."
    )


def _check_number(entry: Any, value: Any) -> None:
    whole = entry.get_io_type() == "INT"
    if not isinstance(value, int if whole else (int, float)) or (isinstance(value, float) and math.isnan(value)):
        raise ValueError(
            f"{entry.id} is {quoted(value)}, but a {'whole ' if whole else ''}number is expected: connect one, or type "
            "it in."
        )
    if (entry.min is not None and value < entry.min) or (entry.max is not None and value > entry.max):
        raise ValueError(f"{entry.id} is {quoted(value)}: give a number from {entry.min} to {entry.max}.")


def _check_text(entry: Any, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong(entry.id, value, "STRING")
    # A drawing is cut to what it can use; other texts have a smaller limit where they are read.
    check_length(value, entry.id, 4 * limits.DRAWING_TEXT)


def _check_latent(name: str, value: Any) -> None:
    samples: Any = value.get("samples") if isinstance(value, Mapping) else None
    nested = isinstance(samples, NestedTensor)
    for part in samples.unbind() if nested else [samples]:
        if not isinstance(part, Tensor) or part.is_nested:
            raise _wrong(name, samples if isinstance(value, Mapping) else value, "LATENT")
        if part.ndim < 3 or 0 in part.shape:
            raise ValueError(
                f"{name} is a latent of the shape {list(part.shape)}, which holds no picture: connect one with at "
                "least one item, channel, row and column."
            )
        if not torch.is_floating_point(part):
            raise ValueError(f"{name} is a latent of {part.dtype} numbers: connect one of floating-point numbers.")
    mask, index = value.get("noise_mask"), value.get("batch_index")
    if mask is not None and not isinstance(mask, (Tensor, NestedTensor) if nested else Tensor):
        raise ValueError(f"The noise mask of {name} is {quoted(mask)}: set a MASK with Set Latent Noise Mask.")
    if index is None:
        return
    if not (isinstance(index, (list, tuple)) and all(isinstance(i, int) for i in index)):
        raise ValueError(f"The batch_index of {name} is {quoted(index)}: it should be a whole number for each item.")
    items = len(samples.unbind()[0] if nested else samples)
    if len(index) != items:
        raise ValueError(
            f"The batch_index of {name} has {len(index)} numbers for {items} items: connect a latent with one for each "
            "item, or with none."
        )
