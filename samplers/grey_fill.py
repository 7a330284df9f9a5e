"""Recognises latents whose masked area was painted over with flat grey before encoding (VAE Encode for Inpainting)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_RIM = 2  # cells at the border of the area, where the encoder sees both the picture and the grey
_FEWEST_CELLS = 3
_FLAT = 0.12  # spread over the area, in units of the spread outside it
_GREY = 0.16  # distance from mid-grey, in the -1..1 of the preview


def is_grey_filled(latent_format: Any, latent: Tensor, mask: Tensor) -> bool:
    """Whether the area under a binary mask is one flat mid-grey.

    latent: [B, C, H, W] in model space; mask: [B, C or 1, H, W] on the latent grid. The colour is read with the latent
    format's own preview factors; formats without them are judged not grey.
    """
    factors = latent_format.latent_rgb_factors
    if factors is None or latent.ndim != 4 or len(factors) != latent.shape[1]:
        return False
    hard = (mask[:, :1] > 0.99).float()
    inner = 1.0 - torch.nn.functional.max_pool2d(1.0 - hard, 2 * _RIM + 1, 1, _RIM)
    weights, bias = torch.tensor(factors).to(latent), latent_format.latent_rgb_factors_bias
    preview = torch.einsum("bchw,cr->brhw", latent, weights)
    if bias is not None:
        preview = preview + torch.tensor(bias).to(latent).reshape(1, 3, 1, 1)
    return any(_is_flat_grey(latent[i], preview[i], inner[i, 0] > 0, hard[i, 0] == 0) for i in range(latent.shape[0]))


def _is_flat_grey(latent: Tensor, preview: Tensor, inside: Tensor, outside: Tensor) -> bool:
    if int(inside.sum()) < _FEWEST_CELLS or int(outside.sum()) < _FEWEST_CELLS:
        return False
    spread = float(latent[:, inside].std(dim=1).mean())
    if spread > _FLAT * float(latent[:, outside].std(dim=1).mean()):
        return False
    return float(preview[:, inside].mean(dim=1).abs().max()) < _GREY
