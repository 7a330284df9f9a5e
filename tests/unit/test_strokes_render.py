"""Drawings in pixels, against sums that can be done by hand, and DPathStrokeCanvas as a node."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusion_path.images.strokes_coverage import brush_cover, fill_cover
from diffusion_path.images.strokes_document import read_drawing
from diffusion_path.images.strokes_render import edit_masks, over_background, render_drawing
from diffusion_path.nodes.stroke_canvas import StrokeCanvas

DOT = {"points": [32, 32], "size": 20, "hardness": 1, "color": "#ff0000", "t0": 0.5}


def text(*strokes: dict[str, Any], width: int = 64, height: int = 64, **fields: Any) -> str:
    return json.dumps({"version": 1, "width": width, "height": height, "strokes": list(strokes), **fields})


def rendered(*strokes: dict[str, Any], size: int = 64):
    return render_drawing(read_drawing(text(*strokes)), size, size)


def test_a_hard_dot_has_the_area_of_a_disc() -> None:
    mask = rendered(DOT).mask
    assert float(mask.sum()) == pytest.approx(math.pi * 100, rel=0.01)
    assert float(mask[0, 32, 32]) == 1
    assert float(mask[0, 32, 45]) == 0


@pytest.mark.parametrize("size", [64, 128])
def test_a_gradient_goes_evenly_from_one_colour_to_the_other(size: int) -> None:
    whole = {"tool": "fill", "rings": [[-9, -9, 99, -9, 99, 99, -9, 99]]}
    shaded = rendered(whole | {"color": "#ff0000", "color2": "#0000ff", "gradient": [16, 0, 48, 0]}, size=size)
    row = shaded.strokes[0, size // 2].numpy()
    along = np.clip(((np.arange(size) + 0.5) * 64 / size - 16) / 32, 0, 1)
    assert row == pytest.approx(np.stack([1 - along, 0 * along, along, 0 * along + 1], -1), abs=1e-5)
    plain = rendered(whole | {"color": "#ff0000"}, size=size)
    tiny = rendered(whole | {"color": "#ff0000", "color2": "#0000ff", "gradient": [0, 0, 1e-40, -1e-40]}, size=size)
    nowhere = rendered(whole | {"color": "#ff0000", "color2": "#0000ff", "gradient": [16, 8, 16, 8]}, size=size)
    assert torch.equal(plain.strokes, nowhere.strokes)
    assert torch.equal(plain.strokes, tiny.strokes)
    assert torch.equal(plain.mask, shaded.mask)
    assert torch.equal(plain.t0s, shaded.t0s)


def test_grain_leaves_gaps_in_the_colour_but_not_in_what_may_change() -> None:
    line = {"points": [8, 30, 56, 34], "size": 24, "color": "#ff0000", "t0": 0.4}
    smooth = rendered(line, size=128)
    assert all(
        torch.equal(*pair)
        for pair in zip(vars(smooth).values(), vars(rendered(line | {"grain": 0}, size=128)).values(), strict=True)
    )
    shares = []
    for grain in (0.2, 0.5, 1):
        rough = rendered(line | {"grain": grain}, size=128)
        assert torch.equal(rough.mask, smooth.mask)
        assert torch.equal(rough.t0s, smooth.t0s)
        assert (rough.strokes[..., 3] <= smooth.strokes[..., 3]).all()
        shares.append(float(rough.strokes[..., 3].sum() / smooth.strokes[..., 3].sum()))
    assert 1 > shares[0] > 0.9 > shares[1] > 0.7 > 0.5 > shares[2] > 0.2
    alpha = rendered(line | {"grain": 1}, size=128).strokes[0, 56:72, 40:90, 3]
    assert alpha.min() == 0, "gaps"
    assert alpha.max() == 1, "and heights"


def test_the_paper_lies_still_and_scales_with_the_drawing() -> None:
    line = {"points": [8, 30, 56, 34], "size": 24, "grain": 0.7, "hardness": 1}
    there, beside = (rendered(line | {"points": [x, 30, x + 40, 30]}, size=128).strokes[0, ..., 3] for x in (4, 16))
    both = slice(60, 88)
    assert torch.equal(there[50:70, both], beside[50:70, both]), "of strokes that cover the same place"
    small, large = (rendered(line, size=size).strokes[0, ..., 3] for size in (128, 512))
    reduced = torch.nn.functional.avg_pool2d(large[None, None], 4)[0, 0]
    inside = (slice(50, 78), slice(30, 98))
    assert np.corrcoef(small[inside].flatten(), reduced[inside].flatten())[0, 1] > 0.9
    apart = rendered(line, size=128).strokes[0, ..., 3], rendered(line | {"size": 25}, size=128).strokes[0, ..., 3]
    assert not torch.equal(*(plane[inside] for plane in apart)), "other widths lie on other papers"


def test_an_eraser_with_grain_leaves_specks_and_sketches_have_none() -> None:
    line = {"points": [8, 32, 56, 32], "size": 30, "hardness": 1}
    eraser = {"tool": "eraser", "points": [0, 32, 64, 32], "size": 20, "grain": 0.8, "hardness": 1}
    left = rendered(line, eraser, size=128).mask[0, 54:74, 30:98]
    assert 0.1 < float(left.mean()) < 0.8
    assert set(left.unique().tolist()) >= {0.0, 1.0}
    drawn, grainy = (rendered(line | {"layer": "sketch", "grain": grain}).sketch for grain in (0, 1))
    assert torch.equal(drawn, grainy)


@pytest.mark.parametrize("size", [16, 64, 128, 300])
def test_a_drawing_covers_the_same_share_at_any_resolution(size: int) -> None:
    strokes = (
        DOT,
        {"tool": "fill", "rings": [[4, 4, 30, 6, 12, 28]]},
        {"points": [5, 60, 60, 50], "size": 7, "hardness": 1},
    )
    share = float(rendered(*strokes, size=size).mask.mean())
    assert share == pytest.approx(float(rendered(*strokes, size=512).mask.mean()), rel=0.03)


def test_a_soft_rim_falls_from_the_hard_core_to_the_radius() -> None:
    row = rendered({**DOT, "hardness": 0.4}).mask[0, 32, 32:].numpy()
    assert (row[:4] == 1).all()
    assert (np.diff(row) <= 0).all()
    assert 0 < row[7] < 1
    assert row[11] == 0


def test_a_line_thinner_than_a_pixel_is_fainter() -> None:
    covers = [brush_cover(np.array([[5.0, 8.5], [25.0, 8.5]]), np.full(2, w / 2), 1.0, 32, 16) for w in (0.5, 1.0)]
    thin, one = (float(cover.values[:, 10].sum()) for cover in covers if cover is not None)
    assert thin == pytest.approx(one / 2, rel=0.05)


def test_pressure_changes_the_width_along_the_stroke() -> None:
    mask = rendered({"points": [10, 32, 54, 32], "size": 20, "hardness": 1, "pressure": [20, 100]}).mask[0]
    assert float(mask[:, 12].sum()) == pytest.approx(4 + 16 * 2 / 44, abs=1)
    assert float(mask[:, 52].sum()) == pytest.approx(20 - 16 * 2 / 44, abs=1)


def test_a_ring_in_a_ring_is_a_hole_and_edges_are_half_covered() -> None:
    outer, inner = [2, 2, 14, 2, 14, 14, 2, 14], [5.5, 5.5, 10.5, 5.5, 10.5, 10.5, 5.5, 10.5]
    cover = fill_cover([np.array(ring, float).reshape(-1, 2) for ring in (outer, inner)], 16, 16)
    assert cover is not None
    full = np.zeros((16, 16), np.float32)
    full[cover.y : cover.y + cover.values.shape[0], cover.x : cover.x + cover.values.shape[1]] = cover.values
    assert full[3, 3] == 1
    assert full[8, 8] == 0
    assert full[8, 5] == pytest.approx(0.5)
    assert full[1, 8] == 0
    assert full.sum() == pytest.approx(144 - 25, abs=1)


def test_strokes_outside_the_picture_are_nothing() -> None:
    outside = ({"points": [-500, -500]}, {"tool": "fill", "rings": [[200, 200, 300, 200, 300, 300]]})
    assert float(rendered(*outside).mask.sum()) == 0


def test_opacity_thins_paint_but_not_what_may_change() -> None:
    result = rendered({**DOT, "opacity": 0.25})
    assert float(result.strokes[0, 32, 32, 3]) == pytest.approx(0.25)
    assert result.strokes[0, 32, 32, :3].tolist() == [1, 0, 0]
    assert float(result.mask[0, 32, 32]) == 1
    assert float(result.t0s[0, 32, 32]) == 0.5


def test_an_eraser_takes_paint_mask_and_t0_of_its_layer_alone() -> None:
    sketch = {"layer": "sketch", "points": [10, 32, 54, 32], "size": 4}
    result = rendered(DOT, sketch, {"tool": "eraser", "points": [32, 32], "size": 60, "hardness": 1})
    assert float(result.mask.sum() + result.t0s.sum() + result.strokes[..., 3].sum()) == 0
    assert float(result.sketch[0, 32, 32]) == 1


def layered(layers: list[dict[str, Any]], *strokes: dict[str, Any]):
    return render_drawing(read_drawing(text(*strokes, layers=layers)), 64, 64)


FIRST, SECOND = {"id": "paint"}, {"id": "b"}
OTHER = {**DOT, "layer": "b", "color": "#0000ff", "t0": 0.2, "size": 8}


def test_strokes_on_several_layers_are_what_they_are_on_one() -> None:
    spread = layered([FIRST, SECOND], OTHER, DOT)  # the order of the layers counts, not that of the strokes
    flat = rendered(DOT, {**OTHER, "layer": "paint"})
    for name, pixels in vars(flat).items():
        assert torch.allclose(pixels, vars(spread)[name], atol=1e-6), name


def test_a_layer_is_thinned_hidden_and_erased_alone() -> None:
    thin = layered([FIRST, SECOND | {"opacity": 0.25}], DOT, OTHER)
    assert thin.strokes[0, 32, 32].tolist() == pytest.approx([0.75, 0, 0.25, 1])
    assert float(thin.t0s[0, 32, 32]) == pytest.approx(0.2)
    hidden = layered([FIRST, SECOND | {"hidden": True}], DOT, OTHER)
    for name, pixels in vars(rendered(DOT)).items():
        assert torch.equal(pixels, vars(hidden)[name]), name
    erased = layered([FIRST, SECOND], DOT, OTHER, {"tool": "eraser", "layer": "b", "points": [32, 32], "size": 60})
    for name, pixels in vars(rendered(DOT)).items():
        assert torch.equal(pixels, vars(erased)[name]), name


def test_sketch_layers_join_and_their_opacity_is_importance() -> None:
    sketches = [{"id": name, "kind": "sketch", "opacity": opacity} for name, opacity in (("a", 0.5), ("b", 1))]
    lines = [{"layer": name, "points": [0, y, 64, y], "size": 6} for name, y in (("a", 16), ("b", 48))]
    sketch = layered(sketches, *lines).sketch[0]
    assert (float(sketch[16, 32]), float(sketch[48, 32]), float(sketch[32, 32])) == (0.5, 1, 0)


def test_the_uppermost_stroke_gives_the_t0_and_the_more_important_line_wins() -> None:
    lines = [
        {"layer": "sketch", "points": [0, y, 64, y], "size": 6, "importance": i} for y, i in ((32, 0.8), (33, 0.3))
    ]
    result = rendered(DOT, {**DOT, "size": 8, "t0": 0.2}, *lines)
    assert float(result.t0s[0, 32, 32]) == pytest.approx(0.2)
    assert float(result.t0s[0, 32, 39]) == pytest.approx(0.5)
    assert float(result.sketch[0, 32, 32]) == pytest.approx(0.8)


def test_masks_grow_alike_and_strength_is_relative_to_the_largest_t0() -> None:
    mask, strength, t0 = edit_masks(rendered(DOT, {"points": [8, 8], "size": 8, "hardness": 1, "t0": 0.25}), 3)
    assert t0 == 0.5
    assert float(mask[0, 32, 43]) == 1
    assert float(strength[0, 32, 43]) == 1
    assert float(mask[0, 32, 47]) == 0
    assert float(strength[0, 8, 8]) == pytest.approx(0.5)
    empty = edit_masks(rendered(), 3)
    assert (float(empty[0].max()), float(empty[1].max()), empty[2]) == (0, 0, 0)


def test_bare_paper_is_as_free_as_the_freest_stroke() -> None:
    drawn = rendered(DOT, {"points": [8, 8], "size": 8, "hardness": 1, "t0": 0.25})
    mask, strength, t0 = edit_masks(drawn, 3, on_paper=True)
    on_picture = edit_masks(drawn, 3)
    assert torch.equal(mask, on_picture[0])
    assert t0 == on_picture[2] == 0.5
    assert float(strength[0, 8, 8]) == pytest.approx(0.5)
    assert bool((strength[mask == 0] == 1).all())
    assert bool((strength[mask == 1] == on_picture[1][mask == 1]).all())
    empty = edit_masks(rendered(), 3, on_paper=True)
    assert (float(empty[1].max()), empty[2]) == (0, 0)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_backgrounds_keep_what_is_not_painted_and_drop_their_alpha(channels: int) -> None:
    background = torch.rand(2, 64, 64, channels)
    strokes = rendered(DOT).strokes
    result = over_background(strokes, background, (255, 255, 255))
    untouched = strokes[0, ..., 3] == 0
    assert torch.equal(result[:, untouched], background[..., :3].expand(-1, -1, -1, 3)[:, untouched])
    assert result[:, 32, 32].tolist() == [[1, 0, 0]] * 2


def test_half_covered_pixels_mix_with_the_colours_of_a_transparent_background() -> None:
    background = torch.tensor([0.2, 0.4, 0.6, 0.0]).expand(1, 64, 64, 4)
    strokes = torch.zeros(1, 64, 64, 4)
    strokes[..., 0], strokes[..., 3] = 1, 0.5
    result = over_background(strokes, background, (255, 255, 255))
    assert result[0, 0, 0].tolist() == pytest.approx([0.6, 0.2, 0.3])


def test_the_canvas_takes_the_size_of_its_background() -> None:
    background = torch.rand(2, 48, 80, 3)
    before = background.clone()
    result = StrokeCanvas.execute(64, 64, 0, text(DOT), background).result
    shapes = [tuple(value.shape) for value in result if isinstance(value, torch.Tensor)]
    assert shapes == [(2, 48, 80, 3), (1, 48, 80, 4), (1, 48, 80), (1, 48, 80), (1, 48, 80, 3)]
    assert result[4] == 0.5
    assert torch.equal(background, before)
    assert StrokeCanvas.GET_SCHEMA().node_id == "DPathStrokeCanvas"


def test_an_empty_canvas_is_its_background_or_white_paper() -> None:
    background = torch.rand(1, 16, 16, 3)
    assert torch.equal(StrokeCanvas.execute(64, 64, 0, "", background).result[0], background)
    assert float(StrokeCanvas.execute(32, 16, 0, "").result[0].min()) == 1
    grey = StrokeCanvas.execute(64, 64, 0, "", background[..., :1])
    assert grey.result[0].shape[-1] == 3
    shown: Any = grey.ui
    assert shown["dpath_canvas"][0]["background"]["filename"]


def test_what_was_repaired_is_told_to_the_page() -> None:
    output = StrokeCanvas.execute(64, 64, 0, text({**DOT, "size": -1}))
    shown: Any = output.ui
    assert "outside" in shown["dpath_canvas"][0]["complaints"][0]
