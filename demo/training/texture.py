"""Second stage of the autoencoder: only the decoder is trained, for texture, against a patch discriminator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from ..autoencoder import LandscapeAutoencoder
from .autoencoder import evaluate, fine_energy, gradient_loss
from .common import Budget, Saving, device, half_precision, train
from .data import crops

ENERGY_WEIGHT = 1.0
ADVERSARIAL_WEIGHT = 0.015
DISCRIMINATOR_START = 300


class PatchDiscriminator(nn.Module):
    """Real or painted, per patch of about 30 pixels: [B, 3, H, W] to logits [B, 1, H/8, W/8]."""

    def __init__(self) -> None:
        super().__init__()

        def conv(a: int, b: int, stride: int) -> nn.Module:
            return spectral_norm(nn.Conv2d(a, b, 4 if stride == 2 else 3, stride=stride, padding=1))

        self.layers = nn.Sequential(
            conv(3, 32, 2),
            nn.LeakyReLU(0.2),
            conv(32, 64, 2),
            nn.LeakyReLU(0.2),
            conv(64, 96, 2),
            nn.LeakyReLU(0.2),
            conv(96, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def train_texture(
    folder: Path, module: LandscapeAutoencoder, pictures: np.ndarray, held_out: np.ndarray, budget: Budget, seed: int
) -> LandscapeAutoencoder:
    """Fine-tune the decoder on frozen latents, so that the latents and the diffusion model stay valid."""
    torch.manual_seed(seed)
    module.requires_grad_(False)
    module.decoder.requires_grad_(True)
    module.to(device(), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    judge = PatchDiscriminator().to(device(), memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    judge_optimizer = torch.optim.AdamW(judge.parameters(), lr=3e-4, betas=(0.5, 0.99))
    optimizer = torch.optim.AdamW(module.decoder.parameters(), lr=budget.lr, betas=(0.8, 0.99))

    def loss(batch: object, step: int) -> tuple[Tensor, list[float]]:
        assert isinstance(batch, Tensor)
        batch = batch.to(device())
        with half_precision():
            with torch.no_grad():
                z = module.encode(batch)
            y = module.decode(z)
        y = y.float()
        with half_precision():
            real, fake = judge(batch), judge(y.detach())
        hinge = F.relu(1 - real.float()).mean() + F.relu(1 + fake.float()).mean()
        judge_optimizer.zero_grad(set_to_none=True)
        hinge.backward()
        judge_optimizer.step()
        l1, grad = (y - batch).abs().mean(), gradient_loss(y, batch)
        energy = (fine_energy(y) - fine_energy(batch)).abs().mean()
        mse = (y - batch).square().mean()
        value = l1 + 0.2 * grad + mse + ENERGY_WEIGHT * energy
        if step >= DISCRIMINATOR_START:
            judge.requires_grad_(False)
            with half_precision():
                value = value - ADVERSARIAL_WEIGHT * judge(y).float().mean()
            judge.requires_grad_(True)
        return value, [l1.item(), energy.item(), hinge.item(), float(-10 * (mse.detach() / 4).log10())]

    def report(average: nn.Module, step: int) -> None:
        assert isinstance(average, LandscapeAutoencoder)
        print(f"texture at {step}: {evaluate(average, held_out[:64])}", flush=True)

    batches = crops(pictures, budget.batch, 128, seed)
    saving = Saving(folder / "texture.pt", ["l1", "energy", "hinge", "psnr"], every=250, evaluate=report)
    result = train(module, optimizer, budget, batches, loss, saving)
    assert isinstance(result, LandscapeAutoencoder)
    return result.requires_grad_(False)
