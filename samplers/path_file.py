"""Paths on disk: one safetensors file each, with metadata that a person can read.

A file is read only as what it claims to be: no pickle is ever opened, and shapes and numbers are checked before use.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from .files import written_whole
from .path import DiffusionPath, ModelKind

FORMAT = "diffusion-path"
VERSION = 1

_TENSORS = ("sigmas", "states", "signal", "noise", "out_scale", "out_shift", "denoised", "residuals", "control",
            "positions")  # fmt: skip
_PLAIN = ("method", "sampler", "seed", "cfg", "conditioning", "continuous", "batch_index", "sampler_options", "eta")
_GROUPS = ("null", "progress")  # dictionaries of tensors, which a file holds as "null.NAME"


def metadata(path: DiffusionPath) -> dict[str, str]:
    """What a file says about its path, all as strings: JSON except for the format itself."""
    values: dict[str, Any] = {name: getattr(path, name) for name in _PLAIN}
    values["sampler_options"] = dict(path.sampler_options)
    values["model"] = dataclasses.asdict(path.model)
    values["figures"] = {name: [repr(value) for value in found] for name, found in path.figures.items()}
    values["steps"], values["shape"] = path.steps, path.shape
    return {"format": FORMAT, "version": str(VERSION), **{key: json.dumps(value) for key, value in values.items()}}


def save_path(path: DiffusionPath, file: Path) -> None:
    """Write a path to `file`, which then holds either all of it or what it held before."""
    tensors = {name: getattr(path, name) for name in _TENSORS if getattr(path, name) is not None}
    for group in _GROUPS:
        tensors |= {f"{group}.{name}": tensor for name, tensor in getattr(path, group).items()}
    owned = {name: tensor.detach().to("cpu", torch.float32).contiguous().clone() for name, tensor in tensors.items()}
    with written_whole(file) as unfinished:
        safetensors.torch.save_file(owned, unfinished, metadata=metadata(path))


def load_path(file: Path) -> DiffusionPath:
    """Read a path; raises ValueError with a sentence for anything that is not one."""
    if not file.is_file():
        raise ValueError(f"There is no file {file.name}: choose one of the list, and press R to renew the list.")
    try:
        with safetensors.safe_open(str(file), framework="pt", device="cpu") as opened:
            notes = opened.metadata() or {}
            if notes.get("format") != FORMAT:
                raise ValueError(f"{file.name} is a safetensors file, but no diffusion path: choose one of Save Path.")
            if notes.get("version", "").isdecimal() and int(notes["version"]) > VERSION:
                raise ValueError(
                    f"{file.name} was written by a newer version of this pack (format {notes['version']}): update it."
                )
            # Clones, so that nothing keeps the file open.
            tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(
            f"{file.name} is damaged or no safetensors file (was it renamed, or cut off while copying?): save the path "
            "again."
        ) from error
    try:
        return _path(tensors, notes)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"{file.name} does not hold a whole path ({reason}): save it again.") from error


def _path(tensors: dict[str, Tensor], notes: dict[str, str]) -> DiffusionPath:
    wrong = [name for name, tensor in tensors.items() if tensor.dtype != torch.float32]
    if wrong:
        raise ValueError(f"its {wrong[0]} are {str(tensors[wrong[0]].dtype).removeprefix('torch.')} instead of float32")
    values = {name: json.loads(notes[name]) for name in (*_PLAIN, "model", "figures")}
    if tensors["states"].ndim < 3 or tensors["sigmas"].ndim != 1:
        raise ValueError(f"its states are {list(tensors['states'].shape)}")
    values["model"] = ModelKind(**values["model"])
    values["figures"] = {name: tuple(float(value) for value in found) for name, found in values["figures"].items()}
    if values["batch_index"] is not None:
        values["batch_index"] = tuple(values["batch_index"])
    found: dict[str, Any] = {name: tensor for name, tensor in tensors.items() if name in _TENSORS}
    for group in _GROUPS:
        names = [name for name in tensors if name.startswith(f"{group}.")]
        found[group] = {name.removeprefix(f"{group}."): tensors[name] for name in names}
    return DiffusionPath(**{**values, **found})
