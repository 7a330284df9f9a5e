"""How realistic a picture is, comparing its patches with those of real pictures, and how faithful to its guide."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .distribution import Distance, kernel_distance
from .metrics import LUMA
from .tensors import check_image, split_alpha

_PATCHES_ACROSS = 8
_MOST_PATCHES = 1200
_SCALES = 3
_FLAT = 1.0 / 255.0
_SMALLEST = 16  # pixels of a side


def texture_share(images: Tensor) -> Tensor:
    """Share of pixels with fine texture: local contrast above one grey level of 255. [B, H, W, C] to [B] in 0..1.

    Photographs are near 1, flat painting near 0. It needs no reference, but cannot tell right from wrong texture.
    """
    luma = _luma(images)
    return ((_blurred(luma**2) - _blurred(luma) ** 2).clamp(min=0).sqrt() > _FLAT).double().mean(dim=(1, 2, 3))


class RealPictures:
    """Real pictures as a reference: KID between patches, over colour and texture at three scales.

    reference: [M, H, W, C] in 0..1. Patches overlap by half and measure an eighth of the shorter side, so that pictures
    of different sizes can be compared. The reference's features are computed once.
    """

    def __init__(self, reference: Tensor) -> None:
        if min(check_image(reference, "reference").shape[1:3]) < _SMALLEST:
            raise ValueError(
                f"The reference is {reference.shape[2]} x {reference.shape[1]}, too small for patches: give "
                f"pictures of {_SMALLEST} pixels or more."
            )
        features = _patch_features(reference)
        self._mean, self._spread = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
        self._features = (features - self._mean) / self._spread

    def distance(self, images: Tensor) -> Distance:
        """How far pictures [N, H, W, C] are from the real ones: lower is more realistic, 0 means no difference."""
        return kernel_distance((_patch_features(images) - self._mean) / self._spread, self._features)


def l2(images: Tensor, guide: Tensor) -> float:
    """SDEdit's faithfulness: the Euclidean distance over all pixels and channels, mean over the batch.

    images [B, H, W, C], guide [B or 1, H', W', C] with values in 0..1; a larger guide is cropped to its `middle`.
    """
    first, second = (
        split_alpha(check_image(x, name))[0].double() for x, name in ((images, "images"), (guide, "guide"))
    )
    second = middle(second, first.shape[1], first.shape[2])
    return float((first - second).flatten(1).norm(dim=1).mean())


def middle(image: Tensor, height: int, width: int) -> Tensor:
    """The centre of an IMAGE batch, as a VAE crops pictures whose sides are not a multiple of its block size."""
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    return image[:, top : top + height, left : left + width]


def _blurred(maps: Tensor) -> Tensor:
    return F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)


def _luma(images: Tensor) -> Tensor:
    rgb = split_alpha(check_image(images, "images"))[0].double()
    if rgb.shape[-1] == 1:
        rgb = rgb.expand(*rgb.shape[:-1], 3)
    return (rgb @ torch.tensor(LUMA, dtype=torch.float64)).unsqueeze(1)


def _patch_features(images: Tensor) -> Tensor:
    """Mean and spread of colour, and log contrast of the luma at three scales, per patch. [P, 9]"""
    rgb = split_alpha(check_image(images, "images"))[0].double().movedim(-1, 1)
    size = max(4, min(rgb.shape[-2:]) // _PATCHES_ACROSS)
    stride = max(1, size // 2)
    mean = F.avg_pool2d(rgb, size, stride)
    spread = (F.avg_pool2d(rgb**2, size, stride) - mean**2).clamp(min=0).sqrt()
    maps, level = [mean, spread], _luma(images)
    for _ in range(_SCALES):
        detail = F.interpolate((level - _blurred(level)) ** 2, rgb.shape[-2:], mode="nearest")
        maps.append((F.avg_pool2d(detail, size, stride) + 1e-7).log())
        level = F.avg_pool2d(level, 2)
    features = torch.cat(maps, dim=1).movedim(1, -1).flatten(0, -2)
    # Evenly spaced over all pictures, so that the cost of the kernel is bounded and the selection is deterministic.
    keep = torch.linspace(0, len(features) - 1, min(len(features), _MOST_PATCHES)).round().long()
    return features[keep]
