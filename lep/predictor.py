"""The predictor as a value, and our own networks: the paper's per-pixel network and a U-Net on the same input.

A predictor reads activations F_1..F_n of one model call and a noise level, and gives a map on the latent grid. Its
first layer is applied to each activation at that activation's own resolution, and only the result is resized:
``Linear(concat_i up(F_i)) = sum_i up(W_i F_i) + b``, since mixing channels and resizing commute. That is up to seven
times cheaper than resizing first, and the wide concatenation never exists.
"""

from __future__ import annotations

import copy
import functools
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..common.texts import quoted
from ..images.palette import Palette
from .maps import EDGES, encoding
from .predictor_check import check_predictor
from .targets import Encoding

KINDS = ("mlp", "unet")
PAPER_WIDTHS = (512, 256, 128, 64)
_ENCODINGS = 6
_NORM_GROUPS = 8


class PredictorNetwork(nn.Module, ABC):
    """The interface of a predictor's network for guidance and training.

    noise: what it takes as its noise level: "angle" [B] (0 = clean, 1 = pure noise), "map" [B, 4, H, W] (the scaled
    noise itself, as public networks were trained) or "embedding" [B, E] (the model's own time embedding).
    """

    noise = "angle"

    @property
    def dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    @abstractmethod
    def project(self, index: int, feature: Tensor) -> Tensor:
        """The first layer's share of tap `index` [B, C, h, w], at its own resolution."""

    @abstractmethod
    def combine(self, projected: Sequence[Tensor], level: Tensor, size: tuple[int, int]) -> Tensor:
        """The prediction [B, out, H, W] from the shares of all taps and the noise level."""

    def forward(self, features: Sequence[Tensor], level: Tensor, size: tuple[int, int]) -> Tensor:
        return self.combine([self.project(i, feature) for i, feature in enumerate(features)], level, size)


@dataclass(frozen=True)
class MapPredictor:
    """A trained predictor and all that is needed to use it correctly. Immutable: networks are copied before use.

    kind: of its network. taps, channels: what it reads. model: the signature of the model it was made for
    (`families.signature`). map: the kind of map that it predicts, of `maps.MAPS`. target: "latent" (the encoded map,
    model space), "pixels" (colours or greys in -0.5..0.5 on the latent grid) or "classes" (a logit for each colour of
    its palette). line_width: pixels of a line on its edge maps, 0 = not normalised. branch: whose activations it was
    trained on, "positive" or "negative" (the empty prompt). noise_range: the training-time fractions it has seen.
    binarise: its edge maps were black and white. unfinished: where to continue if its training was interrupted
    (`unfinished.Unfinished`); not saved in files.
    """

    network: PredictorNetwork
    kind: str
    taps: tuple[str, ...]
    channels: tuple[int, ...]
    model: dict[str, Any]
    map: str = EDGES
    target: str = "latent"
    palette: Palette = ()
    line_width: int = 0
    branch: str = "positive"
    noise_range: tuple[float, float] = (0.0, 1.0)
    binarise: bool = False
    settings: dict[str, Any] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    unfinished: Any = None

    def __post_init__(self) -> None:
        check_predictor(self)

    @property
    def encoding(self) -> Encoding:
        """How its maps are encoded and compared."""
        return encoding(self.target, self.settings.get("out_channels", 3), self.palette)

    def network_on(self, device: torch.device) -> PredictorNetwork:
        """A frozen copy of the network for use on a device, in float32 at least, of tensors that autograd accepts."""
        with torch.inference_mode(False):
            dtype = torch.promote_types(self.network.dtype, torch.float32)
            network = copy.deepcopy(self.network).to(device=device, dtype=dtype)
            for parameter in network.parameters():
                parameter.requires_grad_(False)
            return network.train(False)


def resize(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, as in the paper and every public predictor."""
    if tuple(picture.shape[-2:]) == tuple(size):
        return picture
    return F.interpolate(picture, size=size, mode="bilinear", align_corners=False)


def resized_sum(pictures: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """The sum of all pictures at one size; those of one size are summed before they are resized."""
    sums: dict[tuple[int, ...], Tensor] = {}
    for picture in pictures:
        key = tuple(picture.shape[-2:])
        sums[key] = sums[key] + picture if key in sums else picture
    resized = (resize(picture, size) for picture in sums.values())
    return functools.reduce(torch.add, resized)


def encode_level(angle: Tensor) -> Tensor:
    """Sines and cosines of the noise level [B] in octaves. [B, 1 + 2 * 6]"""
    octaves = math.pi * 2.0 ** torch.arange(_ENCODINGS, device=angle.device, dtype=angle.dtype)
    phases = angle[:, None] * octaves
    return torch.cat([angle[:, None] * 2.0 - 1.0, phases.sin(), phases.cos()], dim=1)


class FirstLayer(nn.Module):
    """W [concat of standardised features; encoded noise level] + b, each feature at its own resolution."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(width, count) * (len(channels) * count) ** -0.5) for count in channels
        )
        self.level = nn.Linear(1 + 2 * _ENCODINGS, width)
        for i, count in enumerate(channels):
            self.register_buffer(f"mean_{i}", torch.zeros(count))
            self.register_buffer(f"scale_{i}", torch.ones(count))

    def set_statistics(self, index: int, mean: Tensor, deviation: Tensor) -> None:
        """Standardise tap `index` by these per-channel statistics [C] from now on."""
        getattr(self, f"mean_{index}").copy_(mean)
        getattr(self, f"scale_{index}").copy_(1.0 / deviation.clamp_min(1e-4))

    def project(self, index: int, feature: Tensor) -> Tensor:
        """Standardising is folded into the weights, so that the feature itself is not copied."""
        weight = self.weights[index] * getattr(self, f"scale_{index}")
        bias = -(weight @ getattr(self, f"mean_{index}"))
        # Pixel by pixel in memory too: what follows works on each pixel's channels.
        return F.linear(feature.to(weight.dtype).movedim(1, -1), weight, bias).movedim(-1, 1)

    def combine(self, projected: Sequence[Tensor], angle: Tensor, size: tuple[int, int]) -> Tensor:
        level = self.level(encode_level(angle.to(self.level.weight.dtype)))
        return resized_sum(projected, size) + level[:, :, None, None]


