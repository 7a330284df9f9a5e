"""Labelled contact sheets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..common.interrupts import interruptible
from .tensors import check_image, from_pil
from .typography import INK, MUTED, PAPER, draw_text, line_height, text_width, wrap


def labelled_grid(
    images: Tensor,
    labels: Sequence[str] | None = None,
    *,
    columns: int | None = None,
    row_labels: Sequence[str] | None = None,
    col_labels: Sequence[str] | None = None,
    title: str = "",
) -> Tensor:
    """Lay out a batch on one sheet; the values of every picture are kept bit for bit.

    images [N, H, W, C] in 0..1. labels: one per picture, below it; row_labels are left of the rows and col_labels above
    the columns. columns: if not given, the number of col_labels, else the most even layout.
    Returns [1, H', W', 3], or 4 channels (opaque paper) where the pictures have alpha.
    Raises ValueError if the number of labels does not match.
    """
    images = check_image(images, "images")
    if images.shape[-1] == 1:
        images = images.expand(*images.shape[:-1], 3)
    count, height, width, channels = images.shape
    columns = _columns(count, columns, row_labels, col_labels)
    rows = math.ceil(count / columns)
    for name, given, wanted in (("labels", labels, count), ("row labels", row_labels, rows),
                                ("column labels", col_labels, columns)):  # fmt: skip
        if given is not None and len(given) != wanted:
            raise ValueError(f"The grid has {len(given)} {name} for {wanted}: give one for each, or none.")

    size = max(12, min(40, round(min(width, height) * 0.062)))
    gap, margin, step = max(4, round(size * 0.6)), round(size * 1.2), line_height(size)
    under = [wrap(text, size, width) for text in labels or []]
    over = [wrap(text, size, width) for text in col_labels or []]
    beside = [wrap(text, size, max(width * 0.75, 6 * size), 4) for text in row_labels or []]
    label_rows = max((len(lines) for lines in under), default=0)
    cell_w, cell_h = width + gap, height + gap + (label_rows * step + gap // 2 if label_rows else 0)
    left = margin
    if beside:
        left += math.ceil(max(text_width(line, size) for lines in beside for line in lines or [""])) + gap
    heading = wrap(title, round(size * 1.25), left - margin + columns * cell_w - gap, 2)
    heading_step = line_height(round(size * 1.25))
    top = margin + len(heading) * heading_step + (gap if heading else 0)
    over_rows = max((len(lines) for lines in over), default=0)
    header_bottom = top + over_rows * step
    first_row = header_bottom + (gap // 2 if over_rows else 0)
    sheet = Image.new("RGB", (left + columns * cell_w - gap + margin, first_row + rows * cell_h - gap + margin), PAPER)
    draw = ImageDraw.Draw(sheet)

    for line, text in enumerate(heading):
        draw_text(draw, (margin, margin + line * heading_step + size), text, round(size * 1.25))
    for column, lines in enumerate(over):
        for line, text in enumerate(lines):
            baseline = header_bottom - (len(lines) - line) * step + size
            draw_text(draw, (left + column * cell_w + width / 2, baseline), text, size, INK, "center")
    for row, lines in enumerate(beside):
        first = first_row + row * cell_h + (height - len(lines) * step) / 2
        for line, text in enumerate(lines):
            draw_text(draw, (left - gap, first + line * step + size), text, size, INK, "right")
    for index, lines in enumerate(under):
        row, column = divmod(index, columns)
        for line, text in enumerate(lines):
            x = left + column * cell_w + width / 2
            baseline = first_row + row * cell_h + height + gap // 2 + line * step + size
            draw_text(draw, (x, baseline), text, size, MUTED if row_labels or col_labels else INK, "center")

    result = from_pil(sheet)
    if channels == 4:
        result = torch.cat((result, torch.ones_like(result[..., :1])), dim=-1)
    for index in interruptible(range(count)):
        row, column = divmod(index, columns)
        y, x = first_row + row * cell_h, left + column * cell_w
        result[0, y : y + height, x : x + width] = images[index]
    return result


def _columns(
    count: int, columns: int | None, row_labels: Sequence[str] | None, col_labels: Sequence[str] | None
) -> int:
    if columns is None and col_labels:
        columns = len(col_labels)
    if columns is None and row_labels:
        columns = math.ceil(count / len(row_labels))
    if columns is None:
        square = math.ceil(math.sqrt(count))
        columns = count if count <= 4 else min(range(square, square + 3), key=lambda n: (-count % n, n))
    if columns < 1:
        raise ValueError(f"The grid cannot have {columns} columns: give 1 or more.")
    return min(columns, count) if col_labels is None else columns
