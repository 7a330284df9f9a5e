"""Blur as a stroke of Stroke Canvas, against sums that can be done by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_path.images.strokes_document import read_drawing
from diffusion_path.images.strokes_render import Rendering, render_drawing
from scipy.ndimage import gaussian_filter1d

HALF = {"tool": "fill", "rings": [[-9, -9, 64, -9, 64, 137, -9, 137]], "color": "#ff0000", "t0": 0.6}
OTHER = {**HALF, "rings": [[64, -9, 137, -9, 137, 137, 64, 137]], "color": "#0000ff", "t0": 0.3}
WHOLE = {"tool": "blur", "points": [-99, 64, 227, 64], "size": 64, "hardness": 1}


def rendered(*strokes: dict[str, Any], size: int = 128, **fields: Any) -> Rendering:
    text = json.dumps({"version": 3, "width": 128, "height": 128, "strokes": list(strokes), **fields})
    drawing = read_drawing(text)
    assert not drawing.complaints
    return render_drawing(drawing, size, size)


def same(first: Rendering, second: Rendering) -> bool:
    return all(torch.equal(*pair) for pair in zip(vars(first).values(), vars(second).values(), strict=True))


@pytest.mark.parametrize("size", [128, 320])
@pytest.mark.parametrize("width", [9, 20, 64])
def test_an_edge_becomes_as_soft_as_with_a_gaussian_of_an_eighth_of_the_brush(size: int, width: int) -> None:
    row = rendered(HALF, OTHER, {**WHOLE, "size": width}, size=size).strokes[0, size // 2].numpy()
    edge = (np.arange(size) >= size // 2).astype(float)
    soft = gaussian_filter1d(edge, width / 8 * size / 128, mode="nearest")
    assert np.abs(row[:, 2] - soft).max() < 0.02
    assert row[:, 0] + row[:, 2] == pytest.approx(np.ones(size), abs=1e-5)
    assert row[:, 3] == pytest.approx(np.ones(size), abs=1e-5)


def test_a_line_keeps_its_amount_of_paint_and_its_colour() -> None:
    line = {"points": [20, 64, 108, 64], "size": 4, "hardness": 1, "color": "#3b6ea5"}
    sharp, soft = rendered(line), rendered(line, {**WHOLE, "size": 60})
    assert float(soft.strokes[..., 3].sum()) == pytest.approx(float(sharp.strokes[..., 3].sum()), rel=1e-4)
    assert float(soft.strokes[..., 3].max()) < 0.3
    seen = soft.strokes[soft.strokes[..., 3] > 1e-3]
    assert seen[:, :3].numpy() == pytest.approx(np.tile(np.array([0x3B, 0x6E, 0xA5]) / 255, (len(seen), 1)), abs=1e-3)


@pytest.mark.parametrize(
    "nothing",
    [
        {**WHOLE, "opacity": 0},
        {**WHOLE, "points": [-300, -300]},
        {**WHOLE, "layer": "b"},
        {**WHOLE, "points": [20, 20], "size": 10},
    ],
    ids=["without strength", "beside the picture", "on an empty layer", "inside of nothing"],
)
def test_where_a_blur_does_nothing_nothing_changes(nothing: dict[str, Any]) -> None:
    layers = [{"id": "paint"}, {"id": "b"}]
    dot = {"points": [90, 70], "size": 30, "color": "#336699"}
    assert same(rendered(dot, layers=layers), rendered(dot, nothing, layers=layers))


def test_beside_the_stroke_everything_stays_bit_for_bit() -> None:
    before, after = rendered(HALF, OTHER), rendered(HALF, OTHER, {**WHOLE, "points": [64, 64], "size": 40})
    outside = np.hypot(*(np.indices((128, 128)) + 0.5 - 64)) > 22
    for name, pixels in vars(before).items():
        assert torch.equal(pixels[0, outside], vars(after)[name][0, outside]), name


def test_opacity_is_how_much_of_it_is_seen_and_once_more_is_softer() -> None:
    sharp, full, half = (
        rendered(HALF, OTHER, *blurs).strokes for blurs in ((), (WHOLE,), ({**WHOLE, "opacity": 0.5},))
    )
    assert torch.allclose(half, (sharp + full) / 2, atol=1e-6)
    twice = rendered(HALF, OTHER, WHOLE, WHOLE).strokes[0, 64, :, 2]
    assert float(twice.diff().max()) == pytest.approx(float(full[0, 64, :, 2].diff().max()) / math.sqrt(2), rel=0.05)


def test_paint_that_becomes_faint_keeps_its_mask_and_t0_and_they_follow_it() -> None:
    dot = {"points": [64, 64], "size": 12, "hardness": 1, "t0": 0.6}
    sharp, soft = rendered(dot), rendered(dot, {**WHOLE, "size": 100})
    assert float(soft.strokes[0, 64, 64, 3]) < 0.15
    assert float(soft.mask[0, 64, 64]) == 1
    assert float(soft.t0s.max()) == pytest.approx(0.6, abs=1e-5)
    assert bool((soft.mask >= sharp.mask).all())
    around = (soft.strokes[..., 3] > 1e-3) & (sharp.mask == 0)
    assert bool((soft.mask[around] > 0).all()), "where paint has spread to, the picture may change"
    assert torch.allclose(soft.t0s[around], 0.6 * soft.mask[around], atol=1e-5)


def test_between_two_t0s_there_are_those_in_between() -> None:
    t0s = rendered(HALF, OTHER, WHOLE).t0s[0, 64].numpy()
    assert (t0s[10], t0s[118]) == pytest.approx((0.6, 0.3), abs=1e-5)
    assert (np.diff(t0s) <= 1e-6).all()
    assert t0s[63:65].mean() == pytest.approx(0.45, abs=1e-5)


def test_paint_at_the_edge_of_the_picture_does_not_fade() -> None:
    around = {**WHOLE, "points": [0, 0, 128, 0, 128, 128, 0, 128, 0, 0]}
    assert float(rendered(HALF, OTHER, around).strokes[..., 3].min()) == pytest.approx(1, abs=1e-5)


def test_an_eraser_after_a_blur_takes_what_it_left() -> None:
    eraser = {"tool": "eraser", "points": [0, 64, 128, 64], "size": 400, "hardness": 1}
    empty = rendered(HALF, WHOLE, eraser)
    assert float(empty.mask.sum() + empty.t0s.sum() + empty.strokes[..., 3].sum()) == 0


def test_a_sketch_is_not_blurred() -> None:
    text = json.dumps({"version": 3, "strokes": [{**WHOLE, "layer": "sketch"}]})
    drawing = read_drawing(text)
    assert drawing.strokes == ()
    assert "left out" in drawing.complaints[0]


def test_very_many_blurs_are_refused_before_any_work() -> None:
    text = json.dumps({"width": 4096, "height": 4096, "strokes": [{**WHOLE, "points": [0, 0, 4096, 4096]}] * 40})
    with pytest.raises(ValueError, match="billion pixels"):
        render_drawing(read_drawing(text), 4096, 4096)