class LastLayer(nn.Module):
    """W x + b over the last dimension, in units of the targets that it was trained on."""

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outputs)
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("scale", torch.ones(outputs))

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Predict targets of these per-channel statistics [C] from now on."""
        self.mean.copy_(mean)
        self.scale.copy_(deviation.clamp_min(1e-4))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) * self.scale + self.mean


class PixelNetwork(PredictorNetwork):
    """The paper's per-pixel network: 512, 256, 128, 64, with ReLU (section 4.1, Voynov et al. 2022).

    Two things differ from its public trainers: the noise level is a number with encodings, which is known at every step
    of sampling, while theirs is the noise itself, which is known only at the first; and each pixel is normalised over
    its own channels, while theirs use batch norm, whose statistics are wrong for other pictures.
    """

    def __init__(self, channels: Sequence[int], out_channels: int, widths: Sequence[int] = PAPER_WIDTHS) -> None:
        super().__init__()
        self.first = FirstLayer(channels, widths[0])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.last = LastLayer(widths[-1], out_channels)

    def project(self, index: int, feature: Tensor) -> Tensor:
        return self.first.project(index, feature)

    def combine(self, projected: Sequence[Tensor], level: Tensor, size: tuple[int, int]) -> Tensor:
        hidden = self.first.combine(projected, level, size).movedim(1, -1)
        for norm, layer in zip(self.norms, [*self.layers, self.last], strict=True):
            hidden = layer(norm(F.relu(hidden)))
        return hidden.movedim(-1, 1)


class _Stage(nn.Sequential):
    """Two 3x3 convolutions with group norm."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for count in (inputs, outputs):
            layers += [nn.Conv2d(count, outputs, 3, padding=1), nn.GroupNorm(_NORM_GROUPS, outputs), nn.ReLU()]
        super().__init__(*layers)


class UNetNetwork(PredictorNetwork):
    """A predictor that sees each pixel's surroundings: U-Sketch's encoder-decoder (Mukherjee et al. 2024), smaller.

    The features are projected to `width` channels at their own resolution first; group norm instead of batch norm.
    """

    def __init__(self, channels: Sequence[int], out_channels: int, width: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.first = FirstLayer(channels, width)
        widths = [width * 2**i for i in range(depth + 1)]
        self.enter = nn.GroupNorm(_NORM_GROUPS, width)
        self.down = nn.ModuleList(_Stage(a, b) for a, b in zip([width, *widths[:-2]], widths[:-1], strict=True))
        self.bottom = _Stage(widths[-2], widths[-1])
        self.shrink = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(_Stage(2 * count, count) for count in widths[:-1])
        self.last = LastLayer(width, out_channels)

    def project(self, index: int, feature: Tensor) -> Tensor:
        return self.first.project(index, feature)

    def combine(self, projected: Sequence[Tensor], level: Tensor, size: tuple[int, int]) -> Tensor:
        hidden = F.relu(self.enter(self.first.combine(projected, level, size)))
        skips = []
        for stage in self.down:
            hidden = stage(hidden)
            skips.append(hidden)
            hidden = F.avg_pool2d(hidden, 2, ceil_mode=True)
        hidden = self.bottom(hidden)
        for skip, shrink, stage in zip(reversed(skips), reversed(self.shrink), reversed(self.up), strict=True):
            hidden = resize(shrink(hidden), (skip.shape[-2], skip.shape[-1]))
            hidden = stage(torch.cat([hidden, skip], dim=1))
        return self.last(hidden.movedim(1, -1)).movedim(-1, 1)


def build_network(kind: str, channels: Sequence[int], out_channels: int, **settings: Any) -> PredictorNetwork:
    """A network of our own with fresh weights: "mlp" or "unet". Raises ValueError for another kind."""
    if kind == "mlp":
        return PixelNetwork(channels, out_channels, **settings)
    if kind == "unet":
        return UNetNetwork(channels, out_channels, **settings)
    raise ValueError(f"There is no predictor of the kind {quoted(kind)}: choose mlp or unet.")
