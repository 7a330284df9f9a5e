"""The freehand drawings of the sketch benchmark, and how lines are compared."""

from __future__ import annotations

import json

import pytest
import torch
from diffusion_path.benchmarks.drawings import FOLDER, freehand
from diffusion_path.benchmarks.sketch import edge_f1, edge_shares
from diffusion_path.demo.scenes import ATTRIBUTES, full_caption, vocabulary
from torch import Tensor


def test_there_are_twenty_different_drawings_of_sketch_lines() -> None:
    drawn = freehand()
    assert len(drawn) == 20
    for each in drawn:
        drawing = each.drawing
        assert not drawing.complaints
        assert (drawing.width, drawing.height) == (512, 512)
        assert {(stroke.layer, stroke.tool) for stroke in drawing.strokes} == {("sketch", "brush")}
    assert min(len(each.drawing.strokes) for each in drawn) <= 6, "some are sparse"
    assert max(len(each.drawing.strokes) for each in drawn) >= 40, "and some elaborate"
    lines = torch.stack([each.lines() for each in drawn])
    assert len(lines.flatten(1).unique(dim=0)) == 20
    share = (lines > 0.5).float().mean((1, 2))
    assert 0.01 < share.min() < share.max() < 0.15


def test_each_drawing_names_all_attributes_and_together_they_have_every_value() -> None:
    for file in FOLDER.glob("*.json"):
        assert set(json.loads(file.read_text(encoding="utf-8"))["landscape"]) == set(ATTRIBUTES), file.name
    scenes = [each.scene for each in freehand()]
    for name, values in ATTRIBUTES.items():
        assert {getattr(scene, name) for scene in scenes} == set(values)
    words = {word for scene in scenes for word in full_caption(scene).replace(",", " ,").split()}
    assert words <= set(vocabulary())


def _line(row: int, length: int = 40) -> Tensor:
    """A horizontal line in a picture of 64 x 64 that begins at column 10."""
    picture = torch.zeros(64, 64)
    picture[row, 10 : 10 + length] = 1
    return picture


@pytest.mark.parametrize(("near", "share"), [(2.0, 0.0), (3.0, 1.0)])
def test_lines_agree_where_they_are_near_enough(near: float, share: float) -> None:
    assert edge_shares(_line(30), _line(33), near) == (share, share)
    assert edge_f1(_line(30), _line(33), near) == share


def test_precision_counts_what_was_found_and_recall_what_was_wanted() -> None:
    # Within 2 pixels, 22 of the 40 pixels of the longer line are near the shorter one's 20.
    precision, recall = edge_shares(_line(30, 20), _line(30, 40))
    assert (precision, recall) == (1.0, pytest.approx(22 / 40))
    assert edge_shares(_line(30, 40), _line(30, 20)) == (recall, precision)
    assert edge_f1(_line(30, 20), _line(30, 40)) == pytest.approx(2 * 22 / (40 + 22))
    assert edge_shares(_line(30), torch.zeros(64, 64)) == (0.0, 0.0)
