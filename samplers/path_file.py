"""Paths on disk: one safetensors file each, with human-readable metadata.

No pickle is ever opened, and shapes and numbers are checked before use.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from .files import written_whole
from .path import DiffusionPath, ModelKind
from .tensor_file import DamagedFileError, is_newer, read_tensors

FORMAT = "diffusion-path"
VERSION = 1

_TENSORS = ("sigmas", "states", "signal", "noise", "out_scale", "out_shift", "denoised", "residuals", "control",
            "positions")  # fmt: skip
_PLAIN = ("method", "sampler", "seed", "cfg", "conditioning", "continuous", "batch_index", "sampler_options", "eta")
_GROUPS = ("null", "progress")  # dictionaries of tensors, which a file holds as "null.NAME"
_NEEDED = ("sigmas", "states", "signal", "noise")
_NOTES = (*_PLAIN, "model", "figures")
_OPTIONAL = ("asked", "latent_shapes")  # a file without them is as good, and has their defaults
_KIND = {field.name for field in dataclasses.fields(ModelKind)}


def metadata(path: DiffusionPath) -> dict[str, str]:
    """A file's metadata on its path, all as strings: JSON except for the format itself."""
    values: dict[str, Any] = {name: getattr(path, name) for name in (*_PLAIN, *_OPTIONAL)}
    values["sampler_options"] = dict(path.sampler_options)
    values["model"] = dataclasses.asdict(path.model)
    values["figures"] = {name: [repr(value) for value in found] for name, found in path.figures.items()}
    values["steps"], values["shape"] = path.steps, path.shape
    return {"format": FORMAT, "version": str(VERSION), **{key: json.dumps(value) for key, value in values.items()}}


def save_path(path: DiffusionPath, file: Path) -> None:
    """Write a path to `file`, which then holds either all of it or, after an error, what it held before."""
    with written_whole(file) as unfinished:
        write_path(path, unfinished)


def write_path(path: DiffusionPath, file: Path) -> None:
    """Write a path, without protecting what `file` held before."""
    tensors = {name: getattr(path, name) for name in _TENSORS if getattr(path, name) is not None}
    for group in _GROUPS:
        tensors |= {f"{group}.{name}": tensor for name, tensor in getattr(path, group).items()}
    safetensors.torch.save_file(_apart(tensors), file, metadata=metadata(path))


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as safetensors takes them, no two in one storage; only what must be is copied, as paths are large."""
    whole = {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in tensors.items()}
    places = [tensor.untyped_storage().data_ptr() for tensor in whole.values()]
    pairs = zip(whole.items(), places, strict=True)
    return {name: tensor.clone() if places.count(place) > 1 else tensor for (name, tensor), place in pairs}


def load_path(file: Path) -> DiffusionPath:
    """Read a path; raises ValueError with a sentence for anything that is not one."""
    if not file.is_file():
        raise ValueError(f"There is no file {file.name}: choose one from the list, and press R to refresh the list.")
    try:
        tensors, notes = read_tensors(file)
    except DamagedFileError as error:
        raise ValueError(
            f"{file.name} is damaged or not a safetensors file ({error}; was it renamed, or cut off while copying?): "
            "save the path again."
        ) from error
    if notes.get("format") != FORMAT:
        raise ValueError(f"{file.name} is a safetensors file, but not a diffusion path: choose one from Save Path.")
    if is_newer(notes.get("version"), VERSION):
        raise ValueError(
            f"{file.name} was written by a newer version of this pack (format {notes['version']}): update it."
        )
    try:
        return _path(tensors, notes)
    except (ValueError, RecursionError) as error:
        reason = "its metadata cannot be read" if isinstance(error, RecursionError) else _fault(str(error))
        raise ValueError(f"{file.name} does not hold a whole path ({reason}): save it again.") from error


def _fault(sentence: str) -> str:
    """What a sentence says is wrong, without what to do about a path that is being made."""
    fault = sentence.rpartition(": ")[0] or sentence.rstrip(".")
    return fault[0].lower() + fault[1:]


def _path(tensors: dict[str, Tensor], notes: dict[str, str]) -> DiffusionPath:
    for name, tensor in tensors.items():
        if name not in _TENSORS and name.partition(".")[0] not in _GROUPS:
            raise ValueError(f"it has a tensor {name[:40]!r}, which no path has")
        if tensor.dtype != torch.float32:
            raise ValueError(f"its {name[:40]} are {str(tensor.dtype).removeprefix('torch.')} instead of float32")
    lacking = [name for name in _NEEDED if name not in tensors] + [name for name in _NOTES if name not in notes]
    if lacking:
        raise ValueError(f"it lacks '{lacking[0]}'")
    if notes.get("version") != str(VERSION):
        raise ValueError("its version is not a number")
    values = {name: _value(name, notes[name]) for name in (*_NOTES, *_OPTIONAL) if name in notes}
    if not isinstance(values["model"], dict) or values["model"].keys() != _KIND:
        raise ValueError("it does not say which model it belongs to")
    values["model"] = ModelKind(**values["model"])
    values["figures"] = _figures(values["figures"])
    if isinstance(values["batch_index"], list):
        values["batch_index"] = tuple(values["batch_index"])
    shapes = values.get("latent_shapes")
    if isinstance(shapes, list):
        values["latent_shapes"] = tuple(tuple(each) if isinstance(each, list) else each for each in shapes)
    found: dict[str, Any] = {name: tensor for name, tensor in tensors.items() if name in _TENSORS}
    for group in _GROUPS:
        names = [name for name in tensors if name.startswith(f"{group}.")]
        found[group] = {name.removeprefix(f"{group}."): tensors[name] for name in names}
    return DiffusionPath(**{**values, **found})


def _value(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError(f"its '{name}' cannot be read") from None


def _figures(found: Any) -> dict[str, tuple[float, ...]]:
    """Figures are written as texts, since JSON has no infinity."""
    try:
        return {name: tuple(float(value) for value in values) for name, values in found.items()}
    except (AttributeError, TypeError, ValueError, OverflowError):
        raise ValueError("its figures are not numbers") from None
