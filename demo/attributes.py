"""Reads the attributes of a landscape back from its picture: a small convolutional classifier, trained on renders."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..samplers.tensor_file import DamagedFileError, read_tensors
from .scenes import ATTRIBUTES

WEIGHTS = Path(__file__).parent / "weights" / "attributes.safetensors"
INPUT_SIZE = 128
FEATURES = 192
FEATURE_SCALE = 0.3  # scales the features to about unit mean square, as distribution distances expect


class AttributeNet(nn.Module):
    """Picture [B, 3, 128, 128] in -1..1 to logits of every attribute, through FEATURES pooled activations."""

    def __init__(self) -> None:
        super().__init__()
        widths = (24, 48, 64, 96, 96)
        layers: list[nn.Module] = []
        for i, width in enumerate(widths):
            stride = 2 if i < 4 else 1
            layers += [
                nn.Conv2d(widths[i - 1] if i else 3, width, 3, stride=stride, padding=1),
                nn.GroupNorm(8, width),
                nn.SiLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, sum(len(values) for values in ATTRIBUTES.values()))

    def features(self, x: Tensor) -> Tensor:
        """Mean and maximum of the last activations, [B, FEATURES]."""
        h = self.body(x)
        return torch.cat([h.mean(dim=(2, 3)), h.amax(dim=(2, 3))], dim=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.head(self.features(x))
        parts = logits.split([len(values) for values in ATTRIBUTES.values()], dim=1)
        return dict(zip(ATTRIBUTES, parts, strict=True))


@lru_cache(maxsize=2)
def _network(file: Path) -> AttributeNet:
    try:
        weights, _ = read_tensors(file)
    except DamagedFileError as error:
        raise ValueError(
            f"The attribute classifier's weights ({file.name}) are missing or damaged: reinstall the pack."
        ) from error
    # Gradients could not pass through weights created in ComfyUI's inference mode.
    with torch.inference_mode(False):
        network = AttributeNet()
        network.load_state_dict({key: value.float() for key, value in weights.items()})
    return network.train(False).requires_grad_(False)


def prepare(images: Tensor) -> Tensor:
    """IMAGE batch [B, H, W, 3 or 4] in 0..1 to the network's input [B, 3, 128, 128]."""
    x = images[..., :3].permute(0, 3, 1, 2).float().cpu() * 2 - 1
    return (
        x if x.shape[-2:] == (INPUT_SIZE, INPUT_SIZE) else F.interpolate(x, size=(INPUT_SIZE, INPUT_SIZE), mode="area")
    )


@torch.no_grad()
def probabilities(images: Tensor, weights: Path = WEIGHTS) -> dict[str, Tensor]:
    """Probability of each value of each attribute, [B, values], in the order of `ATTRIBUTES`."""
    network = _network(weights)
    parts = [network(prepare(chunk)) for chunk in images.split(64)]
    return {name: torch.cat([part[name].softmax(dim=1) for part in parts]) for name in ATTRIBUTES}


def read_attributes(images: Tensor, weights: Path = WEIGHTS) -> list[dict[str, str]]:
    """The most probable attributes of each picture of an IMAGE batch [B, H, W, 3] in 0..1.

    Raises:
        ValueError: the classifier's weights are missing or damaged.
    """
    best = {name: p.argmax(dim=1).tolist() for name, p in probabilities(images, weights).items()}
    return [{name: ATTRIBUTES[name][best[name][i]] for name in ATTRIBUTES} for i in range(len(images))]


@torch.no_grad()
def features(images: Tensor, weights: Path = WEIGHTS) -> Tensor:
    """Feature vectors [B, FEATURES] of an IMAGE batch, for distribution distances between sets of landscapes."""
    network = _network(weights)
    return FEATURE_SCALE * torch.cat([network.features(prepare(chunk)) for chunk in images.split(64)])
