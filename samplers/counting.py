"""Counts network evaluations (one per step at cfg 1, two at another cfg) and carries progress across parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.patcher_extension
from torch import Tensor

_KEY = "diffusion_path_count"


def counting_from(callback: Callable[..., None] | None, done: int, total: int) -> Callable[..., None] | None:
    """A run's callback for one part of the work: its steps count on from `done`, out of `total`."""
    if callback is None:
        return None
    return lambda step, x0, x, own_total: callback(done + step, x0, x, total)


class Counter:
    """Counts the evaluations of a MODEL's network, per picture of the batch; sample with its `model`.

    An evaluation is one pass of the network over one conditioning: a step at cfg 4 takes two, at cfg 1 one.
    """

    def __init__(self, model: Any, batch: int) -> None:
        self._batch, self._items = batch, 0
        self.model = model.clone()
        self.model.add_wrapper_with_key(comfy.patcher_extension.WrappersMP.APPLY_MODEL, _KEY, self._count)

    def _count(self, executor: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self._items += x.shape[0]
        return executor(x, *args, **kwargs)

    @property
    def evaluations(self) -> int:
        return round(self._items / self._batch)
