"""What a predictor sees in a picture at a noise level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..samplers import process
from ..samplers.experts import enter
from ..samplers.noise import item_noise
from .features import Places, projecting, read_features, run_with_prompts
from .level_input import level_input
from .predictor import MapPredictor


def predict_map(
    model: Any, predictor: MapPredictor, latents: Tensor, cond: Any, times: Sequence[float], seed: int = 0
) -> list[Tensor]:
    """The prediction for latents [B, C, (T,) h, w] (VAE space) under one CONDITIONING, at each training-time fraction.

    Returns [B, C', (T,) h, w] per time, encoded as the predictor's maps are. The noise of item i is the same at every
    time. The model is called up to the last block that the predictor reads.
    """
    if latents.is_nested:
        raise ValueError("The latent is nested (video with audio): separate it first and connect its video part.")
    found: list[Tensor] = []
    places: Places = {}
    sampling = process.model_sampling(model)
    batch, frames = latents.shape[0], latents.shape[2] if latents.ndim == 5 else 1

    def body(guider: Any, options: dict[str, Any], _: Tensor) -> None:
        device = guider.model_patcher.load_device
        reader = predictor.network_on(device)
        keep = projecting(predictor, reader)
        x0 = process.latent_in(model, latents).to(device)
        noise = torch.stack([item_noise(item, seed, index) for index, item in enumerate(x0)])
        for time in times:
            sigma = max(process.t0_to_sigma(sampling, time), float(sampling.sigma_min))
            levels = torch.full((batch,), sigma, device=device)
            x = process.perturb(sampling, x0, noise, levels, prior=False)
            options = enter(guider, levels, options)
            conds = [guider.conds["positive"][0]] * batch
            values = read_features(guider, options, predictor.taps, x, levels, conds, keep, places)
            level = level_input(reader.noise, guider.inner_model, levels, noise, batch * frames, frames)
            size = (int(x.shape[-2]), int(x.shape[-1]))
            seen = reader.combine(values, level, size).float().cpu()
            found.append(seen if latents.ndim == 4 else seen.unflatten(0, (batch, frames)).movedim(1, 2))

    with torch.no_grad():
        run_with_prompts(model, [cond], latents, body, seed)
    return found
