"""A measurement as a value: what is known of a picture, by which operator, and how exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.tensors import check_image, match_batch, split_alpha
from ..samplers.masks import on_picture
from .colors import CONTRAST, smoothed_chroma
from .operators import Blurred, Grey, Masked, Operator, Smaller

FACTORS = (2, 4, 8)
_LARGEST_BLOCK = 64  # pixels per cell, of all VAEs


@dataclass(frozen=True)
class Measurement:
    """y = A x + noise.

    kind: grey, smaller, blurred or masked. operator: A. value: y, on the CPU in float32. noise: standard deviation of
    what y holds besides A x, in 0..1. picture: an IMAGE [N, H, W, 3] of the full size that shows y, to start from.
    """

    kind: str
    operator: Operator
    value: Tensor
    picture: Tensor
    noise: float = 0.0

    def __len__(self) -> int:
        return len(self.value)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures that agree with it."""
        return int(self.picture.shape[1]), int(self.picture.shape[2])

    def cropped(self, height: int, width: int) -> Measurement:
        """The middle part, as a VAE crops pictures whose sides are not a multiple of its blocks.

        Raises ValueError where the pictures are not so much smaller, or the crop would cut through a block.
        """
        if (height, width) == self.size:
            return self
        less = [own - given for own, given in zip(self.size, (height, width), strict=True)]
        top, left = less[0] // 2, less[1] // 2
        step = self.operator.factor if isinstance(self.operator, Smaller) else 1
        if not all(0 <= n < _LARGEST_BLOCK for n in less) or any(n % step for n in (top, left, height, width)):
            raise ValueError(
                f"The measurement is of a picture of {self.size[1]} x {self.size[0]}, but this one is {width} x "
                f"{height}: start from the measurement's own picture (VAE Encode), with sides that are multiples of "
                f"{8 * max(1, step // 8)}."
            )
        rows, columns = slice(top // step, (top + height) // step), slice(left // step, (left + width) // step)
        operator = self.operator
        if isinstance(operator, Masked):
            operator = Masked(operator.known[..., rows, columns])
        part = self.picture[:, top : top + height, left : left + width]
        return replace(self, operator=operator, value=self.value[..., rows, columns], picture=part)

    def of(self, items: slice) -> Measurement:
        """Of some pictures of the batch."""
        operator = self.operator
        if isinstance(operator, Masked) and len(operator.known) > 1:
            operator = Masked(operator.known[items])
        return replace(self, operator=operator, value=self.value[items], picture=self.picture[items])

    def on(self, device: torch.device) -> Measurement:
        """With its values as a normal tensor on a device, which a gradient can pass."""
        with torch.inference_mode(False):
            return replace(self, value=self.value.clone().to(device))


def grey(image: Tensor, noise: float = 0.0) -> Measurement:
    """The luma of a picture [N, H, W, C]."""
    planes, operator = _planes(image), Grey()
    value = operator.apply(planes)
    return Measurement("grey", operator, value, as_image(value.expand(-1, 3, -1, -1)), noise)


def smaller(image: Tensor, factor: int, measured: bool, noise: float = 0.0) -> Measurement:
    """A picture that is `factor` times as large as the given one, or (measured False) the given one made smaller."""
    planes, operator = _planes(image), Smaller(factor)
    if not measured:
        height, width = (n // factor * factor for n in planes.shape[-2:])
        if 0 in (height, width):
            raise ValueError(
                f"The picture is {planes.shape[-1]} x {planes.shape[-2]}, which leaves nothing at a factor of "
                f"{factor}: give a larger picture or a smaller factor."
            )
        planes = operator.apply(_middle(planes, height, width))
    enlarged = F.interpolate(planes, scale_factor=factor, mode="bicubic", align_corners=False).clamp(0.0, 1.0)
    return Measurement("smaller", operator, planes, as_image(enlarged), noise)


def blurred(image: Tensor, kernel: Tensor, measured: bool, noise: float = 0.0) -> Measurement:
    """A picture whose blur by the kernel is the given one, or (measured False) that of the given one."""
    planes, operator = _planes(image), Blurred(kernel)
    value = planes if measured else operator.apply(planes)
    return Measurement("blurred", operator, value, as_image(value), noise)


def masked(image: Tensor, mask: Tensor, noise: float = 0.0) -> Measurement:
    """The pixels where a MASK is 0; the rest of its picture is their mean colour."""
    planes = _planes(image)
    known = (on_picture(mask, planes.shape[-2], planes.shape[-1], "the picture") <= 0).float().unsqueeze(1)
    batch = max(len(planes), len(known))
    planes = match_batch(planes, batch, "image", "the mask")
    operator = Masked(known if len(known) == 1 else match_batch(known, batch, "mask", "the batch of pictures"))
    value = operator.apply(planes)
    count = operator.known.sum(dim=(2, 3), keepdim=True)
    mean = value.sum(dim=(2, 3), keepdim=True) / count.clamp_min(1.0)
    return Measurement("masked", operator, value, as_image(value + (1.0 - operator.known) * mean), noise)


def as_planes(image: Tensor) -> Tensor:
    """IMAGE [N, H, W, 3] as [N, 3, H, W]."""
    return image.movedim(-1, 1)


def as_image(planes: Tensor) -> Tensor:
    """[N, 3, H, W] as IMAGE [N, H, W, 3]."""
    return planes.movedim(1, -1).contiguous()


def disagreement(measurement: Measurement, image: Tensor) -> Tensor:
    """RMS of A x - y of each picture of an IMAGE [N, H, W, 3], in 8-bit steps; over the known pixels of a mask. [N]"""
    planes = as_planes(image).float()
    squares = (measurement.operator.apply(planes) - measurement.value.to(planes)).square()
    if not isinstance(measurement.operator, Masked):
        return 255.0 * squares.mean(dim=(1, 2, 3)).sqrt()
    count = 3.0 * measurement.operator.known.to(planes).sum(dim=(1, 2, 3))
    return 255.0 * (squares.sum(dim=(1, 2, 3)) / count.clamp_min(1.0)).sqrt()


def agreeing(measurement: Measurement, image: Tensor, color_smoothing: float = 0.0) -> Tensor:
    """The pictures of an IMAGE [N, H, W, 3] brought to agree with the measurement, as near as `Operator.project` says.

    Where the measurement has noise, they are moved until A x - y is as large as the noise (Morozov), and no further.
    color_smoothing: for greys, over how many pixels the colours even out first where the greys show no edge.
    """
    planes, operator = as_planes(image).float(), measurement.operator
    value = measurement.value.to(planes).expand(len(planes), -1, -1, -1)
    if measurement.noise > 0.0:
        size = disagreement(measurement, image).clamp_min(1e-6) / 255.0
        left = (measurement.noise / size).clamp(max=1.0).reshape(-1, 1, 1, 1)
        value = value + left * (operator.apply(planes) - value)
        value = value.clamp(0.0, 1.0)
    if isinstance(operator, Grey) and color_smoothing > 0.0:
        contrast = max(CONTRAST, 2.0 * measurement.noise)
        chroma = planes - operator.apply(planes)
        smoothed = [
            smoothed_chroma(each, y[0], color_smoothing, contrast) for each, y in zip(chroma, value, strict=True)
        ]
        planes = torch.stack(smoothed) + value
    return as_image(operator.project(planes, value))


def _planes(image: Tensor) -> Tensor:
    return as_planes(split_alpha(check_image(image, "image"))[0]).clamp(0.0, 1.0).contiguous()


def _middle(planes: Tensor, height: int, width: int) -> Tensor:
    top, left = (planes.shape[-2] - height) // 2, (planes.shape[-1] - width) // 2
    return planes[..., top : top + height, left : left + width]
