"""A VAE's decoder as a function that a gradient can pass, whole or in tiles."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..common.interrupts import interruptible
from ..gradients import Gradients, loss_scales

TILE = 64
"""Cells per side of a tile, without the cells around it that it is decoded with."""
_MARGIN = 8
_CORE_GRADIENT = 3.0  # memory of a decoding with its gradient, in units of the plain one's

Push = Callable[[Tensor], Tensor]
"""From a picture [T, 3, H, W] to the gradient of a loss with respect to it."""


@dataclass(frozen=True)
class Decoder:
    """The decoder of a VAE. model: the MODEL whose latents it gets. tiled: less memory, more time.

    Latents are in model space, [1, C, h, w] or [1, C, T, h, w]; pictures are [T, 3, H, W], in about 0..1 and not
    clipped, because a gradient would end there.
    """

    model: Any
    vae: Any
    tiled: bool = False

    def picture(self, latent: Tensor) -> Tensor:
        """The picture of a latent."""
        with torch.no_grad():
            return self._joined(latent, [self._decoded(part) for _, part in self._tiles(latent)])

    def gradient(self, take: Gradients, latent: Tensor, push: Push) -> tuple[Tensor, Tensor]:
        """The picture, and the gradient with respect to the latent of the loss whose gradient by the picture is `push`.

        take: from `gradients.grad_ready`, for this VAE's network.
        """
        scales = loss_scales(getattr(self.vae, "vae_dtype", torch.float32))
        if not self._is_tiled(latent):
            seen: list[Tensor] = []

            def loss(state: Tensor) -> Tensor:
                decoded = self._decoded(state)
                seen[:] = [decoded.detach()]
                return (decoded * push(seen[0])).sum()

            _, (gradient,) = take(loss, latent, scales=scales)
            return seen[0], gradient
        picture, gradient = self.picture(latent), torch.zeros_like(latent)
        pushed = push(picture)
        for place, part in interruptible(self._tiles(latent)):

            def share(state: Tensor, place: _Tile = place) -> Tensor:
                decoded = self._decoded(state)
                block = decoded.shape[-1] // state.shape[-1]
                return (decoded[place.inside(block)] * pushed[place.outside(block)]).sum()

            gradient[place.cells] += take(share, part, scales=scales)[1][0]
        return picture, gradient

    def memory(self, shape: tuple[int, ...]) -> int:
        """Bytes that a gradient takes for one picture of a latent of this shape [B, C, (T,) h, w]."""
        sides = [min(side, TILE + 2 * _MARGIN) if self.tiled else side for side in shape[-2:]]
        one = (1, *shape[1:-2], *sides)
        used = self.vae.memory_used_decode(one, getattr(self.vae, "vae_dtype", torch.float32))
        return int(_CORE_GRADIENT * used)

    def _decoded(self, latent: Tensor) -> Tensor:
        vae = self.vae
        code = self._format.process_out(latent)
        if getattr(vae, "latent_dim", 2) == 2 and code.ndim == 5:
            code = code[:, :, 0]
        out = vae.first_stage_model.decode(code.to(device=vae.device, dtype=vae.vae_dtype))
        gain, offset = _scaling(vae)
        picture = out.to(device=latent.device, dtype=latent.dtype)[:, :3] * gain + offset
        return picture if picture.ndim == 4 else picture.movedim(2, 1).flatten(0, 1)

    @cached_property
    def _format(self) -> Any:
        """The MODEL's latent format, with tensors that a gradient can pass."""
        own = copy.copy(self.model.get_model_object("latent_format"))
        with torch.inference_mode(False):
            for name, value in list(vars(own).items()):
                if isinstance(value, Tensor):
                    setattr(own, name, value.clone())
        return own

    def _is_tiled(self, latent: Tensor) -> bool:
        return self.tiled and max(latent.shape[-2:]) > TILE + 2 * _MARGIN

    def _tiles(self, latent: Tensor) -> Iterator[tuple[_Tile, Tensor]]:
        height, width = latent.shape[-2:]
        step = TILE if self._is_tiled(latent) else max(height, width)
        for top, left in itertools.product(range(0, height, step), range(0, width, step)):
            tile = _Tile(_Span.of(top, step, height), _Span.of(left, step, width))
            yield tile, latent[tile.cells]

    def _joined(self, latent: Tensor, decoded: list[Tensor]) -> Tensor:
        if len(decoded) == 1:
            return decoded[0]
        places = [tile for tile, _ in self._tiles(latent)]
        block = decoded[0].shape[-1] // (places[0].columns.end - places[0].columns.start)
        height, width = (side * block for side in latent.shape[-2:])
        picture = decoded[0].new_empty(*decoded[0].shape[:2], height, width)
        for tile, part in zip(places, decoded, strict=True):
            picture[tile.outside(block)] = part[tile.inside(block)]
        return picture


@dataclass(frozen=True)
class _Span:
    """Cells first..last of one axis, decoded as part of start..end."""

    first: int
    last: int
    start: int
    end: int

    @classmethod
    def of(cls, first: int, step: int, size: int) -> _Span:
        last = min(first + step, size)
        return cls(first, last, max(first - _MARGIN, 0), min(last + _MARGIN, size))


@dataclass(frozen=True)
class _Tile:
    rows: _Span
    columns: _Span

    @property
    def cells(self) -> Any:
        """Of a latent: the tile with its margin."""
        return ..., slice(self.rows.start, self.rows.end), slice(self.columns.start, self.columns.end)

    def outside(self, block: int) -> Any:
        """The pixels of the tile in the whole picture."""
        return ..., *(slice(block * span.first, block * span.last) for span in (self.rows, self.columns))

    def inside(self, block: int) -> Any:
        """The same pixels in the decoded tile."""
        return ..., *(
            slice(block * (span.first - span.start), block * (span.last - span.start))
            for span in (self.rows, self.columns)
        )


def check_decoder(model: Any, vae: Any) -> None:
    """Raises ValueError unless a VAE has a decoder of pictures that a gradient can pass, for the latents of a MODEL."""
    if not isinstance(getattr(vae, "first_stage_model", None), torch.nn.Module) or getattr(vae, "latent_dim", 2) == 1:
        raise ValueError("This VAE has no decoder of pictures that a gradient can pass: connect one from Load VAE.")
    wanted = model.get_model_object("latent_format").latent_channels
    channels = getattr(vae, "latent_channels", wanted)
    if channels != wanted:
        raise ValueError(
            f"The VAE decodes latents of {channels} channels, but the model works on {wanted}: connect the VAE that "
            "belongs to the model."
        )


def _scaling(vae: Any) -> tuple[float, float]:
    """How a VAE's output becomes a picture in 0..1, without the clipping: gain and offset."""
    low, high = vae.process_output(torch.tensor([0.25, 0.5])).tolist()
    gain = (high - low) / 0.25
    return gain, low - 0.25 * gain
