"""Smudge as a stroke of Stroke Canvas: what it drags, how far, and what it leaves alone."""

from __future__ import annotations

import json
from typing import Any

import comfy.model_management
import numpy as np
import pytest
import torch
from diffusion_path.images.strokes_document import read_drawing
from diffusion_path.images.strokes_render import render_drawing
from diffusion_path.images.strokes_smudge import Tip, needed
from diffusion_path.tests.unit.test_strokes_blur import HALF, OTHER, rendered, same

OVER = {"tool": "smudge", "points": [32, 64, 112, 64], "size": 32, "hardness": 1}


def test_it_drags_colours_along_its_way_and_fades_as_it_takes_in_others() -> None:
    row = rendered(HALF, OTHER, OVER).strokes[0, 64].numpy()
    assert row[20:60, 0] == pytest.approx(np.ones(40), abs=1e-5), "red over red"
    # At each place of the tip, every 4 pixels, a tenth of what it carries is exchanged. 17 rows of it lie behind its
    # middle, and a pixel keeps what the last place that reaches it leaves there.
    assert (row[64:110, 0] > 0).all()
    assert (np.diff(row[64:110:4, 0]) < 0).all()
    assert row[64, 0] > 0.85
    assert row[:, 0] + row[:, 2] == pytest.approx(np.ones(128), abs=1e-5)
    back = rendered(HALF, OTHER, {**OVER, "points": [112, 64, 32, 64]}).strokes[0, 64].numpy()
    assert back[50, 2] > 0.2, "in the other direction, blue goes into red"
    assert back[90, 0] == 0


def test_places_of_the_tip_are_an_eighth_of_the_size_apart_whatever_points_the_path_has() -> None:
    many = np.array([[x, 64] for x in range(32, 113, 5)]).ravel().tolist()
    assert same(rendered(HALF, OTHER, OVER), rendered(HALF, OTHER, {**OVER, "points": many}))


def test_one_place_after_another_as_by_hand() -> None:
    """A tip of one size on bare colours: what it carries after n places on another colour is 0.9^n."""
    row = rendered(HALF, OTHER, {**OVER, "points": [40, 64, 112, 64], "size": 16}).strokes[0, 64, :, 0].numpy()
    picture = (np.arange(128) < 64).astype(float)
    patch = picture[40 - 8 : 40 + 9].copy()
    for x in range(42, 113, 2):
        below = picture[x - 8 : x + 9]
        patch += 0.1 * (below - patch)
        inner = slice(1, -1)  # the rim of the tip covers in part
        below[inner] += patch[inner] - below[inner]
        below[[0, -1]] += 0.5 * (patch[[0, -1]] - below[[0, -1]])
    assert np.abs(row[40:104] - picture[40:104]).max() < 1e-5


@pytest.mark.parametrize(
    "nothing",
    [
        {"opacity": 0},
        {"points": [70, 64]},
        {"points": [-300, -300, 500, -300]},
        {"layer": "b"},
        {"points": [10, 10, 30, 14], "size": 6},
    ],
    ids=["without strength", "without a way", "beside the picture", "on an empty layer", "inside of nothing"],
)
def test_where_a_smudge_does_nothing_nothing_changes(nothing: dict[str, Any]) -> None:
    layers = [{"id": "paint"}, {"id": "b"}]
    dot = {"points": [90, 70], "size": 30, "color": "#336699"}
    assert same(rendered(dot, layers=layers), rendered(dot, {**OVER, **nothing}, layers=layers))


def test_beside_the_stroke_everything_stays_bit_for_bit() -> None:
    before, after = rendered(HALF, OTHER), rendered(HALF, OTHER, OVER)
    y, x = np.indices((128, 128)) + 0.5
    outside = np.hypot(x - x.clip(32, 112), y - 64) > 18
    for name, pixels in vars(before).items():
        assert torch.equal(pixels[0, outside], vars(after)[name][0, outside]), name


def test_opacity_is_how_much_of_it_is_seen() -> None:
    sharp, full, half = (rendered(HALF, OTHER, *more).strokes for more in ((), (OVER,), ({**OVER, "opacity": 0.5},)))
    assert torch.allclose(half, (sharp + full) / 2, atol=1e-6)


def test_the_mask_and_t0_follow_the_paint_and_stay_where_it_was() -> None:
    dot = {"points": [40, 64], "size": 24, "hardness": 1, "t0": 0.6}
    before, after = rendered(dot), rendered(dot, {**OVER, "points": [40, 64, 100, 64]})
    assert bool((after.mask >= before.mask).all())
    fresh = (after.strokes[..., 3] > 1e-3) & (before.mask == 0)
    assert int(fresh.sum()) > 200
    assert torch.allclose(after.t0s[fresh], 0.6 * after.mask[fresh], atol=1e-5)


def test_at_the_edges_paint_goes_on_as_it_ends() -> None:
    around = {**OVER, "points": [-20, -20, 140, 30, 128, 140, -10, 90], "size": 50}
    whole = {**HALF, "rings": [[-9, -9, 137, -9, 137, 137, -9, 137]]}
    pixels = rendered(whole, around).strokes
    assert float(pixels[..., 3].min()) == pytest.approx(1, abs=1e-5)
    assert float(pixels[..., 0].min()) == pytest.approx(1, abs=1e-5)


def test_points_far_away_take_no_time() -> None:
    far = {**OVER, "points": [64, 64, 3e4, 64, -16e3, 70, 64, 3e4, 64, 64], "size": 1}
    assert float(rendered(HALF, OTHER, far).mask.sum()) == 128 * 128


def test_very_many_smudges_are_refused_before_any_work() -> None:
    text = json.dumps({"width": 4096, "height": 4096, "strokes": [{**OVER, "points": [0, 0, 4096, 4096]}] * 40})
    with pytest.raises(ValueError, match="billion pixels"):
        render_drawing(read_drawing(text), 4096, 4096)


@pytest.mark.parametrize("size", [64, 4096])
def test_a_brush_as_wide_as_the_picture_is_counted_with_what_lies_beyond_its_edges(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wider one is as wide: it would take 28 TB on this picture."""
    strokes = [HALF, {**OVER, "points": [10, 10, 60, 60], "size": size}]
    drawing = read_drawing(json.dumps({"width": 64, "height": 64, "strokes": strokes}))
    monkeypatch.setattr(comfy.model_management, "get_free_memory", lambda *_: 5 << 30)
    with pytest.raises(ValueError, match="so wide a brush needs about 8.* GB"):
        render_drawing(drawing, 4096, 4096)


def test_a_brush_wider_than_the_picture_beside_it_needs_nothing() -> None:
    path = np.array([[-9000.0, 30.0], [-8000.0, 30.0]])
    assert needed(Tip(path, np.full(2, 500.0), 1000.0, 1.0), 64, 64) == (0, 0)
    inside = Tip(path + np.array([9000, 0]), np.full(2, 500.0), 1000.0, 1.0)
    assert needed(inside, 64, 64)[0] > (64 + 2 * 1001) ** 2
