"""Networks of published predictors, each with its own conventions, in evaluation form.

Latent guidance predictor (ogkalu2/Sketch-Guided-Stable-Diffusion, 7080 inputs), sketch2img (Mikubill, 9320 inputs) and
its descendant (9324), U-Sketch (9320 inputs, a U-Net), and the edge heads of Readout Guidance (Luo et al. 2024).
All but the last take the scaled noise itself as their noise level, with sines of it, after the activations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .predictor import PredictorNetwork, resize, resized_sum

NOISE_CHANNELS = 4


def encode_noise(noise: Tensor, encodings: int) -> Tensor:
    """The noise map [B, 4, H, W] and sin(2 pi n 2^-l) for l = 0 .. encodings - 1: [B, 4 + 4 * encodings, H, W]."""
    return torch.cat([noise, *(torch.sin(2 * math.pi * noise * 2.0**-level) for level in range(encodings))], dim=1)


def fold_batch_norm(weight: Tensor, bias: Tensor, norm: dict[str, Tensor], eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """A linear or convolutional layer after an evaluation-mode batch norm, as one layer.

    weight [out, in, ...], bias [out]; norm: weight, bias, running_mean, running_var of the inputs.
    W' = W diag(gamma / sqrt(var + eps)), b' = b + W (beta - gamma mean / sqrt(var + eps)). Exact without padding.
    """
    gain = norm["weight"] / (norm["running_var"] + eps).sqrt()
    shift = norm["bias"] - gain * norm["running_mean"]
    spread = gain.reshape(1, -1, *[1] * (weight.ndim - 2))
    return weight * spread, bias + (weight.flatten(2).sum(-1) if weight.ndim > 2 else weight) @ shift


class BatchNormPixelNetwork(PredictorNetwork):
    """Linear, ReLU, batch norm, four times, then Linear: 512, 256, 128, 64, 4. Batch norms are folded on loading."""

    noise = "map"

    def __init__(self, channels: Sequence[int], encodings: int, widths: Sequence[int] = (512, 256, 128, 64, 4)) -> None:
        super().__init__()
        self.channels, self.encodings = tuple(channels), encodings
        extra = NOISE_CHANNELS * (1 + encodings)
        inputs = [sum(channels) + extra, *widths[:-1]]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(inputs, widths, strict=True))

    def project(self, index: int, feature: Tensor) -> Tensor:
        first: nn.Linear = self.layers[0]  # pyright: ignore[reportAssignmentType]
        start = sum(self.channels[:index])
        weight = first.weight[:, start : start + self.channels[index]]
        return F.linear(feature.float().movedim(1, -1), weight).movedim(-1, 1)

    def combine(self, projected: Sequence[Tensor], level: Tensor, size: tuple[int, int]) -> Tensor:
        first: nn.Linear = self.layers[0]  # pyright: ignore[reportAssignmentType]
        noise = resize(encode_noise(level.float(), self.encodings), size).movedim(1, -1)
        seen = resized_sum(projected, size).movedim(1, -1)
        hidden = seen + F.linear(noise, first.weight[:, sum(self.channels) :], first.bias)
        for layer in list(self.layers)[1:]:
            hidden = layer(F.relu(hidden))
        return hidden.movedim(-1, 1)


class _ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU, twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.after_first(self.conv1(x))

    def after_first(self, x: Tensor) -> Tensor:
        """Everything after the first convolution, which may have been applied elsewhere."""
        x = F.relu(self.bn1(x))
        return F.relu(self.bn2(self.conv2(x)))


class _Encoder(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = _ConvBlock(inputs, outputs)


class _Decoder(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv = _ConvBlock(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # Sizes that are not multiples of 16 lose a row on the way down; the original crashes on them.
        return self.conv(torch.cat([resize(self.up(x), (skip.shape[-2], skip.shape[-1])), skip], dim=1))


class USketchNetwork(PredictorNetwork):
    """U-Sketch's predictor (Mukherjee et al. 2024); names of parts as in its checkpoints.

    The first 3x3 convolution over 9320 channels is applied at each activation's own resolution as nine 1x1 ones, whose
    resized results are shifted and summed: the same numbers at an eighth of the cost.
    """

    noise = "map"

    def __init__(self, channels: Sequence[int], encodings: int = 9, width: int = 64, outputs: int = 4) -> None:
        super().__init__()
        self.channels, self.encodings = tuple(channels), encodings
        inputs = sum(channels) + NOISE_CHANNELS * (1 + encodings)
        widths = [width * 2**i for i in range(5)]
        self.e1, self.e2 = _Encoder(inputs, widths[0]), _Encoder(widths[0], widths[1])
        self.e3, self.e4 = _Encoder(widths[1], widths[2]), _Encoder(widths[2], widths[3])
        self.b = _ConvBlock(widths[3], widths[4])
        self.d1, self.d2 = _Decoder(widths[4], widths[3]), _Decoder(widths[3], widths[2])
        self.d3, self.d4 = _Decoder(widths[2], widths[1]), _Decoder(widths[1], widths[0])
        self.outputs = nn.Conv2d(widths[0], outputs, 1)

    def project(self, index: int, feature: Tensor) -> Tensor:
        start = sum(self.channels[:index])
        kernel = self.e1.conv.conv1.weight[:, start : start + self.channels[index]]
        # [9 * out, C]: one 1x1 convolution per place of the kernel
        weight = kernel.permute(2, 3, 0, 1).flatten(0, 2)
        return F.linear(feature.float().movedim(1, -1), weight).movedim(-1, 1)

    def combine(self, projected: Sequence[Tensor], level: Tensor, size: tuple[int, int]) -> Tensor:
        first = self.e1.conv.conv1
        noise = resize(encode_noise(level.float(), self.encodings), size)
        entered = F.conv2d(noise, first.weight[:, sum(self.channels) :], first.bias, padding=1)
        shares = F.pad(resized_sum(projected, size), (1, 1, 1, 1)).unflatten(1, (3, 3, -1))
        height, width = size
        for row in range(3):
            for column in range(3):
                entered = entered + shares[:, row, column, :, row : row + height, column : column + width]
        skips = [self.e1.conv.after_first(entered)]
        for stage in (self.e2, self.e3, self.e4):
            skips.append(stage.conv(F.max_pool2d(skips[-1], 2)))
        hidden = self.b(F.max_pool2d(skips[-1], 2))
        for stage in (self.d1, self.d2, self.d3, self.d4):
            hidden = stage(hidden, skips.pop())
        return self.outputs(hidden)


class _NormedConv(nn.Conv2d):
    """A convolution without bias, and its group norm."""

    def __init__(self, inputs: int, outputs: int, size: int, groups: int) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2, bias=False)
        self.norm = nn.GroupNorm(groups, outputs)

    def forward(self, input: Tensor) -> Tensor:
        return self.norm(super().forward(input))


class _Bottleneck(nn.Module):
    """Projects one activation to the common width, under the model's time embedding."""

    def __init__(self, inputs: int, outputs: int, embedding: int, groups: int = 32) -> None:
        super().__init__()
        inner = outputs // 4
        self.shortcut = _NormedConv(inputs, outputs, 1, groups) if inputs != outputs else None
        self.conv1 = _NormedConv(inputs, inner, 1, groups)
        self.conv2 = _NormedConv(inner, inner, 3, groups)
        self.conv3 = _NormedConv(inner, outputs, 1, groups)
        self.emb_layers = nn.Linear(embedding, inner)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        hidden = F.relu(self.conv1(x)) + F.relu(self.emb_layers(embedding))[:, :, None, None]
        hidden = self.conv3(F.relu(self.conv2(hidden)))
        return F.relu(hidden + (x if self.shortcut is None else self.shortcut(x)))


