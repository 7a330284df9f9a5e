"""Decoded latents, for sheets and previews."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..samplers import nested


def decoded(vae: Any, samples: Any) -> Tensor:
    """Pictures [B, H, W, 3] of VAE-space samples [B, C, ...]; of video all frames, one after the other.

    Of video with sound, the video.
    """
    pictures = vae.decode(nested.video(samples))
    return pictures.reshape(-1, *pictures.shape[-3:])
