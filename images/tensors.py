"""Checks and conversions shared by all picture-space functions."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def check_image(image: Tensor, name: str) -> Tensor:
    """Return `image` as float32 [B, H, W, C] on the CPU, or raise a ValueError that names what is wrong with it."""
    if not isinstance(image, Tensor) or image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        given = list(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise ValueError(
            f"{name} is {given}, but an IMAGE batch [batch, height, width, 1, 3 or 4 channels] is expected: "
            "connect an IMAGE output."
        )
    if 0 in image.shape:
        raise ValueError(f"{name} is empty ({list(image.shape)}): connect a picture with at least one pixel.")
    return _finite(image, name)


def _finite(tensor: Tensor, name: str) -> Tensor:
    tensor = tensor.detach().to(device="cpu", dtype=torch.float32)
    bad = (~torch.isfinite(tensor)).flatten(1).sum(dim=1)
    if bad.any():
        item = int(bad.nonzero()[0, 0])
        raise ValueError(
            f"{name} holds {int(bad[item])} values that are NaN or infinite (batch item {item}), which would spread to "
            "the result: find the node before this one that produces them (often a VAE in half precision)."
        )
    return tensor


def match_batch(tensor: Tensor, batch: int, name: str, other: str) -> Tensor:
    """Repeat a batch of one to `batch` items; any other batch must already have that size."""
    if tensor.shape[0] == batch:
        return tensor
    if tensor.shape[0] == 1:
        return tensor.expand(batch, *tensor.shape[1:])
    raise ValueError(
        f"{name} has a batch of {tensor.shape[0]}, but {other} has {batch}: give {name} one item or {batch} items."
    )


def split_alpha(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """Split [B, H, W, C] into colour [B, H, W, 3] and alpha [B, H, W, 1] (None where there is no alpha)."""
    if image.shape[-1] == 1:
        return image.expand(*image.shape[:-1], 3), None
    if image.shape[-1] == 4:
        return image[..., :3], image[..., 3:]
    return image, None


def to_uint8(image: Tensor) -> np.ndarray:
    """Round [..., C] in 0..1 to uint8; values outside are clipped."""
    return (image.clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy()


def from_uint8(array: np.ndarray) -> Tensor:
    """uint8 array to float32 tensor in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(torch.float32) / 255.0


def from_pil(picture: Image.Image) -> Tensor:
    """One RGB picture to an IMAGE [1, H, W, 3]."""
    return from_uint8(np.array(picture.convert("RGB"))).unsqueeze(0)