class ReadoutNetwork(PredictorNetwork):
    """A spatial head of Readout Guidance: bottlenecks per decoder block, a learned mixture, three convolutions, tanh.

    Reads what each residual block of the decoder adds to its input. Gives an RGB edge map in -0.5..0.5.
    """

    noise = "embedding"

    def __init__(self, channels: Sequence[int], width: int = 384, embedding: int = 1280, outputs: int = 3) -> None:
        super().__init__()
        self.bottleneck_layers = nn.ModuleList(_Bottleneck(count, width, embedding) for count in channels)
        self.mixing_weights = nn.Parameter(torch.ones(len(channels)))
        self.output_head = nn.Sequential(
            nn.Conv2d(width, 128, 3, padding=1), nn.SiLU(),
            nn.Conv2d(128, 32, 3, padding=1), nn.SiLU(),
            nn.Conv2d(32, outputs, 1), nn.Tanh(),
        )  # fmt: skip

    def project(self, index: int, feature: Tensor) -> Tensor:
        # Group norm sees the whole picture, so nothing can be moved before the resize.
        return feature.float().clone()

    def combine(self, projected: Sequence[Tensor], level: Tensor, size: tuple[int, int]) -> Tensor:
        mixture = self.mixing_weights.softmax(dim=0)
        mixed = [
            share * layer(resize(feature, size), level.float())
            for share, layer, feature in zip(mixture, self.bottleneck_layers, projected, strict=True)
        ]
        return self.output_head(torch.stack(mixed).sum(dim=0))
