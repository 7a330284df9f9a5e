"""The embedded model as a rectified flow: the same network, seen through a change of variables."""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor

SHIFT = 1.6
"""As Flux and SD3 shift theirs: half the training time lies above the noise level where the noise model's does."""
_MULTIPLIER = 1000.0  # of ComfyUI's flow models: the network is given 1000 t


def noise_model_inputs(x: Tensor, t: Tensor, largest: float) -> tuple[Tensor, Tensor]:
    """What the noise model is given for a state of the flow: its input [B, ...] and its sigma, of t's shape.

    The state (1 - t) x0 + t n is 1 - t times x0 + sigma n with sigma = t / (1 - t), and the noise model divides that by
    sqrt(1 + sigma^2). From its `largest` sigma on it sees the state as one of that sigma.
    """
    return x / ((1 - t) ** 2 + t**2).sqrt(), (t / (1 - t)).clamp(max=largest)


def velocity(x: Tensor, t: Tensor, noise: Tensor, largest: float) -> Tensor:
    """n - x0 of a state of the flow, from the noise that the noise model predicts in it (t broadcasts to x).

    Beyond the `largest` sigma, x0 is what the noise model predicts in a state of that sigma.
    """
    shown, sigma = noise_model_inputs(x, t, largest)
    picture = shown * (1 + sigma**2).sqrt() - sigma * noise
    known = t / (1 - t) <= largest
    return torch.where(known, noise - x, x - picture) / torch.where(known, 1 - t, t)


class FlowUNet(UNetModel):
    """A U-Net trained to predict noise that takes and gives what the network of a flow does.

    Everything about it is in its inputs and outputs, so that blocks, hooks and LoRAs are those of the noise model.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # In a tuple, its tables are no part of the network: nothing about them is loaded or moved.
        self.noise_model = (comfy.model_sampling.ModelSamplingDiscrete(),)

    def _forward(self, x: Tensor, timesteps: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """x: states of the flow [B, C, H, W]; timesteps: 1000 t, [B]. Returns the velocity [B, C, H, W]."""
        t = (timesteps / _MULTIPLIER).view(-1, *[1] * (x.ndim - 1))
        (levels,) = self.noise_model
        largest = float(levels.sigma_max)
        shown, sigma = noise_model_inputs(x, t, largest)
        steps = levels.timestep(sigma.flatten()).float()
        noise = super()._forward(shown.to(x.dtype), steps, *args, **kwargs)
        return velocity(x, t, noise, largest).to(x.dtype)
