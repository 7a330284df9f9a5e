"""LPIPS (Zhang et al. 2018), where the optional package and its weights are installed; never downloaded."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

_WEIGHTS = "alexnet-owt-7be5be79.pth"
_SMALLEST_SIDE = 32  # AlexNet pools smaller pictures down to nothing


def lpips_missing() -> str:
    """One sentence on what LPIPS needs that is missing; empty if it can run."""
    if importlib.util.find_spec("lpips") is None or importlib.util.find_spec("torchvision") is None:
        return "LPIPS is left out because it needs the optional Python packages lpips and torchvision: install both."
    weights = Path(torch.hub.get_dir()) / "checkpoints" / _WEIGHTS
    if not weights.is_file():
        return f"LPIPS is left out because its AlexNet weights are missing: place {_WEIGHTS} in {weights.parent}."
    return ""


@lru_cache(maxsize=1)
def lpips_map() -> Callable[[Tensor, Tensor], Tensor]:
    """A function that gives the LPIPS distance map [H, W] of two pictures [1, H, W, 3] in 0..1, on the CPU.

    NaN for pictures below 32 pixels.
    """
    missing = lpips_missing()
    if missing:
        raise ValueError(missing)
    import lpips  # pyright: ignore[reportMissingImports]

    network = lpips.LPIPS(net="alex", spatial=True, verbose=False).train(False)

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        if min(a.shape[1:3]) < _SMALLEST_SIDE:
            return torch.full(a.shape[1:3], math.nan)
        return network(a.movedim(-1, 1), b.movedim(-1, 1), normalize=True)[0, 0]

    return distance
