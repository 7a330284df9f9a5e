"""What a sweep of MDP edits shows: a sheet of pictures, a plot of the trade-off, and the cost of each edit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..common.interrupts import interruptible
from ..images.grid import labelled_grid
from ..images.plot import Axis, Series, line_plot
from ..samplers import nested, remarks
from ..samplers.mdp import edit as mdp
from ..samplers.mdp.sweep import Cell, Grid
from .pictures import decoded
from .sweep import TEXTURE
from .swept import Result, Swept, measured


@dataclass(frozen=True, kw_only=True)
class MDPSwept(Swept):
    """A sweep of MDP edits, laid out as `layout`; of each batch, the first picture is shown.

    source: its picture [1, H, W, 3]. shared: evaluations for the source's path and to find the region.
    levels: a note on the levels of the source's path.
    """

    layout: Grid
    source: Tensor
    shared: tuple[int, int]
    levels: str = ""
    notes: tuple[str, ...] = ()

    def grid(self) -> Tensor:
        """The source's picture and the edits; missing edits stay grey. IMAGE [1, H, W, 3]"""
        places = {(row, column): place for place, (row, column, _) in enumerate(self.layout.cells())}
        shown = {place: result.pictures.to(self.source) for place, result in self.results.items()}
        empty = torch.full_like(self.source, 0.5)
        rows = [
            torch.cat([self.source if row == 0 else torch.ones_like(self.source)]
                      + [shown.get(places.get((row, column), -1), empty) for column in range(len(self.layout.columns))])
            for row in range(len(self.layout.rows))
        ]  # fmt: skip
        labels = self.layout.rows if any(self.layout.rows) else None
        return labelled_grid(torch.cat(rows), col_labels=["source", *self.layout.columns], row_labels=labels)

    def plot(self) -> Tensor:
        """Distance to the source against fine texture, a line for each row. IMAGE [1, H, W, 3]"""
        lines: dict[int, list[tuple[int, Result]]] = {}
        for place, (row, column, _) in enumerate(self.layout.cells()):
            result = self.results.get(place)
            if result is not None and not math.isnan(result.row.distance):
                lines.setdefault(row, []).append((column, result))
        series = [
            Series(
                self.layout.rows[row] or "MDP",
                [result.row.distance for _, result in found],
                [result.row.realism for _, result in found],
                labels=[self.layout.columns[column] for column, _ in found],
            )
            for row, found in lines.items()
        ]
        faithful = Axis("distance to the source (L2), lower is more faithful")
        return line_plot(series, faithful, Axis(TEXTURE), title="Sweep of MDP edits")

    def report(self) -> str:
        """A line per edit with the notes on it, the total cost, and the notes on all edits."""
        lines = [
            line
            for place, result in self.results.items()
            for line in (result.notes or (f"{self.names[place]}: made elsewhere",))
        ]
        path, region = self.shared
        total = path + region + sum(result.evaluations or 0 for result in self.results.values())
        shared = f"{path} of them for the source's path{self.levels}"
        if region:
            shared += f" and {region} to find the region"
        lines.append(f"together: {total} evaluations, {shared}")
        if self.joined > 1 and path + region:
            again = (self.joined - 1) * (path + region)
            lines.append(f"and {again} more, because each of the {self.joined} parts did the latter itself")
        lines += self.incomplete("edits were made")
        return "\n".join([*lines, *remarks.lines(list(self.notes))])

    def of_pictures(self, pictures: Tensor, before: Result | None) -> Result:
        first = pictures[:1]
        return replace(before or Result(first), pictures=first, row=measured(first, self.source, None))


def mdp_swept(
    vae: Any,
    source: mdp.Source,
    region: mdp.EditRegion,
    layout: Grid,
    cells: Sequence[Cell],
    same: tuple[Any, ...],
    **more: Any,
) -> MDPSwept:
    """Decodes the source and the edits of a sweep. layout: of the whole sweep, of which cells may be a part.

    same: what parts of the sweep have in common; more: further fields of `MDPSwept`.
    """
    picture = _decoded(vae, source.path.to_vae(source.path.picture[:1]))
    places = {(row, column): place for place, (row, column, _) in enumerate(layout.cells())}
    results = {places[cell.row, cell.column]: _result(vae, source, picture[:1], cell) for cell in interruptible(cells)}
    return MDPSwept(
        names=tuple(_name(schedule) for _, _, schedule in layout.cells()),
        same=same,
        each=len(picture) * source.path.shape[0],
        results=results,
        layout=layout,
        source=picture[:1],
        shared=(source.evaluations, region.evaluations),
        **more,
    )


def _decoded(vae: Any, samples: Any) -> Tensor:
    """The first picture of a batch, or all frames of its first video. [F, H, W, 3]"""
    return decoded(vae, nested.video(samples)[:1]).cpu()


def _result(vae: Any, source: mdp.Source, guide: Tensor, cell: Cell) -> Result:
    picture = _decoded(vae, cell.edit.latent["samples"])[:1]
    used = cell.edit.schedules
    line = f"{_name(cell.schedule)}: {cell.edit.evaluations} evaluations, {cell.edit.saved} saved"
    for shorter in dict.fromkeys(each for each in used if each != cell.schedule):
        line += f"; where the region is small, the window ends at {shorter.end:.3g}"
    notes = (line, *remarks.lines(mdp.own_remarks(source, used[0], cell.edit)))
    return Result(picture, measured(picture, guide, None), cell.edit.latent["samples"], cell.edit.evaluations, notes)


def _name(schedule: Any) -> str:
    return f"{schedule.start:.3g} to {schedule.end:.3g}, weight {schedule.weight:.3g}"
