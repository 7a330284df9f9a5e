"""What a sweep of MDP edits shows: a sheet of pictures, and the cost of each edit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..common.interrupts import interruptible
from ..images.grid import labelled_grid
from ..samplers import parts, remarks
from ..samplers.mdp import edit as mdp
from ..samplers.mdp.sweep import Cell, Grid
from .pictures import decoded


def mdp_sheet(vae: Any, source: mdp.Source, grid: Grid, cells: list[Cell]) -> Tensor:
    """The source's picture and the edits; of a batch, the first picture. Missing edits stay grey."""
    picture = _first(vae, source.path.to_vae(source.path.picture[:1]))
    pictures = {(cell.row, cell.column): _first(vae, cell.edit.latent["samples"]) for cell in interruptible(cells)}
    empty = torch.full_like(picture, 0.5)
    rows = [
        torch.cat([picture if row == 0 else torch.ones_like(picture)]
                  + [pictures.get((row, column), empty) for column in range(len(grid.columns))])
        for row in range(len(grid.rows))
    ]  # fmt: skip
    labels = grid.rows if any(grid.rows) else None
    return labelled_grid(torch.cat(rows), col_labels=["source", *grid.columns], row_labels=labels)


def _first(vae: Any, samples: Any) -> Tensor:
    return decoded(vae, parts.video(samples)[:1]).cpu()[:1]


def mdp_sweep_report(
    source: mdp.Source, region: mdp.EditRegion, cells: list[Cell], wanted: int, levels: str, notes: Sequence[str] = ()
) -> str:
    """A line per edit with the notes on it, the total cost, and the notes on all edits.

    levels: a note on the levels of the source's path.
    """
    lines: list[str] = []
    for cell in cells:
        lines.append(
            f"{cell.schedule.start:.3g} to {cell.schedule.end:.3g}, weight {cell.schedule.weight:.3g}: "
            f"{cell.edit.evaluations} evaluations, {cell.edit.saved} saved"
        )
        lines += remarks.lines(mdp.own_remarks(source, cell.schedule, cell.edit))
    total = source.evaluations + region.evaluations + sum(cell.edit.evaluations for cell in cells)
    shared = f"{source.evaluations} of them for the source's path{levels}"
    if region.evaluations:
        shared += f" and {region.evaluations} to find the region"
    lines.append(f"together: {total} evaluations, {shared}")
    if len(cells) < wanted:
        lines.append(f"interrupted: {len(cells)} of {wanted} edits were made")
    return "\n".join([*lines, *remarks.lines(notes)])
