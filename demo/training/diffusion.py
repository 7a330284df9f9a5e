"""Trains the diffusion model and its text encoder together, with eps prediction, on latents of rendered scenes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.ldm.modules.attention
import comfy.ops
import torch
from torch import Tensor, nn

from ..model import build_base_model
from ..scenes import vocabulary
from ..text import CONFIG, LandscapeTextModel, WordTokenizer, encode_for_training
from .common import Budget, Saving, device, half_precision, train
from .latents import LatentData
from .muon import Muon, split_groups


class TextToLatent(nn.Module):
    """The U-Net and the text encoder as one trainable module, with ComfyUI's own classes inside."""

    def __init__(self, unet: Mapping[str, Any]) -> None:
        super().__init__()
        self.unet = build_base_model(unet=unet).diffusion_model
        self.text = LandscapeTextModel(dict(CONFIG), torch.float32, "cpu", comfy.ops.disable_weight_init)
        self.requires_grad_(True)
        # Nothing uses the pooled output, so its projection stays the identity.
        self.text.text_projection.requires_grad_(False)

    def forward(self, x: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(x, timesteps, context=encode_for_training(self.text, tokens))


def initialise(module: TextToLatent) -> None:
    """Initialise the weights, because ComfyUI's layers are not. Residual branches and the output start at zero."""
    for name, m in module.named_modules():
        weight, bias = getattr(m, "weight", None), getattr(m, "bias", None)
        if isinstance(weight, Tensor):
            if isinstance(m, nn.Embedding):
                nn.init.normal_(weight, std=0.5 if "token" in name else 0.05)
            elif weight.ndim == 1:
                nn.init.ones_(weight)
            else:
                nn.init.normal_(weight, std=1 / math.sqrt(weight[0].numel()))
        if isinstance(bias, Tensor):
            nn.init.zeros_(bias)
        if name.endswith(("out_layers.3", "proj_out", "unet.out.2")):
            assert isinstance(weight, Tensor)
            nn.init.zeros_(weight)
    nn.init.normal_(module.text.text_model.embeddings.token_embedding.weight, std=0.5)
    nn.init.normal_(module.text.text_model.embeddings.position_embedding.weight, std=0.05)
    nn.init.eye_(module.text.text_projection.weight)


def plain_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, *_: Any, **__: Any) -> Tensor:
    """Softmax attention by two matrix products: on a CPU, much faster to differentiate than the fused kernel."""
    q, k, v = (t.view(len(t), t.shape[1], heads, -1).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1, dtype=torch.float32).to(v.dtype)
    return (weights @ v).transpose(1, 2).reshape(len(q), q.shape[2], -1)


def loss_weights() -> Tensor:
    """Weight of the eps error per timestep [1000]: min-SNR 5, plus more at high noise, which sets a picture's tone."""
    sigmas = build_base_model().model_sampling.sigmas
    snr = sigmas.double() ** -2
    weights = (5 / snr).clamp(max=1.0) + 0.25 * (1 / snr).clamp(max=100.0)
    return weights.float()


def train_diffusion(folder: Path, data: LatentData, budget: Budget, seed: int, unet: Mapping[str, Any]) -> TextToLatent:
    """Train from scratch (or resume) and return the averaged weights; unet: see `Style`."""
    torch.manual_seed(seed)
    module = TextToLatent(unet)
    initialise(module)
    module.to(device())
    optimizer = Muon(split_groups(module), lr=budget.lr)
    for attribute in ("optimized_attention", "optimized_attention_masked"):
        setattr(comfy.ldm.modules.attention, attribute, plain_attention)
    sigmas, weights = build_base_model().model_sampling.sigmas.to(device()), loss_weights().to(device())
    batches = data.batches(budget.batch, WordTokenizer(vocabulary()), seed)

    def loss(batch: object, step: int) -> tuple[Tensor, list[float]]:
        assert isinstance(batch, tuple)
        latents, tokens = (part.to(device()) for part in batch)
        count = len(latents)
        # Stratified timesteps: every batch sees the whole range, which halves the variance of the loss.
        t = ((torch.randperm(count) + torch.rand(count)) / count * len(sigmas)).long().to(device())
        sigma = sigmas[t].view(-1, 1, 1, 1)
        noise = torch.randn_like(latents)
        x = (latents + sigma * noise) / (sigma**2 + 1).sqrt()
        with half_precision():
            eps = module(x, t.float(), tokens)
        error = (eps.float() - noise).square().mean(dim=(1, 2, 3))
        value = (weights[t] * error).mean()
        high = t > 800
        x0_error = (error * sigma.flatten() ** 2)[high].mean() if high.any() else error.mean()
        return value, [value.item(), error.mean().item(), x0_error.item()]

    names = ["loss", "eps", "x0_high"]
    saving = Saving(folder / "diffusion.pt", names, ema=0.9993)
    result = train(module, optimizer, budget, batches, loss, saving)
    assert isinstance(result, TextToLatent)
    return result
