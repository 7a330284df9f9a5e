"""What a sweep of SDEdit shows: a sheet, a plot of the trade-off, and the numbers as a table."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..images.grid import labelled_grid
from ..images.plot import Axis, Series, line_plot
from ..images.realism import RealPictures, l2, middle, texture_share
from ..samplers.sweep import Point


class Measured(NamedTuple):
    """Distance to the guide, realism and its standard error; NaN for pictures with values that are not finite."""

    distance: float = math.nan
    realism: float = math.nan
    error: float = math.nan


def measured(pictures: Tensor, guide: Tensor, real: RealPictures | None) -> Measured:
    """pictures, guide: [B, H, W, 3]. Without real pictures, realism is the share of fine texture in percent."""
    if not bool(torch.isfinite(pictures).all()):
        return Measured()
    if real is None:
        return Measured(l2(pictures, guide), 100 * float(texture_share(pictures).mean()))
    realism = real.distance(pictures)
    return Measured(l2(pictures, guide), realism.value, realism.standard_error)


def sweep_sheet(setting: str, points: list[Point], pictures: list[Tensor], guide: Tensor) -> Tensor:
    """The guide and the results side by side, a row for each picture of a batch. IMAGE [1, H, W, 3]"""
    first = middle(guide, *pictures[0].shape[1:3]).to(pictures[0])
    labels = ["guide", *(f"{setting} {_written(point.value)}" for point in points)]
    cells = torch.stack([first, *(each[: len(first)] for each in pictures)], dim=1).flatten(
        0, 1
    )  # [B * (1 + points), H, W, 3]
    return labelled_grid(cells, labels) if len(guide) == 1 else labelled_grid(cells, col_labels=labels)


def sweep_plot(setting: str, points: list[Point], rows: list[Measured], against: bool) -> Tensor:
    """Faithfulness against realism. against: whether realism was measured against real pictures. IMAGE [1, H, W, 3]"""
    known = [i for i, row in enumerate(rows) if not math.isnan(row.distance)]
    errors = [rows[i].error for i in known]
    series = Series(
        "SDEdit",
        [rows[i].distance for i in known],
        [rows[i].realism for i in known],
        style="points" if setting == "seed" else "both",
        errors=errors if against and not any(map(math.isnan, errors)) else None,
        labels=[f"{setting} {_written(points[i].value)}" for i in known],
    )
    kind = "distance to real pictures (patch KID), lower is more real" if against else "fine texture (% of pixels)"
    faithful = Axis("distance to the guide (L2), lower is more faithful")
    return line_plot([series], faithful, Axis(kind), title=f"Sweep over {setting}")


def sweep_table(setting: str, points: list[Point], rows: list[Measured], against: bool, wanted: int) -> str:
    """A line for each point; wanted: how many there should be."""
    lines = [f"{setting:>8}  {'L2':>8}  {'patch KID' if against else 'texture %':>10}  evaluations"]
    lines += [
        f"{_written(point.value):>8}  {row.distance:>8.3f}  {row.realism:>10.4f}  {point.edit.evaluations:>11}"
        for point, row in zip(points, rows, strict=True)
    ]
    if len(points) < wanted:
        lines.append(f"interrupted: {len(points)} of {wanted} values were run")
    if any(math.isnan(row.distance) for row in rows):
        lines.append(
            "nan: the pictures contain NaN or infinite values (grey in the grid); try the VAE or model in fp32"
        )
    return "\n".join(lines)


def _written(value: float | int) -> str:
    """A value in full: rounded to a few digits, one seed would look like another."""
    return str(value) if isinstance(value, int) else f"{value:g}"
