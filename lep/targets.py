"""Edge maps as predictors see them: encoded by the VAE, or reduced to the latent grid."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..samplers import process
from ..samplers.masks import find_crop

BINARY = 0.5


def edge_target(model: Any, vae: Any, edges: Tensor, kind: str, size: tuple[int, int] | None = None) -> Tensor:
    """What a predictor of target `kind` should see for edge maps [B, H, W, 3]: [B or T, C, h, w] in model space.

    "latent": E(e), the VAE's code of the edge map; a video VAE takes the batch for frames. "pixels": the edge map
    reduced to the latent grid `size`, in -0.5..0.5.
    """
    if kind == "pixels":
        if size is None:
            raise ValueError("The size of the latent grid is needed for an edge map in pixels.")
        planes = edges[..., :3].movedim(-1, 1).float()
        crop = find_crop((planes.shape[-2], planes.shape[-1]), size)
        return F.interpolate(planes if crop is None else crop.of(planes, size), size=size, mode="area") - 0.5
    return as_frames(process.latent_in(model, vae.encode(edges[..., :3]))).float()


def check_target(model: Any, kind: str, target: Tensor, size: tuple[int, int], name: str) -> None:
    """Raise ValueError for a target [B, C, h, w] that is not of the MODEL's latents of this size."""
    channels = model.get_model_object("latent_format").latent_channels if kind == "latent" else target.shape[1]
    if tuple(target.shape[1:]) != (channels, *size):
        raise ValueError(
            f"The VAE makes a latent of {target.shape[1]} channels, {target.shape[-1]} x {target.shape[-2]}, of "
            f"{name}, but the model works on {channels} channels, {size[1]} x {size[0]}: connect the VAE that belongs "
            "to the model."
        )


def edge_picture(model: Any, vae: Any, seen: Tensor, kind: str, size: tuple[int, int]) -> Tensor:
    """A prediction [B, C, (T,) h, w] as IMAGE [B', H, W, 3] of the given size in pixels: inverts `edge_target`."""
    if kind == "pixels":
        picture = F.interpolate(as_frames(seen)[:, :3].float() + 0.5, size=size, mode="bilinear", align_corners=False)
        return picture.movedim(1, -1).clamp(0.0, 1.0)
    decoded = vae.decode(process.latent_out(model, seen))
    return decoded.reshape(-1, *decoded.shape[-3:]).clamp(0.0, 1.0)


def as_frames(latent: Tensor) -> Tensor:
    """[B, C, T, h, w] to [B * T, C, h, w]; a picture's latent stays as it is."""
    if latent.ndim == 4:
        return latent
    return latent.movedim(2, 1).flatten(0, 1)


def binary(edges: Tensor) -> Tensor:
    """Black and white, as the edge maps of some public predictors were."""
    return (edges >= BINARY).to(edges.dtype)


def check_drawn(edges: Tensor, name: str = "sketch") -> None:
    """Raise ValueError for an edge map [B, H, W] without a line on it, or without background."""
    for item, drawing in enumerate(edges):
        if float(drawing.max() - drawing.min()) < 1e-3:
            state = "empty" if float(drawing.max()) < BINARY else "full"
            raise ValueError(
                f"The {name} (batch item {item}) is {state}, with no line on it: draw light lines on a dark ground, "
                "or use Edge Map on a picture."
            )


def normal(tensor: Tensor) -> Tensor:
    """A copy that autograd accepts, whatever mode the tensor was made in."""
    with torch.inference_mode(False):
        return tensor.detach().clone()
