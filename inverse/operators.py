"""What can be known of a picture: linear measurements y = A x, and the picture nearest to another that agrees with y.

Pictures are [N, 3, H, W] in 0..1 and every operator works in the dtype of its input. `transpose` is the adjoint of
`apply`, <A x, y> = <x, A^T y>; `inverse` is a right inverse where there is one, A (A^+ y) = y. `project` is the range-
null decomposition (Wang et al. 2023, DDNM) kept within 0..1: A x = y, and otherwise as near to v as described there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.interrupts import interruptible

LUMA = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights, applied to encoded (sRGB) values as they are in a picture."""
HALF_STEP = 0.5 / 255
_SAME = 1e-6  # a measurement this near to the picture's own is the same: float32 does not add up more exactly
_BACK_PROJECTIONS, _BISECTIONS = 10, 32
_DEBLURRING_STEPS = 1000  # it ends as soon as the picture agrees


class Operator(Protocol):
    """A linear measurement A of pictures."""

    def apply(self, x: Tensor, /) -> Tensor:
        """y = A x."""
        ...

    def transpose(self, y: Tensor, /) -> Tensor:
        """A^T y, a picture."""
        ...

    def inverse(self, y: Tensor, /) -> Tensor:
        """A^+ y, a picture: the pseudo-inverse, or A^T where that would amplify noise without bound (a blur)."""
        ...

    def project(self, v: Tensor, y: Tensor, /) -> Tensor:
        """A picture in 0..1 with A x = y, near v; v itself, bit for bit, where it agrees already and is in 0..1."""
        ...


@dataclass(frozen=True)
class Grey:
    """The luma of every pixel: y [N, 1, H, W]."""

    def apply(self, x: Tensor) -> Tensor:
        return (x * self._weights(x)).sum(dim=-3, keepdim=True)

    def transpose(self, y: Tensor) -> Tensor:
        return y * self._weights(y)

    def inverse(self, y: Tensor) -> Tensor:
        weights = self._weights(y)
        return y * weights / weights.square().sum()

    def project(self, v: Tensor, y: Tensor) -> Tensor:
        """Adds the same to all three colours, and where that leaves 0..1, reduces the saturation: hues stay."""
        own = self.apply(v)
        chroma = v - own  # its luma is 0
        room = torch.where(chroma > 0, (1.0 - y) / chroma.clamp_min(_SAME), y / (-chroma).clamp_min(_SAME))
        saturation = room.amin(dim=-3, keepdim=True).clamp(0.0, 1.0)
        return _kept(v, (y + saturation * chroma).clamp(0.0, 1.0), (own - y).abs() <= _SAME)

    @staticmethod
    def _weights(like: Tensor) -> Tensor:
        return torch.tensor(LUMA, dtype=like.dtype).reshape(3, 1, 1).to(like)


@dataclass(frozen=True)
class Smaller:
    """The mean of each block of factor x factor pixels: y [N, 3, H / factor, W / factor]."""

    factor: int

    def apply(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.factor)

    def transpose(self, y: Tensor) -> Tensor:
        return self.inverse(y) / self.factor**2

    def inverse(self, y: Tensor) -> Tensor:
        return y.repeat_interleave(self.factor, -2).repeat_interleave(self.factor, -1)

    def project(self, v: Tensor, y: Tensor) -> Tensor:
        """Smooth corrections, enlarged by cubics, so that no block shows (back projection, Irani and Peleg 1991).

        What they leave is less than is visible: every block is moved by one amount, and clipped.
        """
        x = v.clamp(0.0, 1.0)
        for _ in interruptible(range(_BACK_PROJECTIONS)):
            rest = F.interpolate(y - self.apply(x), scale_factor=self.factor, mode="bicubic", align_corners=False)
            x = (x + rest).clamp(0.0, 1.0)
        return _kept(v, self._moved(x, y), self.inverse((self.apply(v) - y).abs()) <= _SAME)

    def _moved(self, x: Tensor, y: Tensor) -> Tensor:
        """Of all pictures that agree, the nearest: x + one amount for each block, within 0..1. Found by bisection."""
        low, high = -torch.ones_like(y), torch.ones_like(y)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            above = self.apply((x + self.inverse(middle)).clamp(0.0, 1.0)) > y
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (x + self.inverse((low + high) / 2)).clamp(0.0, 1.0)


