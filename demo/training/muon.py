"""Muon, with AdamW for the rest: orthogonalised momentum for weight matrices (Jordan et al. 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximately the nearest semi-orthogonal matrix, by a quintic Newton-Schulz iteration in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for parameters in groups marked `matrix`, AdamW for all others. Convolutions count as [out, in kh kw]."""

    def __init__(self, groups: Iterable[dict], lr: float, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        defaults = {"lr": lr, "matrix": False, "momentum": momentum, "weight_decay": weight_decay, "lr_scale": 1.0}
        super().__init__(list(groups), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for group in self.param_groups:
            update = self._matrix_step if group["matrix"] else self._adam_step
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    update(p, group)

    def _matrix_step(self, p: Tensor, group: dict) -> None:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(p)
        assert p.grad is not None
        state["momentum"].lerp_(p.grad, 1 - group["momentum"])
        direction = p.grad.lerp(state["momentum"], group["momentum"]).reshape(len(p), -1)
        # Scaled so that the update's root mean square is about 0.2, as with AdamW: one learning rate then suits both.
        scale = 0.2 * max(direction.shape) ** 0.5
        p.add_(orthogonalise(direction).view_as(p), alpha=-group["lr"] * scale)

    def _adam_step(self, p: Tensor, group: dict) -> None:
        state = self.state[p]
        if not state:
            state["first"], state["second"], state["count"] = torch.zeros_like(p), torch.zeros_like(p), torch.tensor(0)
        assert p.grad is not None
        state["count"] += 1
        state["first"].lerp_(p.grad, 0.1)
        state["second"].lerp_(p.grad.square(), 0.01)
        n = float(state["count"])
        rms = (state["second"] / (1 - 0.99**n)).sqrt_().add_(1e-8)
        p.addcdiv_(state["first"] / (1 - 0.9**n), rms, value=-group["lr"])


def split_groups(module: nn.Module) -> list[dict]:
    """Hidden weight matrices for Muon; embeddings, first and last layers, gains and biases for AdamW."""
    matrices, others = [], []
    for name, p in module.named_parameters():
        edge = "embedding" in name or name.startswith(("unet.input_blocks.0.", "unet.out.", "unet.time_embed."))
        (matrices if p.ndim >= 2 and not edge else others).append(p)
    return [{"params": matrices, "matrix": True}, {"params": others}]
