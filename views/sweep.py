"""What a sweep of SDEdit shows: a sheet, a plot of the trade-off, and the numbers as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..images.grid import labelled_grid
from ..images.plot import Axis, Series, line_plot
from ..images.realism import RealPictures, middle
from ..samplers import remarks
from .swept import Result, Swept, measured

FAITHFUL = Axis("distance to the guide (L2), lower is more faithful")
TEXTURE = "fine texture (% of pixels)"


@dataclass(frozen=True, kw_only=True)
class SDEditSwept(Swept):
    """A sweep of SDEdit over `setting`, from the guide [B, H, W, 3]. real: what realism is measured against."""

    setting: str
    guide: Tensor
    real: RealPictures | None = None
    notes: tuple[str, ...] = ()

    def grid(self) -> Tensor:
        """The guide and the results side by side, a row for each picture of a batch. IMAGE [1, H, W, 3]"""
        pictures = [result.pictures.nan_to_num(nan=0.5) for result in self.results.values()]
        first = middle(self.guide, *pictures[0].shape[1:3]).to(pictures[0])
        labels = ["guide", *(f"{self.setting} {self.names[place]}" for place in self.results)]
        cells = torch.stack([first, *(each[: len(first)].to(first) for each in pictures)], dim=1).flatten(
            0, 1
        )  # [B * (1 + results), H, W, 3]
        return labelled_grid(cells, labels) if len(self.guide) == 1 else labelled_grid(cells, col_labels=labels)

    def plot(self) -> Tensor:
        """Faithfulness against realism. IMAGE [1, H, W, 3]"""
        against = self.real is not None
        known = {place: each.row for place, each in self.results.items() if not math.isnan(each.row.distance)}
        errors = [row.error for row in known.values()]
        series = Series(
            "SDEdit",
            [row.distance for row in known.values()],
            [row.realism for row in known.values()],
            style="points" if self.setting == "seed" else "both",
            errors=errors if against and not any(map(math.isnan, errors)) else None,
            labels=[f"{self.setting} {self.names[place]}" for place in known],
        )
        kind = "distance to real pictures (patch KID), lower is more real" if against else TEXTURE
        return line_plot([series], FAITHFUL, Axis(kind), title=f"Sweep over {self.setting}")

    def report(self) -> str:
        """A line for each value, and the notes."""
        against = "patch KID" if self.real is not None else "texture %"
        lines = [f"{self.setting:>8}  {'L2':>8}  {against:>10}  evaluations"]
        lines += [
            f"{self.names[place]:>8}  {each.row.distance:>8.3f}  {each.row.realism:>10.4f}  "
            f"{'elsewhere' if each.evaluations is None else each.evaluations:>11}"
            for place, each in self.results.items()
        ]
        lines += self.incomplete("values were run")
        if any(math.isnan(each.row.distance) for each in self.results.values()):
            lines.append(
                "nan: the pictures contain NaN or infinite values (grey in the grid); try the VAE or model in fp32"
            )
        return "\n".join([*lines, *remarks.lines(list(self.notes))])

    def of_pictures(self, pictures: Tensor, before: Result | None) -> Result:
        return replace(before or Result(pictures), pictures=pictures, row=measured(pictures, self.guide, self.real))


def written(value: float | int) -> str:
    """A value in full: rounded to a few digits, one seed would look like another."""
    return str(value) if isinstance(value, int) else f"{value:g}"


def likeness(picture: Tensor) -> tuple[Any, ...]:
    """Plain numbers that tell one picture [B, H, W, C] from another."""
    return (*picture.shape, float(picture.cpu().double().sum()))
