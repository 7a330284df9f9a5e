"""The worlds that can be trained: how their scenes are drawn, and where what is trained on such pictures is kept."""

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
from . import paper


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

PAPER = Style(
    paper.render, Path(__file__).parents[2] / "benchmarks" / "weights", (0.4, 8000, 3), 101, slice(110, 200),
    {"channel_mult": (1, 1, 2)}, PAINTED.model,
)  # fmt: skip
"""Another one, to see whether settings that were found on the first carry over."""

STYLES = {"painted": PAINTED, "paper": PAPER}
"""By their names on the command line."""
