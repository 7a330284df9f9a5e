"""A guider that gives two predictions at once, as LanPaint's does for two guidance scales, and who listens to both."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor


class Double(comfy.samplers.CFGGuider):
    def predict_noise(self, *args: Any, **kwargs: Any) -> Any:
        return (denoised := super().predict_noise(*args, **kwargs)), denoised.clone()


class Listener:
    """Hears what wrappers below it make of both predictions; the solver gets the first."""

    def __init__(self) -> None:
        self.heard: list[tuple[Tensor, ...]] = []

    def on(self, model: Any) -> Any:
        clone = model.clone()
        clone.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "listener", self.first)
        return clone

    def first(self, executor: Any, *args: Any) -> Tensor:
        self.heard.append(executor(*args))
        return self.heard[-1][0]

    def heard_alike(self, steps: int) -> bool:
        """Whether each of so many steps gave two predictions, and both were changed in the same way."""
        return len(self.heard) == steps and all(torch.equal(one, other) for one, other in self.heard)
