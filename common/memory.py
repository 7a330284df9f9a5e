"""Checks the free memory or disk space before taking it, so that too large a request ends in a clear error."""

from __future__ import annotations

import shutil
from pathlib import Path

import comfy.model_management
import torch

from .texts import shortened


def check_memory(needed: int, what: str, advice: str) -> None:
    """Raises ValueError if `needed` bytes exceed the free main memory."""
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    assert not isinstance(free, tuple)
    if needed > free:
        raise ValueError(
            f"{what} needs about {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free: {advice}."
        )


def check_disk(needed: int, folder: Path, what: str, advice: str) -> None:
    """Raises ValueError if `needed` bytes exceed the free space on the disk of a folder."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{what} needs about {needed / 1e9:.1f} GB on the disk of {shortened(folder)}, but {free / 1e9:.1f} GB are "
            f"free: {advice}."
        )
