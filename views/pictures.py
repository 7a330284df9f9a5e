"""Decoded latents, for sheets and previews."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def decoded(vae: Any, samples: Tensor) -> Tensor:
    """Pictures [B, H, W, 3] of VAE-space samples [B, C, ...]; of video all frames, one after the other."""
    pictures = vae.decode(samples)
    return pictures.reshape(-1, *pictures.shape[-3:])
