"""Trains the attribute classifier on renders, half of them softened as by an autoencoder or a diffusion model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..attributes import INPUT_SIZE, AttributeNet
from ..scenes import ATTRIBUTES
from .common import Budget, Saving, device, train
from .data import to_model_range


def soften(x: Tensor, rng: np.random.Generator) -> Tensor:
    """A random mix of blur, noise and a change of tone on [B, 3, H, W], as in generated pictures."""
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    amount = torch.from_numpy(rng.uniform(0, 1, (len(x), 1, 1, 1)) * (rng.random((len(x), 1, 1, 1)) < 0.6)).float()
    x = x + amount * (blurred - x)
    noise = torch.from_numpy(0.06 * rng.random((len(x), 1, 1, 1)) * (rng.random((len(x), 1, 1, 1)) < 0.5)).float()
    gain = torch.from_numpy(1 + 0.06 * rng.standard_normal((len(x), 3, 1, 1))).float()
    shift = torch.from_numpy(0.03 * rng.standard_normal((len(x), 3, 1, 1))).float()
    return (x + noise * torch.randn_like(x)) * gain + shift


def batches(pictures: np.ndarray, rows: np.ndarray, batch: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    rng = np.random.default_rng(seed)
    while True:
        picks = np.sort(rng.integers(len(pictures), size=batch))
        x = F.interpolate(to_model_range(pictures[picks]), size=(INPUT_SIZE, INPUT_SIZE), mode="area")
        yield soften(x, rng), torch.from_numpy(rows[picks, :-1])


@torch.no_grad()
def accuracy(module: AttributeNet, pictures: np.ndarray, rows: np.ndarray) -> dict[str, float]:
    """Share of pictures classified correctly, per attribute."""
    right = dict.fromkeys(ATTRIBUTES, 0)
    for i in range(0, len(pictures), 64):
        x = F.interpolate(to_model_range(pictures[i : i + 64]), size=(INPUT_SIZE, INPUT_SIZE), mode="area")
        for k, (name, logits) in enumerate(module(x.to(device())).items()):
            right[name] += int((logits.argmax(dim=1).cpu().numpy() == rows[i : i + 64, k]).sum())
    return {name: count / len(pictures) for name, count in right.items()}


def train_attributes(folder: Path, pictures: np.ndarray, rows: np.ndarray, budget: Budget, seed: int) -> AttributeNet:
    """Cross-entropy on all attributes at once."""
    torch.manual_seed(seed)
    module = AttributeNet().to(device())
    optimizer = torch.optim.AdamW(module.parameters(), lr=budget.lr, weight_decay=0.02)

    def loss(batch: object, step: int) -> tuple[Tensor, list[float]]:
        assert isinstance(batch, tuple)
        x, labels = (part.to(device()) for part in batch)
        logits = module(x)
        losses = [F.cross_entropy(part, labels[:, k]) for k, part in enumerate(logits.values())]
        value = torch.stack(losses).sum()
        return value, [value.item(), *(part.item() for part in losses)]

    saving = Saving(folder / "attributes.pt", ["loss", *ATTRIBUTES])
    result = train(module, optimizer, budget, batches(pictures, rows, budget.batch, seed), loss, saving)
    assert isinstance(result, AttributeNet)
    return result
