"""How the scenes of a world are drawn, and where what is trained on such pictures is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import attributes, model
from ..render import render
from ..scenes import Scene


@dataclass(frozen=True)
class Style:
    """A renderer, and the recipe of what is trained on its pictures.

    render(scene, detail=1.0): a picture, uint8 [size, size, 3]; detail 0 is a stroke painting. weights: folder of the
    weight files. recipe: factor on the steps, rendered pictures, and shards of latents. seed: of all stages. walls: the
    rows of a picture where the walls of houses are. unet: what differs from the configuration of the first U-Net.
    autoencoder: the weight file whose autoencoder is used; None trains one.
    """

    render: Callable[..., np.ndarray]
    weights: Path
    recipe: tuple[float, int, int]
    seed: int
    walls: slice
    unet: Mapping[str, Any] = field(default_factory=dict)
    autoencoder: Path | None = None

    @property
    def model(self) -> Path:
        return self.weights / model.WEIGHTS.name

    @property
    def few_steps(self) -> Path:
        return self.weights / model.FEW_STEPS_WEIGHTS.name

    @property
    def attributes(self) -> Path:
        return self.weights / attributes.WEIGHTS.name

    def rendered(self, *scenes: Scene, detail: float = 1.0) -> Tensor:
        """Renders as an IMAGE [N, 256, 256, 3]; detail 0 is a flat stroke painting."""
        return torch.from_numpy(np.stack([self.render(scene, detail=detail) for scene in scenes])).float() / 255


PAINTED = Style(render, model.WEIGHTS.parent, (1.0, 20000, 9), 1, slice(60, 168))
"""The embedded world."""
