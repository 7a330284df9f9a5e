"""Limited-memory BFGS (Liu & Nocedal 1989) for a batch of independent problems, without line searches.

Its memory of the curvature may outlive one objective: problems that follow each other along a path have nearly the same
Hessian, so each begins with what the last one has learnt.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_PAIRS = 10
_STATE = ("moved", "turned", "curvature_pairs")
_FIRST = 0.05  # the step before anything is known of the curvature, relative to the variable's usual size (RMS)
_LONGEST = 0.5  # the longest step, likewise


class QuasiNewton:
    """Steps for variables [B, ...] of about this size (RMS). Every item has its own inner products, so that a batch
    equals single runs.
    """

    def __init__(self, size: float) -> None:
        self._size = size or 1.0
        self._pairs: list[tuple[Tensor, Tensor, Tensor]] = []  # steps, changes of the gradient, 1 / their product or 0
        self._scale: Tensor | None = None  # inverse curvature per item; 0 = not known
        self._last: tuple[Tensor, Tensor] | None = None

    def state(self) -> dict[str, Tensor]:
        """What has been learnt of the curvature, on the CPU, by name; see `restored`."""
        if self._scale is None:
            return {}
        found = {"curvature": self._scale}
        for name, parts in zip(_STATE, zip(*self._pairs, strict=True), strict=True):
            found[name] = torch.stack(parts)
        return {name: tensor.detach().to("cpu", torch.float32) for name, tensor in found.items()}

    def restored(self, state: Mapping[str, Tensor]) -> QuasiNewton:
        """This solver with what another one had learnt (other names are ignored)."""
        if "curvature" in state:
            self._scale = state["curvature"]
            self._pairs = list(zip(*(state[name].unbind() for name in _STATE), strict=True))
        return self

    def new_objective(self) -> None:
        """Forget the last point, whose gradient belongs to another objective, but not the curvature."""
        self._last = None

    def step(self, variable: Tensor, gradient: Tensor) -> Tensor:
        """The step to take from a point with this gradient; [B, ...]."""
        self._learn(variable, gradient)
        self._last = (variable, gradient)
        q = gradient
        weights = []
        for moved, turned, rho in reversed(self._pairs):
            weights.append(rho * _dot(moved, q))
            q = q - weights[-1] * turned
        known = torch.zeros_like(_dot(q, q)) if self._scale is None else self._scale
        first = _FIRST * self._size / _rms(gradient).clamp(min=torch.finfo(gradient.dtype).tiny)
        q = q * torch.where(known > 0, known, first)
        for (moved, turned, rho), weight in zip(self._pairs, reversed(weights), strict=True):
            q = q + moved * (weight - rho * _dot(turned, q))
        too_long = _rms(q) / (_LONGEST * self._size)
        return -q / too_long.clamp(min=1.0)

    def _learn(self, variable: Tensor, gradient: Tensor) -> None:
        if self._last is None:
            return
        moved, turned = variable - self._last[0], gradient - self._last[1]
        product, square = _dot(moved, turned), _dot(turned, turned)
        # An item that did not move, or met negative curvature, adds no information.
        good = product > 1e-10 * square
        rho = torch.where(good, 1 / product, torch.zeros_like(product))
        scale = torch.where(good, product / square, torch.zeros_like(product))
        self._scale = scale if self._scale is None else torch.where(good, scale, self._scale)
        self._pairs = [*self._pairs, (moved, turned, rho)][-_PAIRS:]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner product per item, shaped to multiply the items. [B, 1, ...]"""
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))


def _rms(a: Tensor) -> Tensor:
    return (_dot(a, a) / a[0].numel()).sqrt()
