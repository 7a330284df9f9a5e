"""One edit over several windows or weights, on one path of the source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
from torch import Tensor

from ...common import limits
from ...common.texts import read_numbers
from ..counting import counting_from
from ..schedule import PathSchedule
from ..sweep import share_of
from .edit import MDPResult, MDPSettings, Source, edit


@dataclass(frozen=True)
class Cell:
    """One edit of the grid, at a row and a column."""

    row: int
    column: int
    schedule: PathSchedule
    edit: MDPResult


@dataclass(frozen=True)
class Grid:
    """The schedules of a sweep, with the labels of its rows and columns. None if a window would hold no step.

    missed: a remark on each of those.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    schedules: tuple[tuple[PathSchedule | None, ...], ...]
    missed: tuple[str, ...] = ()

    def cells(self) -> Iterator[tuple[int, int, PathSchedule]]:
        for row, schedules in enumerate(self.schedules):
            for column, schedule in enumerate(schedules):
                if schedule is not None:
                    yield row, column, schedule

    def settings_of(self, schedule: PathSchedule, settings: MDPSettings) -> MDPSettings:
        """What an edit of the grid runs with: its window as it is, however small the region."""
        return replace(settings, schedule=schedule)

    def __len__(self) -> int:
        return sum(1 for _ in self.cells())

    def part(self, part: int, parts: int) -> Grid:
        """The same grid with the edits of one part alone (see `share_of`), part by part in the order of the cells."""
        cells = [(row, column) for row, column, _ in self.cells()]
        kept = {cells[place] for place in share_of(len(cells), part, parts)}
        schedules = tuple(
            tuple(each if (row, column) in kept else None for column, each in enumerate(found))
            for row, found in enumerate(self.schedules)
        )
        return replace(self, schedules=schedules)


class Weights(Grid):
    """The grid of a sweep over weights. Its window is the edit's own, which may end sooner in a small region."""

    def settings_of(self, schedule: PathSchedule, settings: MDPSettings) -> MDPSettings:
        return replace(settings, weight=schedule.weight)


def window_grid(base: PathSchedule, starts: Sequence[float], lengths: Sequence[float], steps: Sequence[float]) -> Grid:
    """Windows by start (rows) and length (columns), as the notebook shows t_max and t_m; cut where the path ends.

    steps: where the path's steps start, as fractions of training time.
    """
    _check_count(len(starts) * len(lengths))
    windows = [[_window(base, start, length) for length in lengths] for start in starts]
    schedules = [[each if each.holds_any(steps) else None for each in row] for row in windows]
    grid = Grid(
        tuple(f"start {start:g}" for start in starts),
        tuple(f"length {length:g}" for length in lengths),
        tuple(map(tuple, schedules)),
        tuple(_missed(each, steps) for row in windows for each in row if not each.holds_any(steps)),
    )
    _check_count(len(grid))
    return grid


def weight_grid(base: PathSchedule, weights: Sequence[float]) -> Weights:
    """One row of weights in the same window."""
    _check_count(len(weights))
    schedules = tuple(replace(base, weight=weight) for weight in weights)
    return Weights(("",), tuple(f"weight {weight:g}" for weight in weights), (schedules,))


def _window(base: PathSchedule, start: float, length: float) -> PathSchedule:
    if length > 0 and 0 < start <= 1:
        return base.with_window(start, length)
    raise ValueError(
        f"A window of length {length:g} from {start:g} is not valid: starts and lengths are fractions of the path, "
        "so give numbers above 0 and up to 1."
    )


def _missed(window: PathSchedule, steps: Sequence[float]) -> str:
    nearest = window.nearest_window(steps)
    return (
        f"the window from {window.start:.3g} to {window.end:.3g} holds no step of the path, so it was left out: "
        f"the nearest that holds one is {nearest.start:.3g} to {nearest.end:.3g}."
    )


def _check_count(edits: int) -> None:
    if not 0 < edits <= limits.SWEEP_EDITS:
        raise ValueError(f"The sweep has {edits} edits: give values for 1 to {limits.SWEEP_EDITS}.")


def parse_numbers(text: str, name: str) -> list[float]:
    """The values of one axis from text like "0.2, 0.4 0.6". Raises ValueError that names a word that is no number."""
    return read_numbers(text, name, limits.SWEEP_EDITS)


def sweep(
    model: Any,
    target: Any,
    negative: Any,
    source: Source,
    settings: MDPSettings,
    grid: Grid,
    mask: Tensor | None = None,
    callback: Callable[..., None] | None = None,
) -> tuple[list[Cell], bool]:
    """Edits cell by cell; `callback` counts the steps of all cells.

    Returns the cells and whether all were run: an interrupt keeps what is done, if anything is.
    """
    cells: list[Cell] = []
    steps = source.path.steps
    for row, column, schedule in grid.cells():
        counted = counting_from(callback, len(cells) * steps, len(grid) * steps)
        try:
            result = edit(model, target, negative, source, grid.settings_of(schedule, settings), mask, counted)
        except comfy.model_management.InterruptProcessingException:
            if not cells:
                raise
            return cells, False
        cells.append(Cell(row, column, schedule, result))
    return cells, True
