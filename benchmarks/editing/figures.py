"""The figures of edits: measured, kept in a file as they come, and read back as a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from torch import Tensor

from ...demo.attributes import read_attributes
from ...demo.scenes import ATTRIBUTES
from ...images.metrics import edit_metrics
from .cases import Group, attributes

_LEAST_BACKGROUND = 0.05  # of the picture, for its figures to mean anything


@dataclass(frozen=True)
class Figures:
    """One edit. made: 0 or 1; kept: share of the other attributes; psnr, ssim: of the background, NaN without one."""

    world: str
    kind: str
    row: str
    part: int
    made: float
    kept: float
    psnr: float
    ssim: float
    structure: float
    evaluations: float
    seconds: float


def measure(
    group: Group, edited: Tensor, names: tuple[str, str, str, int], evaluations: int, seconds: float
) -> list[Figures]:
    """edited: IMAGE, a picture for each case; names: world, kind, row and part."""
    seen = read_attributes(edited)
    # The background is what the render of the target has in common with the source's; a generated picture has none.
    changed = None if group.synthetic else group.changed
    found = []
    for i, case in enumerate(group.cases):
        mask = None if changed is None else changed[i : i + 1]
        values = edit_metrics(group.pictures[i : i + 1], edited[i : i + 1], mask).values
        psnr = ssim = math.nan
        if mask is not None and float(1 - mask.mean()) > _LEAST_BACKGROUND:
            psnr, ssim = values["outside"]["psnr"][0], values["outside"]["ssim"][0]
        before, wanted = attributes(case.scene), attributes(case.target)
        others = [name for name in ATTRIBUTES if name != case.attribute]
        kept = sum(seen[i][name] == before[name] for name in others) / len(others)
        made = float(seen[i][case.attribute] == wanted[case.attribute])
        structure = values["whole"]["edges"][0]
        found.append(Figures(*names, made, kept, psnr, ssim, structure, evaluations, seconds / len(group.cases)))
    return found


class Results:
    """A file with a line for each edit. Work that is in it already is not done again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Figures] = []
        if path.exists():
            with path.open(newline="") as file:
                self.rows = [_figures(line) for line in csv.DictReader(file)]
        self._done = {(each.world, each.kind, each.row, each.part) for each in self.rows}

    def has(self, world: str, kind: str, row: str, part: int) -> bool:
        return (world, kind, row, part) in self._done

    def add(self, rows: list[Figures]) -> None:
        new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Figures)])
            if new:
                writer.writeheader()
            writer.writerows(asdict(each) for each in rows)
        self.rows += rows
        self._done |= {(each.world, each.kind, each.row, each.part) for each in rows}

    def of(self, world: str, row: str, kind: str | None = None) -> list[Figures]:
        return [r for r in self.rows if (r.world, r.row) == (world, row) and kind in (None, r.kind)]


def _figures(line: dict[str, str]) -> Figures:
    names = [field.name for field in fields(Figures)]
    numbers = (float(line[name]) for name in names[4:])
    return Figures(line["world"], line["kind"], line["row"], int(line["part"]), *numbers)


def mean(figures: Iterable[Figures], name: str) -> float:
    """Over the edits that have the figure."""
    values = [getattr(each, name) for each in figures]
    values = [value for value in values if math.isfinite(value)]
    return sum(values) / len(values) if values else math.nan


def table(results: Results, world: str, names: Iterable[str], kinds: Iterable[str]) -> str:
    """Markdown. The mean over kinds of their means, so that a kind with fewer edits counts as much."""
    columns = ("made", "kept", "psnr", "ssim", "structure", "evaluations", "seconds")
    heads = (
        "row", "edits", "edit made", "others kept", "background PSNR", "background SSIM", "structure distance",
        "evaluations", "seconds",
    )  # fmt: skip
    formats = ("{:.3f}", "{:.3f}", "{:.1f}", "{:.3f}", "{:.3f}", "{:.0f}", "{:.2f}")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in names:
        edits = results.of(world, name)
        if not edits:
            continue
        by_kind = [[e for e in edits if e.kind == kind] for kind in kinds]
        cells = []
        for column, form in zip(columns, formats, strict=True):
            means = [value for some in by_kind if some and math.isfinite(value := mean(some, column))]
            cells.append(form.format(sum(means) / len(means)) if means else "")
        lines.append(f"| {name} | {len(edits)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def kinds_table(results: Results, world: str, names: Iterable[str], kinds: Iterable[str]) -> str:
    """Markdown: made and structure distance of each kind."""
    heads = ["made / structure", *kinds]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name in names:
        cells = []
        for kind in kinds:
            edits = results.of(world, name, kind)
            cells.append(f"{mean(edits, 'made'):.2f} / {mean(edits, 'structure'):.3f}" if edits else "")
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
