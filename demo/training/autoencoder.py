"""Trains the autoencoder: first both halves for faithful reconstruction, then the decoder alone for texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..autoencoder import LandscapeAutoencoder
from .common import Budget, Saving, device, half_precision, train
from .data import crops, to_model_range

KL_WEIGHT = 3e-4


def gradient_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of horizontal and vertical first differences."""
    dx = (a[..., 1:] - a[..., :-1]) - (b[..., 1:] - b[..., :-1])
    dy = (a[..., 1:, :] - a[..., :-1, :]) - (b[..., 1:, :] - b[..., :-1, :])
    return dx.abs().mean() + dy.abs().mean()


def fine_energy(x: Tensor) -> Tensor:
    """Local energy of the finest detail of the luminance, [B, 1, H/8, W/8]."""
    grey = x.mean(dim=1, keepdim=True)
    detail = grey - F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return F.avg_pool2d(detail.abs(), 8)


def texture_figure(pictures: Tensor) -> float:
    """Median |g - blur3(g)| of pictures [B, 3, H, W] in -1..1, in 0..1 units, as quoted in the README."""
    grey = pictures.float().mean(dim=1, keepdim=True) / 2
    detail = grey - F.avg_pool2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return float(detail.abs().median())


@torch.no_grad()
def evaluate(module: LandscapeAutoencoder, pictures: np.ndarray) -> dict[str, float]:
    """PSNR (8-bit) and fine texture relative to the original on held-out pictures."""
    errors, made, real = [], [], []
    home = module.shift.device
    for i in range(0, len(pictures), 16):
        x = to_model_range(pictures[i : i + 16]).to(home)
        y = module.decode(module.encode(x)).clamp(-1, 1)
        errors.append(((y - x) / 2).square().mean(dim=(1, 2, 3)))
        made.append(y)
        real.append(x)
    psnr = float((-10 * torch.cat(errors).log10()).mean())
    return {"psnr": psnr, "texture": texture_figure(torch.cat(made)) / texture_figure(torch.cat(real))}


def initialise(module: nn.Module) -> None:
    """Initialise residual branches with small weights: without norms this keeps the first steps stable."""
    for name, p in module.named_parameters():
        if name.endswith("conv2.weight"):
            with torch.no_grad():
                p.mul_(0.1)


def train_faithful(
    folder: Path, pictures: np.ndarray, held_out: np.ndarray, budget: Budget, seed: int
) -> LandscapeAutoencoder:
    """Stage 1: L1 and gradient loss with a light KL, on crops; ends by measuring the latent statistics."""
    torch.manual_seed(seed)
    module = LandscapeAutoencoder()
    initialise(module)
    module.to(device(), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.AdamW(module.parameters(), lr=budget.lr, weight_decay=1e-4, betas=(0.9, 0.99))

    def loss(batch: object, step: int) -> tuple[Tensor, list[float]]:
        assert isinstance(batch, Tensor)
        batch = batch.to(device())
        with half_precision():
            mean, log_var = module.posterior(batch)
            mean, log_var = mean.float(), log_var.float()
            z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
            y = module.decoder(z)
        y = y.float()
        l1, grad = (y - batch).abs().mean(), gradient_loss(y, batch)
        kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()
        mse = (y - batch).square().mean()
        value = l1 + 0.4 * grad + 1.0 * mse + KL_WEIGHT * kl
        return value, [l1.item(), grad.item(), kl.item(), float(-10 * (mse.detach() / 4).log10())]

    def report(average: nn.Module, step: int) -> None:
        assert isinstance(average, LandscapeAutoencoder)
        print(f"autoencoder at {step}: {evaluate(average, held_out[:64])}", flush=True)

    batches = crops(pictures, budget.batch, 128, seed)
    saving = Saving(folder / "autoencoder.pt", ["l1", "gradient", "kl", "psnr"], every=1000, evaluate=report)
    result = train(module, optimizer, budget, batches, loss, saving)
    assert isinstance(result, LandscapeAutoencoder)
    set_statistics(result, pictures[:512])
    return result


@torch.no_grad()
def set_statistics(module: LandscapeAutoencoder, pictures: np.ndarray) -> None:
    """Measure mean and standard deviation of the latents, so that normalised latents have mean 0 and variance 1."""
    z = torch.cat(
        [module.posterior(to_model_range(pictures[i : i + 32]).to(device()))[0] for i in range(0, len(pictures), 32)]
    )
    module.shift.copy_(z.mean(dim=(0, 2, 3)))
    module.scale.copy_(z.std(dim=(0, 2, 3)))
