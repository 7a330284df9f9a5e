"""Where the tensors of a path are kept: in memory, or in a file that is mapped into memory.

The tensors in a file are ordinary ones, and exact; the system keeps in memory what it has room for. The file lies in
ComfyUI's temporary folder and belongs to its tensors alone: on Linux and macOS it has no name, on Windows it is deleted
with its last handle. So nothing stays behind after an interrupt, an error or the end of the process.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import IO

import folder_paths
import torch
from torch import Tensor

from ..common.interrupts import interruptible
from ..common.memory import check_disk, check_memory
from ..common.texts import quoted, shortened

KEEP_IN = ("memory", "disk")
_ZEROS = 2**24  # bytes that are written at once

_place: ContextVar[str] = ContextVar("keep_in", default=KEEP_IN[0])


@contextlib.contextmanager
def kept_in(place: str) -> Iterator[None]:
    """Paths that are found in this block are kept in one of `KEEP_IN`."""
    if place not in KEEP_IN:
        raise ValueError(f"keep_in is {quoted(place)}: choose one of {', '.join(KEEP_IN)}.")
    before = _place.set(place)
    try:
        yield
    finally:
        _place.reset(before)


def path_size(states: int, latent: Tensor) -> int:
    """Bytes of so many states or predictions of a latent [B, C, ...], as a path keeps them."""
    return torch.float32.itemsize * states * latent.numel()


def check_room(steps: int, states: int, latent: Tensor) -> None:
    """Raises ValueError if a path of `steps` steps that keeps so many states of a latent [B, C, ...] has no room."""
    needed, what = path_size(states, latent), f"A path of {steps} steps"
    advice = "use fewer steps, a smaller picture or a smaller batch"
    if _place.get() == "disk":
        check_disk(needed, _folder(), what, f"free some space, or {advice}")
    else:
        check_memory(needed, what, f"{advice}, or keep_in disk in Record Path or Invert Picture to Path")


def room(shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor on the CPU to write a path's states [N + 1, B, C, ...] into, or its predictions; its values are open."""
    return _in_file(shape, dtype) if _place.get() == "disk" else torch.empty(*shape, dtype=dtype)


def _in_file(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    size, folder = math.prod(shape) * dtype.itemsize, _folder()
    try:
        # The mapping has a handle of its own, which keeps the file as long as a tensor needs it.
        with tempfile.TemporaryFile(dir=folder) as file:
            _take(file, size)
            return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=dtype).reshape(*shape)
    except OSError as error:
        raise ValueError(
            f"A file of {size / 1e9:.1f} GB for the path cannot be made in {shortened(folder)} ({error.strerror}): "
            "free some space there, or set keep_in to memory."
        ) from error


def _take(file: IO[bytes], size: int) -> None:
    """Takes the disk space now: a write through a mapping for which none is left would end the whole process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in interruptible(range(0, size, _ZEROS)):
        file.write(bytes(min(_ZEROS, size - start)))
    file.flush()


def _folder() -> Path:
    folder = Path(folder_paths.get_temp_directory())
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"ComfyUI's temporary folder {shortened(folder)} cannot be made ({error.strerror}): set keep_in to memory, "
            "or start ComfyUI with another --temp-directory."
        ) from error
    return folder
