"""What predictors predict: maps encoded by the VAE, or reduced to the latent grid as levels or as classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.metrics import LUMA
from ..images.palette import Palette, colours, nearest
from ..samplers import process
from ..samplers.mask_frames import ratio_of_vae
from ..samplers.masks import find_crop, over_time

BINARY = 0.5


class Encoding(ABC):
    """How a map becomes a target, how a prediction is compared with one, and how it is shown.

    standardised: whether targets have a mean and a spread in whose units a network should predict.
    """

    standardised = True

    @abstractmethod
    def encode(self, model: Any, vae: Any, maps: Tensor, size: tuple[int, int]) -> Tensor:
        """The target [B or T, C, h, w] of maps [B, H, W, 3] on a latent grid of `size`.

        A video VAE takes the batch for frames.
        """

    @abstractmethod
    def picture(self, model: Any, vae: Any, seen: Tensor, size: tuple[int, int]) -> Tensor:
        """A prediction [B, C, (T,) h, w] as IMAGE [B', H, W, 3] of the given size in pixels."""

    def error(self, seen: Tensor, target: Tensor) -> Tensor:
        """The distance [N, C or 1, h, w] of predictions from targets [N, C, h, w], zero where they agree."""
        return (seen - target) ** 2


@dataclass(frozen=True)
class LatentCode(Encoding):
    """The VAE's code of the map, in model space: what the paper predicts for edges."""

    def encode(self, model: Any, vae: Any, maps: Tensor, size: tuple[int, int]) -> Tensor:
        return as_frames(process.latent_in(model, vae.encode(maps[..., :3]))).float()

    def picture(self, model: Any, vae: Any, seen: Tensor, size: tuple[int, int]) -> Tensor:
        decoded = vae.decode(process.latent_out(model, seen))
        return decoded.reshape(-1, *decoded.shape[-3:]).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Levels(Encoding):
    """The map's mean in each cell of the latent grid, in -0.5..0.5: of its colour, or of its luminance."""

    channels: int = 3

    def encode(self, model: Any, vae: Any, maps: Tensor, size: tuple[int, int]) -> Tensor:
        shown = maps[..., :3].float()
        if self.channels == 1:
            shown = (shown @ torch.tensor(LUMA)).unsqueeze(-1)
        return _in_time(_in_cells(shown.movedim(-1, 1), size), vae) - 0.5

    def picture(self, model: Any, vae: Any, seen: Tensor, size: tuple[int, int]) -> Tensor:
        shown = _in_pixels(as_frames(seen)[:, :3].float() + 0.5, size)
        return shown.expand(-1, 3, -1, -1).movedim(1, -1).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Classes(Encoding):
    """The share of each class in a cell; a class is a colour of flat maps. Predictions are logits."""

    palette: Palette
    standardised = False

    def encode(self, model: Any, vae: Any, maps: Tensor, size: tuple[int, int]) -> Tensor:
        # One map at a time: a plane per class of all frames of a video would take gigabytes.
        chosen = (nearest(each, self.palette)[0] for each in maps[..., :3].split(1))
        planes = (F.one_hot(each, len(self.palette)).movedim(-1, 1).float() for each in chosen)
        return _in_time(torch.cat([_in_cells(each, size) for each in planes]), vae)

    def picture(self, model: Any, vae: Any, seen: Tensor, size: tuple[int, int]) -> Tensor:
        shares = as_frames(seen).float().softmax(dim=1)
        chosen = torch.cat([_in_pixels(each, size).argmax(dim=1).cpu() for each in shares.split(1)])
        return colours(self.palette)[chosen]

    def error(self, seen: Tensor, target: Tensor) -> Tensor:
        """The Kullback-Leibler divergence of each cell's classes."""
        return F.kl_div(seen.log_softmax(dim=1), target, reduction="none").sum(dim=1, keepdim=True)


def _in_cells(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Planes [B, C, H, W] as their means in the cells of a latent grid, [B, C, h, w]."""
    crop = find_crop((planes.shape[-2], planes.shape[-1]), size)
    return F.interpolate(planes if crop is None else crop.of(planes, size), size=size, mode="area")


def _in_time(cells: Tensor, vae: Any) -> Tensor:
    """Cells of frames [B, C, h, w] as the means of those that a video VAE puts into each latent frame."""
    ratio, count = ratio_of_vae(vae), len(cells)
    if ratio is None or count == 1:
        return cells
    return over_time(cells.flatten(2), 1 + (count - 1) // ratio, "area", ratio).reshape(-1, *cells.shape[1:])


def _in_pixels(planes: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(planes, size=size, mode="bilinear", align_corners=False)


def check_target(model: Any, encoding: Encoding, target: Tensor, size: tuple[int, int], name: str) -> None:
    """Raise ValueError for a target [B, C, h, w] that is not of the MODEL's latents of this size."""
    latent = isinstance(encoding, LatentCode)
    channels = model.get_model_object("latent_format").latent_channels if latent else target.shape[1]
    if tuple(target.shape[1:]) != (channels, *size):
        raise ValueError(
            f"The VAE makes a latent of {target.shape[1]} channels, {target.shape[-1]} x {target.shape[-2]}, of "
            f"{name}, but the model works on {channels} channels, {size[1]} x {size[0]}: connect the VAE that belongs "
            "to the model."
        )


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