@dataclass(frozen=True)
class Masked:
    """The pixels outside a mask: y [N, 3, H, W], 0 elsewhere. known: [N or 1, 1, H, W], 1 or 0."""

    known: Tensor

    def apply(self, x: Tensor) -> Tensor:
        return x * self.known.to(x)

    transpose = inverse = apply

    def project(self, v: Tensor, y: Tensor) -> Tensor:
        return torch.where(self.known.to(v) > 0, y, v.clamp(0.0, 1.0))


@dataclass(frozen=True)
class Blurred:
    """The picture blurred by a kernel [k, k'] (odd sides, sum 1), mirrored at its border: y [N, 3, H, W]."""

    kernel: Tensor

    def apply(self, x: Tensor) -> Tensor:
        for axis, reach in self._reaches():
            x = x.index_select(axis, _mirrored(x.shape[axis], reach).to(x.device))
        blurred = torch.fft.irfft2(torch.fft.rfft2(x) * self._spectrum(x), s=x.shape[-2:])
        return blurred[..., self.kernel.shape[0] - 1 :, self.kernel.shape[1] - 1 :]

    def transpose(self, y: Tensor) -> Tensor:
        spread = F.pad(y, (self.kernel.shape[1] - 1, 0, self.kernel.shape[0] - 1, 0))
        spread = torch.fft.irfft2(torch.fft.rfft2(spread) * self._spectrum(spread).conj(), s=spread.shape[-2:])
        for axis, reach in self._reaches():
            shape = list(spread.shape)
            shape[axis] = y.shape[axis]
            spread = spread.new_zeros(shape).index_add(axis, _mirrored(shape[axis], reach).to(y.device), spread)
        return spread

    def inverse(self, y: Tensor) -> Tensor:
        return self.transpose(y)

    def project(self, v: Tensor, y: Tensor) -> Tensor:
        """Agrees within half an 8-bit step at every pixel, and no more: a blur's exact inverse is mostly noise.

        Accelerated projected gradient from v (Beck and Teboulle 2009), which changes first what the blur shows best;
        a picture is left alone as soon as it agrees.
        """
        x, y = v.clamp(0.0, 1.0), y.expand_as(v)
        length = 1.0 / self._gain(x)
        return torch.cat([self._agreeing(*each, length) for each in zip(x.split(1), y.split(1), strict=True)])

    def _agreeing(self, x: Tensor, y: Tensor, length: float) -> Tensor:
        """One picture, [1, 3, H, W]."""
        seen = self.apply(x)
        moved, shown = x, seen
        for step in interruptible(range(_DEBLURRING_STEPS)):
            if float((seen - y).abs().amax()) <= HALF_STEP:
                break
            following = (moved - length * self.transpose(shown - y)).clamp(0.0, 1.0)
            following_seen, momentum = self.apply(following), step / (step + 3.0)
            moved = following + momentum * (following - x)
            shown = following_seen + momentum * (following_seen - seen)  # A is linear
            x, seen = following, following_seen
        return x

    def _gain(self, like: Tensor) -> float:
        """The largest eigenvalue of A^T A is at most this."""
        ones = torch.ones_like(like[:1])
        return float(self.transpose(self.apply(ones)).amax())

    def _spectrum(self, like: Tensor) -> Tensor:
        return torch.fft.rfft2(self.kernel.to(like), s=like.shape[-2:])

    def _reaches(self) -> list[tuple[int, int]]:
        return [(axis, self.kernel.shape[axis] // 2) for axis in (-2, -1)]


def _mirrored(size: int, reach: int) -> Tensor:
    """Which pixel of a row of `size` is at -reach .. size + reach - 1, mirrored with the border pixel doubled."""
    places = torch.arange(-reach, size + reach) % (2 * size)
    return torch.where(places < size, places, 2 * size - 1 - places)


def _kept(v: Tensor, moved: Tensor, agrees: Tensor) -> Tensor:
    """v where it agrees and is a picture, and what it was moved to elsewhere."""
    inside = ((v >= 0.0) & (v <= 1.0)).all(dim=-3, keepdim=True)
    return torch.where(agrees & inside, v, moved)
