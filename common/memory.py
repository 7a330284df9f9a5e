"""Checks the free memory before allocating, so that a request that is too large ends in a clear error."""

from __future__ import annotations

import comfy.model_management
import torch


def check_memory(needed: int, what: str, advice: str) -> None:
    """Raises ValueError if `needed` bytes exceed the free main memory."""
    free = comfy.model_management.get_free_memory(torch.device("cpu"))
    assert not isinstance(free, tuple)
    if needed > free:
        raise ValueError(
            f"{what} needs about {needed / 1e9:.1f} GB of memory, but {free / 1e9:.1f} GB are free: {advice}."
        )


def check_path_memory(levels: int, latent: torch.Tensor) -> None:
    """Raises ValueError if a path of `levels` states of a latent [B, C, ...] does not fit into main memory."""
    needed = 2 * 4 * levels * latent.numel()  # as float32, once as single states and once stacked
    check_memory(needed, f"A path of {levels - 1} steps", "use fewer steps, a smaller picture or a smaller batch")
