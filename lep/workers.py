"""The processes that share a training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Sync = Callable[[nn.Module], nn.Module]


@dataclass(frozen=True)
class Workers:
    """This one's rank, their number, and a wrapper that averages gradients."""

    rank: int = 0
    world: int = 1
    wrap: Sync = lambda module: module

    def mean(self, tensor: Tensor) -> Tensor:
        """The mean of a tensor over all of them."""
        if self.world == 1:
            return tensor
        torch.distributed.all_reduce(tensor)
        return tensor / self.world


ALONE = Workers()
