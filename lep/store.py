"""Activations kept for training: a few noise levels of each picture, read once and used several times."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_DTYPE = torch.bfloat16  # the range of float32: activations of some models do not fit float16


@dataclass(frozen=True)
class Row:
    """The activations of one call: those of one picture per lane of the training batch, all of one size.

    features: per tap [lanes * frames, C, h, w]; level and target: [lanes * frames, ...], as the network takes them.
    """

    features: tuple[Tensor, ...]
    level: Tensor
    target: Tensor
    frames: int = 1

    @property
    def lanes(self) -> int:
        return self.target.shape[0] // self.frames

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in (*self.features, self.level, self.target))

    def stored(self) -> Row:
        """On the CPU, in half the memory, as normal tensors."""
        with torch.inference_mode(False):
            kept = tuple(feature.detach().to("cpu", _DTYPE, copy=True) for feature in self.features)
            return Row(kept, self.level.cpu().clone(), self.target.cpu().clone(), self.frames)

    def lane(self, index: int) -> Row:
        span = slice(index * self.frames, (index + 1) * self.frames)
        return Row(tuple(f[span] for f in self.features), self.level[span], self.target[span], self.frames)


class Store:
    """A ring of rows within a budget of bytes; the oldest go first.

    Of `world` processes that share the lanes of a batch, process `rank` holds lanes rank, rank + world, ...
    """

    def __init__(self, budget: int, rank: int = 0, world: int = 1) -> None:
        self.budget, self.rank, self.world = budget, rank, world
        self.rows: deque[Row] = deque()

    def add(self, row: Row) -> None:
        self.rows.append(row)
        while len(self.rows) > 1 and sum(r.nbytes for r in self.rows) > self.budget:
            self.rows.popleft()

    @property
    def full(self) -> bool:
        size = sum(row.nbytes for row in self.rows)
        return bool(self.rows) and size + self.rows[-1].nbytes > self.budget

    def draw(self, generator: torch.Generator) -> Row:
        """A batch with each lane's item from a row chosen separately; pictures of one size only.

        Every process chooses for all lanes, so that they stay in step.
        """
        first = self.rows[int(torch.randint(len(self.rows), (1,), generator=generator))]
        alike = [row for row in self.rows if row.target.shape == first.target.shape]
        picked = torch.randint(len(alike), (first.lanes * self.world,), generator=generator).tolist()
        mine = picked[self.rank :: self.world]
        return join([alike[pick].lane(index) for index, pick in enumerate(mine)])


def join(rows: Sequence[Row]) -> Row:
    """One row of all lanes."""
    features = tuple(torch.cat(parts) for parts in zip(*[row.features for row in rows], strict=True))
    level = torch.cat([row.level for row in rows])
    return Row(features, level, torch.cat([row.target for row in rows]), rows[0].frames)
